//! Credentials of git servers, sealed by whoever holds the key.

use control_api::git::GitCredential;
use model::UserId;
use sqlx::Row;

use super::{Result, Store, ms, query, unsigned};

impl Store {
    /// Replaces the credential of the same server and path; answers the id that it has.
    pub async fn set_credential(
        &self,
        user: &UserId,
        credential: &GitCredential,
        sealed: &[u8],
    ) -> Result<String> {
        let row = sqlx::query(
            "INSERT INTO git_credentials (id, organization_id, owner_id, authority, path_prefix,
                username, sealed, created_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (owner_id, authority, path_prefix) DO UPDATE SET
                username = excluded.username, sealed = excluded.sealed,
                created_ms = excluded.created_ms, used_ms = NULL
             RETURNING id",
        )
        .bind(&credential.id)
        .bind(self.organization.as_str())
        .bind(user.as_str())
        .bind(&credential.authority)
        .bind(&credential.path_prefix)
        .bind(&credential.username)
        .bind(sealed)
        .bind(ms(credential.created_ms))
        .fetch_one(&self.pool)
        .await
        .map_err(query("saving a git credential"))?;
        row.try_get(0).map_err(query("saving a git credential"))
    }

    /// With what is sealed.
    pub async fn credentials(&self, user: &UserId) -> Result<Vec<(GitCredential, Vec<u8>)>> {
        let rows = sqlx::query(
            "SELECT id, authority, path_prefix, username, created_ms, used_ms, sealed
             FROM git_credentials WHERE owner_id = $1 ORDER BY authority, path_prefix",
        )
        .bind(user.as_str())
        .fetch_all(&self.pool)
        .await
        .map_err(query("listing git credentials"))?;
        let read = |row: &sqlx::any::AnyRow| -> sqlx::Result<(GitCredential, Vec<u8>)> {
            let credential = GitCredential {
                id: row.try_get(0)?,
                authority: row.try_get(1)?,
                path_prefix: row.try_get(2)?,
                username: row.try_get(3)?,
                created_ms: unsigned(row.try_get(4)?),
                used_ms: row.try_get::<Option<i64>, _>(5)?.map(unsigned),
            };
            Ok((credential, row.try_get(6)?))
        };
        rows.iter()
            .map(read)
            .collect::<sqlx::Result<_>>()
            .map_err(query("reading git credentials"))
    }

    pub async fn use_credential(&self, id: &str, now_ms: u64) -> Result<()> {
        sqlx::query("UPDATE git_credentials SET used_ms = $2 WHERE id = $1")
            .bind(id)
            .bind(ms(now_ms))
            .execute(&self.pool)
            .await
            .map_err(query("marking a git credential as used"))?;
        Ok(())
    }

    /// False: the user has no such credential.
    pub async fn delete_credential(&self, user: &UserId, id: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM git_credentials WHERE id = $1 AND owner_id = $2")
            .bind(id)
            .bind(user.as_str())
            .execute(&self.pool)
            .await
            .map_err(query("deleting a git credential"))?;
        Ok(done.rows_affected() == 1)
    }
}
