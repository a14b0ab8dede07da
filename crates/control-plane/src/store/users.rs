//! People.

use control_api::identity::Role;
use model::{OrganizationId, UserId};
use sqlx::{FromRow, Row};

use super::{Result, Store, ms, query, unsigned};

#[derive(Clone, Debug, PartialEq)]
pub struct UserRow {
    pub id: UserId,
    pub organization: OrganizationId,
    /// In lower case.
    pub email: String,
    pub name: String,
    pub role: Role,
    /// PHC string of argon2id; none until an invited user has set a password.
    pub password_hash: Option<String>,
    pub git_name: String,
    pub git_email: String,
    pub created_ms: u64,
}

const COLUMNS_BY_ID: &str = "SELECT id, organization_id, email, name, role, password_hash, git_name, git_email, created_ms FROM users WHERE id = $1";
const COLUMNS_BY_EMAIL: &str = "SELECT id, organization_id, email, name, role, password_hash, git_name, git_email, created_ms FROM users WHERE email = $1";
const COLUMNS_ALL: &str = "SELECT id, organization_id, email, name, role, password_hash, git_name, git_email, created_ms FROM users WHERE organization_id = $1 ORDER BY email";

impl<'r> FromRow<'r, sqlx::any::AnyRow> for UserRow {
    fn from_row(row: &'r sqlx::any::AnyRow) -> sqlx::Result<Self> {
        let role: String = row.try_get("role")?;
        Ok(Self {
            id: UserId::new(row.try_get::<String, _>("id")?),
            organization: OrganizationId::new(row.try_get::<String, _>("organization_id")?),
            email: row.try_get("email")?,
            name: row.try_get("name")?,
            role: if role == "administrator" {
                Role::Administrator
            } else {
                Role::Member
            },
            password_hash: row.try_get("password_hash")?,
            git_name: row.try_get("git_name")?,
            git_email: row.try_get("git_email")?,
            created_ms: unsigned(row.try_get("created_ms")?),
        })
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Administrator => "administrator",
        Role::Member => "member",
    }
}

impl Store {
    /// False: the address is taken.
    pub async fn add_user(&self, user: &UserRow) -> Result<bool> {
        let done = sqlx::query(
            "INSERT INTO users (id, organization_id, owner_id, email, name, role, password_hash,
                git_name, git_email, created_ms)
             VALUES ($1, $2, $1, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (email) DO NOTHING",
        )
        .bind(user.id.as_str())
        .bind(user.organization.as_str())
        .bind(&user.email)
        .bind(&user.name)
        .bind(role_name(user.role))
        .bind(user.password_hash.as_deref())
        .bind(&user.git_name)
        .bind(&user.git_email)
        .bind(ms(user.created_ms))
        .execute(&self.pool)
        .await
        .map_err(query("adding a user"))?;
        Ok(done.rows_affected() == 1)
    }

    pub async fn user(&self, id: &UserId) -> Result<Option<UserRow>> {
        sqlx::query_as(COLUMNS_BY_ID)
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(query("looking up a user"))
    }

    /// `email` in lower case.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<UserRow>> {
        sqlx::query_as(COLUMNS_BY_EMAIL)
            .bind(email)
            .fetch_optional(&self.pool)
            .await
            .map_err(query("looking up a user"))
    }

    pub async fn users(&self) -> Result<Vec<UserRow>> {
        sqlx::query_as(COLUMNS_ALL)
            .bind(self.organization.as_str())
            .fetch_all(&self.pool)
            .await
            .map_err(query("listing users"))
    }

    /// Somebody can sign in.
    pub async fn has_users(&self) -> Result<bool> {
        let row = sqlx::query(
            "SELECT CAST(count(*) AS BIGINT) FROM users WHERE password_hash IS NOT NULL",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(query("counting users"))?;
        Ok(row.try_get::<i64, _>(0).map_err(query("counting users"))? > 0)
    }

    pub async fn update_profile(
        &self,
        id: &UserId,
        name: &str,
        git_name: &str,
        git_email: &str,
    ) -> Result<()> {
        sqlx::query("UPDATE users SET name = $2, git_name = $3, git_email = $4 WHERE id = $1")
            .bind(id.as_str())
            .bind(name)
            .bind(git_name)
            .bind(git_email)
            .execute(&self.pool)
            .await
            .map_err(query("updating a profile"))?;
        Ok(())
    }

    /// Ends every session of the user but `keep`.
    pub async fn set_password(&self, id: &UserId, hash: &str, keep: Option<&str>) -> Result<()> {
        let mut writing = self.write().await?;
        sqlx::query("UPDATE users SET password_hash = $2 WHERE id = $1")
            .bind(id.as_str())
            .bind(hash)
            .execute(&mut *writing)
            .await
            .map_err(query("setting a password"))?;
        sqlx::query("DELETE FROM sessions WHERE owner_id = $1 AND id <> $2")
            .bind(id.as_str())
            .bind(keep.unwrap_or_default())
            .execute(&mut *writing)
            .await
            .map_err(query("ending sessions"))?;
        writing.commit().await.map_err(query("setting a password"))
    }
}
