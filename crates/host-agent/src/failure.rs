//! Failures in the words of the contract.

use std::error::Error;
use std::io;

use fleet_api::host::{FailureKind, StartFailure};

/// A failure without a log.
pub fn failure(kind: FailureKind, message: impl Into<String>) -> StartFailure {
    StartFailure {
        kind,
        message: message.into(),
        log: String::new(),
    }
}

/// An error and everything that led to it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let sources = std::iter::successors(error.source(), |&error| error.source());
    sources.fold(error.to_string(), |text, source| {
        let source = source.to_string();
        if text.contains(&source) {
            text
        } else {
            format!("{text}: {source}")
        }
    })
}

/// Whether a full disk is behind the error, or something that is ours to mend.
pub fn disk_kind(error: &(dyn Error + 'static)) -> FailureKind {
    let mut sources = std::iter::successors(Some(error), |&error| error.source());
    let full = sources.any(|error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        })
    });
    if full {
        FailureKind::DiskFull
    } else {
        FailureKind::Internal
    }
}
