//! What is asked of a workspace's saved work.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use fleet_api::Download;
use fleet_api::host::{HostError, RunSpec};
use fleet_api::work::{
    ListedWork, SaveOutcome, WorkListing, WorkName, WorkProblem, WorkRestored, WorkSaved,
};
use futures::{Stream, StreamExt, stream};
use guest_protocol::client::{Download as GuestDownload, Error as GuestError, Session};
use guest_protocol::frames::failure::Kind;
use guest_protocol::frames::{WipBundle, WipRestored, wip_saved};
use model::{OrganizationId, WorkspaceId};
use storage::store::Attachment;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::choice::LARGEST;
use super::shelf::Shelf;
use super::{Turn, blocking, keeping, store_failed};
use crate::runner::context::Context;
use crate::runner::record;

/// One workspace's.
pub struct Requests {
    pub context: Arc<Context>,
    pub workspace: WorkspaceId,
    /// Whose it is, where nothing else of it is here.
    pub owner: Option<OrganizationId>,
    /// Its guest can be talked to.
    pub reachable: bool,
}

impl Requests {
    /// All that is saved, the newest first.
    pub async fn list(&self) -> Result<WorkListing, HostError> {
        let (turn, _, unreadable) = self.looked().await?;
        let mut listing = WorkListing::default();
        let problem = |path: &str, message: String| WorkProblem {
            path: path.into(),
            message,
        };
        let unreadable = unreadable.into_iter();
        listing.problems = unreadable.map(|message| problem("", message)).collect();
        let kept = turn.kept.values().map(|kept| ListedWork {
            saved: kept.work.clone(),
            bundle: Some(kept.bytes),
        });
        let mut all: HashMap<WorkName, ListedWork> = kept
            .map(|listed| (listed.saved.name.clone(), listed))
            .collect();
        let refused = turn.refused.clone();
        drop(turn);
        if self.reachable {
            match self.in_guest().await {
                Ok((saved, problems)) => {
                    listing.current = true;
                    listing.problems.extend(problems);
                    for saved in saved {
                        all.entry(saved.name.clone()).or_insert(ListedWork {
                            saved,
                            bundle: None,
                        });
                    }
                }
                Err(error) => listing.problems.push(problem("", error.to_string())),
            }
        }
        listing.saved = all.into_values().collect();
        listing.saved.sort_by(|one, other| {
            let (one, other) = (&one.saved, &other.saved);
            let newest_first = other.saved_ms.cmp(&one.saved_ms);
            newest_first.then_with(|| one.name.path.cmp(&other.name.path))
        });
        for (path, commit) in refused {
            let newest = listing.saved.iter().find(|one| one.saved.name.path == path);
            if newest.is_some_and(|newest| newest.saved.commit == commit) {
                let why = format!(
                    "the newest saved work is on the workspace's disk only: its bundle is larger than {} MiB; push \
                     what is committed, so that less is left to save",
                    LARGEST >> 20
                );
                listing.problems.push(problem(&path, why));
            }
        }
        Ok(listing)
    }

    /// Saves everything now.
    pub async fn save(&self) -> Result<Vec<WorkSaved>, HostError> {
        let spec = self.running()?;
        let session = keeping::session(&self.context, &spec).await?;
        let saved = keeping::save(&session).await?;
        let kept = keeping::keep(&self.context, &spec, &session, true).await;
        let turn = kept.map_err(|error| HostError::Failed {
            message: format!("the work is saved in the workspace, but not in the store: {error}"),
        })?;
        Ok(saved.into_iter().map(|one| outcome(one, &turn)).collect())
    }

    /// Makes a working tree as it was saved.
    pub async fn restore(&self, name: &WorkName) -> Result<WorkRestored, HostError> {
        let spec = self.running()?;
        let session = keeping::session(&self.context, &spec).await?;
        let (saved, problems) = keeping::listed(&session, &name.path).await?;
        if let Some(problem) = problems.into_iter().next() {
            let WorkProblem { path, message } = problem;
            let message = format!(
                "nothing can be restored in {path}: {message}; clone the repository there, then restore"
            );
            return Err(HostError::Conflict { message });
        }
        if !saved.iter().any(|saved| saved.name == *name) {
            self.give_back(&session, name).await?;
        }
        let restoring = session.wip_restore(&name.path, &name.reference);
        let WipRestored { before, files, .. } = restoring.await.map_err(keeping::guest_failed)?;
        Ok(WorkRestored { before, files })
    }

