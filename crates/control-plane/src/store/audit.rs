//! Who did what, when. Rows are only added; the database refuses to change or delete one.

use model::UserId;
use sqlx::Row;

use super::{Result, Store, ms, query, unsigned};

#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    pub sequence: u64,
    pub at_ms: u64,
    pub user: String,
    /// Stable name, such as `workspace.create`.
    pub action: String,
    /// Id of what it was done to.
    pub subject: String,
    pub detail: String,
}

impl Store {
    pub async fn record(
        &self,
        user: &UserId,
        action: &str,
        subject: &str,
        detail: &str,
        now_ms: u64,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO audit (organization_id, owner_id, at_ms, action, subject, detail)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(self.organization.as_str())
        .bind(user.as_str())
        .bind(ms(now_ms))
        .bind(action)
        .bind(subject)
        .bind(detail)
        .execute(&self.pool)
        .await
        .map_err(query("writing the audit log"))?;
        Ok(())
    }

    /// The newest first.
    pub async fn audit(&self, limit: u32) -> Result<Vec<AuditRow>> {
        let rows = sqlx::query(
            "SELECT sequence, at_ms, owner_id, action, subject, detail FROM audit
             WHERE organization_id = $1 ORDER BY sequence DESC LIMIT $2",
        )
        .bind(self.organization.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(query("reading the audit log"))?;
        let read = |row: &sqlx::any::AnyRow| -> sqlx::Result<AuditRow> {
            Ok(AuditRow {
                sequence: unsigned(row.try_get(0)?),
                at_ms: unsigned(row.try_get(1)?),
                user: row.try_get(2)?,
                action: row.try_get(3)?,
                subject: row.try_get(4)?,
                detail: row.try_get(5)?,
            })
        };
        rows.iter()
            .map(read)
            .collect::<sqlx::Result<_>>()
            .map_err(query("reading the audit log"))
    }
}
