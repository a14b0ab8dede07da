//! Bodies, parameters and headers, whose mistakes are answered with problems.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{
    HeaderStyle, Operation, Parameter, ParameterData, ParameterSchemaOrContent, SchemaObject,
};
use aide::operation::add_parameters;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use control_api::problem::Kind;
use indexmap::IndexMap;
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fault::{Fault, Outcome};

/// A JSON body.
pub struct Body<T>(pub T);

/// The query.
pub struct Params<T>(pub T);

/// Parts of the path.
pub struct InPath<T>(pub T);

/// `Idempotency-Key`.
pub struct IdempotencyKey(pub Option<String>);

/// `{workspace}` in a path.
#[derive(Deserialize, JsonSchema)]
pub struct InWorkspace {
    /// Its id or name.
    pub workspace: String,
}

/// `{id}` in a path.
#[derive(Deserialize, JsonSchema)]
pub struct WithId {
    pub id: String,
}

/// `{workspace}` and `{epoch}` in a path.
#[derive(Deserialize, JsonSchema)]
pub struct InStart {
    /// Id or name of the workspace.
    pub workspace: String,
    /// Number of the start.
    pub epoch: u64,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Outcome<Self> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(wrong_body(&rejection)),
        }
    }
}

fn wrong_body(rejection: &JsonRejection) -> Fault {
    let detail = match rejection {
        JsonRejection::MissingJsonContentType(_) => {
            "Send JSON with the header \"Content-Type: application/json\".".into()
        }
        JsonRejection::JsonDataError(_) | JsonRejection::JsonSyntaxError(_) => {
            rejection.body_text()
        }
        _ => "The body could not be read, or is too long.".into(),
    };
    Fault::new(Kind::InvalidRequest, detail)
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Outcome<Self> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Fault::new(Kind::InvalidRequest, rejection.body_text())),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Outcome<Self> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(parts)) => Ok(Self(parts)),
            Err(rejection) => Err(Fault::new(Kind::InvalidRequest, rejection.body_text())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Outcome<Self> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self(None));
        };
        // Text that is none is refused with the others that are no keys.
        Ok(Self(Some(value.to_str().unwrap_or_default().into())))
    }
}

impl<T: JsonSchema> OperationInput for Body<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Json::<T>::operation_input(context, operation);
    }
}

impl<T: JsonSchema> OperationInput for Params<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Query::<T>::operation_input(context, operation);
    }
}

impl<T: JsonSchema> OperationInput for InPath<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Path::<T>::operation_input(context, operation);
    }
}

impl OperationInput for IdempotencyKey {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let schema = SchemaObject {
            json_schema: json_schema!({ "type": "string", "minLength": 1, "maxLength": 255 }),
            example: None,
            external_docs: None,
        };
        let parameter_data = ParameterData {
            name: "Idempotency-Key".into(),
            description: Some(
                "Makes one workspace, however often the request is sent within a day.".into(),
            ),
            required: false,
            deprecated: None,
            format: ParameterSchemaOrContent::Schema(schema),
            example: None,
            examples: IndexMap::new(),
            explode: None,
            extensions: IndexMap::new(),
        };
        let header = Parameter::Header {
            parameter_data,
            style: HeaderStyle::Simple,
        };
        add_parameters(context, operation, [header]);
    }
}
