//! All routes of `/api/v1`.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{delete, get, post, put};
use aide::openapi::{ApiKeyLocation, SecurityScheme, Tag};
use aide::transform::{TransformOpenApi, TransformPathItem};
use control_api::problem::Kind;

use super::{
    events, git, identity, points, server, starts, upkeep, usage, users, work, workspaces,
};
use crate::app::App;

pub fn routes() -> ApiRouter<Arc<App>> {
    let v1 = ApiRouter::new()
        .api_route_with(
            "/server",
            get(server::server),
            named("server", "What anybody may know"),
        )
        .api_route_with("/host", get(server::host), named("server", "The host"))
        .api_route_with(
            "/remote",
            get(server::remote),
            named("server", "What a Git URL means"),
        )
        .api_route_with(
            "/welcome/check",
            post(identity::check_link),
            named("identity", "Look at a one-time link"),
        )
        .api_route_with(
            "/welcome",
            post(identity::welcome),
            named("identity", "Use a one-time link"),
        )
        .api_route_with(
            "/session",
            post(identity::sign_in).delete(identity::sign_out),
            named("identity", "Sign in, sign out"),
        )
        .api_route_with(
            "/me",
            get(identity::show_me).patch(identity::update_me),
            named("identity", "Profile"),
        )
        .api_route_with(
            "/me/password",
            post(identity::change_password),
            named("identity", "Change the password"),
        )
        .api_route_with(
            "/tokens",
            get(identity::tokens).post(identity::create_token),
            named("identity", "API tokens"),
        )
        .api_route_with(
            "/tokens/by-password",
            post(identity::token_by_password),
            named("identity", "Sign-in of programs"),
        )
        .api_route_with(
            "/tokens/{id}",
            delete(identity::delete_token),
            named("identity", "Delete an API token"),
        )
        .api_route_with(
            "/git-credentials",
            get(git::list).post(git::set),
            named("git", "Credentials of git servers"),
        )
        .api_route_with(
            "/git-credentials/{id}",
            delete(git::delete),
            named("git", "Delete a git credential"),
        )
        .api_route_with(
            "/users",
            get(users::list).post(users::add),
            named("users", "Users"),
        )
        .api_route_with(
            "/users/{id}/reset-password",
            post(users::reset_password),
            named("users", "A link for a new password"),
        )
        .api_route_with(
            "/usage",
            get(usage::show),
            named("users", "Who takes how much"),
        )
        .api_route_with(
            "/quotas/users/{id}",
            put(usage::set_of_user),
            named("users", "How much a user may have"),
        )
        .api_route_with(
            "/quotas/organization",
            put(usage::set_of_organization),
            named("users", "How much all users together may have"),
        )
        .api_route_with(
            "/store/collect",
            post(upkeep::collect),
            named("server", "Collect the store, for administrators"),
        )
        .api_route_with(
            "/events",
            get(events::all),
            named("workspaces", "Changes of all own workspaces"),
        );
    ApiRouter::new().nest("/api/v1", v1.merge(workspace_routes()))
}

