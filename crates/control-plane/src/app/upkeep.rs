//! Looking after what lies in the store, and workspaces whose disks come from elsewhere.

use std::sync::Arc;

use control_api::problem::Kind;
use control_api::upkeep::{
    CheckEvent, CheckedVersion, Collection, CollectionList, Compaction, Damage, DiskCheck,
    ImportEvent, ImportQuery, Keeper,
};
use control_api::workspaces::CreateWorkspace;
use fleet_api::host::{Host, HostError};
use fleet_api::points::Origin;
use fleet_api::upkeep::{self, Import, Step};
use futures::StreamExt;
use futures::stream::{BoxStream, poll_fn};
use model::quota::Amount;
use model::{Size, WorkspaceId, WorkspaceName};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use super::App;
use super::identity::Caller;
use super::points::explain;
use super::present;
use super::workspaces::{Beginning, Wanted, no_host};
use crate::fault::{Fault, Outcome};

/// What a workspace is called whose disk came without a name.
const UNNAMED: &str = "imported";

impl App {
    pub async fn check_disk(
        &self,
        caller: &Caller,
        name_or_id: &str,
        number: Option<u64>,
    ) -> Outcome<BoxStream<'static, CheckEvent>> {
        let row = self.own(caller, name_or_id).await?;
        let steps = self.host_of(&row)?.check_disk(&row.id, number).await;
        let steps = steps.map_err(|error| explain(&row, error))?;
        let event = move |step| match step {
            Step::Progress { done, of } => CheckEvent::Progress { done, of },
            Step::Ended(Ok(check)) => CheckEvent::Checked {
                check: in_words(check),
            },
            Step::Ended(Err(error)) => CheckEvent::Failed {
                problem: *explain(&row, error).problem,
            },
        };
        Ok(steps.map(event).boxed())
    }

    pub async fn compact_disk(&self, caller: &Caller, name_or_id: &str) -> Outcome<Compaction> {
        let row = self.own(caller, name_or_id).await?;
        let compacted = self.host_of(&row)?.compact_disk(&row.id).await;
        let compacted = compacted.map_err(|error| explain(&row, error))?;
        let (now, user) = (self.world.now_ms(), &caller.user.id);
        let (id, name) = (row.id.as_str(), row.name.as_str());
        self.store
            .record(user, "disk.compact", id, name, now)
            .await?;
        Ok(Compaction {
            moved: compacted.moved,
            before: compacted.before,
            after: compacted.after,
            all_before: compacted.all_before,
            all_after: compacted.all_after,
        })
    }

    /// Collects the store of every host, for an administrator.
    pub async fn collect_store(&self, caller: &Caller, dry_run: bool) -> Outcome<CollectionList> {
        let mut collections = Vec::new();
        for (id, host) in self.hosts.all() {
            for found in host.collect(dry_run).await? {
                collections.push(self.collection(&id, found).await?);
            }
        }
        if !dry_run {
            let deleted: u64 = collections.iter().map(|one| one.deleted).sum();
            let (now, user) = (self.world.now_ms(), &caller.user.id);
            let detail = format!("{deleted} bytes");
            self.store
                .record(user, "store.collect", "store", &detail, now)
                .await?;
        }
        Ok(CollectionList { collections })
    }

    async fn collection(&self, host: &str, found: upkeep::Collection) -> Outcome<Collection> {
        let mut kept = Vec::new();
        for keeper in found.kept {
            let id = WorkspaceId::new(keeper.disk.clone());
            let row = self.store.workspace(&id).await?;
            kept.push(Keeper {
                name: row.as_ref().map_or(keeper.disk, |row| row.name.to_string()),
                owner: row.as_ref().map(|row| row.owner.clone()),
                workspace: row.map(|row| row.id),
                points: keeper.points,
                stored: keeper.stored,
                alone: keeper.alone,
            });
        }
        kept.sort_by_key(|keeper| std::cmp::Reverse(keeper.stored));
        Ok(Collection {
            host: host.to_owned(),
            tenant: found.tenant,
            total: found.total,
            young: found.young,
            condemned: found.condemned,
            deleted: found.deleted,
            kept,
        })
    }

    /// Takes a file in and makes a workspace whose disk it is, also when nobody waits for it any more once the file has
    /// arrived.
    pub async fn import(
        self: Arc<Self>,
        caller: Caller,
        query: ImportQuery,
        bytes: Option<u64>,
        content: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Outcome<BoxStream<'static, ImportEvent>> {
        let create = CreateWorkspace {
            name: query.name.clone(),
            ..CreateWorkspace::default()
        };
        // What is wrong with the rest is said before anything is sent.
        let wanted = self.wanted(&caller, &create, None).await?;
        if let Some(name) = &wanted.asked
            && !self.store.name_is_free(name).await?
        {
            let free = self.free_name(name).await?;
            return Err(super::change::name_taken(name.as_str(), free.as_str()));
        }
        self.check_size(import_size(&query, self.settings.default_size, 0))
            .await?;
        let more = Amount {
            stored: bytes.unwrap_or(0),
            workspaces: 1,
            ..Amount::default()
        };
        self.check_quota(&caller, more).await?;
        let (host_id, host) = self.roomiest().await.ok_or_else(no_host)?;
        let import = Import {
            owner: caller.user.organization.clone(),
            bytes,
            content,
        };
        let mut steps = host.import_disk(import).await?;
        let (tell, mut told) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut last = None;
            while let Some(step) = steps.next().await {
                match step {
                    Step::Progress { done, of } => {
                        // Whoever is behind gets the next.
                        let _ = tell.try_send(ImportEvent::Progress { done, of });
                    }
                    Step::Ended(ended) => last = Some(ended),
                }
            }
            let made = self
                .begin_with(&caller, (create, wanted), &query, host_id, last)
                .await;
            let event = match made {
                Ok(row) => ImportEvent::Made {
                    workspace: Box::new(present::workspace(&row)),
                },
                Err(fault) => ImportEvent::Failed {
                    problem: *fault.problem,
                },
            };
            // Nobody may be there any more.
            let _ = tell.send(event).await;
        });
        Ok(poll_fn(move |context| told.poll_recv(context)).boxed())
    }

    async fn begin_with(
        &self,
        caller: &Caller,
        (mut create, wanted): (CreateWorkspace, Wanted),
        query: &ImportQuery,
        host: String,
        imported: Option<Result<(Origin, u64), HostError>>,
    ) -> Outcome<crate::store::workspaces::WorkspaceRow> {
        let (origin, bytes) = imported.ok_or_else(|| {
            Fault::new(
                Kind::HostFailed,
                "The host stopped in the middle of it. Try again.",
            )
        })??;
        let size = import_size(query, self.settings.default_size, bytes);
        create.size = Some(size);
        let beginning = Beginning {
            host: Some(host),
            origin,
            bytes,
            size,
            repository: None,
            name: WorkspaceName::suggest(UNNAMED),
        };
        self.make(caller, &create, wanted, Some(beginning)).await
    }

    /// The host with most memory left.
    async fn roomiest(&self) -> Option<(String, Arc<dyn Host>)> {
        let mut best = None;
        for (id, host) in self.hosts.all() {
            let about = host.describe().await;
            let left = about.memory_mib.saturating_sub(about.memory_promised_mib);
            if best.as_ref().is_none_or(|(most, _, _)| left > *most) {
                best = Some((left, id, host));
            }
        }
        best.map(|(_, id, host)| (id, host))
    }
}

/// `bytes`: of the disk in the file.
fn import_size(query: &ImportQuery, usual: Size, bytes: u64) -> Size {
    Size {
        vcpus: query.vcpus.unwrap_or(usual.vcpus),
        memory_mib: query.memory_mib.unwrap_or(usual.memory_mib),
        disk_gib: query
            .disk_gib
            .unwrap_or_else(|| bytes.div_ceil(1 << 30).max(usual.disk_gib)),
    }
}

fn in_words(check: upkeep::DiskCheck) -> DiskCheck {
    let is_hit = |number| check.damage.iter().any(|damage| damage.version == number);
    let versions = check.versions.iter().map(|version| CheckedVersion {
        sound: !is_hit(version.number),
        number: version.number,
        name: version.name.clone(),
        is_now: version.is_now,
    });
    DiskCheck {
        sound: check.damage.is_empty(),
        versions: versions.collect(),
        objects: check.objects,
        bytes: check.bytes,
        damage: check
            .damage
            .iter()
            .map(|damage| Damage {
                version: damage.version,
                object: damage.object.clone(),
                detail: damage.detail.clone(),
                bytes: damage.bytes,
            })
            .collect(),
    }
}
