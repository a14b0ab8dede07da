//! The server and token that `roost login` saved, in a file that only the user can read.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct Profile {
    /// Origin of the server, without a slash at its end.
    pub url: String,
    pub token: String,
    /// Id of the token, to revoke it at logout.
    pub token_id: String,
}

fn path() -> anyhow::Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(home);
    Ok(folder
        .context("neither XDG_CONFIG_HOME nor HOME is set")?
        .join("roost/client.toml"))
}

impl Profile {
    /// From `ROOST_URL` and `ROOST_TOKEN`, or what was saved.
    pub fn load() -> anyhow::Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let (Some(url), Some(token)) = (variable("ROOST_URL"), variable("ROOST_TOKEN")) {
            return Ok(Self {
                url: url.trim_end_matches('/').into(),
                token,
                token_id: String::new(),
            });
        }
        let path = path()?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => anyhow::bail!(
                "you are not signed in: run `roost login URL`, or set ROOST_URL and ROOST_TOKEN"
            ),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        toml::from_str(&text)
            .with_context(|| format!("{} is damaged: run `roost login` again", path.display()))
    }

    pub fn save(&self) -> anyhow::Result<()> {
        let path = path()?;
        let folder = path.parent().context("the path has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("writing {}", path.display()))?;
        file.write_all(toml::to_string(self)?.as_bytes())?;
        Ok(())
    }

    pub fn forget() -> anyhow::Result<()> {
        let path = path()?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}
