//! Answers with cookies, and a [`Fault`] as an answer, with their documentation.

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_api::problem::Problem;
use http_api::answers::{describe_body, describe_problem, describe_status, respond};
use schemars::JsonSchema;
use serde::Serialize;

use crate::fault::Fault;

/// 200 with a cookie.
pub struct WithCookie<T>(pub String, pub T);

/// 204 with a cookie.
pub struct CookieOnly(pub String);

impl<T: Serialize> IntoResponse for WithCookie<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.1).into_response();
        add_cookie(&mut response, &self.0);
        response
    }
}

impl IntoResponse for CookieOnly {
    fn into_response(self) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        add_cookie(&mut response, &self.0);
        response
    }
}

fn add_cookie(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        if let Some(cause) = &self.cause {
            tracing::error!(cause = ?cause, "{cause}");
        }
        respond(&self.problem)
    }
}

impl<T: JsonSchema> OperationOutput for WithCookie<T> {
    type Inner = T;

    fn inferred_responses(
        context: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        describe_body::<T>(context, 200, "application/json")
    }
}

impl OperationOutput for CookieOnly {
    type Inner = ();

    fn inferred_responses(_: &mut GenContext, _: &mut Operation) -> Vec<(Option<u16>, Described)> {
        describe_status(204, "Done; the cookie is gone.")
    }
}

impl OperationOutput for Fault {
    type Inner = Problem;

    fn inferred_responses(
        context: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        describe_problem(context)
    }
}
