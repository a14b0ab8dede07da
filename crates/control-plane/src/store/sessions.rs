//! Sign-in sessions of browsers. Only a hash of the cookie is kept.

use model::UserId;
use sqlx::Row;

use super::{Result, Store, ms, query, unsigned};

/// A session or token that is valid now.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub id: String,
    pub user: UserId,
    pub used_ms: Option<u64>,
}

impl Store {
    pub async fn add_session(
        &self,
        id: &str,
        token_hash: &str,
        user: &UserId,
        now_ms: u64,
        expires_ms: u64,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO sessions (id, organization_id, owner_id, token_hash, created_ms, used_ms, expires_ms)
             VALUES ($1, $2, $3, $4, $5, $5, $6)",
        )
        .bind(id)
        .bind(self.organization.as_str())
        .bind(user.as_str())
        .bind(token_hash)
        .bind(ms(now_ms))
        .bind(ms(expires_ms))
        .execute(&self.pool)
        .await
        .map_err(query("making a session"))?;
        Ok(())
    }

    pub async fn session(&self, token_hash: &str, now_ms: u64) -> Result<Option<Grant>> {
        let row = sqlx::query(
            "SELECT id, owner_id, used_ms FROM sessions WHERE token_hash = $1 AND expires_ms > $2",
        )
        .bind(token_hash)
        .bind(ms(now_ms))
        .fetch_optional(&self.pool)
        .await
        .map_err(query("looking up a session"))?;
        row.map(|row| grant(&row))
            .transpose()
            .map_err(query("reading a session"))
    }

    pub async fn session_exists(&self, id: &str, now_ms: u64) -> Result<bool> {
        let row = sqlx::query("SELECT id FROM sessions WHERE id = $1 AND expires_ms > $2")
            .bind(id)
            .bind(ms(now_ms))
            .fetch_optional(&self.pool)
            .await
            .map_err(query("looking up a session"))?;
        Ok(row.is_some())
    }

    /// Moves the end of a session that is in use.
    pub async fn extend_session(&self, id: &str, now_ms: u64, expires_ms: u64) -> Result<()> {
        sqlx::query("UPDATE sessions SET used_ms = $2, expires_ms = $3 WHERE id = $1")
            .bind(id)
            .bind(ms(now_ms))
            .bind(ms(expires_ms))
            .execute(&self.pool)
            .await
            .map_err(query("extending a session"))?;
        Ok(())
    }

    pub async fn end_session(&self, id: &str) -> Result<()> {
        sqlx::query("DELETE FROM sessions WHERE id = $1")
            .bind(id)
            .execute(&self.pool)
            .await
            .map_err(query("ending a session"))?;
        Ok(())
    }

    /// Removes sessions, links, tokens and idempotency keys whose time is over.
    pub async fn forget_expired(&self, now_ms: u64, keys_before_ms: u64) -> Result<()> {
        let mut writing = self.write().await?;
        for (statement, before) in [
            ("DELETE FROM sessions WHERE expires_ms <= $1", now_ms),
            ("DELETE FROM links WHERE expires_ms <= $1", now_ms),
            ("DELETE FROM tokens WHERE expires_ms <= $1", now_ms),
            (
                "DELETE FROM idempotency_keys WHERE created_ms <= $1",
                keys_before_ms,
            ),
        ] {
            sqlx::query(statement)
                .bind(ms(before))
                .execute(&mut *writing)
                .await
                .map_err(query("forgetting what has expired"))?;
        }
        writing
            .commit()
            .await
            .map_err(query("forgetting what has expired"))
    }
}

/// From the columns id, owner_id, used_ms.
pub(super) fn grant(row: &sqlx::any::AnyRow) -> sqlx::Result<Grant> {
    Ok(Grant {
        id: row.try_get(0)?,
        user: UserId::new(row.try_get::<String, _>(1)?),
        used_ms: row.try_get::<Option<i64>, _>(2)?.map(unsigned),
    })
}
