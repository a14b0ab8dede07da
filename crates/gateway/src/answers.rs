//! What we say ourselves: problem documents for programs, small pages for people.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use control_api::problem::Kind;

/// Something that did not work, for a program (RFC 9457) or a person.
#[derive(Clone, Debug)]
pub struct Problem {
    pub kind: Kind,
    /// What happened and what to do.
    pub detail: String,
    /// Where a person signs in again.
    pub sign_in_url: Option<String>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            sign_in_url: None,
        }
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    pub fn unknown_workspace(name: &str) -> Self {
        Self::not_found(format!(
            "There is no workspace {name:?} that you may enter."
        ))
    }

    pub fn sign_in(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotSignedIn, detail)
    }

    pub fn refused(detail: impl Into<String>) -> Self {
        Self::new(Kind::OriginRefused, detail)
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidRequest, detail)
    }

    pub fn not_running(state: &str, detail: &str) -> Self {
        let why = if detail.is_empty() {
            String::new()
        } else {
            format!(": {detail}")
        };
        Self::new(
            Kind::WrongState,
            format!("The workspace is {state}{why}. Start it, or wait until it runs."),
        )
    }

    pub fn json(&self) -> Response {
        let problem = control_api::problem::Problem::new(self.kind, &*self.detail);
        http_api::answers::respond(&control_api::problem::Problem {
            sign_in_url: self.sign_in_url.clone(),
            ..problem
        })
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// As a page when a person looks at it, else as a problem document.
    pub fn for_reader(&self, method: &Method, headers: &HeaderMap) -> Response {
        if !wants_page(method, headers) {
            return self.json();
        }
        Page {
            status: self.status(),
            title: self.kind.title(),
            text: &self.detail,
            ..Page::default()
        }
        .render()
    }
}

impl aide::OperationOutput for Problem {
    type Inner = control_api::problem::Problem;

    fn inferred_responses(
        context: &mut aide::generate::GenContext,
        _: &mut aide::openapi::Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        http_api::answers::describe_problem(context)
    }
}

impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.json()
    }
}

/// Whether a person will see the answer in a tab.
pub fn wants_page(method: &Method, headers: &HeaderMap) -> bool {
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("text/html"));
    let mode = headers
        .get("sec-fetch-mode")
        .and_then(|value| value.to_str().ok());
    (method == Method::GET || method == Method::HEAD)
        && accepts
        && mode.is_none_or(|mode| mode == "navigate")
}

/// A small page without scripts, pictures or fonts from anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub status: StatusCode,
    pub title: &'a str,
    pub text: &'a str,
    /// Text and target of a link.
    pub link: Option<(&'a str, &'a str)>,
    /// Seconds after which the page looks again by itself.
    pub retry: Option<u32>,
}

impl Default for Page<'_> {
    fn default() -> Self {
        Self {
            status: StatusCode::OK,
            title: "Roost",
            text: "",
            link: None,
            retry: None,
        }
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.5rem;\
color:#1f2328;background:#fff}h1{font-size:1.4rem;margin:0 0 .5rem}p{margin:.5rem 0}a{color:#0b65c2}\
small{color:#656d76}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}a{color:#58a6ff}\
small{color:#8b949e}}";

impl Page<'_> {
    pub fn render(&self) -> Response {
        let link = self.link.map_or_else(String::new, |(text, target)| {
            format!("<p><a href=\"{}\">{}</a></p>", escape(target), escape(text))
        });
        let (again, note) = self.retry.map_or_else(Default::default, |seconds| {
            (
                format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">"),
                "<p><small>This page looks again by itself.</small></p>",
            )
        });
        let html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\">{again}<title>{title}</title><style>{STYLE}</style>\
             <h1>{title}</h1><p>{text}</p>{link}{note}</html>",
            title = escape(self.title),
            text = escape(self.text),
        );
        let mut response = Response::new(Body::from(html));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
            ),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// See other: the browser asks for `target` with GET.
pub fn redirect(target: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match HeaderValue::from_str(target) {
        Ok(value) => headers.insert(header::LOCATION, value),
        Err(_) => return Problem::invalid("This address cannot be redirected to.").json(),
    };
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
