//! Tickets: how a signed-in user gets to a workspace's other doors.

use control_api::problem::{Kind, Problem};
use fleet_api::host::GuestRole;
use fleet_api::ticket::{Door, Ticket};

use super::App;
use super::identity::Caller;
use crate::fault::Outcome;
use crate::secrets;
use crate::store::workspaces::WorkspaceRow;

/// A ticket in a redirect.
const ENTRY_LIFE_MS: u64 = 30_000;
/// A ticket of a program.
const PROGRAM_LIFE_MS: u64 = 12 * 3_600_000;

impl App {
    /// A ticket to the door of one's own workspace; answers it with its end.
    pub fn ticket(&self, caller: &Caller, row: &WorkspaceRow, door: Door) -> (String, u64) {
        let life = match door {
            Door::WorkbenchEntry | Door::PreviewEntry { .. } => ENTRY_LIFE_MS,
            Door::Workbench | Door::Preview { .. } | Door::Program => PROGRAM_LIFE_MS,
        };
        let expires_ms = self.world.now_ms() + life;
        let ticket = Ticket {
            user: caller.user.id.clone(),
            workspace: row.id.clone(),
            role: GuestRole::Editor,
            door,
            session: caller.right.text(),
            expires_ms,
            nonce: secrets::new_token(&self.world),
        };
        (self.tickets.sign(&ticket), expires_ms)
    }
}

/// A path on a preview that no browser takes for another site.
pub fn check_path(to: &str) -> Outcome<&str> {
    let good = to.starts_with('/')
        && !to.starts_with("//")
        && !to.contains('\\')
        && to.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        return Ok(to);
    }
    Err(Problem::new(
        Kind::InvalidField,
        "Give a path that starts with one slash.",
    )
    .field("to")
    .into())
}
