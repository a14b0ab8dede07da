//! Who asks, and whether it is a page of ours that does.
//!
//! A browser sends the cookie whoever's page asks, so a change by cookie has to carry the main origin in
//! `Origin`. Programs send a token in `Authorization`, which no page of somebody else can; then no cookie is
//! looked at.

use std::sync::Arc;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use control_api::identity::Role;
use control_api::problem::Kind;
use indexmap::IndexMap;

use super::origins::Origins;
use crate::app::App;
use crate::app::identity::Caller;
use crate::fault::{Fault, Outcome};

const COOKIE: &str = "roost_session";
/// Under HTTPS: the browser takes it from this host alone, whatever its neighbours try to set.
const SECURE_COOKIE: &str = "__Host-roost_session";

/// A caller who is signed in; for changes, from a page of ours.
pub struct SignedIn(pub Caller);

/// The same, and an administrator.
pub struct Administrator(pub Caller);

/// Anybody; a browser only from a page of ours.
pub struct Anybody {
    pub origins: Origins,
    /// Address, for limits.
    pub client: String,
}

/// A caller who is signed in, if any, without a look at the page: only for what changes nothing.
pub struct Visitor {
    pub caller: Option<Caller>,
    pub origins: Origins,
}

impl FromRequestParts<Arc<App>> for SignedIn {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Outcome<Self> {
        if let Some(token) = bearer(&parts.headers) {
            return match app.by_token(token).await? {
                Some(caller) => Ok(Self(caller)),
                None => Err(Fault::new(
                    Kind::NotSignedIn,
                    "This API token is not valid, or no longer. Make a new one, or run `roost login`.",
                )),
            };
        }
        let origins = Origins::of(&parts.headers, &app.settings.domain);
        let caller = match session_cookie(&parts.headers, &origins) {
            Some(cookie) => app.by_session(cookie).await?,
            None => None,
        };
        let Some(caller) = caller else {
            return Err(Fault::new(
                Kind::NotSignedIn,
                "Sign in, or send an API token: \"Authorization: Bearer TOKEN\".",
            ));
        };
        if changes(&parts.method) && origin(&parts.headers) != Some(origins.main().as_str()) {
            return Err(foreign(&parts.headers, &origins));
        }
        Ok(Self(caller))
    }
}

impl FromRequestParts<Arc<App>> for Administrator {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Outcome<Self> {
        let SignedIn(caller) = SignedIn::from_request_parts(parts, app).await?;
        match caller.user.role {
            Role::Administrator => Ok(Self(caller)),
            Role::Member => Err(Fault::new(
                Kind::Forbidden,
                "Only an administrator may do this.",
            )),
        }
    }
}

impl FromRequestParts<Arc<App>> for Anybody {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Outcome<Self> {
        let origins = Origins::of(&parts.headers, &app.settings.domain);
        // A program sends none.
        if changes(&parts.method)
            && origin(&parts.headers).is_some_and(|origin| origin != origins.main())
        {
            return Err(foreign(&parts.headers, &origins));
        }
        let client = parts
            .headers
            .get("x-forwarded-for")
            .and_then(|value| value.to_str().ok());
        Ok(Self {
            client: client.unwrap_or("unknown").into(),
            origins,
        })
    }
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Outcome<Self> {
        let origins = Origins::of(&parts.headers, &app.settings.domain);
        let caller = match session_cookie(&parts.headers, &origins) {
            Some(cookie) => app.by_session(cookie).await?,
            None => None,
        };
        Ok(Self { caller, origins })
    }
}

/// The `Set-Cookie` of a new session, or of none.
pub fn set_cookie(origins: &Origins, session: Option<&str>) -> String {
    let (name, secure) = if origins.is_https() {
        (SECURE_COOKIE, "; Secure")
    } else {
        (COOKIE, "")
    };
    let (value, age) = match session {
        Some(session) => (session, crate::app::identity::SESSION_LIFE_MS / 1000),
        None => ("", 0),
    };
    format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
}

fn session_cookie<'a>(headers: &'a HeaderMap, origins: &Origins) -> Option<&'a str> {
    let name = if origins.is_https() {
        SECURE_COOKIE
    } else {
        COOKIE
    };
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

fn origin(headers: &HeaderMap) -> Option<&str> {
    // One that is not even text is as foreign as any.
    headers
        .get(header::ORIGIN)
        .map(|value| value.to_str().unwrap_or("null"))
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn foreign(headers: &HeaderMap, origins: &Origins) -> Fault {
    let detail = match origin(headers) {
        Some(origin) => format!(
            "A page of {origin} may not do this; only pages of {} may.",
            origins.main()
        ),
        None => format!(
            "A change with the cookie needs the header \"Origin: {}\"; programs send an API token instead.",
            origins.main()
        ),
    };
    Fault::new(Kind::OriginRefused, detail)
}

/// The document names both ways to sign in.
fn needs_sign_in(operation: &mut Operation) {
    for scheme in ["session", "token"] {
        let requirement = IndexMap::from([(scheme.to_owned(), Vec::new())]);
        if !operation.security.contains(&requirement) {
            operation.security.push(requirement);
        }
    }
}

impl OperationInput for SignedIn {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        needs_sign_in(operation);
    }
}

impl OperationInput for Administrator {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        needs_sign_in(operation);
    }
}

impl OperationInput for Anybody {}
