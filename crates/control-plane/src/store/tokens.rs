//! Personal API tokens. Only a hash is kept.

use control_api::identity::Token;
use model::UserId;
use sqlx::Row;

use super::sessions::{Grant, grant};
use super::{Result, Store, ms, query, unsigned};

impl Store {
    pub async fn add_token(&self, user: &UserId, token_hash: &str, token: &Token) -> Result<()> {
        sqlx::query(
            "INSERT INTO tokens (id, organization_id, owner_id, name, token_hash, created_ms, expires_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&token.id)
        .bind(self.organization.as_str())
        .bind(user.as_str())
        .bind(&token.name)
        .bind(token_hash)
        .bind(ms(token.created_ms))
        .bind(token.expires_ms.map(ms))
        .execute(&self.pool)
        .await
        .map_err(query("making a token"))?;
        Ok(())
    }

    pub async fn token(&self, token_hash: &str, now_ms: u64) -> Result<Option<Grant>> {
        let row = sqlx::query(
            "SELECT id, owner_id, used_ms FROM tokens
             WHERE token_hash = $1 AND (expires_ms IS NULL OR expires_ms > $2)",
        )
        .bind(token_hash)
        .bind(ms(now_ms))
        .fetch_optional(&self.pool)
        .await
        .map_err(query("looking up a token"))?;
        row.map(|row| grant(&row))
            .transpose()
            .map_err(query("reading a token"))
    }

    pub async fn token_exists(&self, id: &str, now_ms: u64) -> Result<bool> {
        let row = sqlx::query(
            "SELECT id FROM tokens WHERE id = $1 AND (expires_ms IS NULL OR expires_ms > $2)",
        )
        .bind(id)
        .bind(ms(now_ms))
        .fetch_optional(&self.pool)
        .await
        .map_err(query("looking up a token"))?;
        Ok(row.is_some())
    }

    pub async fn tokens(&self, user: &UserId) -> Result<Vec<Token>> {
        let rows = sqlx::query(
            "SELECT id, name, created_ms, expires_ms, used_ms FROM tokens WHERE owner_id = $1
             ORDER BY created_ms, id",
        )
        .bind(user.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(query("listing tokens"))?;
        let read = |row: &sqlx::any::AnyRow| -> sqlx::Result<Token> {
            Ok(Token {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                created_ms: unsigned(row.try_get(2)?),
                expires_ms: row.try_get::<Option<i64>, _>(3)?.map(unsigned),
                used_ms: row.try_get::<Option<i64>, _>(4)?.map(unsigned),
            })
        };
        rows.iter()
            .map(read)
            .collect::<sqlx::Result<_>>()
            .map_err(query("reading tokens"))
    }

    pub async fn use_token(&self, id: &str, now_ms: u64) -> Result<()> {
        sqlx::query("UPDATE tokens SET used_ms = $2 WHERE id = $1")
            .bind(id)
            .bind(ms(now_ms))
            .execute(&self.pool)
            .await
            .map_err(query("marking a token as used"))?;
        Ok(())
    }

    /// False: the user has no such token.
    pub async fn delete_token(&self, user: &UserId, id: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM tokens WHERE id = $1 AND owner_id = $2")
            .bind(id)
            .bind(user.as_str())
            .execute(&self.pool)
            .await
            .map_err(query("deleting a token"))?;
        Ok(done.rows_affected() == 1)
    }
}
