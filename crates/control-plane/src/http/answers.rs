//! Answers with cookies, and a [`Fault`] as an answer, with their documentation.

use std::convert::Infallible;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as Described};
use axum::Json;
use axum::body::Body as Content;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_api::problem::Problem;
use control_api::programs::NDJSON;
use fleet_api::Download;
use futures::StreamExt;
use futures::stream::BoxStream;
use http_api::answers::{describe_body, describe_problem, describe_status, respond};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::io::ReaderStream;

use crate::fault::Fault;

/// 200 with a cookie.
pub struct WithCookie<T>(pub String, pub T);

/// A file of this name. No page, whatever is in it.
pub struct Attachment(pub String, pub Download);

const ANY_BYTES: &str = "application/octet-stream";

impl IntoResponse for Attachment {
    fn into_response(self) -> Response {
        let Self(file, Download { bytes, content }) = self;
        let mut response = Response::new(Content::from_stream(ReaderStream::new(content)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(ANY_BYTES));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        if let Some(bytes) = bytes {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        let disposition = format!("attachment; filename=\"{file}\"");
        let disposition = HeaderValue::try_from(disposition)
            .unwrap_or_else(|_| HeaderValue::from_static("attachment"));
        headers.insert(header::CONTENT_DISPOSITION, disposition);
        response
    }
}

impl OperationOutput for Attachment {
    type Inner = ();

    fn inferred_responses(_: &mut GenContext, _: &mut Operation) -> Vec<(Option<u16>, Described)> {
        let described = Described {
            description: "The file; it is whole only when the answer comes to its end.".into(),
            content: IndexMap::from([(ANY_BYTES.to_owned(), MediaType::default())]),
            ..Described::default()
        };
        vec![(Some(200), described)]
    }
}

/// One JSON document a line, while things happen.
pub struct Lines<T>(pub BoxStream<'static, T>);

impl<T: Serialize + 'static> IntoResponse for Lines<T> {
    fn into_response(self) -> Response {
        let lines = self.0.map(|event| {
            let mut line = serde_json::to_vec(&event).expect("events have only plain fields");
            line.push(b'\n');
            Ok::<_, Infallible>(line)
        });
        let mut response = Response::new(Content::from_stream(lines));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }
}

impl<T: JsonSchema> OperationOutput for Lines<T> {
    type Inner = T;

    fn inferred_responses(
        context: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        describe_body::<T>(context, 200, NDJSON)
    }
}

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
