//! Workspaces. A row changes by compare-and-set on its generation, together with the effects of the change.

use std::collections::BTreeMap;

use fleet_api::host::{Observed, Repository, RepositoryStatus};
use fleet_api::points::Origin;
use model::state::{Effect, State};
use model::{OrganizationId, Size, UserId, WorkspaceId, WorkspaceName};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Result, Store, StoreError, corrupt, json, ms, query, starts, unsigned};

#[derive(Clone, Debug, PartialEq)]
pub struct WorkspaceRow {
    pub id: WorkspaceId,
    pub organization: OrganizationId,
    pub owner: UserId,
    pub name: WorkspaceName,
    pub generation: u64,
    /// What is wanted of it.
    pub state: State,
    /// What went wrong with the last request to its host, in words.
    pub detail: String,
    /// Where it was placed last.
    pub host: Option<String>,
    /// What its host saw last.
    pub observed: Option<Observed>,
    pub repository: Option<Repository>,
    /// What its disk begins with, when that is not the base image.
    pub origin: Option<Origin>,
    pub size: Size,
    pub labels: BTreeMap<String, String>,
    pub tags: Vec<String>,
    /// Its repositories, when they were looked at last.
    pub report: Option<Report>,
    /// The git server that asked for credentials.
    pub needs_credentials: Option<String>,
    pub created_ms: u64,
    /// Of the last change of state.
    pub changed_ms: u64,
    pub used_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub repositories: Vec<RepositoryStatus>,
    pub seen_ms: u64,
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Done,
    /// The row has another generation, or is gone.
    Conflict,
    /// The new name belongs to another workspace, or did.
    NameTaken,
}

/// What came of a creation.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    Done,
    NameTaken,
    /// The same request was made before: this is its workspace.
    Before(WorkspaceId),
    /// The key was used for another request.
    KeyReused,
}

/// Makes the same request once, however often it is sent.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    pub key: String,
    pub request_hash: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, organization_id, owner_id, name, generation, state, detail, host_id, observed, ",
            "repository, vcpus, memory_mib, disk_gib, labels, tags, report, report_ms, ",
            "needs_credentials, created_ms, changed_ms, used_ms, origin FROM workspaces ",
            $rest
        )
    };
}

