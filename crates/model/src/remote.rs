//! Git URLs in all the forms that people paste, and what Roost makes of them.
//!
//! Git in a workspace reaches its server over HTTP alone, through a relay: every form becomes an `https` (or
//! `http`) URL, as `git@host:` does by rewriting in the workspace.

use url::{Host, Url};

use crate::WorkspaceName;

/// A repository on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// As it was given, without white space around it.
    pub given: String,
    /// What is fetched from: `https` or `http`, no user, no password.
    pub url: Url,
}

/// Why a text is no URL that Roost can clone; each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    #[error("give the URL of a Git repository, such as https://git.example.com/team/project")]
    Empty,
    #[error("a Git URL has no spaces or control characters in it")]
    Character,
    #[error("a Git URL has at most 2048 characters")]
    TooLong,
    #[error(
        "{scheme}:// is not supported: it is not encrypted and knows no sign-in; give the https:// URL of the repository"
    )]
    Unencrypted { scheme: String },
    #[error(
        "{scheme}:// is not supported; give an https://, http://, ssh:// or git@host:path URL that the server can reach"
    )]
    Scheme { scheme: String },
    #[error(
        "a path on your own machine cannot be reached from a workspace; give the URL of a Git server"
    )]
    Local,
    #[error(
        "the URL has a password in it, which would be kept in the open; leave it out and give it under Git credentials in your profile"
    )]
    Password,
    #[error("say on which server it is, such as https://github.com/{path}")]
    NoHost { path: String },
    #[error("the host name in {given} is not valid")]
    Host { given: String },
    #[error("the URL names a server but no repository on it: add its path, such as {example}")]
    NoPath { example: String },
    #[error("leave ? and # and what follows them out of the URL of the repository")]
    Query,
}

impl RemoteError {
    /// A text that would be accepted and may be what was meant.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            Self::NoHost { path } => Some(format!("https://github.com/{path}")),
            Self::Empty
            | Self::Character
            | Self::TooLong
            | Self::Unencrypted { .. }
            | Self::Scheme { .. }
            | Self::Local
            | Self::Password
            | Self::Host { .. }
            | Self::NoPath { .. }
            | Self::Query => None,
        }
    }
}

impl Remote {
    /// Accepts `https://`, `http://`, `ssh://`, `user@host:path` and `host/path`.
    pub fn parse(text: &str) -> Result<Self, RemoteError> {
        let given = text.trim();
        if given.is_empty() {
            return Err(RemoteError::Empty);
        }
        if given.len() > 2048 {
            return Err(RemoteError::TooLong);
        }
        if given
            .chars()
            .any(|character| character.is_whitespace() || character.is_control())
        {
            return Err(RemoteError::Character);
        }
        let url = match given.split_once("://") {
            Some((scheme, rest)) => with_scheme(given, &scheme.to_ascii_lowercase(), rest)?,
            None => without_scheme(given)?,
        };
        finish(given, url)
    }

    /// Host, with its port where that is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.into(),
        }
    }

    /// Folder below `/workspaces`: the last part of the path, with nothing that a shell or a person trips over.
    pub fn folder(&self) -> String {
        let last = self.url.path().rsplit('/').next().unwrap_or_default();
        let plain: String = last
            .strip_suffix(".git")
            .unwrap_or(last)
            .chars()
            .map(|character| {
                if character.is_ascii_alphanumeric() || "._-".contains(character) {
                    character
                } else {
                    '-'
                }
            })
            .collect();
        let plain = plain.trim_start_matches(['.', '-']);
        if plain.is_empty() {
            "repository".into()
        } else {
            plain.chars().take(100).collect()
        }
    }

    pub fn suggested_name(&self) -> WorkspaceName {
        WorkspaceName::suggest(&self.folder())
    }
}

fn with_scheme(given: &str, scheme: &str, rest: &str) -> Result<Url, RemoteError> {
    let host = || RemoteError::Host {
        given: given.into(),
    };
    match scheme {
        "https" | "http" => Url::parse(given).map_err(|_| host()),
        // The port of an SSH server says nothing about its HTTPS port.
        "ssh" | "git+ssh" | "ssh+git" => {
            let ssh = Url::parse(&format!("ssh://{rest}")).map_err(|_| host())?;
            if ssh.password().is_some() {
                return Err(RemoteError::Password);
            }
            let name = ssh
                .host_str()
                .filter(|name| !name.is_empty())
                .ok_or_else(host)?;
            Url::parse(&format!("https://{name}{}", ssh.path())).map_err(|_| host())
        }
        "git" | "ftp" | "ftps" => Err(RemoteError::Unencrypted {
            scheme: scheme.into(),
        }),
        "file" => Err(RemoteError::Local),
        _ => Err(RemoteError::Scheme {
            scheme: scheme.into(),
        }),
    }
}

fn without_scheme(given: &str) -> Result<Url, RemoteError> {
    if given.starts_with(['/', '.', '~', '-']) || given.contains('\\') {
        return Err(RemoteError::Local);
    }
    let host = || RemoteError::Host {
        given: given.into(),
    };
    // git@host:path, where the part before the colon has no slash; host:8443/path has a port there.
    if let Some((before, path)) = given.split_once(':')
        && !before.contains('/')
    {
        let port = path.split('/').next().unwrap_or_default();
        let name = before.rsplit('@').next().unwrap_or_default();
        if !before.contains('@')
            && !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Url::parse(&format!("https://{given}")).map_err(|_| host());
        }
        return Url::parse(&format!("https://{name}/{}", path.trim_start_matches('/')))
            .map_err(|_| host());
    }
    let (name, _) = given.split_once('/').unwrap_or((given, ""));
    if !name.contains('.') && name != "localhost" {
        return Err(RemoteError::NoHost { path: given.into() });
    }
    Url::parse(&format!("https://{given}")).map_err(|_| host())
}

