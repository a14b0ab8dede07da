//! What gateways and hosts ask of the control plane.

use std::sync::Arc;

use fleet_api::Later;
use fleet_api::control::{
    Caller, Credential, Directory, GitCredentials, GitRemote, Route, Setting,
};
use model::state::State;
use model::{UserId, WorkspaceId};

use crate::app::{App, credentials, present};
use crate::fault::Fault;
use crate::store::workspaces::WorkspaceRow;

/// A setting document is text that a person wrote.
const MAX_SETTING: usize = 1024 * 1024;

/// The service as gateways see it.
pub struct Desk(pub Arc<App>);

impl Directory for Desk {
    fn route(&self, workspace: &str) -> Later<'_, Option<Route>> {
        let workspace = workspace.to_owned();
        Box::pin(async move {
            let row = logged(
                self.0
                    .store
                    .find_workspace(&workspace)
                    .await
                    .map_err(Fault::from),
            )??;
            if matches!(row.state, State::Deleted { .. }) {
                return None;
            }
            let owner = logged(self.0.store.user(&row.owner).await.map_err(Fault::from))??;
            let host = match row.state {
                State::Running { .. } => row.host.as_deref().and_then(|id| self.0.hosts.get(id)),
                _ => None,
            };
            let name = if owner.name.is_empty() {
                owner.email.clone()
            } else {
                owner.name
            };
            let folder = match &row.repository {
                Some(repository) => format!("{}/{}", present::FOLDER, repository.folder),
                None => present::FOLDER.into(),
            };
            Some(Route {
                workspace: row.id.clone(),
                name: row.name.clone(),
                owner: row.owner.clone(),
                owner_name: name,
                owner_email: owner.email,
                state: row.state.name().into(),
                detail: present::detail(&row),
                folder,
                host,
            })
        })
    }

    fn session_is_valid(&self, session: &str) -> Later<'_, Option<bool>> {
        let session = session.to_owned();
        Box::pin(async move { logged(self.0.right_is_valid(&session).await) })
    }

    fn bearer(&self, token: &str) -> Later<'_, Option<Caller>> {
        let token = token.to_owned();
        Box::pin(async move {
            let caller = logged(self.0.by_token(&token).await)??;
            Some(Caller {
                user: caller.user.id,
                session: caller.right.text(),
            })
        })
    }

    fn start(&self, workspace: &WorkspaceId, user: &UserId) -> Later<'_, Result<(), String>> {
        let (workspace, user) = (workspace.clone(), user.clone());
        Box::pin(async move {
            self.owned(&workspace, &user).await?;
            self.0
                .start(&user, &workspace)
                .await
                .map(|_| ())
                .map_err(|fault| fault.problem.detail)
        })
    }

    fn stop(&self, workspace: &WorkspaceId, user: &UserId) -> Later<'_, Result<(), String>> {
        let (workspace, user) = (workspace.clone(), user.clone());
        Box::pin(async move {
            self.owned(&workspace, &user).await?;
            self.0
                .stop(&user, &workspace)
                .await
                .map(|_| ())
                .map_err(|fault| fault.problem.detail)
        })
    }

    fn setting(&self, user: &UserId, name: &str) -> Later<'_, Setting> {
        let (user, name) = (user.clone(), name.to_owned());
        Box::pin(async move {
            let found = self.0.store.setting(&user, &name).await;
            logged(found.map_err(Fault::from)).unwrap_or_default()
        })
    }

    fn save_setting(
        &self,
        user: &UserId,
        name: &str,
        expected: Option<i64>,
        text: &str,
    ) -> Later<'_, Result<i64, i64>> {
        let (user, name, text) = (user.clone(), name.to_owned(), text.to_owned());
        Box::pin(async move {
            if text.len() > MAX_SETTING {
                return Err(self.setting(&user, &name).await.version);
            }
            let saved = self
                .0
                .store
                .save_setting(&user, &name, expected, &text)
                .await;
            logged(saved.map_err(Fault::from)).unwrap_or(Err(0))
        })
    }

    fn touch(&self, workspace: &WorkspaceId) {
        self.0.inbox.touched(workspace, self.0.world.now_ms());
    }
}

impl Desk {
    async fn owned(&self, workspace: &WorkspaceId, user: &UserId) -> Result<WorkspaceRow, String> {
        let row = logged(self.0.store.workspace(workspace).await.map_err(Fault::from)).flatten();
        row.filter(|row| row.owner == *user)
            .ok_or_else(|| "There is no such workspace; it may have been deleted.".into())
    }
}

impl GitCredentials for Desk {
    fn credential(
        &self,
        workspace: &WorkspaceId,
        remote: &GitRemote,
    ) -> Later<'_, Option<Credential>> {
        let (workspace, remote) = (workspace.clone(), remote.clone());
        Box::pin(async move { logged(self.0.credential_for(&workspace, &remote).await).flatten() })
    }

    fn rejected(&self, workspace: &WorkspaceId, remote: &GitRemote) {
        self.0
            .inbox
            .rejected(workspace, credentials::server_of(remote));
    }
}

/// What nobody can be told here goes into the log.
fn logged<T>(outcome: Result<T, Fault>) -> Option<T> {
    outcome
        .inspect_err(|fault| {
            let cause = fault.cause.as_deref().map(|cause| format!("{cause:?}"));
            tracing::error!(
                detail = fault.problem.detail,
                cause,
                "a question was not answered"
            );
        })
        .ok()
}
