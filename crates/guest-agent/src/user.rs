//! The user whose machine this is, read from `/etc/passwd` and `/etc/group` without the C library's resolvers,
//! which a static binary does not have.

use std::path::{Path, PathBuf};

/// As whom the editor's programs run and its files are touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub home: PathBuf,
    pub shell: PathBuf,
}

impl User {
    /// The user of a number, from the two tables' content.
    pub fn find(passwd: &str, group: &str, uid: u32) -> Option<Self> {
        let (name, gid, home, shell) = passwd.lines().find_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let &[name, _, number, gid, _, home, shell] = fields.as_slice() else {
                return None;
            };
            (number.parse() == Ok(uid)).then(|| Some((name, gid.parse().ok()?, home, shell)))?
        })?;
        let groups = group.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let &[_, _, number, members] = fields.as_slice() else {
                return None;
            };
            let number = number.parse().ok()?;
            (number != gid && members.split(',').any(|member| member == name)).then_some(number)
        });
        Some(Self {
            name: name.into(),
            uid,
            gid,
            groups: groups.collect(),
            home: home.into(),
            shell: if shell.is_empty() {
                "/bin/sh".into()
            } else {
                shell.into()
            },
        })
    }

    /// Whose process this is, with a home of its own: for process mode.
    pub fn current(home: &Path) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self {
            name: name_of(uid),
            uid,
            gid: rustix::process::getegid().as_raw(),
            groups: Vec::new(),
            home: home.into(),
            shell: "/bin/bash".into(),
        }
    }
}

/// The name behind a number, or the number.
pub fn name_of(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    User::find(&passwd, "", uid).map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_home_shell_and_groups() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\nbroken\ndev:x:1000:1000:,,,:/home/dev:/bin/zsh\n";
        let group = "root:x:0:\nsudo:x:27:someone,dev\nadm:x:4:devil\ndev:x:1000:dev\n";
        let user = User::find(passwd, group, 1000).unwrap();
        assert_eq!((user.name.as_str(), user.gid), ("dev", 1000));
        assert_eq!(user.home, Path::new("/home/dev"));
        assert_eq!(user.shell, Path::new("/bin/zsh"));
        assert_eq!(user.groups, [27]);
        assert_eq!(User::find(passwd, group, 5), None);
    }
}
