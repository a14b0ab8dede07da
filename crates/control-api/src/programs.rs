//! Commands and files in a workspace over plain HTTP, for programs. The gateway answers these, with an API
//! token in `Authorization: Bearer`.
//!
//! | request, below `/api/v1/workspaces/{workspace}` | answer |
//! |---|---|
//! | `POST exec` with [`ExecRequest`] | [`ExecEvent`] a line, while it runs |
//! | `GET exec/{exec}?stdout_offset=&stderr_offset=` | the same, from there on |
//! | `POST exec/{exec}/signal` with [`SignalRequest`] | 204 |
//! | `GET files?path=` | the file's bytes; `ETag` is its version |
//! | `PUT files?path=&mode=&parents=` | [`FileEntry`]; `If-Match` with a version, `If-None-Match: *` for a new one |
//! | `PUT files?path=&upload=&offset=&more=` | the same, for a file in parts: see below |
//! | `DELETE files?path=&recursive=` | 204 |
//! | `GET files/list?path=` | [`FileList`] |
//! | `GET archive?path=&format=` | the folder as `tar.gz` or `zip` |
//! | `PUT archive?path=` with a tar stream | 204, unpacked below the path |
//!
//! A proxy may limit the size of a request (nginx does at 1 MB unless told otherwise), so a file can be sent in
//! parts. All have the same `upload`, a name of the caller's choice of letters, digits and `-`; each has the
//! `offset` of its first byte, and `more=true` unless it is the last, with which the file appears as a whole. The
//! `size` in the answer is how many bytes are there; a part whose answer got lost is sent again from the same
//! offset, and 412 says from where to go on. An upload that nobody went on with for a day is forgotten.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Content type of [`ExecEvent`]s, one a line.
pub const NDJSON: &str = "application/x-ndjson";

/// `{workspace}` in a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InWorkspace {
    /// Its id or name.
    pub workspace: String,
}

/// `{workspace}` and `{exec}` in a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InExec {
    /// Id or name of the workspace.
    pub workspace: String,
    /// As in [`ExecEvent::Started`].
    pub exec: String,
}

/// `{workspace}` and `{port}` in a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InTunnel {
    /// Id or name of the workspace.
    pub workspace: String,
    /// Port in the workspace.
    pub port: u16,
}

/// `{workspace}` and `{class}` in a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InSession {
    /// Id or name of the workspace.
    pub workspace: String,
    pub class: SessionClass,
}

/// Which of the two sessions that a client holds, so that a download never stands before a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionClass {
    /// What people feel: terminals, small reads, watches.
    Interactive,
    /// Whole files, searches, archives.
    Bulk,
}

/// Where to go on with what a program said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExecOffsets {
    /// Of the first byte of the standard output that was not seen.
    pub stdout_offset: u64,
    pub stderr_offset: u64,
}

/// A file or folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileQuery {
    /// Absolute, in the workspace.
    pub path: String,
}

/// A file to write, or a part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteFile {
    /// Absolute, in the workspace.
    pub path: String,
    /// Permission bits of a new file, octal.
    #[serde(default)]
    pub mode: Option<String>,
    /// Makes the folders above as well.
    #[serde(default)]
    pub parents: bool,
    /// Names an upload of several parts.
    #[serde(default)]
    pub upload: Option<String>,
    /// Of this part's first byte.
    #[serde(default)]
    pub offset: u64,
    /// This is not the last part.
    #[serde(default)]
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveFile {
    /// Absolute, in the workspace.
    pub path: String,
    /// A folder with all that is in it.
    #[serde(default)]
    pub recursive: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadArchive {
    /// Of the folder; absolute, in the workspace.
    pub path: String,
    #[serde(default)]
    pub format: ArchiveFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ArchiveFormat {
    #[default]
    #[serde(rename = "tar.gz")]
    TarGz,
    #[serde(rename = "zip")]
    Zip,
}

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// Program and arguments; no shell reads them.
    pub command: Vec<String>,
    /// Absent: the folder that the editor opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Given to the program as its standard input; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Of the caller's choice: a repeated request with the same key attaches to the program that runs already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How long the program and its output outlive a lost connection; absent: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linger_seconds: Option<u32>,
}

/// What happens to a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ExecEvent {
    /// First. Attach to `exec` after a lost connection, with the offsets after the last bytes seen.
    Started {
        exec: String,
        process: u32,
        stdout_offset: u64,
        stderr_offset: u64,
    },
    Output {
        stream: ExecStream,
        /// Of the first byte, since the program's start.
        offset: u64,
        #[serde(flatten)]
        data: ExecData,
    },
    /// Nothing happened for a while, and the connection stands.
    Alive,
    /// Last. The exit status, or with `signaled` the signal's number.
    Exited { code: i32, signaled: bool },
    /// Last: the connection to the workspace was lost or refused. The program may run on.
    Failed { detail: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecStream {
    Stdout,
    Stderr,
}

/// Bytes: as text where they are UTF-8, else as base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecData {
    Text(String),
    Base64(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// Number of the signal: 2 interrupts, 15 terminates, 9 kills.
    pub signal: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileList {
    pub entries: Vec<FileEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Last part of the path.
    pub name: String,
    pub kind: FileKind,
    /// The name is a symbolic link; `kind` is what it leads to.
    pub symlink: bool,
    /// Bytes.
    pub size: u64,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
    /// Permission bits.
    pub mode: u32,
    /// Changes whenever the content may have.
    pub version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    File,
    Directory,
    /// It leads nowhere.
    Symlink,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_flat_objects() {
        let event = ExecEvent::Output {
            stream: ExecStream::Stderr,
            offset: 7,
            data: ExecData::Text("x".into()),
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"event":"output","stream":"stderr","offset":7,"text":"x"}"#
        );
        assert_eq!(serde_json::from_str::<ExecEvent>(&text).unwrap(), event);
        assert_eq!(
            serde_json::to_string(&ExecEvent::Alive).unwrap(),
            r#"{"event":"alive"}"#
        );
    }
}
