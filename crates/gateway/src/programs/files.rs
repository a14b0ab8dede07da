//! Files of a workspace: bytes in and out as they come, whatever their size.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{NoContent, Response};
use control_api::programs::{
    ArchiveFormat, FileEntry, FileKind, FileList, FileQuery, InWorkspace, ReadArchive, RemoveFile,
    WriteFile,
};
use futures::{StreamExt, TryStreamExt};
use guest_protocol::client::Download;
use guest_protocol::frames::{FileInfo, FileType, FileWrite, StreamClass};
use http_api::inputs::{InPath, Params};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::guest::{problem, session};
use crate::Gateway;
use crate::answers::Problem;

pub async fn read(
    State(gateway): State<Arc<Gateway>>,
    InPath(path): InPath<InWorkspace>,
    Params(target): Params<FileQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = session(&gateway, &headers, &path.workspace, StreamClass::Bulk).await?;
    let download = session
        .read_file(&target.path, 0, 0)
        .await
        .map_err(problem)?;
    let info = download.info().cloned().unwrap_or_default();
    let mut response = content(download, "application/octet-stream").await?;
    let headers = response.headers_mut();
    // Files of /proc have no size and yet content; they end where the stream does.
    if info.size > 0 {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(info.size));
    }
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", info.version)) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

pub async fn write(
    State(gateway): State<Arc<Gateway>>,
    InPath(path): InPath<InWorkspace>,
    Params(target): Params<WriteFile>,
    request: Request,
) -> Result<Json<FileEntry>, Problem> {
    let (parts, content) = request.into_parts();
    let session = session(&gateway, &parts.headers, &path.workspace, StreamClass::Bulk).await?;
    let mode = match &target.mode {
        None => 0,
        Some(text) => u32::from_str_radix(text, 8)
            .map_err(|_| Problem::invalid("`mode` is an octal number such as 755."))?,
    };
    if target.upload.is_none() && (target.more || target.offset > 0) {
        return Err(Problem::invalid(
            "`offset` and `more` are of a file in parts: give all of them the same `upload`.",
        ));
    }
    let header = |name: header::HeaderName| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let write = FileWrite {
        path: target.path,
        create: true,
        overwrite: header(header::IF_NONE_MATCH) != Some("*"),
        if_version: header(header::IF_MATCH)
            .unwrap_or_default()
            .trim_matches('"')
            .into(),
        mode,
        make_parents: target.parents,
        upload: target.upload.unwrap_or_default(),
        offset: target.offset,
        more: target.more,
    };
    let written = session
        .write_file(write, body(content))
        .await
        .map_err(problem)?;
    Ok(Json(entry(written)))
}

pub async fn remove(
    State(gateway): State<Arc<Gateway>>,
    InPath(path): InPath<InWorkspace>,
    Params(target): Params<RemoveFile>,
    headers: HeaderMap,
) -> Result<NoContent, Problem> {
    let session = session(
        &gateway,
        &headers,
        &path.workspace,
        StreamClass::Interactive,
    )
    .await?;
    session
        .remove(&target.path, target.recursive)
        .await
        .map_err(problem)?;
    Ok(NoContent)
}

pub async fn list(
    State(gateway): State<Arc<Gateway>>,
    InPath(path): InPath<InWorkspace>,
    Params(target): Params<FileQuery>,
    headers: HeaderMap,
) -> Result<Json<FileList>, Problem> {
    let session = session(
        &gateway,
        &headers,
        &path.workspace,
        StreamClass::Interactive,
    )
    .await?;
    let entries = session.list(&target.path).await.map_err(problem)?;
    Ok(Json(FileList {
        entries: entries.into_iter().map(entry).collect(),
    }))
}

pub async fn archive(
    State(gateway): State<Arc<Gateway>>,
    InPath(path): InPath<InWorkspace>,
    Params(target): Params<ReadArchive>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = session(&gateway, &headers, &path.workspace, StreamClass::Bulk).await?;
    let info = session.stat(&target.path).await.map_err(problem)?;
    if info.r#type() != FileType::Directory {
        return Err(Problem::invalid(format!("{} is no folder.", target.path)));
    }
    let zip = target.format == ArchiveFormat::Zip;
    let download = session.archive(&target.path, zip).map_err(problem)?;
    content(
        download,
        if zip {
            "application/zip"
        } else {
            "application/gzip"
        },
    )
    .await
}

pub async fn extract(
    State(gateway): State<Arc<Gateway>>,
    InPath(path): InPath<InWorkspace>,
    Params(target): Params<FileQuery>,
    request: Request,
) -> Result<NoContent, Problem> {
    let (parts, content) = request.into_parts();
    let session = session(&gateway, &parts.headers, &path.workspace, StreamClass::Bulk).await?;
    session
        .extract(&target.path, body(content))
        .await
        .map_err(problem)?;
    Ok(NoContent)
}

fn body(content: Body) -> impl AsyncRead + Unpin {
    StreamReader::new(content.into_data_stream().map_err(std::io::Error::other))
}

/// What fails before the first piece is told as a problem. Later a broken stream breaks the answer off, so
/// that nobody takes a part for the whole.
async fn content(mut download: Download, kind: &'static str) -> Result<Response, Problem> {
    let first = download.next().await.map_err(problem)?;
    let rest = futures::stream::try_unfold(download, |mut download| async move {
        let piece = download.next().await.inspect_err(|error| {
            tracing::warn!(%error, "a download broke off");
        })?;
        Ok::<_, guest_protocol::client::Error>(piece.map(|piece| (piece, download)))
    });
    let pieces = futures::stream::iter(first.map(Ok)).chain(rest);
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    // A guest's file must never be taken for a page of this origin's.
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment"),
    );
    Ok(response)
}

fn entry(info: FileInfo) -> FileEntry {
    let kind = match info.r#type() {
        FileType::File => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Other | FileType::Unspecified => FileKind::Other,
    };
    FileEntry {
        name: info.name,
        kind,
        symlink: info.symlink,
        size: info.size,
        modified_ms: info.modified_ms,
        mode: info.mode,
        version: info.version,
    }
}
