//! Errors: problem documents as in RFC 9457, each with a stable `type`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::workspaces::RepositoryReport;

/// Content type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What every `type` starts with; the kind follows, in kebab case.
pub const TYPE_PREFIX: &str = "urn:problem-type:roost:";

/// The body of every answer with a status of 400 or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Stable name of the kind of problem: `urn:problem-type:roost:` and the kind.
    pub r#type: String,
    /// The kind in words; the same for every problem of this type.
    pub title: String,
    pub status: u16,
    /// What happened this time and what to do about it.
    pub detail: String,
    /// The field of the request that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// A value for that field that would be accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Try again after this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// Where a person signs in again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_url: Option<String>,
    /// `unsaved-work`: what would be lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<RepositoryReport>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $slug:literal, $status:literal, $title:literal;)*) => {
        /// What went wrong, by what the caller does next.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The last part of the `type`.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            pub fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    /// The request is no valid JSON, or a field is missing or of the wrong kind.
    InvalidRequest = "invalid-request", 400, "The request is not valid";
    InvalidName = "invalid-name", 422, "This is no valid name";
    /// In use, or was the name of a deleted workspace: host names are never used again.
    NameTaken = "name-taken", 409, "This name is taken";
    InvalidRepository = "invalid-repository", 422, "This is no Git URL that Roost can clone";
    SizeOverLimit = "size-over-limit", 422, "The size is out of bounds";
    /// It would be more than the quota of the caller or of the organisation: `detail` has the figures.
    OverQuota = "over-quota", 403, "Your quota does not allow it";
    NotSignedIn = "not-signed-in", 401, "Sign in first";
    WrongPassword = "wrong-password", 401, "E-mail address or password is wrong";
    TooManyAttempts = "too-many-attempts", 429, "Too many attempts";
    Forbidden = "forbidden", 403, "You may not do this";
    /// A browser sent the request from a page of another origin.
    OriginRefused = "origin-refused", 403, "The request comes from another site";
    NotFound = "not-found", 404, "There is no such thing";
    /// The path exists, but not with this method; `Allow` names those that it has.
    MethodNotAllowed = "method-not-allowed", 405, "This cannot be done with it";
    TooLarge = "too-large", 413, "It is too large";
    UnsupportedMediaType = "unsupported-media-type", 415, "The body is of another kind";
    /// Somebody changed it in between: read it again.
    Conflict = "conflict", 409, "It has changed in between";
    /// The workspace's state does not allow it.
    WrongState = "wrong-state", 409, "Not possible in this state";
    /// Deleting would lose work that is nowhere else; repeat with `force=true` to do it all the same.
    UnsavedWork = "unsaved-work", 409, "Work would be lost";
    IdempotencyKeyReused = "idempotency-key-reused", 422, "The idempotency key belongs to another request";
    LinkExpired = "link-expired", 410, "The link is no longer valid";
    EmailTaken = "email-taken", 409, "This e-mail address is taken";
    WeakPassword = "weak-password", 422, "The password is too weak";
    InvalidField = "invalid-field", 422, "A field has a value that is not possible";
    /// A file or folder is there already.
    AlreadyExists = "already-exists", 409, "It exists already";
    NotADirectory = "not-a-directory", 409, "It is no folder";
    IsADirectory = "is-a-directory", 409, "It is a folder";
    DirectoryNotEmpty = "directory-not-empty", 409, "The folder is not empty";
    /// The version in `If-Match` is not the current one, or a part of an upload does not follow the one before.
    VersionChanged = "version-changed", 412, "It has changed in between";
    NoSpace = "no-space", 507, "The workspace's disk is full";
    /// The agent in the machine is older than the request.
    Unsupported = "unsupported", 501, "This workspace is too old for that";
    Busy = "busy", 429, "Too much at once";
    PortClosed = "port-closed", 502, "Nothing listens on this port";
    NoHttp = "no-http", 502, "The program does not answer";
    /// A preview's workspace is stopped.
    NotRunning = "not-running", 503, "The workspace is not running";
    NoListener = "no-listener", 503, "No port could be opened";
    /// No host is there to do it.
    NoHost = "no-host", 503, "No host answers";
    /// The host could not do it.
    HostFailed = "host-failed", 502, "The host could not do it";
    Internal = "internal", 500, "Something is wrong in Roost";
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            r#type: format!("{TYPE_PREFIX}{}", kind.slug()),
            title: kind.title().into(),
            status: kind.status(),
            detail: detail.into(),
            field: None,
            suggestion: None,
            retry_after_s: None,
            sign_in_url: None,
            repositories: Vec::new(),
        }
    }

    pub fn field(mut self, field: &str) -> Self {
        self.field = Some(field.into());
        self
    }

    pub fn suggestion(mut self, value: impl Into<String>) -> Self {
        self.suggestion = Some(value.into());
        self
    }

    /// The kind, unless it is from a newer server.
    pub fn kind(&self) -> Option<Kind> {
        let slug = self.r#type.strip_prefix(TYPE_PREFIX)?;
        Kind::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_again_by_its_type() {
        for kind in Kind::ALL {
            assert_eq!(Problem::new(*kind, "").kind(), Some(*kind));
        }
        assert_eq!(
            Problem {
                r#type: "about:blank".into(),
                ..Problem::new(Kind::Internal, "")
            }
            .kind(),
            None
        );
    }
}
