//! Answers with their documentation: what a handler returns is what the document says.

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as Described, SchemaObject};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use control_api::problem::{Kind, PROBLEM_JSON, Problem};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

use crate::fault::Fault;

/// 201: it was made.
pub struct Created<T>(pub T);

/// 202: it will be done.
pub struct Accepted<T>(pub T);

/// 200 with a cookie.
pub struct WithCookie<T>(pub String, pub T);

/// 204 with a cookie.
pub struct CookieOnly(pub String);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self.0)).into_response()
    }
}

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
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self.problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.problem.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub async fn nothing_here(uri: Uri) -> Fault {
    Fault::new(
        Kind::NotFound,
        format!("There is nothing at {}.", uri.path()),
    )
}

fn described<T: JsonSchema>(context: &mut GenContext, content_type: &str) -> Described {
    let json_schema = context.schema.subschema_for::<T>();
    let resolved = context.resolve_schema(&json_schema);
    let text = resolved.get("description").and_then(|text| text.as_str());
    let description = text.map(String::from).unwrap_or_default();
    let schema = SchemaObject {
        json_schema,
        example: None,
        external_docs: None,
    };
    let media = MediaType {
        schema: Some(schema),
        ..MediaType::default()
    };
    Described {
        description,
        content: IndexMap::from([(content_type.to_owned(), media)]),
        ..Described::default()
    }
}

/// An answer of one status with a body of this content type.
pub fn describe_body<T: JsonSchema>(
    context: &mut GenContext,
    status: u16,
    content_type: &str,
) -> Vec<(Option<u16>, Described)> {
    vec![(Some(status), described::<T>(context, content_type))]
}

impl<T: JsonSchema> OperationOutput for Created<T> {
    type Inner = T;

    fn inferred_responses(
        context: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        describe_body::<T>(context, 201, "application/json")
    }
}

impl<T: JsonSchema> OperationOutput for Accepted<T> {
    type Inner = T;

    fn inferred_responses(
        context: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        describe_body::<T>(context, 202, "application/json")
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
        let description = "Done; the cookie is gone.".into();
        vec![(
            Some(204),
            Described {
                description,
                ..Described::default()
            },
        )]
    }
}

impl OperationOutput for Fault {
    type Inner = Problem;

    fn inferred_responses(
        context: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        vec![(None, described::<Problem>(context, PROBLEM_JSON))]
    }
}
