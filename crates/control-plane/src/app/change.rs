//! The one way in which a workspace's row changes: read, decide, compare-and-set, tell.

use control_api::events::Event;
use control_api::problem::{Kind, Problem};
use model::WorkspaceId;
use model::state::{Effect, Event as StateEvent, Refusal, step};

use super::{App, present};
use crate::fault::{Fault, Outcome};
use crate::store::workspaces::{Changed, WorkspaceRow};

/// Tries before somebody who always loses is told so.
const TRIES: usize = 10;

impl App {
    /// Applies `decide` to the row until it is saved; answers the row as it is then, or none when there is
    /// none (any more). Nothing is written when nothing changes.
    pub async fn change(
        &self,
        id: &WorkspaceId,
        decide: impl Fn(&mut WorkspaceRow, u64) -> Outcome<Vec<Effect>>,
    ) -> Outcome<Option<WorkspaceRow>> {
        for _ in 0..TRIES {
            let Some(before) = self.store.workspace(id).await? else {
                return Ok(None);
            };
            let now = self.world.now_ms();
            let mut row = before.clone();
            let effects = decide(&mut row, now)?;
            if row == before && effects.is_empty() {
                return Ok(Some(row));
            }
            if present::state_name(&row.state) != present::state_name(&before.state) {
                row.changed_ms = now;
            }
            match self.store.change_workspace(&row, &effects, now).await? {
                Changed::Done if effects.contains(&Effect::Purge) => {
                    self.tell_deleted(&row);
                    return Ok(None);
                }
                Changed::Done => {
                    row.generation += 1;
                    self.tell(&row);
                    return Ok(Some(row));
                }
                Changed::NameTaken => {
                    let free = self.free_name(&row.name).await?;
                    return Err(name_taken(row.name.as_str(), free.as_str()));
                }
                Changed::Conflict => {}
            }
        }
        Err(Fault::new(
            Kind::Conflict,
            "The workspace changes all the time. Try again.",
        ))
    }

    pub fn tell(&self, row: &WorkspaceRow) {
        if present::state_name(&row.state) == control_api::workspaces::WorkspaceState::Deleted {
            return self.tell_deleted(row);
        }
        let workspace = Box::new(present::workspace(row));
        self.events
            .tell(&row.owner, &row.id, Event::Workspace { workspace });
    }

    fn tell_deleted(&self, row: &WorkspaceRow) {
        let event = Event::Deleted {
            id: row.id.clone(),
            name: row.name.clone(),
        };
        self.events.tell(&row.owner, &row.id, event);
    }
}

/// Moves the row's state on.
pub fn advance(
    row: &mut WorkspaceRow,
    event: &StateEvent,
    now_ms: u64,
) -> Result<Vec<Effect>, Refusal> {
    let (state, effects) = step(&row.state, event, now_ms)?;
    row.state = state;
    Ok(effects)
}

/// `free`: a name like it that nobody has.
pub fn name_taken(name: &str, free: &str) -> Fault {
    Problem::new(
        Kind::NameTaken,
        format!(
            "The name {name:?} belongs to a workspace, or did: names are parts of web addresses and are never used twice. Choose another, such as {free}."
        ),
    )
    .field("name")
    .suggestion(free)
    .into()
}