fn workspace_routes() -> ApiRouter<Arc<App>> {
    ApiRouter::new()
        .api_route_with(
            "/workspaces",
            get(workspaces::list).post(workspaces::create),
            named("workspaces", "List and create workspaces"),
        )
        .api_route_with(
            "/workspaces/{workspace}",
            get(workspaces::show)
                .patch(workspaces::update)
                .delete(workspaces::delete),
            named("workspaces", "One workspace"),
        )
        .api_route_with(
            "/workspaces/{workspace}/start",
            post(workspaces::start),
            named("workspaces", "Start"),
        )
        .api_route_with(
            "/workspaces/{workspace}/stop",
            post(workspaces::stop),
            named("workspaces", "Stop"),
        )
        .api_route_with(
            "/workspaces/{workspace}/retry-clone",
            post(workspaces::retry_clone),
            named("workspaces", "Fetch the repository again"),
        )
        .api_route_with(
            "/workspaces/{workspace}/delete-preview",
            get(workspaces::delete_preview),
            named("workspaces", "What a deletion would lose"),
        )
        .api_route_with(
            "/workspaces/{workspace}/points",
            get(points::list).post(points::take),
            named("workspaces", "Points in time of the disk"),
        )
        .api_route_with(
            "/workspaces/{workspace}/points/{point}",
            delete(points::remove),
            named("workspaces", "Give up a point in time"),
        )
        .api_route_with(
            "/workspaces/{workspace}/points/{point}/restore",
            post(points::restore),
            named(
                "workspaces",
                "Go back to a point in time; what the disk has is kept as another",
            ),
        )
        .api_route_with(
            "/workspaces/{workspace}/disk",
            get(points::image),
            named("workspaces", "The disk as a qcow2 file, running or not"),
        )
        .api_route_with(
            "/workspaces/{workspace}/disk/files",
            get(points::files),
            named(
                "workspaces",
                "Files of the disk as a tar.gz, running or not",
            ),
        )
        .api_route_with(
            "/workspaces/{workspace}/disk/check",
            post(upkeep::check),
            named(
                "workspaces",
                "Read all that the store has of the disk, and say what is damaged",
            ),
        )
        .api_route_with(
            "/workspaces/{workspace}/disk/compact",
            post(upkeep::compact),
            named(
                "workspaces",
                "Write sparsely used packs of a stopped workspace's disk again",
            ),
        )
        .api_route_with(
            "/workspaces/import",
            post(upkeep::import),
            named(
                "workspaces",
                "A new workspace whose disk is the file that is sent",
            ),
        )
        .api_route_with(
            "/workspaces/{workspace}/starts",
            get(starts::list),
            named("workspaces", "Timelines of starts"),
        )
        .api_route_with(
            "/workspaces/{workspace}/starts/{epoch}",
            get(starts::show),
            named("workspaces", "Timeline of a start"),
        )
        .api_route_with(
            "/workspaces/{workspace}/figures",
            get(workspaces::figures),
            named("workspaces", "What a running machine uses"),
        )
        .api_route_with(
            "/workspaces/{workspace}/largest-folders",
            get(workspaces::largest_folders),
            named("workspaces", "What takes the room on the disk"),
        )
        .api_route_with(
            "/workspaces/{workspace}/console",
            get(starts::console),
            named("workspaces", "The machine's console"),
        )
        .api_route_with(
            "/workspaces/{workspace}/work",
            get(work::list),
            named("workspaces", "Saved work"),
        )
        .api_route_with(
            "/workspaces/{workspace}/work/save",
            post(work::save),
            named("workspaces", "Save uncommitted work now"),
        )
        .api_route_with(
            "/workspaces/{workspace}/work/restore",
            post(work::restore),
            named("workspaces", "Make a working tree as it was saved"),
        )
        .api_route_with(
            "/workspaces/{workspace}/work/bundle",
            get(work::bundle),
            named("workspaces", "Saved work as a git bundle"),
        )
        .api_route_with(
            "/workspaces/{workspace}/events",
            get(events::one),
            named("workspaces", "Changes of one workspace"),
        )
        .api_route_with(
            "/workspaces/{workspace}/ticket",
            post(workspaces::ticket),
            named("workspaces", "A ticket for programs"),
        )
}

fn named(
    tag: &'static str,
    summary: &'static str,
) -> impl FnOnce(TransformPathItem<'_>) -> TransformPathItem<'_> {
    move |path| path.tag(tag).summary(summary)
}

/// What the document says beside its routes.
pub fn describe(document: TransformOpenApi<'_>) -> TransformOpenApi<'_> {
    let kinds: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| format!("- `{}` ({}): {}", kind.slug(), kind.status(), kind.title()))
        .collect();
    let text = format!(
        "Times are milliseconds since 1970. Sign in with the cookie of `POST /api/v1/session`, or with an API \
         token in `Authorization: Bearer`. With the cookie, every change needs the server's own `Origin`.\n\n\
         Errors are problem documents (RFC 9457). Their `type` is `{}` and one of:\n\n{}",
        control_api::problem::TYPE_PREFIX,
        kinds.join("\n")
    );
    document
        .title("Roost")
        .version("1")
        .description(&text)
        .tag(tag("workspaces", "Workspaces and their starts"))
        .tag(tag(
            "programs",
            "Commands and files in a workspace, for programs",
        ))
        .tag(tag("identity", "Sign-in, profile, API tokens"))
        .tag(tag("git", "Credentials of git servers"))
        .tag(tag("users", "Users, what they use and may use"))
        .tag(tag("server", "The installation"))
        .security_scheme(
            "session",
            SecurityScheme::ApiKey {
                location: ApiKeyLocation::Cookie,
                name: "roost_session".into(),
                description: Some("`__Host-roost_session` under HTTPS.".into()),
                extensions: Default::default(),
            },
        )
        .security_scheme(
            "token",
            SecurityScheme::Http {
                scheme: "bearer".into(),
                bearer_format: None,
                description: Some("A personal API token.".into()),
                extensions: Default::default(),
            },
        )
}

fn tag(name: &str, description: &str) -> Tag {
    Tag {
        name: name.into(),
        description: Some(description.into()),
        ..Tag::default()
    }
}