impl Store {
    pub async fn create_workspace(
        &self,
        row: &WorkspaceRow,
        key: Option<&IdempotencyKey>,
        effects: &[Effect],
    ) -> Result<Created> {
        const WHAT: &str = "creating a workspace";
        let mut writing = self.write().await?;
        if let Some(key) = key {
            let new = sqlx::query(
                "INSERT INTO idempotency_keys (owner_id, key, organization_id, request_hash,
                    workspace_id, created_ms)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (owner_id, key) DO NOTHING",
            )
            .bind(row.owner.as_str())
            .bind(&key.key)
            .bind(row.organization.as_str())
            .bind(&key.request_hash)
            .bind(row.id.as_str())
            .bind(ms(row.created_ms))
            .execute(&mut *writing)
            .await
            .map_err(query(WHAT))?;
            if new.rows_affected() == 0 {
                drop(writing);
                return self.created_before(&row.owner, key).await;
            }
        }
        if !take_name(&mut writing, row, &row.name, row.created_ms).await? {
            return Ok(Created::NameTaken);
        }
        sqlx::query(
            "INSERT INTO workspaces (id, organization_id, owner_id, name, generation, state_name, state,
                detail, host_id, observed, repository, vcpus, memory_mib, disk_gib, labels, tags,
                created_ms, changed_ms, origin)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
        )
        .bind(row.id.as_str())
        .bind(row.organization.as_str())
        .bind(row.owner.as_str())
        .bind(row.name.as_str())
        .bind(ms(row.generation))
        .bind(row.state.name())
        .bind(json(&row.state))
        .bind(&row.detail)
        .bind(row.host.as_deref())
        .bind(row.observed.as_ref().map(json))
        .bind(row.repository.as_ref().map(json))
        .bind(i64::from(row.size.vcpus))
        .bind(ms(row.size.memory_mib))
        .bind(ms(row.size.disk_gib))
        .bind(json(&row.labels))
        .bind(json(&row.tags))
        .bind(ms(row.created_ms))
        .bind(ms(row.changed_ms))
        .bind(row.origin.as_ref().map(json))
        .execute(&mut *writing)
        .await
        .map_err(query(WHAT))?;
        starts::apply(&mut writing, row, effects, row.created_ms).await?;
        writing.commit().await.map_err(query(WHAT))?;
        Ok(Created::Done)
    }

    /// A request with this key made a workspace.
    pub async fn key_is_used(&self, owner: &UserId, key: &IdempotencyKey) -> Result<bool> {
        let row = sqlx::query(
            "SELECT workspace_id FROM idempotency_keys WHERE owner_id = $1 AND key = $2",
        )
        .bind(owner.as_str())
        .bind(&key.key)
        .fetch_optional(&self.pool)
        .await
        .map_err(query("looking up an idempotency key"))?;
        Ok(row.is_some())
    }

    async fn created_before(&self, owner: &UserId, key: &IdempotencyKey) -> Result<Created> {
        let row = sqlx::query(
            "SELECT request_hash, workspace_id FROM idempotency_keys WHERE owner_id = $1 AND key = $2",
        )
        .bind(owner.as_str())
        .bind(&key.key)
        .fetch_one(&self.pool)
        .await
        .map_err(query("looking up an idempotency key"))?;
        let read = || -> sqlx::Result<(String, String)> { Ok((row.try_get(0)?, row.try_get(1)?)) };
        let (hash, workspace) = read().map_err(query("reading an idempotency key"))?;
        Ok(if hash == key.request_hash {
            Created::Before(WorkspaceId::new(workspace))
        } else {
            Created::KeyReused
        })
    }

    /// Saves `row` if the one in the database still has its generation, and follows the effects. The new row
    /// has the next generation.
    pub async fn change_workspace(
        &self,
        row: &WorkspaceRow,
        effects: &[Effect],
        now_ms: u64,
    ) -> Result<Changed> {
        const WHAT: &str = "changing a workspace";
        let mut writing = self.write().await?;
        if effects.contains(&Effect::Purge) {
            let done = sqlx::query("DELETE FROM workspaces WHERE id = $1 AND generation = $2")
                .bind(row.id.as_str())
                .bind(ms(row.generation))
                .execute(&mut *writing)
                .await
                .map_err(query("removing a workspace"))?;
            writing
                .commit()
                .await
                .map_err(query("removing a workspace"))?;
            return Ok(if done.rows_affected() == 1 {
                Changed::Done
            } else {
                Changed::Conflict
            });
        }
        let done = sqlx::query(
            "UPDATE workspaces SET generation = generation + 1, name = $3, state_name = $4, state = $5,
                detail = $6, host_id = $7, observed = $8, repository = $9, vcpus = $10, memory_mib = $11,
                disk_gib = $12, labels = $13, tags = $14, report = $15, report_ms = $16,
                needs_credentials = $17, changed_ms = $18
             WHERE id = $1 AND generation = $2 AND NOT EXISTS (
                SELECT 1 FROM workspace_names
                WHERE workspace_names.name = $3 AND workspace_names.workspace_id <> $1)",
        )
        .bind(row.id.as_str())
        .bind(ms(row.generation))
        .bind(row.name.as_str())
        .bind(row.state.name())
        .bind(json(&row.state))
        .bind(&row.detail)
        .bind(row.host.as_deref())
        .bind(row.observed.as_ref().map(json))
        .bind(row.repository.as_ref().map(json))
        .bind(i64::from(row.size.vcpus))
        .bind(ms(row.size.memory_mib))
        .bind(ms(row.size.disk_gib))
        .bind(json(&row.labels))
        .bind(json(&row.tags))
        .bind(row.report.as_ref().map(|report| json(&report.repositories)))
        .bind(row.report.as_ref().map(|report| ms(report.seen_ms)))
        .bind(row.needs_credentials.as_deref())
        .bind(ms(row.changed_ms))
        .execute(&mut *writing)
        .await
        .map_err(query(WHAT))?;
        if done.rows_affected() == 0 {
            drop(writing);
            let current = self.workspace(&row.id).await?;
            let same = current.is_some_and(|current| current.generation == row.generation);
            return Ok(if same {
                Changed::NameTaken
            } else {
                Changed::Conflict
            });
        }
        if !take_name(&mut writing, row, &row.name, now_ms).await? {
            return Ok(Changed::NameTaken);
        }
        starts::apply(&mut writing, row, effects, now_ms).await?;
        writing.commit().await.map_err(query(WHAT))?;
        Ok(Changed::Done)
    }

    pub async fn workspace(&self, id: &WorkspaceId) -> Result<Option<WorkspaceRow>> {
        let row = sqlx::query(select!("WHERE id = $1"))
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(query("looking up a workspace"))?;
        row.as_ref().map(read).transpose()
    }

    /// By its name or its id.
    pub async fn find_workspace(&self, name_or_id: &str) -> Result<Option<WorkspaceRow>> {
        let row = sqlx::query(select!("WHERE name = $1 OR id = $1"))
            .bind(name_or_id)
            .fetch_optional(&self.pool)
            .await
            .map_err(query("looking up a workspace"))?;
        row.as_ref().map(read).transpose()
    }

    /// The newest first.
    pub async fn workspaces_of(&self, owner: &UserId) -> Result<Vec<WorkspaceRow>> {
        let rows = sqlx::query(select!(
            "WHERE owner_id = $1 ORDER BY created_ms DESC, id DESC"
        ))
        .bind(owner.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(query("listing workspaces"))?;
        rows.iter().map(read).collect()
    }

    /// Of everybody, with what is being deleted; the newest first.
    pub async fn all_workspaces(&self) -> Result<Vec<WorkspaceRow>> {
        let rows = sqlx::query(select!("ORDER BY created_ms DESC, id DESC"))
            .fetch_all(&self.pool)
            .await
            .map_err(query("listing workspaces"))?;
        rows.iter().map(read).collect()
    }

    /// Of everybody.
    pub async fn workspace_ids(&self) -> Result<Vec<WorkspaceId>> {
        let rows = sqlx::query("SELECT id FROM workspaces ORDER BY created_ms, id")
            .fetch_all(&self.pool)
            .await
            .map_err(query("listing workspaces"))?;
        let ids = rows
            .iter()
            .map(|row| row.try_get::<String, _>(0).map(WorkspaceId::new));
        ids.collect::<sqlx::Result<_>>()
            .map_err(query("listing workspaces"))
    }

    /// Those whose state does not last, of everybody.
    pub async fn workspaces_under_way(&self) -> Result<Vec<WorkspaceId>> {
        let rows = sqlx::query(
            "SELECT id FROM workspaces
             WHERE state_name IN ('queued', 'provisioning', 'stopping', 'deleting')",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(query("listing workspaces"))?;
        let ids = rows
            .iter()
            .map(|row| row.try_get::<String, _>(0).map(WorkspaceId::new));
        ids.collect::<sqlx::Result<_>>()
            .map_err(query("listing workspaces"))
    }

    /// A name that was never used, or by this workspace.
    pub async fn name_is_free(&self, name: &WorkspaceName) -> Result<bool> {
        let row = sqlx::query("SELECT name FROM workspace_names WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(query("looking up a name"))?;
        Ok(row.is_none())
    }

    pub async fn touch_workspace(&self, id: &WorkspaceId, now_ms: u64) -> Result<()> {
        sqlx::query("UPDATE workspaces SET used_ms = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(ms(now_ms))
            .execute(&self.pool)
            .await
            .map_err(query("marking a workspace as used"))?;
        Ok(())
    }
}

/// False: the name is another workspace's.
async fn take_name(
    writing: &mut super::Writing,
    row: &WorkspaceRow,
    name: &WorkspaceName,
    now_ms: u64,
) -> Result<bool> {
    let holder = sqlx::query(
        "INSERT INTO workspace_names (name, organization_id, owner_id, workspace_id, created_ms)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING workspace_id",
    )
    .bind(name.as_str())
    .bind(row.organization.as_str())
    .bind(row.owner.as_str())
    .bind(row.id.as_str())
    .bind(ms(now_ms))
    .fetch_one(&mut **writing)
    .await
    .map_err(query("taking a name"))?;
    let holder: String = holder.try_get(0).map_err(query("taking a name"))?;
    Ok(holder == row.id.as_str())
}

fn read(row: &AnyRow) -> Result<WorkspaceRow> {
    const TABLE: &str = "workspaces";
    let text = |column: &str| {
        row.try_get::<String, _>(column)
            .map_err(query("reading a workspace"))
    };
    let optional = |column: &str| {
        row.try_get::<Option<String>, _>(column)
            .map_err(query("reading a workspace"))
    };
    let number = |column: &str| {
        row.try_get::<i64, _>(column)
            .map(unsigned)
            .map_err(query("reading a workspace"))
    };
    let optional_number = |column: &str| {
        row.try_get::<Option<i64>, _>(column)
            .map(|value| value.map(unsigned))
            .map_err(query("reading a workspace"))
    };
    let name = WorkspaceName::parse(&text("name")?).map_err(|error| StoreError::Corrupt {
        table: TABLE,
        reason: error.to_string(),
    })?;
    let parse = |text: String| serde_json::from_str(&text).map_err(corrupt(TABLE));
    let repositories: Option<Vec<RepositoryStatus>> = optional("report")?
        .map(|text| serde_json::from_str(&text).map_err(corrupt(TABLE)))
        .transpose()?;
    let report = match (repositories, optional_number("report_ms")?) {
        (Some(repositories), Some(seen_ms)) => Some(Report {
            repositories,
            seen_ms,
        }),
        (Some(_) | None, None) | (None, Some(_)) => None,
    };
    Ok(WorkspaceRow {
        id: WorkspaceId::new(text("id")?),
        organization: OrganizationId::new(text("organization_id")?),
        owner: UserId::new(text("owner_id")?),
        name,
        generation: number("generation")?,
        state: serde_json::from_str(&text("state")?).map_err(corrupt(TABLE))?,
        detail: text("detail")?,
        host: optional("host_id")?,
        observed: optional("observed")?.map(parse).transpose()?,
        repository: optional("repository")?
            .map(|text| serde_json::from_str(&text).map_err(corrupt(TABLE)))
            .transpose()?,
        origin: optional("origin")?
            .map(|text| serde_json::from_str(&text).map_err(corrupt(TABLE)))
            .transpose()?,
        size: Size {
            vcpus: u32::try_from(number("vcpus")?).unwrap_or(u32::MAX),
            memory_mib: number("memory_mib")?,
            disk_gib: number("disk_gib")?,
        },
        labels: serde_json::from_str(&text("labels")?).map_err(corrupt(TABLE))?,
        tags: serde_json::from_str(&text("tags")?).map_err(corrupt(TABLE))?,
        report,
        needs_credentials: optional("needs_credentials")?,
        created_ms: number("created_ms")?,
        changed_ms: number("changed_ms")?,
        used_ms: optional_number("used_ms")?,
    })
}
