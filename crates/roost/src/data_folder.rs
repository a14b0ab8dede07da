//! The data folder: one server at a time, never older than its data.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Format of the folder as a whole; raised when an older server could not use it any more.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    #[error("cannot use the data folder {path}")]
    Unusable { path: PathBuf, source: io::Error },
    #[error(
        "Roost already runs on {path}, as process {pid}. Stop that one first (kill {pid}), or name another \
         folder with --data."
    )]
    InUse { path: PathBuf, pid: String },
    #[error(
        "{path} was written by a newer Roost (format {found}, this one knows {FORMAT}). Run that version, or \
         name another folder with --data."
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{path} is no data folder of Roost's: name another one with --data")]
    Unclear { path: PathBuf },
}

/// The folder; a server's is locked for as long as this lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: Option<File>,
}

impl DataFolder {
    /// Makes the folder if need be, and takes it for this process.
    pub fn open(path: &Path) -> Result<Self, DataFolderError> {
        let unusable = |source| DataFolderError::Unusable {
            path: path.into(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(unusable)?;
        let path = fs::canonicalize(path).map_err(unusable)?;
        let lock = lock(&path)?;
        check_format(&path)?;
        Ok(Self {
            path,
            _lock: Some(lock),
        })
    }

    /// Looks into the folder while a server may run on it.
    pub fn visit(path: &Path) -> Result<Self, DataFolderError> {
        let unusable = |source| DataFolderError::Unusable {
            path: path.into(),
            source,
        };
        let path = fs::canonicalize(path).map_err(unusable)?;
        if !path.join(FORMAT_FILE).exists() {
            return Err(DataFolderError::Unclear { path });
        }
        check_format(&path)?;
        Ok(Self { path, _lock: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A secret of this length, made at the first start. Beside the database, not in it.
    pub fn secret(&self, name: &str, length: usize) -> io::Result<Vec<u8>> {
        let folder = self.path.join("keys");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let file = folder.join(name);
        match fs::read(&file) {
            Ok(secret) if secret.len() == length => return Ok(secret),
            Ok(_) => {
                return Err(io::Error::other(format!("{} is damaged", file.display())));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut secret = vec![0; length];
        rustix::rand::getrandom(&mut secret[..], rustix::rand::GetRandomFlags::empty())?;
        write_durably(&file, &secret)?;
        Ok(secret)
    }

    /// A small text that was remembered, such as the port of the last start.
    pub fn recall(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path.join(name))
            .ok()
            .map(|text| text.trim().to_owned())
    }

    pub fn remember(&self, name: &str, text: &str) -> io::Result<()> {
        write_durably(&self.path.join(name), format!("{text}\n").as_bytes())
    }
}

fn lock(path: &Path) -> Result<File, DataFolderError> {
    let unusable = |source| DataFolderError::Unusable {
        path: path.into(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join("roost.lock"))
        .map_err(unusable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(unusable)?;
            return Err(DataFolderError::InUse {
                path: path.into(),
                pid: pid.trim().into(),
            });
        }
        Err(error) => return Err(unusable(error.into())),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .map_err(unusable)?;
    writeln!(file, "{}", std::process::id()).map_err(unusable)?;
    Ok(file)
}

/// Checks the format, or notes it in a folder that has none.
fn check_format(path: &Path) -> Result<(), DataFolderError> {
    let unusable = |source| DataFolderError::Unusable {
        path: path.into(),
        source,
    };
    let file = path.join(FORMAT_FILE);
    match fs::read_to_string(&file) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(DataFolderError::Newer {
                path: path.into(),
                found,
            }),
            Ok(_) => Ok(()),
            Err(_) => Err(DataFolderError::Unclear { path: path.into() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write_durably(&file, format!("{FORMAT}\n").as_bytes()).map_err(unusable)
        }
        Err(source) => Err(unusable(source)),
    }
}

/// The file has all of the content or is as before, also after a power cut.
fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("a file lies in a folder");
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_on_the_folder_is_told_about_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path()).unwrap();
        let error = DataFolder::open(folder.path()).unwrap_err();
        assert!(
            error.to_string().contains(&std::process::id().to_string()),
            "{error}"
        );
        DataFolder::visit(folder.path()).unwrap();
        drop(first);
        DataFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn a_newer_folder_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            DataFolder::visit(folder.path()),
            Err(DataFolderError::Unclear { .. })
        ));
        DataFolder::open(folder.path()).unwrap();
        fs::write(folder.path().join("format"), "2\n").unwrap();
        let error = DataFolder::open(folder.path()).unwrap_err();
        assert!(
            matches!(error, DataFolderError::Newer { found: 2, .. }),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(folder.path().join("format")).unwrap(),
            "2\n"
        );
        fs::write(folder.path().join("format"), "?").unwrap();
        assert!(matches!(
            DataFolder::open(folder.path()),
            Err(DataFolderError::Unclear { .. })
        ));
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let secret = data.secret("tickets", 32).unwrap();
        assert_eq!(data.secret("tickets", 32).unwrap(), secret);
        assert_ne!(data.secret("other", 32).unwrap(), secret);
        let file = data.path().join("keys/tickets");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::write(file, "short").unwrap();
        assert!(data.secret("tickets", 32).is_err());
    }
}
