//! Setting documents of the workbench, each with a version that guards against lost updates.

use fleet_api::control::Setting;
use model::UserId;
use sqlx::Row;

use super::{Result, Store, query};

impl Store {
    /// Version 0: there is none.
    pub async fn setting(&self, user: &UserId, name: &str) -> Result<Setting> {
        let row =
            sqlx::query("SELECT version, text FROM settings WHERE owner_id = $1 AND name = $2")
                .bind(user.as_str())
                .bind(name)
                .fetch_optional(&self.pool)
                .await
                .map_err(query("reading a setting document"))?;
        let Some(row) = row else {
            return Ok(Setting::default());
        };
        let read = || -> sqlx::Result<Setting> {
            Ok(Setting {
                version: row.try_get(0)?,
                text: row.try_get(1)?,
            })
        };
        read().map_err(query("reading a setting document"))
    }

    /// The new version, or as error the one that is there and not `expected`. Without `expected` it is
    /// saved whatever is there.
    pub async fn save_setting(
        &self,
        user: &UserId,
        name: &str,
        expected: Option<i64>,
        text: &str,
    ) -> Result<std::result::Result<i64, i64>> {
        const WHAT: &str = "saving a setting document";
        let mut writing = self.write().await?;
        // The row is made first, so that two first writers wait for each other on it.
        sqlx::query(
            "INSERT INTO settings (owner_id, name, organization_id, version, text)
             VALUES ($1, $2, $3, 0, '') ON CONFLICT (owner_id, name) DO NOTHING",
        )
        .bind(user.as_str())
        .bind(name)
        .bind(self.organization.as_str())
        .execute(&mut *writing)
        .await
        .map_err(query(WHAT))?;
        let saved = sqlx::query(
            "UPDATE settings SET version = version + 1, text = $3
             WHERE owner_id = $1 AND name = $2 AND ($4 < 0 OR version = $4) RETURNING version",
        )
        .bind(user.as_str())
        .bind(name)
        .bind(text)
        .bind(expected.unwrap_or(-1))
        .fetch_optional(&mut *writing)
        .await
        .map_err(query(WHAT))?;
        let Some(saved) = saved else {
            drop(writing);
            return Ok(Err(self.setting(user, name).await?.version));
        };
        let version = saved.try_get(0).map_err(query(WHAT))?;
        writing.commit().await.map_err(query(WHAT))?;
        Ok(Ok(version))
    }
}
