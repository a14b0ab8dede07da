//! Answers with their documentation.

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as Described, SchemaObject};
use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use control_api::problem::{Kind, PROBLEM_JSON, Problem};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Serialize;

/// A problem, as an answer.
#[derive(Debug)]
pub struct Refused(pub Box<Problem>);

/// 201: it was made.
pub struct Created<T>(pub T);

/// 202: it will be done.
pub struct Accepted<T>(pub T);

impl Refused {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(kind, detail)))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        respond(&self.0)
    }
}

/// The answer that says this.
pub fn respond(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// No route has this path.
pub async fn nothing_here(uri: Uri) -> Refused {
    Refused::new(
        Kind::NotFound,
        format!("There is nothing at {}.", uri.path()),
    )
}

/// The route does not know this method. The router says in `Allow` which it knows.
pub async fn wrong_method(method: Method, uri: Uri) -> Refused {
    Refused::new(
        Kind::MethodNotAllowed,
        format!(
            "{} does not answer {method}; the header Allow says what it does answer.",
            uri.path()
        ),
    )
}

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

/// What every operation may answer instead.
pub fn describe_problem(context: &mut GenContext) -> Vec<(Option<u16>, Described)> {
    vec![(None, described::<Problem>(context, PROBLEM_JSON))]
}

/// An answer of one status without a JSON body.
pub fn describe_status(status: u16, description: &str) -> Vec<(Option<u16>, Described)> {
    let described = Described {
        description: description.into(),
        ..Described::default()
    };
    vec![(Some(status), described)]
}

impl OperationOutput for Refused {
    type Inner = Problem;

    fn inferred_responses(
        context: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, Described)> {
        describe_problem(context)
    }
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
