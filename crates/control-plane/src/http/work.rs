//! Saved work.

use std::sync::Arc;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as Described};
use axum::Json;
use axum::body::Body as Content;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use control_api::programs::InWorkspace;
use control_api::work::{WorkList, WorkName, WorkRestored, WorkSaved};
use fleet_api::work::WorkBundle;
use http_api::inputs::{Body, InPath, Params};
use indexmap::IndexMap;
use tokio_util::io::ReaderStream;

use super::auth::SignedIn;
use crate::app::App;
use crate::fault::Outcome;

/// No page, whatever is in it.
const BUNDLE: &str = "application/octet-stream";

/// A bundle, as a file of this name.
pub struct BundleFile(String, WorkBundle);

pub async fn list(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<WorkList>> {
    Ok(Json(app.work(&caller, &path.workspace).await?))
}

pub async fn save(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<WorkSaved>> {
    Ok(Json(app.save_work(&caller, &path.workspace).await?))
}

pub async fn restore(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Body(name): Body<WorkName>,
) -> Outcome<Json<WorkRestored>> {
    Ok(Json(
        app.restore_work(&caller, &path.workspace, &name).await?,
    ))
}

pub async fn bundle(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(name): Params<WorkName>,
) -> Outcome<BundleFile> {
    let (file, bundle) = app.bundle_work(&caller, &path.workspace, &name).await?;
    Ok(BundleFile(file, bundle))
}

impl IntoResponse for BundleFile {
    fn into_response(self) -> Response {
        let Self(file, WorkBundle { bytes, content }) = self;
        let mut response = Response::new(Content::from_stream(ReaderStream::new(content)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(BUNDLE));
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

impl OperationOutput for BundleFile {
    type Inner = ();

    fn inferred_responses(_: &mut GenContext, _: &mut Operation) -> Vec<(Option<u16>, Described)> {
        let described = Described {
            description: "A git bundle of that commit, without what the remotes had.".into(),
            content: IndexMap::from([(BUNDLE.to_owned(), MediaType::default())]),
            ..Described::default()
        };
        vec![(Some(200), described)]
    }
}
