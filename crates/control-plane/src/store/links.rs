//! One-time links: the first administrator, invitations, new passwords.

use control_api::identity::LinkPurpose;
use model::UserId;
use sqlx::Row;

use super::{Result, Store, ms, query, unsigned};

#[derive(Clone, Debug, PartialEq)]
pub struct LinkRow {
    pub purpose: LinkPurpose,
    /// Whose password it sets; none for the first administrator, who does not exist yet.
    pub user: Option<UserId>,
    pub created_ms: u64,
    pub expires_ms: u64,
}

fn purpose_name(purpose: LinkPurpose) -> &'static str {
    match purpose {
        LinkPurpose::FirstAdministrator => "first-administrator",
        LinkPurpose::Invitation => "invitation",
        LinkPurpose::PasswordReset => "password-reset",
    }
}

impl Store {
    /// Replaces the links that the same person has, or that would make the first administrator.
    pub async fn add_link(&self, token_hash: &str, link: &LinkRow) -> Result<()> {
        let owner = link
            .user
            .as_ref()
            .map_or(self.organization.as_str(), UserId::as_str);
        let mut writing = self.write().await?;
        sqlx::query("DELETE FROM links WHERE owner_id = $1")
            .bind(owner)
            .execute(&mut *writing)
            .await
            .map_err(query("replacing a link"))?;
        sqlx::query(
            "INSERT INTO links (token_hash, organization_id, owner_id, purpose, created_ms, expires_ms)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(token_hash)
        .bind(self.organization.as_str())
        .bind(owner)
        .bind(purpose_name(link.purpose))
        .bind(ms(link.created_ms))
        .bind(ms(link.expires_ms))
        .execute(&mut *writing)
        .await
        .map_err(query("making a link"))?;
        writing.commit().await.map_err(query("making a link"))
    }

    /// The link of this token, if it has not expired.
    pub async fn link(&self, token_hash: &str, now_ms: u64) -> Result<Option<LinkRow>> {
        let row = sqlx::query(
            "SELECT owner_id, purpose, created_ms, expires_ms FROM links
             WHERE token_hash = $1 AND expires_ms > $2",
        )
        .bind(token_hash)
        .bind(ms(now_ms))
        .fetch_optional(&self.pool)
        .await
        .map_err(query("looking up a link"))?;
        let Some(row) = row else { return Ok(None) };
        let read = || -> sqlx::Result<LinkRow> {
            let owner: String = row.try_get(0)?;
            let (purpose, user) = match row.try_get::<String, _>(1)?.as_str() {
                "first-administrator" => (LinkPurpose::FirstAdministrator, None),
                "invitation" => (LinkPurpose::Invitation, Some(UserId::new(owner))),
                _ => (LinkPurpose::PasswordReset, Some(UserId::new(owner))),
            };
            Ok(LinkRow {
                purpose,
                user,
                created_ms: unsigned(row.try_get(2)?),
                expires_ms: unsigned(row.try_get(3)?),
            })
        };
        read().map(Some).map_err(query("reading a link"))
    }

    /// True for the one caller that uses it up.
    pub async fn use_link(&self, token_hash: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM links WHERE token_hash = $1")
            .bind(token_hash)
            .execute(&self.pool)
            .await
            .map_err(query("using a link up"))?;
        Ok(done.rows_affected() == 1)
    }
}
