//! Who takes how much: put together of what the database and the hosts know. Quotas, and what they stop.

use std::collections::BTreeSet;

use control_api::problem::Kind;
use control_api::usage::{Account, Everybody, Usage, Used, UserUsage, WorkspaceUsage};
use fleet_api::usage::HostUsage;
use model::quota::{Amount, Excess, Limited, Quota};
use model::{OrganizationId, UserId, WorkspaceId};

use super::App;
use super::identity::Caller;
use crate::fault::{Fault, Outcome};
use crate::store::quotas::Holder;
use crate::store::workspaces::WorkspaceRow;

/// What all hosts tell.
#[derive(Default)]
struct Told {
    hosts: Vec<HostUsage>,
    missing: Vec<String>,
}

impl App {
    pub async fn usage(&self, caller: &Caller, everybody: bool) -> Outcome<Usage> {
        let told = self.told(&caller.user.organization).await;
        let own = self.store.workspaces_of(&caller.user.id).await?;
        let mut workspaces: Vec<_> = own.iter().map(|row| told.workspace(row)).collect();
        workspaces.sort_by_key(|workspace| std::cmp::Reverse(workspace.stored));
        let everybody = match everybody {
            true => Some(self.everybody(&caller.user.organization, &told).await?),
            false => None,
        };
        Ok(Usage {
            own: Account {
                used: told.used(&own),
                quota: self.store.quota(Holder::User(&caller.user.id)).await?,
            },
            workspaces,
            everybody,
            missing_hosts: told.missing,
        })
    }

    async fn everybody(&self, organization: &OrganizationId, told: &Told) -> Outcome<Everybody> {
        let all = self.store.all_workspaces().await?;
        let mut users = Vec::new();
        for user in self.store.users().await? {
            let own: Vec<_> = all
                .iter()
                .filter(|row| row.owner == user.id)
                .cloned()
                .collect();
            users.push(UserUsage {
                account: Account {
                    used: told.used(&own),
                    quota: self.store.quota(Holder::User(&user.id)).await?,
                },
                user: user.id,
                email: user.email,
                name: user.name,
            });
        }
        users.sort_by_key(|user| std::cmp::Reverse(user.account.used.stored));
        Ok(Everybody {
            organization: Account {
                used: told.used(&all),
                quota: self.store.quota(Holder::Organization(organization)).await?,
            },
            unneeded: told.stores().map(|host| host.unneeded).sum(),
            users,
        })
    }

    /// Asks the hosts. One that does not answer is named.
    async fn told(&self, organization: &OrganizationId) -> Told {
        let mut told = Told::default();
        for (id, host) in self.hosts.all() {
            match host.usage(organization).await {
                Ok(usage) => told.hosts.push(usage),
                Err(error) => {
                    tracing::warn!(host = id, %error, "a host does not say what is on it");
                    told.missing.push(id);
                }
            }
        }
        told
    }

    /// Sets the quota of a user.
    pub async fn set_user_quota(
        &self,
        caller: &Caller,
        user: &UserId,
        quota: &Quota,
    ) -> Outcome<Quota> {
        if self.store.user(user).await?.is_none() {
            let detail = "There is no such user; GET /users lists those that there are.";
            return Err(Fault::new(Kind::NotFound, detail));
        }
        self.set_quota(caller, Holder::User(user), user.as_str(), quota)
            .await
    }

    pub async fn set_organization_quota(&self, caller: &Caller, quota: &Quota) -> Outcome<Quota> {
        let organization = &caller.user.organization;
        let holder = Holder::Organization(organization);
        self.set_quota(caller, holder, organization.as_str(), quota)
            .await
    }

    async fn set_quota(
        &self,
        caller: &Caller,
        holder: Holder<'_>,
        subject: &str,
        quota: &Quota,
    ) -> Outcome<Quota> {
        let now = self.world.now_ms();
        self.store.set_quota(holder, quota, now).await?;
        let detail = serde_json::to_string(quota).expect("numbers are always JSON");
        self.store
            .record(&caller.user.id, "quota.set", subject, &detail, now)
            .await?;
        Ok(*quota)
    }

