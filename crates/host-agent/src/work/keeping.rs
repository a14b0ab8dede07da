//! Brings what a guest has saved to the store.

use std::time::{Duration, Instant};

use fleet_api::host::{HostError, RunSpec};
use fleet_api::work::{SavedWork, WorkName, WorkProblem};
use guest_protocol::client::{Error as GuestError, Session};
use guest_protocol::frames::failure::Kind;
use guest_protocol::frames::{WipBundle, WipSave, wip_listing, wip_saved};
use tokio::time::timeout;

use super::choice::{self, LARGEST, PACE};
use super::{Turn, blocking, store_failed};
use crate::runner::context::Context;
use crate::runner::guest;
use crate::runner::watch::Monitor;

/// A guest gets so long to say what it has, and to save it.
const LISTED_WITHIN: Duration = Duration::from_secs(20);
const SAVED_WITHIN: Duration = Duration::from_secs(120);
/// For one bundle.
const BUNDLED_WITHIN: Duration = Duration::from_secs(120);
/// For all of it when the machine is to stop; what is late stays on the disk.
const BEFORE_STOP: Duration = Duration::from_secs(30);

/// Brings new ones at intervals, for as long as the machine runs.
pub async fn run(context: &Context, spec: &RunSpec) {
    loop {
        tokio::time::sleep(context.config.work_every).await;
        let kept = async {
            let session = session(context, spec).await?;
            keep(context, spec, &session, false).await
        };
        if let Err(error) = kept.await {
            tracing::debug!(workspace = %spec.workspace, %error, "saved work is not in the store");
        }
    }
}

/// Saves all and brings it, as far as that is done in a short time.
pub async fn before_stop(context: &Context, spec: &RunSpec) {
    let work = async {
        let session = session(context, spec).await?;
        let request = WipSave {
            reason: "stop".into(),
            ..WipSave::default()
        };
        session.wip_save(request).await.map_err(guest_failed)?;
        keep(context, spec, &session, true).await
    };
    let workspace = &spec.workspace;
    match timeout(BEFORE_STOP, work).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::info!(%workspace, %error, "saved work is not in the store"),
        Err(_) => tracing::info!(%workspace, "not all saved work came to the store in time"),
    }
}

/// For content, which must not delay what people feel.
pub async fn session(context: &Context, spec: &RunSpec) -> Result<Session, HostError> {
    let monitor = Monitor::new(&context.folders.monitor(&spec.workspace));
    guest::session(&monitor.client, true)
        .await
        .map_err(guest_failed)
}

/// Saves what is uncommitted now.
pub async fn save(session: &Session) -> Result<Vec<wip_saved::Repository>, HostError> {
    let saving = timeout(SAVED_WITHIN, session.wip_save(WipSave::default()));
    saving
        .await
        .map_err(|_| late("did not save in time"))?
        .map_err(guest_failed)
}

fn late(what: &str) -> HostError {
    HostError::Guest {
        message: format!("the workspace {what}: try again in a moment"),
    }
}

