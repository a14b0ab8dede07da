//! Parts of paths that several requests have, and the idempotency key.

use std::convert::Infallible;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{
    HeaderStyle, Operation, Parameter, ParameterData, ParameterSchemaOrContent, SchemaObject,
};
use aide::operation::add_parameters;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use indexmap::IndexMap;
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;

/// `Idempotency-Key`.
pub struct IdempotencyKey(pub Option<String>);

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

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self(None));
        };
        // Text that is none is refused with the others that are no keys.
        Ok(Self(Some(value.to_str().unwrap_or_default().into())))
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
