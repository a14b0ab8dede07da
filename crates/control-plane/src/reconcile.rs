//! Drives hosts to the rows. Everything is read again for each pass, so that it may be killed between any two
//! steps and started again; what a host says is a reason to look, never what is believed.
//!
//! ```text
//! inbox, timer ──► which workspaces? ──► one pass each, never two of one workspace at once:
//!                                         look at the host → step → save → plan → ask the host → again
//! host's events ──► timeline; "something changed" ──► inbox
//! ```
//!
//! - [`pass`]: one workspace.
//! - [`placement`]: which host, and what it is told.
//! - [`sight`]: what a host shows, in the words of the model.
//! - [`timeline`]: what a host reports of a start.

pub mod pass;
pub mod placement;
pub mod sight;
pub mod timeline;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fleet_api::host::Host;
use model::WorkspaceId;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::inbox::Notes;

/// Workspaces on their way somewhere are looked at so often, even when nobody says anything.
const SOON: Duration = Duration::from_secs(2);
/// All are looked at every so many of these.
const ALL_EVERY: u64 = 10;
/// What has expired is forgotten every so many of these.
const EXPIRE_EVERY: u64 = 300;
/// Idempotency keys are remembered for a day.
const KEY_LIFE_MS: u64 = 24 * 3_600_000;

/// Runs until `stop`.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut listeners = JoinSet::new();
    let mut listening = HashSet::new();
    let mut passes = Passes::default();
    let mut timer = tokio::time::interval(SOON);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks: u64 = 0;
    app.inbox.all();
    loop {
        for (id, host) in app.hosts.all() {
            if listening.insert(id.clone()) {
                listeners.spawn(timeline::listen(app.clone(), id, host));
            }
        }
        let mut notes = Notes::default();
        tokio::select! {
            () = stop.cancelled() => break,
            () = app.inbox.wait() => notes = app.inbox.take(),
            _ = timer.tick() => {
                notes = app.inbox.take();
                notes.all |= ticks.is_multiple_of(ALL_EVERY);
                if ticks.is_multiple_of(EXPIRE_EVERY) {
                    expire(&app).await;
                }
                ticks += 1;
                match app.store.workspaces_under_way().await {
                    Ok(ids) => notes.changed.extend(ids),
                    Err(error) => report("looking for workspaces", &error),
                }
            }
            Some(done) = passes.tasks.join_next() => match done {
                Ok(id) => passes.done(&app, id),
                Err(error) if error.is_panic() => tracing::error!(%error, "a pass panicked"),
                Err(_) => {}
            },
        }
        take_note(&app, notes, &mut passes).await;
    }
    // Dropping the tasks is as good as letting them end: see above.
}

async fn take_note(app: &Arc<App>, notes: Notes, passes: &mut Passes) {
    for (id, now_ms) in notes.touched {
        if let Err(error) = app.store.touch_workspace(&id, now_ms).await {
            report("marking a workspace as used", &error);
        }
    }
    for (id, server) in notes.rejected {
        let marked = app
            .change(&id, |row, _| {
                row.needs_credentials = Some(server.clone());
                Ok(Vec::new())
            })
            .await;
        if let Err(fault) = marked {
            tracing::warn!(workspace = %id, detail = fault.problem.detail, "could not ask for credentials");
        }
    }
    let mut ids = notes.changed;
    if notes.all {
        match app.store.workspace_ids().await {
            Ok(all) => ids.extend(all),
            Err(error) => report("listing workspaces", &error),
        }
    }
    for id in ids {
        passes.want(app, id);
    }
}

/// Passes that run, and those that have to run once more.
#[derive(Default)]
struct Passes {
    tasks: JoinSet<WorkspaceId>,
    running: HashSet<WorkspaceId>,
    again: HashSet<WorkspaceId>,
}

impl Passes {
    fn want(&mut self, app: &Arc<App>, id: WorkspaceId) {
        if !self.running.insert(id.clone()) {
            self.again.insert(id);
            return;
        }
        let app = app.clone();
        self.tasks.spawn(async move {
            if let Err(fault) = pass::pass(&app, &id).await {
                let cause = fault.cause.as_deref().map(|cause| format!("{cause:?}"));
                tracing::warn!(workspace = %id, detail = fault.problem.detail, cause, "a pass failed and will be repeated");
            }
            id
        });
    }

    fn done(&mut self, app: &Arc<App>, id: WorkspaceId) {
        self.running.remove(&id);
        if self.again.remove(&id) {
            self.want(app, id);
        }
    }
}

async fn expire(app: &App) {
    let now = app.world.now_ms();
    if let Err(error) = app
        .store
        .forget_expired(now, now.saturating_sub(KEY_LIFE_MS))
        .await
    {
        report("forgetting what has expired", &error);
    }
}

/// Workspaces that a host has and nobody here knows: nothing is deleted that might be somebody's work.
pub async fn report_strangers(app: &App, host: &dyn Host) {
    for (id, _) in host.inventory().await {
        if let Ok(None) = app.store.workspace(&id).await {
            tracing::warn!(workspace = %id, "the host has a workspace that this database does not know; it is left alone");
        }
    }
}

fn report(what: &str, error: &crate::store::StoreError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "{what} failed and will be repeated");
}
