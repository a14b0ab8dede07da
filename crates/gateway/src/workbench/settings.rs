//! A user's settings and keybindings, which follow the user from workspace to workspace.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_api::problem::Kind;

use super::gate;
use crate::Gateway;
use crate::answers::Problem;

/// Largest document, bytes.
const MOST: usize = 1024 * 1024;

pub async fn read(
    State(gateway): State<Arc<Gateway>>,
    Path((workspace, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let arrival = crate::arrival(&request);
    let (_, ticket) = gate::reader(&gateway, request.headers(), arrival, &workspace).await?;
    check_name(&name)?;
    let setting = gateway.directory.setting(&ticket.user, &name).await;
    if setting.version == 0 {
        // Nothing saved yet is no error, which a browser would report.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut response = setting.text.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ETAG, tag(setting.version));
    Ok(response)
}

/// `If-Match` with the version that was read, or `If-None-Match: *` for the first; without either the last
/// one to save wins.
pub async fn save(
    State(gateway): State<Arc<Gateway>>,
    Path((workspace, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let arrival = crate::arrival(&request);
    let (_, ticket) = gate::writer(&gateway, request.headers(), arrival, &workspace).await?;
    check_name(&name)?;
    let expected = expected(request.headers())?;
    let bytes = to_bytes(request.into_body(), MOST)
        .await
        .map_err(|_| Problem::new(Kind::TooLarge, "A settings document has at most 1 MiB."))?;
    let text = String::from_utf8(bytes.into())
        .map_err(|_| Problem::invalid("A settings document is UTF-8 text."))?;
    let saved = gateway
        .directory
        .save_setting(&ticket.user, &name, expected, &text)
        .await;
    let (status, version) = match saved {
        Ok(version) => (StatusCode::NO_CONTENT, version),
        Err(current) => (StatusCode::PRECONDITION_FAILED, current),
    };
    let mut response = status.into_response();
    response.headers_mut().insert(header::ETAG, tag(version));
    Ok(response)
}

fn check_name(name: &str) -> Result<(), Problem> {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || byte == b'.';
    if name.len() <= 64 && name.bytes().all(plain) {
        Ok(())
    } else {
        Err(Problem::invalid(
            "A document's name has up to 64 letters, digits, '-', '_' and '.'.",
        ))
    }
}

fn expected(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == b"*")
    {
        return Ok(Some(0));
    }
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim().trim_matches('"');
    text.parse()
        .map(Some)
        .map_err(|_| Problem::invalid("If-Match holds no version that came from here."))
}

fn tag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits")
}
