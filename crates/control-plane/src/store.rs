//! What is kept: users, workspaces, starts and everything else that outlives the process.
//!
//! The same queries run on SQLite and PostgreSQL; an [`Engine`] knows the few things that differ. A row of a
//! workspace changes by compare-and-set on its generation, together with what follows from the change.
//!
//! - [`engine`]: SQLite and PostgreSQL: connect, migrate, begin to write.
//! - [`users`], [`sessions`], [`tokens`], [`links`], [`credentials`], [`settings`]: people and what is theirs.
//! - [`workspaces`], [`starts`]: workspaces and their timelines.
//! - [`quotas`]: how much somebody may have.
//! - [`audit`]: who did what.
//! - [`copy`]: all of it, for a backup.

pub mod audit;
pub mod copy;
pub mod credentials;
pub mod engine;
pub mod links;
pub mod quotas;
pub mod sessions;
pub mod settings;
pub mod starts;
pub mod tokens;
pub mod users;
pub mod workspaces;

use std::path::Path;

use model::OrganizationId;
use sqlx::{AnyPool, Row};

use engine::{Engine, Writing};

/// Why something could not be kept or found out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the data was written by a newer version of Roost (schema {found}, this version knows {known}); start that version, or restore a backup from before the upgrade"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "the database schema was changed by hand: migration {version} is not what this version applied"
    )]
    Foreign { version: i64 },
    #[error("the database address {url} is not sqlite:… or postgres:…")]
    Address { url: String },
    #[error("taking the lock {path}")]
    Lock {
        path: String,
        source: std::io::Error,
    },
    /// Of PostgreSQL's own tools.
    #[error(
        "{program} failed ({reason}): it belongs to PostgreSQL's client programs (package postgresql-client), of \
         the server's version or a later one"
    )]
    Tool { program: String, reason: String },
    #[error("preparing the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("{what}")]
    Query {
        what: &'static str,
        source: sqlx::Error,
    },
    #[error("a row of {table} cannot be read: {reason}")]
    Corrupt { table: &'static str, reason: String },
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// Open handle on the database.
#[derive(Clone)]
pub struct Store {
    pool: AnyPool,
    engine: std::sync::Arc<dyn Engine>,
    /// The one organisation, until there are more.
    organization: OrganizationId,
}

impl Store {
    /// Opens the database at `url`, or `roost.db` in `folder` when there is none, and brings its schema up to
    /// date. Makes the organisation on the first start, with `organization` as its id.
    pub async fn open(
        folder: &Path,
        url: Option<&str>,
        organization: &str,
        now_ms: u64,
    ) -> Result<Self> {
        let engine = engine::choose(folder, url)?;
        let pool = engine.connect().await?;
        engine.migrate(&pool).await?;
        let mut store = Self {
            pool,
            engine,
            organization: OrganizationId::new(organization),
        };
        store.organization = store.first_organization(organization, now_ms).await?;
        Ok(store)
    }

    pub fn organization(&self) -> &OrganizationId {
        &self.organization
    }

    /// Closes all connections; what was acknowledged is on the disk already.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn first_organization(&self, id: &str, now_ms: u64) -> Result<OrganizationId> {
        let mut writing = self.write().await?;
        self.engine.alone(&mut writing).await?;
        let found = sqlx::query("SELECT id FROM organizations ORDER BY created_ms, id LIMIT 1")
            .fetch_optional(&mut *writing)
            .await
            .map_err(query("looking for the organisation"))?;
        let id: String = match found {
            Some(row) => row.try_get(0).map_err(query("reading the organisation"))?,
            None => {
                sqlx::query(
                    "INSERT INTO organizations (id, organization_id, owner_id, name, created_ms)
                     VALUES ($1, $1, $1, 'Roost', $2)",
                )
                .bind(id)
                .bind(ms(now_ms))
                .execute(&mut *writing)
                .await
                .map_err(query("making the organisation"))?;
                id.into()
            }
        };
        writing
            .commit()
            .await
            .map_err(query("making the organisation"))?;
        Ok(OrganizationId::new(id))
    }

    /// Begins a transaction that will write: it waits for other writers now, not in the middle.
    async fn write(&self) -> Result<Writing> {
        self.engine.write(&self.pool).await
    }
}

/// Names what was attempted when a query fails.
fn query(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Query { what, source }
}

fn corrupt(table: &'static str) -> impl FnOnce(serde_json::Error) -> StoreError {
    move |error| StoreError::Corrupt {
        table,
        reason: error.to_string(),
    }
}

/// Databases have signed numbers only; times and counts are far below that.
fn ms(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with text keys is always JSON")
}
