//! What differs between SQLite and PostgreSQL.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use fleet_api::Later;
use sqlx::any::AnyPoolOptions;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Any, AnyPool, Executor, Transaction};

use super::{Result, StoreError, query};

/// A transaction that may write.
pub type Writing = Transaction<'static, Any>;

/// One kind of database.
pub trait Engine: Send + Sync {
    fn connect(&self) -> Later<'_, Result<AnyPool>>;

    /// Brings the schema up to date; safe when several processes do it at once.
    fn migrate<'a>(&'a self, pool: &'a AnyPool) -> Later<'a, Result<()>>;

    fn write<'a>(&'a self, pool: &'a AnyPool) -> Later<'a, Result<Writing>>;

    /// Waits until no other transaction that called this is under way.
    fn alone<'a>(&'a self, writing: &'a mut Writing) -> Later<'a, Result<()>>;
}

/// The engine for a `sqlite:` or `postgres:` address; without one, SQLite in `roost.db` of the data folder.
pub fn choose(folder: &Path, url: Option<&str>) -> Result<Arc<dyn Engine>> {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);
    match url {
        None => Ok(Arc::new(Sqlite {
            path: folder.join("roost.db"),
        })),
        Some(url) => match url.split_once(':') {
            Some(("sqlite", path)) => Ok(Arc::new(Sqlite {
                path: path.trim_start_matches("//").into(),
            })),
            Some(("postgres" | "postgresql", _)) => Ok(Arc::new(Postgres { url: url.into() })),
            Some(_) | None => Err(StoreError::Address { url: url.into() }),
        },
    }
}

struct Sqlite {
    path: PathBuf,
}

impl Engine for Sqlite {
    fn connect(&self) -> Later<'_, Result<AnyPool>> {
        Box::pin(async {
            let mut url = url::Url::parse("sqlite:///").expect("a constant address");
            url.set_path(&self.path.to_string_lossy());
            url.set_query(Some("mode=rwc"));
            AnyPoolOptions::new()
                .max_connections(4)
                .after_connect(|connection, _| {
                    Box::pin(async move {
                        // In this order: changing the journal's mode may have to wait for somebody. In a
                        // migration it would fail, as that is a transaction.
                        for pragma in [
                            "PRAGMA busy_timeout = 15000",
                            "PRAGMA journal_mode = WAL",
                            "PRAGMA synchronous = FULL",
                            "PRAGMA foreign_keys = ON",
                        ] {
                            connection.execute(pragma).await?;
                        }
                        Ok(())
                    })
                })
                .connect(url.as_str())
                .await
                .map_err(query("opening the SQLite database"))
        })
    }

    fn migrate<'a>(&'a self, pool: &'a AnyPool) -> Later<'a, Result<()>> {
        Box::pin(async move {
            // Two processes that migrate one SQLite file at once spoil each other's.
            let path = self.path.with_extension("migrate.lock");
            let lock = lock(path).await?;
            let done = migrate(&sqlx::migrate!("migrations/sqlite"), pool).await;
            drop(lock);
            done
        })
    }

    fn write<'a>(&'a self, pool: &'a AnyPool) -> Later<'a, Result<Writing>> {
        Box::pin(async move {
            pool.begin_with("BEGIN IMMEDIATE")
                .await
                .map_err(query("beginning to write"))
        })
    }

    fn alone<'a>(&'a self, _: &'a mut Writing) -> Later<'a, Result<()>> {
        // There is one writer at a time as it is.
        Box::pin(async { Ok(()) })
    }
}

struct Postgres {
    url: String,
}

impl Engine for Postgres {
    fn connect(&self) -> Later<'_, Result<AnyPool>> {
        Box::pin(async {
            AnyPoolOptions::new()
                .max_connections(10)
                .acquire_timeout(Duration::from_secs(10))
                .connect(&self.url)
                .await
                .map_err(query("connecting to PostgreSQL"))
        })
    }

    fn migrate<'a>(&'a self, pool: &'a AnyPool) -> Later<'a, Result<()>> {
        // It takes an advisory lock.
        Box::pin(async move { migrate(&sqlx::migrate!("migrations/postgres"), pool).await })
    }

    fn write<'a>(&'a self, pool: &'a AnyPool) -> Later<'a, Result<Writing>> {
        Box::pin(async move { pool.begin().await.map_err(query("beginning to write")) })
    }

    fn alone<'a>(&'a self, writing: &'a mut Writing) -> Later<'a, Result<()>> {
        Box::pin(async move {
            writing
                .execute("LOCK TABLE organizations IN SHARE ROW EXCLUSIVE MODE")
                .await
                .map_err(query("waiting for other first starts"))?;
            Ok(())
        })
    }
}

async fn migrate(migrator: &Migrator, pool: &AnyPool) -> Result<()> {
    let known = migrator
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default();
    migrator.run(pool).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) if found > known => StoreError::Newer { found, known },
        MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version) => {
            StoreError::Foreign { version }
        }
        error => StoreError::Migrate(error),
    })
}

/// The lock is held until the file is closed.
async fn lock(path: PathBuf) -> Result<std::fs::File> {
    let shown = path.display().to_string();
    let take = move || {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)?;
        file.lock()?;
        Ok(file)
    };
    tokio::task::spawn_blocking(take)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(|source| StoreError::Lock {
            path: shown,
            source,
        })
}
