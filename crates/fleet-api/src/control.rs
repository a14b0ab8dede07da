//! What hosts and gateways ask of the control plane.

use std::sync::Arc;

use model::{UserId, WorkspaceId, WorkspaceName};
use serde::{Deserialize, Serialize};

use crate::Later;
use crate::host::Host;

/// What a gateway asks: where a workspace is, and a few things on behalf of the workbench's own origin,
/// where the API's cookie must never be.
pub trait Directory: Send + Sync + 'static {
    /// The workspace of this name or id. Deleted ones are not found.
    fn route(&self, workspace: &str) -> Later<'_, Option<Route>>;

    /// Whether a sign-in session or API token that a ticket was made from is still valid; nothing when that
    /// cannot be told now.
    fn session_is_valid(&self, session: &str) -> Later<'_, Option<bool>>;

    /// The user of an API token (`Authorization: Bearer`), for programs.
    fn bearer(&self, token: &str) -> Later<'_, Option<Caller>>;

    /// Asks for a start; the answer is what to tell the user when that is refused.
    fn start(&self, workspace: &WorkspaceId, user: &UserId) -> Later<'_, Result<(), String>>;

    fn stop(&self, workspace: &WorkspaceId, user: &UserId) -> Later<'_, Result<(), String>>;

    /// A user's saved setting documents of the workbench (`settings`, `keybindings`, …); version 0: absent.
    fn setting(&self, user: &UserId, name: &str) -> Later<'_, Setting>;

    /// Saves one, if its version is still `expected`. Answers the new version, or the current one as error.
    fn save_setting(
        &self,
        user: &UserId,
        name: &str,
        expected: Option<i64>,
        text: &str,
    ) -> Later<'_, Result<i64, i64>>;

    /// Somebody uses the workspace now.
    fn touch(&self, workspace: &WorkspaceId);
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub version: i64,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Caller {
    pub user: UserId,
    pub session: String,
}

/// Where a workspace is and who may enter.
#[derive(Clone)]
pub struct Route {
    pub workspace: WorkspaceId,
    pub name: WorkspaceName,
    pub owner: UserId,
    pub owner_name: String,
    pub owner_email: String,
    /// State of the workspace in the words of the API, such as `running`.
    pub state: String,
    /// Why, in words for a person: cause of a failure, reason of a pause.
    pub detail: String,
    /// Absolute path of the folder that the workbench opens.
    pub folder: String,
    /// Where it runs, when it is placed.
    pub host: Option<Arc<dyn Host>>,
}

/// What a host asks on behalf of git in a VM.
pub trait GitCredentials: Send + Sync + 'static {
    /// Credentials of the workspace's owner for this remote, if any. They go into the one request that they
    /// are for and nowhere else.
    fn credential(
        &self,
        workspace: &WorkspaceId,
        remote: &GitRemote,
    ) -> Later<'_, Option<Credential>>;

    /// The remote refused the credentials, or asks for some where there are none.
    fn rejected(&self, workspace: &WorkspaceId, remote: &GitRemote);
}

/// The server and repository of one git request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitRemote {
    /// `https` or `http`.
    pub scheme: String,
    /// Host, with `:port` when it is not the scheme's own.
    pub authority: String,
    /// Path of the repository on the server, with its leading slash.
    pub path: String,
    pub write: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub username: String,
    pub secret: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
