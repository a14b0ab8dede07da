//! Looking after what lies in the store, and workspaces whose disks come from elsewhere.

use std::sync::Arc;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, ReferenceOr, RequestBody};
use axum::Json;
use axum::body::Body as Content;
use axum::extract::{FromRequest, Request, State};
use axum::http::header;
use control_api::programs::InWorkspace;
use control_api::upkeep::{
    CheckEvent, CheckQuery, CollectStore, CollectionList, Compaction, ImportEvent, ImportQuery,
};
use futures::TryStreamExt;
use http_api::inputs::{Body, InPath, Params};
use indexmap::IndexMap;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::answers::Lines;
use super::auth::{Administrator, SignedIn};
use crate::app::App;
use crate::fault::Outcome;

pub async fn check(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(query): Params<CheckQuery>,
) -> Outcome<Lines<CheckEvent>> {
    let events = app
        .check_disk(&caller, &path.workspace, query.point)
        .await?;
    Ok(Lines(events))
}

pub async fn compact(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<Compaction>> {
    Ok(Json(app.compact_disk(&caller, &path.workspace).await?))
}

pub async fn collect(
    State(app): State<Arc<App>>,
    Administrator(caller): Administrator,
    Body(collect): Body<CollectStore>,
) -> Outcome<Json<CollectionList>> {
    Ok(Json(app.collect_store(&caller, collect.dry_run).await?))
}

pub async fn import(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    Params(query): Params<ImportQuery>,
    File { bytes, content }: File,
) -> Outcome<Lines<ImportEvent>> {
    Ok(Lines(app.import(caller, query, bytes, content).await?))
}

/// The body as it comes, however long it is.
pub struct File {
    bytes: Option<u64>,
    content: Box<dyn AsyncRead + Send + Unpin>,
}

impl<S: Send + Sync> FromRequest<S> for File {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok());
        let bytes = length.and_then(|length| length.parse().ok());
        let pieces = Content::into_data_stream(request.into_body());
        let content = StreamReader::new(pieces.map_err(std::io::Error::other));
        Ok(Self {
            bytes,
            content: Box::new(content),
        })
    }
}

impl OperationInput for File {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        operation.request_body = Some(ReferenceOr::Item(RequestBody {
            description: Some(
                "A qcow2 file that stands alone, or the plain bytes of a disk.".into(),
            ),
            content: IndexMap::from([("application/octet-stream".into(), MediaType::default())]),
            required: true,
            ..RequestBody::default()
        }));
    }
}
