//! The front end's files: built into the program, or from a folder while one works on them.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

/// A debug build reads the files from the source folder at every request, so none need to be there to compile.
#[derive(rust_embed::RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../../web/dist/"]
#[allow_missing = true]
struct Embedded;

/// Where the files are.
#[derive(Clone, Debug, Default)]
pub struct Assets {
    folder: Option<PathBuf>,
}

struct Found {
    bytes: Cow<'static, [u8]>,
    brotli: bool,
}

impl Assets {
    /// From this folder instead of the built-in files.
    pub fn from_folder(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// A file below `/assets/`: its name changes with its content, so a browser keeps it for ever.
    pub async fn asset(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response {
        let Some(found) = self
            .find(path.trim_start_matches('/'), accepts_brotli(headers))
            .await
        else {
            return missing(path);
        };
        let mut response = file(method, path, found);
        let headers = response.headers_mut();
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        );
        // Frames and workers of sibling origins of ours load these as well; there is nothing private in them.
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        );
        headers.insert(
            "cross-origin-resource-policy",
            HeaderValue::from_static("cross-origin"),
        );
        response
    }

    /// A file whose name stays when it changes, such as a page: the browser asks each time whether it has.
    pub async fn page(&self, method: &Method, name: &str, headers: &HeaderMap) -> Option<Response> {
        let found = self.find(name, accepts_brotli(headers)).await?;
        let digest = ring::digest::digest(&ring::digest::SHA256, &found.bytes);
        let tag = format!("\"{}\"", hex::encode(&digest.as_ref()[..12]));
        let same = headers
            .get(header::IF_NONE_MATCH)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                value
                    .split(',')
                    .any(|one| one.trim().trim_start_matches("W/") == tag)
            });
        let mut response = if same {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            file(method, name, found)
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(
            header::ETAG,
            HeaderValue::from_str(&tag).expect("hexadecimal digits"),
        );
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        Some(response)
    }

    async fn find(&self, name: &str, brotli: bool) -> Option<Found> {
        if !is_plain(name) {
            return None;
        }
        if brotli && let Some(bytes) = self.read(&format!("{name}.br")).await {
            return Some(Found {
                bytes,
                brotli: true,
            });
        }
        self.read(name).await.map(|bytes| Found {
            bytes,
            brotli: false,
        })
    }

    async fn read(&self, name: &str) -> Option<Cow<'static, [u8]>> {
        match &self.folder {
            Some(folder) => tokio::fs::read(folder.join(name))
                .await
                .ok()
                .map(Cow::Owned),
            None => Embedded::get(name).map(|file| file.data),
        }
    }
}

/// Only names within the folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

fn accepts_brotli(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim() == "br" || coding.trim().starts_with("br;"))
}

fn file(method: &Method, name: &str, found: Found) -> Response {
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let kind = if kind.type_() == "text" {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_string()
    };
    let length = found.bytes.len();
    let body = match found.bytes {
        _ if method == Method::HEAD => Body::empty(),
        Cow::Borrowed(bytes) => Body::from(bytes),
        Cow::Owned(bytes) => Body::from(bytes),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if found.brotli {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    response
}

fn missing(path: &str) -> Response {
    super::answers::Problem::not_found(format!("There is no file {path}.")).json()
}
