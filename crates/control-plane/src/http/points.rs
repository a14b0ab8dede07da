//! Points in time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control_api::points::{DiskFilesQuery, DiskImageQuery, InPoint, Point, PointList, TakePoint};
use control_api::programs::InWorkspace;
use fleet_api::points::DiskPart;
use http_api::answers::Created;
use http_api::inputs::{Body, InPath, Params};

use super::answers::Attachment;
use super::auth::SignedIn;
use crate::app::App;
use crate::app::present::FOLDER;
use crate::fault::Outcome;

pub async fn list(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
) -> Outcome<Json<PointList>> {
    Ok(Json(app.points(&caller, &path.workspace).await?))
}

pub async fn take(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Body(take): Body<TakePoint>,
) -> Outcome<Created<Point>> {
    let name = take.name.as_deref();
    Ok(Created(
        app.take_point(&caller, &path.workspace, name).await?,
    ))
}

pub async fn remove(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InPoint>,
) -> Outcome<StatusCode> {
    app.remove_point(&caller, &path.workspace, path.point)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn image(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(query): Params<DiskImageQuery>,
) -> Outcome<Attachment> {
    let part = DiskPart::Image;
    let (name, download) = app
        .download_disk(&caller, &path.workspace, query.point, part)
        .await?;
    Ok(Attachment(name, download))
}

pub async fn files(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InWorkspace>,
    Params(query): Params<DiskFilesQuery>,
) -> Outcome<Attachment> {
    let folder = query.folder.unwrap_or_else(|| FOLDER.to_owned());
    let part = DiskPart::Files { folder };
    let (name, download) = app
        .download_disk(&caller, &path.workspace, query.point, part)
        .await?;
    Ok(Attachment(name, download))
}

pub async fn restore(
    State(app): State<Arc<App>>,
    SignedIn(caller): SignedIn,
    InPath(path): InPath<InPoint>,
) -> Outcome<Json<Point>> {
    Ok(Json(
        app.go_back(&caller, &path.workspace, path.point).await?,
    ))
}
