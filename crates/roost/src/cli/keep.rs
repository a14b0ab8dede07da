//! What the server gives out as a file, written here.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use reqwest::Response;
use reqwest::header::CONTENT_DISPOSITION;

use super::Output;
use super::lines::bar;
use crate::print;

/// A file that is here now.
pub struct Saved {
    pub path: PathBuf,
    pub bytes: u64,
}

/// Writes an answer to `file`, or to one of the name that the server gives it, or for `-` to standard output: then
/// there is nothing to tell. The file appears whole or not at all.
pub async fn keep(
    mut response: Response,
    file: Option<PathBuf>,
    usual: &str,
    output: Output,
) -> anyhow::Result<Option<Saved>> {
    let broken = "what was asked for did not come to its end: try again";
    if file.as_deref() == Some(Path::new("-")) {
        while let Some(piece) = response.chunk().await.context(broken)? {
            print::bytes(&piece)?;
        }
        return Ok(None);
    }
    let path = file.unwrap_or_else(|| file_name(&response, usual));
    let writing = || format!("writing {}", path.display());
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let bar = bar(response.content_length(), output)?;
    let mut part = tempfile::NamedTempFile::new_in(folder).with_context(writing)?;
    let mut bytes = 0;
    while let Some(piece) = response.chunk().await.context(broken)? {
        part.write_all(&piece).with_context(writing)?;
        bytes += piece.len() as u64;
        bar.set_position(bytes);
    }
    bar.finish_and_clear();
    part.persist(&path).with_context(writing)?;
    Ok(Some(Saved { path, bytes }))
}

/// The name that the server gives it, unless that leads elsewhere.
fn file_name(response: &Response, usual: &str) -> PathBuf {
    let header = response.headers().get(CONTENT_DISPOSITION);
    let name = header
        .and_then(|text| text.to_str().ok())
        .and_then(|text| text.split('"').nth(1))
        .filter(|name| !name.starts_with('.') && !name.contains('/'));
    name.unwrap_or(usual).into()
}
