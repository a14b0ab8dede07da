//! Why a request is not done: for the caller a problem, for us the cause.

use control_api::problem::{Kind, Problem};
use fleet_api::host::HostError;
use model::state::Refusal;
use model::{NameError, RemoteError, SizeError};

use crate::store::StoreError;

/// What the caller is told, and what was behind it when that is ours to mend.
#[derive(Debug)]
pub struct Fault {
    pub problem: Box<Problem>,
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

pub type Outcome<T> = Result<T, Fault>;

impl Fault {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Problem::new(kind, detail).into()
    }

    pub fn no_workspace(name: &str) -> Self {
        Self::new(
            Kind::NotFound,
            format!("There is no workspace {name:?}. It has another name, or it was deleted."),
        )
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self {
            problem: Box::new(problem),
            cause: None,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let detail = "The server could not read or save its data. Try again; its log says more.";
        Self {
            problem: Box::new(Problem::new(Kind::Internal, detail)),
            cause: Some(Box::new(error)),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::new(Kind::WrongState, sentence(&refusal))
    }
}

impl From<SizeError> for Fault {
    fn from(error: SizeError) -> Self {
        let nearest = error.asked.clamp(error.min, error.max.max(error.min));
        let detail = format!(
            "{} Choose a size within that; an operator sets the limits in config.toml.",
            sentence(&error)
        );
        Problem::new(Kind::SizeOverLimit, detail)
            .field(&format!("size.{}", error.what))
            .suggestion(nearest.to_string())
            .into()
    }
}

impl From<RemoteError> for Fault {
    fn from(error: RemoteError) -> Self {
        let problem = Problem::new(Kind::InvalidRepository, sentence(&error)).field("repository");
        match error.suggestion() {
            Some(suggestion) => problem.suggestion(suggestion).into(),
            None => problem.into(),
        }
    }
}

impl From<HostError> for Fault {
    fn from(error: HostError) -> Self {
        match &error {
            HostError::NotRunning => Self::new(
                Kind::WrongState,
                "The workspace is not running. Start it first.",
            ),
            HostError::NotAtRest => Self::new(
                Kind::WrongState,
                "The workspace's machine runs. Stop it first, and start it again afterwards.",
            ),
            HostError::NoPoint { .. } => Self::new(Kind::NotFound, sentence(&error)),
            HostError::Unusable { .. } => Self::new(Kind::InvalidRequest, sentence(&error)),
            HostError::Missing { .. } => Self::new(Kind::NotFound, sentence(&error)),
            HostError::Conflict { .. } => Self::new(Kind::WrongState, sentence(&error)),
            HostError::PortClosed { .. }
            | HostError::NoRoom { .. }
            | HostError::Fenced { .. }
            | HostError::Guest { .. }
            | HostError::Failed { .. } => Self::new(Kind::HostFailed, sentence(&error)),
        }
    }
}

/// A name that is not valid, with one that is.
pub fn invalid_name(text: &str, error: NameError) -> Fault {
    let valid = model::WorkspaceName::suggest(text);
    let detail = format!("{} Such as {}.", sentence(&error), valid.as_str());
    Problem::new(Kind::InvalidName, detail)
        .field("name")
        .suggestion(valid.as_str())
        .into()
}

/// An error's text as a sentence for a person.
fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string())
        .unwrap_or_default();
    format!("{first}{}.", characters.as_str().trim_end_matches('.'))
}
