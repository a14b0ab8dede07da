//! What a watch is about: a folder, or everything below it but what is excluded, or one file.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::files::writing::TEMPORARY;
use crate::session::CallError;

#[derive(Clone, Debug)]
pub struct Scope {
    pub path: PathBuf,
    pub recursive: bool,
    excludes: GlobSet,
}

impl Scope {
    pub fn new(path: PathBuf, recursive: bool, excludes: &[String]) -> Result<Self, CallError> {
        let mut builder = GlobSetBuilder::new();
        for pattern in excludes {
            let glob = Glob::new(pattern)
                .map_err(|error| CallError::invalid(format!("{pattern}: {}", error.kind())))?;
            builder.add(glob);
        }
        let excludes = builder
            .build()
            .map_err(|error| CallError::invalid(format!("the excludes: {}", error.kind())))?;
        Ok(Self {
            path,
            recursive,
            excludes,
        })
    }

    /// Whether changes of this path are told.
    pub fn covers(&self, path: &Path) -> bool {
        let ours =
            |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
        !path.file_name().is_some_and(ours) && !self.excludes.is_match(self.relative(path))
    }

    /// Whether anything within this folder may be told. `**/x/**` means all that is in x.
    pub fn covers_inside(&self, folder: &Path) -> bool {
        let inside = self.relative(folder).join("x");
        self.covers(folder) && !self.excludes.is_match(inside)
    }

    fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.path).unwrap_or(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_folders_are_not_entered() {
        let excludes = [
            "**/node_modules/**".to_owned(),
            "*.log".to_owned(),
            "**/.git/objects/**".to_owned(),
        ];
        let scope = Scope::new("/w".into(), true, &excludes).unwrap();
        assert!(scope.covers(Path::new("/w/a/node_modules")));
        assert!(!scope.covers_inside(Path::new("/w/a/node_modules")));
        assert!(!scope.covers(Path::new("/w/x.log")));
        assert!(scope.covers_inside(Path::new("/w/.git")));
        assert!(!scope.covers_inside(Path::new("/w/.git/objects")));
        assert!(!scope.covers(Path::new("/w/.roost-write-00ff")));
        assert!(Scope::new("/w".into(), true, &["[".to_owned()]).is_err());
    }
}
