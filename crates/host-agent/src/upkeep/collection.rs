//! The whole store: collected from time to time, and when somebody asks.

use std::sync::Arc;
use std::time::Duration;

use fleet_api::host::HostError;
use fleet_api::upkeep::{Collection, Keeper};
use storage::Result;
use storage::accounts::Shares;
use storage::collect::{Report, Rules, collect};
use storage::disk::{Clock, SystemClock};
use storage::keys::{SystemEntropy, Tenant};

use super::import;
use crate::disks::Disks;
use crate::failure::chain;
use crate::points::service::{blocking, failed};
use crate::runner::Context;

/// Not while everything starts, and soon enough for a server that is restarted every day.
const FIRST_AFTER: Duration = Duration::from_secs(10 * 60);
/// A deleted workspace's room is given back by the second look, after the grace of [`storage::collect::Rules`].
const EVERY: Duration = Duration::from_secs(6 * 3600);

/// Gives back what nobody needs, for as long as the server runs.
pub async fn keep_collecting(context: Arc<Context>) {
    tokio::time::sleep(FIRST_AFTER).await;
    loop {
        import::sweep(&context).await;
        match once(&context.disks, false).await {
            Ok(collected) => {
                for one in collected {
                    tracing::info!(
                        one.tenant,
                        one.total,
                        one.condemned,
                        one.deleted,
                        "collected"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "the store was not collected"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Collects once. `dry`: only looks.
pub async fn once(
    disks: &Arc<Disks>,
    dry: bool,
) -> std::result::Result<Vec<Collection>, HostError> {
    let disks = disks.clone();
    let collected = blocking(move || disks.collect(dry)).await?;
    collected.map_err(|error| failed(chain(&error)))
}

impl Disks {
    /// Looks once for what nobody needs any more, and removes what was found by an earlier look. Blocks.
    pub fn collect(&self, dry: bool) -> Result<Vec<Collection>> {
        let store = self.store()?;
        let mut collected = Vec::new();
        for tenant in store.list_tenants()? {
            let keys = self.tenant_keys(&tenant)?;
            let (rules, now_ms) = (Rules::default(), SystemClock.now_ms());
            let report = collect(&store, &keys, &SystemEntropy, &rules, now_ms, dry)?;
            let mut accounts = self.accounts();
            let account = accounts.entry(tenant.clone()).or_default();
            let shares = account.look(&store, &keys)?;
            drop(accounts);
            collected.push(in_words(&tenant, &report, &shares));
        }
        Ok(collected)
    }
}

fn in_words(tenant: &Tenant, report: &Report, shares: &Shares) -> Collection {
    let disks: std::collections::BTreeSet<_> = shares
        .shares
        .iter()
        .flat_map(|share| &share.disks)
        .collect();
    let kept = disks.into_iter().map(|disk| Keeper {
        disk: disk.to_string(),
        points: shares.points.get(disk).copied().unwrap_or(0),
        stored: shares.of(|one| one == disk),
        alone: shares.alone(disk),
    });
    Collection {
        tenant: tenant.to_string(),
        total: report.total,
        young: report.young,
        condemned: report.condemned,
        deleted: report.deleted,
        kept: kept.collect(),
    }
}
