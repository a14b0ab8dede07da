//! Credentials of git servers. The secret goes in and never comes out again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GitCredentialList {
    pub credentials: Vec<GitCredential>,
}

/// Credentials for one server, or for the repositories below one path of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GitCredential {
    pub id: String,
    /// Host, with `:port` where it is not the scheme's own.
    pub authority: String,
    /// Empty: the whole server. Otherwise starts with `/`; the longest that fits is used.
    pub path_prefix: String,
    pub username: String,
    pub created_ms: u64,
    pub used_ms: Option<u64>,
}

/// `POST /api/v1/git-credentials`: replaces what there is for the same server and path.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetGitCredential {
    /// `github.com`, `git.example.com:8443`, or any URL of the server.
    pub authority: String,
    #[serde(default)]
    pub path_prefix: String,
    /// Anything for servers that look at the token alone; `git` when empty.
    #[serde(default)]
    pub username: String,
    /// Password or token.
    pub secret: String,
}