/// Brings the newest of each repository to the store, unless it is there. `urgent`: however much was brought just
/// before. Gives the turn, with what is known then.
pub async fn keep(
    context: &Context,
    spec: &RunSpec,
    session: &Session,
    urgent: bool,
) -> Result<Turn, HostError> {
    let (saved, _) = listed(session, "").await?;
    let shelf = context.disks.shelf(spec, !saved.is_empty());
    let shelf = shelf.map_err(|error| store_failed(&error))?;
    let turn = context.work.turn(&spec.workspace).await;
    let looking = shelf.clone();
    let (mut turn, unreadable) = blocking(turn, move |memory| looking.look(memory)).await?;
    for problem in unreadable {
        tracing::warn!(workspace = %spec.workspace, problem, "saved work cannot be read");
    }
    let missing: Vec<SavedWork> = choice::missing(&saved, turn.kept.values())
        .into_iter()
        .filter(|work| turn.wants(work, urgent))
        .cloned()
        .collect();
    turn.forget_all_but(&saved);
    // Nobody else waits while git is at work.
    drop(turn);
    let mut failure = None;
    for work in missing {
        // Nobody closes it.
        let _one = context.work.fetching.acquire().await;
        let bundle = bundle(session, &work.name).await;
        let mut turn = context.work.turn(&spec.workspace).await;
        let path = work.name.path.clone();
        let bundle = match bundle {
            Ok(Some(bundle)) => bundle,
            Ok(None) => {
                turn.refused.insert(path, work.commit);
                continue;
            }
            Err(error) => {
                failure.get_or_insert(guest_failed(error));
                continue;
            }
        };
        let pause = Duration::from_secs(bundle.len() as u64 / PACE);
        turn.not_before.insert(path, Instant::now() + pause);
        let (shelf, record) = (shelf.clone(), context.folders.record(&spec.workspace));
        blocking(turn, move |memory| {
            // Nothing of a workspace comes back after its deletion, and nothing comes twice.
            let there = memory.kept.values().any(|kept| kept.work == work);
            if there || !record.exists() {
                return Ok(());
            }
            shelf.put(memory, work, &bundle)
        })
        .await?;
    }
    match failure {
        None => Ok(context.work.turn(&spec.workspace).await),
        Some(failure) => Err(failure),
    }
}

/// `None`: it is larger than what is kept. What the guest promises of its size is not believed.
async fn bundle(session: &Session, name: &WorkName) -> Result<Option<Vec<u8>>, GuestError> {
    let request = WipBundle {
        path: name.path.clone(),
        reference: name.reference.clone(),
        max_bytes: LARGEST,
        whole: false,
    };
    let fetched = async {
        let (_, mut download) = session.wip_bundle(request).await?;
        let mut whole = Vec::new();
        while let Some(piece) = download.next().await? {
            if whole.len() + piece.len() > LARGEST as usize {
                return Ok::<_, GuestError>(None);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Some(whole))
    };
    match timeout(BUNDLED_WITHIN, fetched).await {
        Ok(Err(error)) if error.kind() == Some(Kind::NoSpace) => Ok(None),
        Ok(fetched) => fetched,
        Err(_) => {
            let late = "git took too long to make a bundle";
            Err(GuestError::Disconnected(late.into()))
        }
    }
}

/// What the guest has saved, and what is wrong with its repositories.
pub async fn listed(
    session: &Session,
    path: &str,
) -> Result<(Vec<SavedWork>, Vec<WorkProblem>), HostError> {
    let listing = timeout(LISTED_WITHIN, session.wip_list(path));
    let repositories = listing
        .await
        .map_err(|_| late("did not say what it has saved"))?
        .map_err(guest_failed)?;
    let (mut saved, mut problems) = (Vec::new(), Vec::new());
    for repository in repositories {
        let path = repository.path;
        saved.extend(
            repository
                .saved
                .into_iter()
                .map(|saved| described(&path, saved)),
        );
        if !repository.error.is_empty() {
            let message = repository.error;
            problems.push(WorkProblem { path, message });
        }
    }
    Ok((saved, problems))
}

fn described(path: &str, saved: wip_listing::Saved) -> SavedWork {
    SavedWork {
        name: WorkName {
            path: path.into(),
            reference: saved.reference,
        },
        commit: saved.commit,
        branch: saved.branch,
        saved_ms: saved.time_ms,
        reason: saved.reason,
        operation: saved.operation,
        files: saved.files,
        bytes: saved.bytes,
        insertions: saved.insertions,
        deletions: saved.deletions,
    }
}

/// A guest's refusal in the words of the contract.
pub fn guest_failed(error: GuestError) -> HostError {
    match error {
        GuestError::Failed {
            kind: Kind::NotFound,
            message,
        } => HostError::Missing { message },
        GuestError::Failed {
            kind: Kind::Conflict | Kind::Busy,
            message,
        } => HostError::Conflict { message },
        error => HostError::Guest {
            message: error.to_string(),
        },
    }
}