    /// Refuses what would go beyond the caller's quota or the organisation's. Whoever asks for something that the
    /// database counts holds [`App::growing`] until that is saved.
    pub(super) async fn check_quota(&self, caller: &Caller, more: Amount) -> Outcome<()> {
        let (user, organization) = (&caller.user.id, &caller.user.organization);
        let mut told = None;
        for holder in [Holder::User(user), Holder::Organization(organization)] {
            let quota = self.store.quota(holder).await?;
            if quota == Quota::default() {
                continue;
            }
            let mut used = self.store.promised(holder).await?;
            if quota.stored.is_some() {
                if told.is_none() {
                    told = Some(self.told(organization).await);
                }
                if let Some(told) = &told {
                    let rows = match holder {
                        Holder::User(user) => self.store.workspaces_of(user).await?,
                        Holder::Organization(_) => self.store.all_workspaces().await?,
                    };
                    used.stored = told.used(&rows).stored;
                }
            }
            quota
                .admit(used, more)
                .map_err(|excess| Fault::new(Kind::OverQuota, in_words(holder, excess)))?;
        }
        Ok(())
    }
}

impl Told {
    /// One host for each store.
    fn stores(&self) -> impl Iterator<Item = &HostUsage> {
        let mut known = BTreeSet::new();
        self.hosts
            .iter()
            .filter(move |host| known.insert(&host.store))
    }

    fn used(&self, rows: &[WorkspaceRow]) -> Used {
        let ids: BTreeSet<&WorkspaceId> = rows.iter().map(|row| &row.id).collect();
        let shares = self.stores().flat_map(|host| &host.shares);
        let theirs = shares.filter(|share| share.disks.iter().any(|disk| ids.contains(disk)));
        let local = self.hosts.iter().flat_map(|host| &host.local);
        let local = local.filter(|(id, _)| ids.contains(id));
        let bases = self.hosts.iter().flat_map(|host| &host.bases);
        let bases = bases.filter(|base| base.workspaces.iter().any(|id| ids.contains(id)));
        Used {
            workspaces: rows.len() as u64,
            logical: rows.iter().map(|row| row.size.disk_gib << 30).sum(),
            physical: local.map(|(_, bytes)| bytes).sum(),
            shared: bases.map(|base| base.bytes).sum(),
            stored: theirs.map(|share| share.bytes).sum(),
        }
    }

    fn workspace(&self, row: &WorkspaceRow) -> WorkspaceUsage {
        let used = self.used(std::slice::from_ref(row));
        let shares = self.stores().flat_map(|host| &host.shares);
        let alone = shares.filter(|share| share.disks.len() == 1 && share.disks.contains(&row.id));
        WorkspaceUsage {
            id: row.id.clone(),
            name: row.name.clone(),
            logical: used.logical,
            physical: used.physical,
            shared: used.shared,
            stored: used.stored,
            alone: alone.map(|share| share.bytes).sum(),
        }
    }
}

/// What is used, what the limit is, and what to do.
fn in_words(holder: Holder<'_>, excess: Excess) -> String {
    const HIGHER: &str = "ask an administrator for a higher one";
    let Excess {
        what,
        used,
        more,
        limit,
    } = excess;
    let (whose, quota) = match holder {
        Holder::User(_) => ("You have", "your quota is"),
        Holder::Organization(_) => ("All users together have", "the organisation's quota is"),
    };
    match what {
        Limited::Workspaces => {
            let noun = if used == 1 { "workspace" } else { "workspaces" };
            format!("{whose} {used} {noun}, and {quota} {limit}. Delete one first, or {HIGHER}.")
        }
        Limited::Logical => format!(
            "{whose} disks of {} together, {} more are asked for, and {quota} {}. Choose a smaller disk, delete a \
             workspace, or {HIGHER}.",
            gib(used),
            gib(more),
            gib(limit)
        ),
        Limited::Stored => format!(
            "{whose} {} in the store{}, and {quota} {}. Give points up (roost snapshots list and rm), delete a \
             workspace, or {HIGHER}. What is there goes on, and can be taken away.",
            gib(used),
            match more {
                0 => String::new(),
                more => format!(", {} more are sent", gib(more)),
            },
            gib(limit)
        ),
    }
}

fn gib(bytes: u64) -> String {
    let value = bytes as f64 / f64::from(1 << 30);
    match bytes % (1 << 30) {
        0 => format!("{value:.0} GiB"),
        _ => format!("{value:.2} GiB"),
    }
}
