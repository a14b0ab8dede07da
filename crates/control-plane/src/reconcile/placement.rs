//! Which host gets a workspace, and what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleet_api::host::{GitIdentity, Host, RunSpec};

use crate::app::App;
use crate::fault::Outcome;
use crate::store::workspaces::WorkspaceRow;

impl App {
    /// The host that has the workspace, or the one with most memory left. None: it is not attached.
    pub(super) async fn place(&self, row: &WorkspaceRow) -> Option<(String, Arc<dyn Host>)> {
        if let Some(id) = &row.host {
            return self.hosts.get(id).map(|host| (id.clone(), host));
        }
        let mut best = None;
        for (id, host) in self.hosts.all() {
            let description = host.describe().await;
            let left = description
                .memory_mib
                .saturating_sub(description.memory_promised_mib);
            if best.as_ref().is_none_or(|(most, _, _)| left > *most) {
                best = Some((left, id, host));
            }
        }
        best.map(|(_, id, host)| (id, host))
    }

    pub(super) async fn run_spec(&self, row: &WorkspaceRow) -> Outcome<RunSpec> {
        let owner = self.store.user(&row.owner).await?;
        let git_identity = owner.as_ref().map(|user| {
            let or = |preferred: &str, other: &str| {
                if preferred.is_empty() {
                    other.to_owned()
                } else {
                    preferred.to_owned()
                }
            };
            let name = or(&user.git_name, &user.name);
            let email = or(&user.git_email, &user.email);
            GitIdentity {
                name: or(&name, &user.email),
                email,
            }
        });
        Ok(RunSpec {
            workspace: row.id.clone(),
            name: row.name.clone(),
            organization: Some(row.organization.clone()),
            epoch: row.state.placement().epoch,
            size: row.size,
            repository: row.repository.clone(),
            origin: row.origin.clone(),
            git_identity,
            environment: BTreeMap::from([
                ("ROOST_WORKSPACE".into(), row.name.to_string()),
                ("ROOST_WORKSPACE_ID".into(), row.id.to_string()),
            ]),
        })
    }
}
