//! Sign-in, users, tokens and the profile.

use model::{OrganizationId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Shortest password, in characters.
pub const MIN_PASSWORD: usize = 10;

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    pub id: UserId,
    pub organization: OrganizationId,
    pub email: String,
    pub name: String,
    pub role: Role,
    /// `user.name` of git in workspaces; the name when empty.
    pub git_name: String,
    /// `user.email` of git in workspaces; the e-mail address when empty.
    pub git_email: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Administrator,
    Member,
}

/// `PATCH /api/v1/me`: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateMe {
    pub name: Option<String>,
    pub git_name: Option<String>,
    pub git_email: Option<String>,
}

/// `POST /api/v1/session`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    pub email: String,
    pub password: String,
}

/// `POST /api/v1/welcome`: sets the first password, or a new one, with a one-time link.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// What follows `#` in the link.
    pub token: String,
    /// Needed when the link makes the first administrator; otherwise the invited address stays.
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
    pub password: String,
}

/// `POST /api/v1/welcome/check`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckLink {
    pub token: String,
}

/// What a one-time link is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkInfo {
    pub purpose: LinkPurpose,
    /// Whose it is; absent for the first administrator, who chooses.
    pub email: Option<String>,
    pub name: Option<String>,
    pub expires_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkPurpose {
    FirstAdministrator,
    Invitation,
    PasswordReset,
}

/// `POST /api/v1/me/password`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    pub current: String,
    pub new: String,
}

/// A personal API token, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub created_ms: u64,
    /// Absent: never.
    pub expires_ms: Option<u64>,
    pub used_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenList {
    pub tokens: Vec<Token>,
}

/// `POST /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    pub name: String,
    /// 1–3650; absent: it does not expire.
    #[serde(default)]
    pub expires_in_days: Option<u32>,
}

/// `POST /api/v1/tokens/by-password`: sign-in of programs, such as `roost login`.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenByPassword {
    pub email: String,
    pub password: String,
    pub name: String,
    #[serde(default)]
    pub expires_in_days: Option<u32>,
}

/// A new token; `secret` is shown this once.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// For `Authorization: Bearer`.
    pub secret: String,
    pub token: Token,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub name: String,
    pub role: Role,
    /// False: invited, and no password set yet.
    pub active: bool,
    pub created_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UserList {
    pub users: Vec<User>,
}

/// `POST /api/v1/users`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddUser {
    pub email: String,
    #[serde(default)]
    pub name: String,
    pub role: Role,
}

/// A one-time link for somebody; shown this once.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OneTimeLink {
    pub user: User,
    /// Whole URL.
    pub url: String,
    pub expires_ms: u64,
}
