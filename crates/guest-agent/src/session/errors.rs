//! Why a call does not end well, in the terms of the protocol.

use std::io;

use guest_protocol::frames::{Failure, failure};

/// Result of serving a call; the handler has sent what ends it.
pub type Outcome = Result<(), CallError>;

/// Why a call ends early.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The client is told.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// There is nobody left to tell.
    #[error("the client is gone")]
    Gone,
}

impl CallError {
    pub fn failed(kind: failure::Kind, message: impl Into<String>) -> Self {
        Self::Failed(Failure {
            kind: kind.into(),
            message: message.into(),
        })
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::failed(failure::Kind::Invalid, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::failed(failure::Kind::NotFound, message)
    }

    pub fn busy(message: impl Into<String>) -> Self {
        Self::failed(failure::Kind::Busy, message)
    }

    /// A bug of ours.
    pub fn broken() -> Self {
        Self::failed(failure::Kind::Internal, "the agent failed at this request")
    }

    /// An error of the system, while doing `what` ("reading /a/b").
    pub fn system(what: impl std::fmt::Display, error: &io::Error) -> Self {
        let kind = kind_of(error);
        let cause = match kind {
            failure::Kind::NotFound => "there is no such file or folder".into(),
            failure::Kind::AlreadyExists => "it exists already".into(),
            failure::Kind::NotADirectory => "a part of the path is not a folder".into(),
            failure::Kind::IsADirectory => "it is a folder".into(),
            failure::Kind::Permission => "permission denied".into(),
            failure::Kind::NoSpace => "the disk is full".into(),
            failure::Kind::DirectoryNotEmpty => "the folder is not empty".into(),
            _ => error.to_string(),
        };
        Self::failed(kind, format!("{what}: {cause}"))
    }
}

/// Adds what was attempted to an error of the system.
pub trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, CallError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, CallError> {
        self.map_err(|error| CallError::system(what(), &error.into()))
    }
}

fn kind_of(error: &io::Error) -> failure::Kind {
    use failure::Kind;
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::AlreadyExists => Kind::AlreadyExists,
        ErrorKind::NotADirectory => Kind::NotADirectory,
        ErrorKind::IsADirectory => Kind::IsADirectory,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Kind::Permission,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Kind::NoSpace,
        ErrorKind::DirectoryNotEmpty => Kind::DirectoryNotEmpty,
        ErrorKind::InvalidInput | ErrorKind::InvalidFilename => Kind::Invalid,
        ErrorKind::ConnectionRefused => Kind::Refused,
        ErrorKind::ResourceBusy | ErrorKind::OutOfMemory => Kind::Busy,
        _ => Kind::Internal,
    }
}
