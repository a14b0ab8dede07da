//! One disk in the store: verified, and compacted.

use fleet_api::host::HostError;
use fleet_api::upkeep::{CheckedVersion, Compaction, Damage, DiskCheck, Steps};
use model::WorkspaceId;
use storage::block::BLOCK;
use storage::collect::Usage;
use storage::verify::Report;

use super::steps;
use crate::failure::chain;
use crate::points::service::{Service, failed};

impl Service {
    /// Reads what the store has of a workspace's disk and its points, or of one of them.
    pub async fn check(
        &self,
        workspace: &WorkspaceId,
        number: Option<u64>,
    ) -> Result<Steps<DiskCheck>, HostError> {
        let run = self.wanted(workspace)?;
        if number.is_none() {
            self.send_what_rests(workspace).await;
        }
        let disks = self.context.disks.clone();
        Ok(steps(move |progress| {
            match disks.check_disk(&run, number, progress) {
                Ok(Some(report)) => Ok(in_words(report, number.is_none())),
                Ok(None) => {
                    Err(number.map_or_else(nothing, |number| HostError::NoPoint { number }))
                }
                Err(error) => Err(failed(chain(&error))),
            }
        }))
    }

    pub async fn compact(&self, workspace: &WorkspaceId) -> Result<Compaction, HostError> {
        let before = self.usage(workspace).await?;
        let moved = self
            .at_rest(workspace, |resting| {
                resting.act(|disk| {
                    disk.upload(disk.cut()?, None)?;
                    disk.compact_store()
                })
            })
            .await?;
        let after = self.usage(workspace).await?;
        let now = |usage: &Usage| usage.versions.last().map_or(0, |kept| kept.bytes);
        Ok(Compaction {
            moved: (moved * BLOCK) as u64,
            before: now(&before),
            after: now(&after),
            all_before: before.bytes,
            all_after: after.bytes,
        })
    }
}

fn nothing() -> HostError {
    failed("the store has nothing of this workspace's disk yet: start it once")
}

/// In the words of the contract. `all`: the newest version is among them.
fn in_words(report: Report, all: bool) -> DiskCheck {
    let newest = report.versions.iter().map(|looked| looked.version.number);
    let newest = newest.max().filter(|_| all);
    let versions = report.versions.into_iter().map(|looked| CheckedVersion {
        is_now: Some(looked.version.number) == newest,
        number: looked.version.number,
        name: looked.point,
    });
    let damage = report.damage.into_iter().map(|damage| Damage {
        version: damage.version.number,
        object: damage.object,
        detail: damage.detail,
        bytes: damage.blocks.count() * BLOCK as u64,
    });
    DiskCheck {
        versions: versions.collect(),
        objects: report.objects,
        bytes: report.bytes,
        damage: damage.collect(),
    }
}
