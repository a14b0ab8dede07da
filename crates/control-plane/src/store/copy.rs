//! A consistent copy of the database while servers write to it, for a backup.

use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::Executor;

use super::{Result, StoreError, engine, query};

/// What a copy is made of, and becomes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// `postgres://…`
    Postgres(String),
}

impl Database {
    /// The one that a server with this data folder and setting uses.
    pub fn of(folder: &Path, url: Option<&str>) -> Self {
        match url.map(|url| (url, url.split_once(':'))) {
            None => Self::Sqlite(folder.join("roost.db")),
            Some((_, Some(("sqlite", path)))) => Self::Sqlite(path.trim_start_matches("//").into()),
            Some((url, _)) => Self::Postgres(url.to_owned()),
        }
    }
}

/// Copies the database as it is at one moment to `into`, which is not there.
pub async fn copy(folder: &Path, url: Option<&str>, into: &Path) -> Result<()> {
    match Database::of(folder, url) {
        Database::Sqlite(_) => {
            let pool = engine::choose(folder, url)?.connect().await?;
            let copied = pool
                .execute(sqlx::query("VACUUM INTO ?").bind(into.to_string_lossy().into_owned()))
                .await;
            pool.close().await;
            copied.map(drop).map_err(query("copying the database"))
        }
        Database::Postgres(url) => {
            let mut dump = Command::new("pg_dump");
            dump.args(["--format=custom", "--no-owner", "--file"])
                .arg(into);
            run(dump, &url)
        }
    }
}

/// Brings a copy of PostgreSQL's back into an empty database.
pub fn bring_back(url: &str, from: &Path) -> Result<()> {
    let mut restore = Command::new("pg_restore");
    restore
        .args(["--no-owner", "--exit-on-error", "--single-transaction"])
        .arg(from);
    run(restore, url)
}

fn run(mut command: Command, address: &str) -> Result<()> {
    let wrong = || StoreError::Address {
        url: address.into(),
    };
    let mut url = url::Url::parse(address).map_err(|_| wrong())?;
    // A password is nobody else's to see, and every argument is.
    if let Some(password) = url.password().map(str::to_owned) {
        url.set_password(None).map_err(|()| wrong())?;
        let query = format!("password={}", password.replace('+', "%2B"));
        if let Some((_, password)) = url::form_urlencoded::parse(query.as_bytes()).next() {
            command.env("PGPASSWORD", password.as_ref());
        }
    }
    command.arg("--dbname").arg(url.as_str());
    let program = command.get_program().to_string_lossy().into_owned();
    let reason = match command.output() {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(StoreError::Tool { program, reason })
}