fn finish(given: &str, mut url: Url) -> Result<Remote, RemoteError> {
    let host = || RemoteError::Host {
        given: given.into(),
    };
    if url.password().is_some() {
        return Err(RemoteError::Password);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(RemoteError::Query);
    }
    match url.host() {
        Some(Host::Domain(name)) if name.split('.').all(is_label) => {}
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => {}
        Some(Host::Domain(_)) | None => return Err(host()),
    }
    // Some servers put the organisation there; it is no secret, and the relay adds its own.
    url.set_username("").map_err(|()| host())?;
    let path = url.path().trim_end_matches('/').to_owned();
    if path.is_empty() || path == "/.git" {
        return Err(RemoteError::NoPath {
            example: format!("{}team/project", url),
        });
    }
    url.set_path(&path);
    Ok(Remote {
        given: given.into(),
        url,
    })
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_forms_that_people_paste_become_one_url() {
        for (given, url, authority, folder) in [
            (
                "https://github.com/rust-lang/log.git",
                "https://github.com/rust-lang/log.git",
                "github.com",
                "log",
            ),
            (
                " https://git.example.com:8443/a/b/ ",
                "https://git.example.com:8443/a/b",
                "git.example.com:8443",
                "b",
            ),
            (
                "http://10.0.0.5:3000/a/b",
                "http://10.0.0.5:3000/a/b",
                "10.0.0.5:3000",
                "b",
            ),
            (
                "git@github.com:rust-lang/log.git",
                "https://github.com/rust-lang/log.git",
                "github.com",
                "log",
            ),
            (
                "ssh://git@git.example.com:2222/a/b.git",
                "https://git.example.com/a/b.git",
                "git.example.com",
                "b",
            ),
            (
                "github.com/rust-lang/log",
                "https://github.com/rust-lang/log",
                "github.com",
                "log",
            ),
            (
                "localhost:3000/a/b",
                "https://localhost:3000/a/b",
                "localhost:3000",
                "b",
            ),
            (
                "https://team@dev.azure.com/team/p/_git/p",
                "https://dev.azure.com/team/p/_git/p",
                "dev.azure.com",
                "p",
            ),
            (
                "HTTPS://GitHub.com/A/B",
                "https://github.com/A/B",
                "github.com",
                "B",
            ),
            (
                "https://h.example/~me/.dotfiles",
                "https://h.example/~me/.dotfiles",
                "h.example",
                "dotfiles",
            ),
            (
                "https://[::1]:8000/r",
                "https://[::1]:8000/r",
                "[::1]:8000",
                "r",
            ),
        ] {
            let remote = Remote::parse(given).unwrap_or_else(|error| panic!("{given}: {error}"));
            assert_eq!(remote.url.as_str(), url, "{given}");
            assert_eq!(remote.authority(), authority, "{given}");
            assert_eq!(remote.folder(), folder, "{given}");
        }
    }

    #[test]
    fn what_cannot_be_cloned_is_refused_with_what_to_do() {
        let kind = |text: &str| Remote::parse(text).unwrap_err();
        assert_eq!(kind("  "), RemoteError::Empty);
        assert_eq!(kind("https://a.b/c d"), RemoteError::Character);
        assert_eq!(kind("https://a.b/c\0"), RemoteError::Character);
        assert_eq!(kind("/srv/git/a"), RemoteError::Local);
        assert_eq!(kind("../a"), RemoteError::Local);
        assert_eq!(kind("file:///srv/a"), RemoteError::Local);
        assert_eq!(kind("--upload-pack=evil"), RemoteError::Local);
        assert_eq!(
            kind("git://a.b/c"),
            RemoteError::Unencrypted {
                scheme: "git".into()
            }
        );
        assert_eq!(kind("ext::sh -c x"), RemoteError::Character);
        assert_eq!(
            kind("s3://a/b"),
            RemoteError::Scheme {
                scheme: "s3".into()
            }
        );
        assert_eq!(kind("https://me:secret@a.b/c"), RemoteError::Password);
        assert_eq!(kind("ssh://me:secret@a.b/c"), RemoteError::Password);
        assert_eq!(
            kind("https://github.com/"),
            RemoteError::NoPath {
                example: "https://github.com/team/project".into()
            }
        );
        assert_eq!(kind("https://a.b/c?x=1"), RemoteError::Query);
        assert!(matches!(
            kind("https://-oProxyCommand=x/a"),
            RemoteError::Host { .. }
        ));
        assert!(matches!(
            kind("https:///a"),
            RemoteError::Host { .. } | RemoteError::NoPath { .. }
        ));
        assert_eq!(
            kind("rust-lang/log").suggestion().as_deref(),
            Some("https://github.com/rust-lang/log")
        );
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_plain_http_and_a_plain_folder(text in "\\PC{0,60}") {
            if let Ok(remote) = Remote::parse(&text) {
                prop_assert!(["https", "http"].contains(&remote.url.scheme()));
                prop_assert!(remote.url.username().is_empty() && remote.url.password().is_none());
                let folder = remote.folder();
                prop_assert!(!folder.is_empty() && !folder.starts_with(['.', '-']) && !folder.contains('/'));
                prop_assert_eq!(Remote::parse(remote.url.as_str()).unwrap().url, remote.url);
            }
        }
    }
}
