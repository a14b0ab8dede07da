//! Forwarded ports: each on an origin of its own, private to the workspace's owner, whose sign-in the guest
//! never sees.
//!
//! ```text
//! request ─► admission: origin? cookie? ─► proxy: one connection to the port in the guest ─► answer
//!                 └► /preview-entry on the main origin ─► /.roost/enter?ticket= ─► cookie ─► the page
//! ```

mod admission;
mod proxy;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use control_api::problem::Kind;
use fleet_api::control::Route;
use fleet_api::host::HostError;
use fleet_api::ticket::Door;
use url::form_urlencoded;

use crate::Gateway;
use crate::answers::{Page, Problem, redirect, wants_page};
use crate::cookies;
use crate::origins::Origins;
use crate::tickets::COOKIE_LIFE;

/// Paths below it are ours; a guest's own are hidden by it.
const OWN_PATHS: &str = "/.roost/";

/// Which port of which workspace, and where a browser finds it.
#[derive(Clone, Debug)]
pub struct Target {
    pub port: u16,
    /// As in the host name.
    pub workspace: String,
    /// The preview's own origin.
    pub origin: String,
    /// Not by host name but by a listener of its own: there is no redirect to sign in there.
    pub by_listener: bool,
    /// The others.
    pub origins: Origins,
}

impl Target {
    /// Listeners of one workspace share a host, so their cookies need names of their own.
    fn cookie(&self) -> String {
        if self.by_listener {
            format!("{}_{}", cookies::PREVIEW, self.port)
        } else {
            cookies::PREVIEW.into()
        }
    }
}

pub async fn serve(gateway: &Arc<Gateway>, target: Target, mut request: Request) -> Response {
    let Some(route) = gateway.directory.route(&target.workspace).await else {
        return Problem::not_found(format!(
            "There is no workspace {:?}. It has another name, or it was deleted.",
            target.workspace
        ))
        .for_reader(request.method(), request.headers());
    };
    if let Some(own) = request.uri().path().strip_prefix(OWN_PATHS) {
        let query = request.uri().query().unwrap_or_default();
        return own_path(gateway, &target, &route, own, query, request.headers()).await;
    }
    if !admission::may_ask(request.method(), request.headers(), &target) {
        return Problem::refused("Pages of other sites may not use this preview.")
            .for_reader(request.method(), request.headers());
    }
    // A browser asks before it sends a cookie, so the question is the application's to answer.
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut sign_in_of_owner = String::new();
    if !admission::is_preflight(request.method(), request.headers()) {
        let owner = admission::owner(gateway, request.headers(), &route, &target).await;
        let Some(ticket) = owner else {
            let answer = sign_in(&target, request.method(), request.uri(), request.headers());
            return readable(answer, origin);
        };
        sign_in_of_owner = ticket.session;
        gateway.directory.touch(&route.workspace);
    }
    let ended = {
        let gateway = gateway.clone();
        async move { gateway.tickets.signed_out(&sign_in_of_owner).await }
    };
    cookies::hide_ours(request.headers_mut());
    let (method, headers) = (request.method().clone(), request.headers().clone());
    match proxy::forward(&route, target.port, request, ended).await {
        Ok(mut response) => {
            cookies::refuse_ours(response.headers_mut());
            response
        }
        Err(failure) => readable(failed(&target, &route, &failure, &method, &headers), origin),
    }
}

