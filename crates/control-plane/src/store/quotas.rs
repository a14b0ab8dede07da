//! Quotas, and the part of what they limit that is in this database.

use model::quota::{Amount, Quota};
use model::{OrganizationId, UserId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Result, Store, ms, query, unsigned};

/// Whom a quota is for.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    User(&'a UserId),
    Organization(&'a OrganizationId),
}

impl Holder<'_> {
    fn id(&self) -> &str {
        match self {
            Self::User(id) => id.as_str(),
            Self::Organization(id) => id.as_str(),
        }
    }
}

impl Store {
    /// No limits when there is none.
    pub async fn quota(&self, holder: Holder<'_>) -> Result<Quota> {
        const WHAT: &str = "looking up a quota";
        let row = sqlx::query(
            "SELECT workspaces, logical_bytes, stored_bytes FROM quotas WHERE owner_id = $1",
        )
        .bind(holder.id())
        .fetch_optional(&self.pool)
        .await
        .map_err(query(WHAT))?;
        let read = |row: AnyRow| -> sqlx::Result<Quota> {
            let number = |column: usize| -> sqlx::Result<Option<u64>> {
                Ok(row.try_get::<Option<i64>, _>(column)?.map(unsigned))
            };
            Ok(Quota {
                workspaces: number(0)?,
                logical: number(1)?,
                stored: number(2)?,
            })
        };
        let read = row.map(read).transpose().map_err(query(WHAT))?;
        Ok(read.unwrap_or_default())
    }

    pub async fn set_quota(&self, holder: Holder<'_>, quota: &Quota, now_ms: u64) -> Result<()> {
        sqlx::query(
            "INSERT INTO quotas (owner_id, organization_id, workspaces, logical_bytes, stored_bytes,
                changed_ms)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (owner_id) DO UPDATE SET workspaces = excluded.workspaces,
                logical_bytes = excluded.logical_bytes, stored_bytes = excluded.stored_bytes,
                changed_ms = excluded.changed_ms",
        )
        .bind(holder.id())
        .bind(self.organization.as_str())
        .bind(quota.workspaces.map(ms))
        .bind(quota.logical.map(ms))
        .bind(quota.stored.map(ms))
        .bind(ms(now_ms))
        .execute(&self.pool)
        .await
        .map_err(query("setting a quota"))?;
        Ok(())
    }

    /// Workspaces and the sizes of their disks.
    pub async fn promised(&self, holder: Holder<'_>) -> Result<Amount> {
        const WHAT: &str = "adding up workspaces";
        let sum = match holder {
            Holder::User(_) => {
                "SELECT CAST(count(*) AS BIGINT), CAST(coalesce(sum(disk_gib), 0) AS BIGINT)
                 FROM workspaces WHERE owner_id = $1"
            }
            Holder::Organization(_) => {
                "SELECT CAST(count(*) AS BIGINT), CAST(coalesce(sum(disk_gib), 0) AS BIGINT)
                 FROM workspaces WHERE organization_id = $1"
            }
        };
        let row = sqlx::query(sum)
            .bind(holder.id())
            .fetch_one(&self.pool)
            .await
            .map_err(query(WHAT))?;
        let read = || -> sqlx::Result<Amount> {
            Ok(Amount {
                workspaces: unsigned(row.try_get(0)?),
                logical: unsigned(row.try_get(1)?) << 30,
                stored: 0,
            })
        };
        read().map_err(query(WHAT))
    }
}
