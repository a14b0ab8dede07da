//! The same test on every kind of database.

use std::future::Future;
use std::path::PathBuf;

use control_plane::store::Store;
use tempfile::TempDir;

/// An empty database of one kind.
pub struct Database {
    pub kind: &'static str,
    folder: TempDir,
    url: Option<String>,
}

impl Database {
    pub async fn open(&self) -> Store {
        self.open_as("organization").await
    }

    /// With this id for the organisation, if it is to be made.
    pub async fn open_as(&self, id: &str) -> Store {
        let opened = Store::open(self.folder.path(), self.url.as_deref(), id, 1).await;
        opened.unwrap_or_else(|error| panic!("{}: {error:?}", self.kind))
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().into()
    }

    pub fn url(&self) -> Option<String> {
        self.url.clone()
    }
}

pub fn sqlite() -> Database {
    Database {
        kind: "SQLite",
        folder: tempfile::tempdir().unwrap(),
        url: None,
    }
}

pub fn postgres() -> Database {
    let url = Some(crate::postgres::database());
    Database {
        kind: "PostgreSQL",
        folder: tempfile::tempdir().unwrap(),
        url,
    }
}

/// Runs the test on SQLite and on PostgreSQL, each with an empty database.
pub async fn on_each<F: Future<Output = ()>>(test: impl Fn(Database) -> F) {
    test(sqlite()).await;
    test(postgres()).await;
}