/// Lets the sibling page that asked see why it got nothing, rather than that something was blocked.
fn readable(mut answer: Response, origin: Option<HeaderValue>) -> Response {
    if let Some(origin) = origin {
        let headers = answer.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    answer
}

async fn own_path(
    gateway: &Gateway,
    target: &Target,
    route: &Route,
    path: &str,
    query: &str,
    headers: &HeaderMap,
) -> Response {
    let value = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    };
    let to = value("to")
        .filter(|to| is_path(to))
        .unwrap_or_else(|| "/".into());
    match path {
        "enter" => {
            let (from, door) = (
                Door::PreviewEntry { port: target.port },
                Door::Preview { port: target.port },
            );
            let ticket = value("ticket").unwrap_or_default();
            match gateway
                .tickets
                .trade(&ticket, &route.workspace, from, door)
                .await
            {
                Ok(cookie) => {
                    let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
                    let mut response = redirect(&format!("{OWN_PATHS}entered?to={to}"));
                    let seconds = COOKIE_LIFE.as_secs();
                    for cookie in
                        cookies::preview(&target.origins, &target.cookie(), &cookie, seconds)
                    {
                        response.headers_mut().append(header::SET_COOKIE, cookie);
                    }
                    response
                }
                // An old link, or the back button: the page itself asks for a fresh ticket.
                Err(_) => redirect(&to),
            }
        }
        // A browser that keeps no cookies would be sent around for ever.
        "entered"
            if admission::owner(gateway, headers, route, target)
                .await
                .is_some() =>
        {
            redirect(&to)
        }
        "entered" => Page {
            status: StatusCode::FORBIDDEN,
            title: "Your browser keeps no cookie here",
            text: "A preview is private, and a cookie of this address shows that it is you. \
                   Allow cookies for it and open the preview again.",
            link: Some(("Try again", &to)),
            ..Page::default()
        }
        .render(),
        _ => Problem::not_found("There is nothing here.").json(),
    }
}

/// A path on this origin, which no browser takes for another one.
fn is_path(to: &str) -> bool {
    to.starts_with('/')
        && !to.starts_with("//")
        && !to.contains('\\')
        && to.bytes().all(|byte| byte.is_ascii_graphic())
}

fn sign_in(
    target: &Target,
    method: &Method,
    uri: &axum::http::Uri,
    headers: &HeaderMap,
) -> Response {
    if !wants_page(method, headers) {
        return Problem::sign_in(
            "This preview is private: open it in a tab first. If it is open, the browser keeps its cookie \
             from other previews: allow third-party cookies for *.localhost, or give the server a domain.",
        )
        .json();
    }
    if target.by_listener {
        return Page {
            status: StatusCode::UNAUTHORIZED,
            title: "This preview is private",
            text: "Open it once more from the list of ports in the workbench.",
            link: Some((
                "To the workbench",
                &format!("{}/open/{}", target.origins.main(), target.workspace),
            )),
            ..Page::default()
        }
        .render();
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("workspace", &target.workspace)
        .append_pair("port", &target.port.to_string())
        .append_pair("to", path)
        .finish();
    redirect(&format!("{}/preview-entry?{query}", target.origins.main()))
}

fn failed(
    target: &Target,
    route: &Route,
    failure: &proxy::Failure,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    tracing::debug!(error = %failure, workspace = %route.workspace, port = target.port, "preview");
    let (kind, text) = match failure {
        proxy::Failure::Connect(HostError::NotRunning) => (
            Kind::NotRunning,
            format!(
                "{} is {}. {} Start it, then reload.",
                route.name, route.state, route.detail
            ),
        ),
        proxy::Failure::Connect(HostError::PortClosed { .. }) => (
            Kind::PortClosed,
            format!(
                "No program in {} listens on port {}. Start one, then reload.",
                route.name, target.port
            ),
        ),
        proxy::Failure::Connect(error) => (Kind::HostFailed, error.to_string()),
        proxy::Failure::Talk(error) => (
            Kind::NoHttp,
            format!(
                "Something listens on port {} of {}, but it did not answer with HTTP ({error}).",
                target.port, route.name
            ),
        ),
    };
    let problem = Problem::new(kind, text);
    if !wants_page(method, headers) {
        return problem.json();
    }
    let open = format!("{}/open/{}", target.origins.main(), target.workspace);
    let stopped = kind == Kind::NotRunning;
    Page {
        status: problem.status(),
        title: kind.title(),
        text: &problem.detail,
        link: Some((
            if stopped {
                "Open and start it"
            } else {
                "To the workbench"
            },
            &open,
        )),
        retry: Some(if stopped { 5 } else { 2 }),
    }
    .render()
}