    /// Saved work to take away.
    pub async fn bundle(&self, name: &WorkName) -> Result<Download, HostError> {
        if let Some(found) = self.find(name).await? {
            return Ok(Download {
                bytes: Some(found.bytes()),
                content: Box::new(reader(pieces(found))),
            });
        }
        if !self.reachable {
            return Err(self.missing(name));
        }
        let session = keeping::session(&self.context, &self.running()?).await?;
        let request = WipBundle {
            path: name.path.clone(),
            reference: name.reference.clone(),
            ..WipBundle::default()
        };
        match session.wip_bundle(request).await {
            Ok((_, download)) => Ok(Download {
                bytes: None,
                content: Box::new(reader(downloaded(session, download))),
            }),
            Err(GuestError::Failed {
                kind: Kind::NotFound,
                ..
            }) => Err(self.missing(name)),
            Err(error) => Err(keeping::guest_failed(error)),
        }
    }

    async fn in_guest(
        &self,
    ) -> Result<(Vec<fleet_api::work::SavedWork>, Vec<WorkProblem>), HostError> {
        let session = keeping::session(&self.context, &self.running()?).await?;
        keeping::listed(&session, "").await
    }

    /// Gives the guest's repository a commit that it does not have any more.
    async fn give_back(&self, session: &Session, name: &WorkName) -> Result<(), HostError> {
        let Some(found) = self.find(name).await? else {
            return Err(self.missing(name));
        };
        let bundle = reader(pieces(found));
        match session.wip_unbundle(&name.path, bundle).await {
            Ok(_) => Ok(()),
            Err(GuestError::Failed {
                kind: Kind::Conflict,
                message,
            }) => {
                let message = format!(
                    "{message}; run `git fetch --all` in {}, so that it has what this was made on, then restore",
                    name.path
                );
                Err(HostError::Conflict { message })
            }
            Err(error) => Err(keeping::guest_failed(error)),
        }
    }

    async fn find(&self, name: &WorkName) -> Result<Option<Attachment>, HostError> {
        let (turn, shelf, _) = self.looked().await?;
        let name = name.clone();
        let finding = blocking(turn, move |memory| shelf.find(memory, &name));
        Ok(finding.await?.1)
    }

    async fn looked(&self) -> Result<(Turn, Shelf, Vec<String>), HostError> {
        let turn = self.context.work.turn(&self.workspace).await;
        let shelf = match self.spec() {
            Some(spec) => self.context.disks.shelf(&spec, false),
            None => {
                let owner = self.owner.as_ref().ok_or(HostError::NotRunning)?;
                let disks = &self.context.disks;
                disks.shelf_of(&self.workspace, owner.as_str(), false)
            }
        };
        let shelf = shelf.map_err(|error| store_failed(&error))?;
        let looking = shelf.clone();
        let (turn, unreadable) = blocking(turn, move |memory| looking.look(memory)).await?;
        Ok((turn, shelf, unreadable))
    }

    fn spec(&self) -> Option<RunSpec> {
        let record = record::read(&self.context.folders.record(&self.workspace));
        record.ok().map(|record| record.spec)
    }

    fn running(&self) -> Result<RunSpec, HostError> {
        let spec = self.spec().filter(|_| self.reachable);
        spec.ok_or(HostError::NotRunning)
    }

    fn missing(&self, name: &WorkName) -> HostError {
        let WorkName { path, reference } = name;
        let message = format!(
            "nothing is saved of {path} as {reference}: older work is removed; the list shows what is there"
        );
        HostError::Missing { message }
    }
}

fn outcome(saved: wip_saved::Repository, turn: &Turn) -> WorkSaved {
    let name = WorkName {
        path: saved.path.clone(),
        reference: saved.reference.clone(),
    };
    let outcome = if !saved.error.is_empty() {
        SaveOutcome::Failed {
            message: saved.error,
        }
    } else if saved.reference.is_empty() {
        SaveOutcome::Clean
    } else {
        SaveOutcome::Saved {
            reference: saved.reference,
            files: saved.files,
            before: !saved.changed,
            stored: turn.kept.values().any(|kept| kept.work.name == name),
        }
    };
    WorkSaved {
        path: saved.path,
        outcome,
        left_out: saved.left_out,
    }
}

fn reader(
    pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> impl AsyncRead + Send + Unpin {
    StreamReader::new(pieces.boxed())
}

fn pieces(attachment: Attachment) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    stream::try_unfold(attachment, |mut attachment| async move {
        let read = move || attachment.next_piece().map(|piece| (piece, attachment));
        let read = tokio::task::spawn_blocking(read).await?;
        let (piece, attachment) = read.map_err(std::io::Error::other)?;
        Ok(piece.map(|piece| (Bytes::from(piece), attachment)))
    })
}

/// The session has to stay for as long as something comes.
fn downloaded(
    session: Session,
    download: GuestDownload,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    stream::try_unfold((session, download), |(session, mut download)| async move {
        let piece = download.next().await.map_err(std::io::Error::other)?;
        Ok(piece.map(|piece| (piece, (session, download))))
    })
}
