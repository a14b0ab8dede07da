//! Credentials of git servers, sealed at rest.
//!
//! A server is named as `host` or `host:port`; one that speaks plain HTTP as `http://host[:port]`, so that a
//! secret that was given for HTTPS is never sent in the open because something in a workspace asks for
//! `http://` of the same host. A port other than the usual ones names one server whatever it speaks.

use control_api::git::{GitCredential, SetGitCredential};
use control_api::problem::{Kind, Problem};
use fleet_api::control::{Credential, GitRemote};
use model::{UserId, WorkspaceId};
use url::Url;

use super::App;
use super::identity::line;
use crate::fault::{Fault, Outcome};

const MAX_SECRET: usize = 16 * 1024;

impl App {
    pub async fn set_credential(
        &self,
        user: &UserId,
        set: &SetGitCredential,
    ) -> Outcome<GitCredential> {
        let authority = server(&set.authority)?;
        let path_prefix = path_prefix(&set.path_prefix)?;
        let secret_is_plain = !set.secret.chars().any(char::is_control);
        if set.secret.is_empty() || set.secret.len() > MAX_SECRET || !secret_is_plain {
            let detail = "Give a password or token of one line.";
            return Err(Problem::new(Kind::InvalidField, detail)
                .field("secret")
                .into());
        }
        let username = line("username", &set.username)?;
        if username.contains(':') {
            let detail = "A user name of a git server has no colon in it.";
            return Err(Problem::new(Kind::InvalidField, detail)
                .field("username")
                .into());
        }
        let username = if username.is_empty() {
            "git".into()
        } else {
            username
        };
        let now = self.world.now_ms();
        let mut credential = GitCredential {
            id: self.world.id(),
            authority,
            path_prefix,
            username,
            created_ms: now,
            used_ms: None,
        };
        let context = seal_context(user, &credential);
        let sealed = self.sealer.seal(&self.world, &context, &set.secret);
        credential.id = self
            .store
            .set_credential(user, &credential, &sealed)
            .await?;
        self.store
            .record(
                user,
                "git-credential.set",
                &credential.id,
                &credential.authority,
                now,
            )
            .await?;
        self.answered(user, &credential.authority).await?;
        Ok(credential)
    }

    /// Workspaces that asked for credentials of this server need not ask any more.
    async fn answered(&self, user: &UserId, authority: &str) -> Outcome<()> {
        let asks =
            |asked: &str| asked == authority || asked.strip_prefix("http://") == Some(authority);
        for row in self.store.workspaces_of(user).await? {
            if row.needs_credentials.as_deref().is_some_and(asks) {
                self.change(&row.id, |row, _| {
                    row.needs_credentials = None;
                    Ok(Vec::new())
                })
                .await?;
            }
        }
        Ok(())
    }

    pub async fn list_credentials(&self, user: &UserId) -> Outcome<Vec<GitCredential>> {
        let rows = self.store.credentials(user).await?;
        Ok(rows.into_iter().map(|(credential, _)| credential).collect())
    }

    pub async fn delete_credential(&self, user: &UserId, id: &str) -> Outcome<()> {
        if !self.store.delete_credential(user, id).await? {
            return Err(Fault::new(Kind::NotFound, "You have no such credential."));
        }
        self.store
            .record(user, "git-credential.delete", id, "", self.world.now_ms())
            .await?;
        Ok(())
    }

    /// The best credential of the workspace's owner for this remote.
    pub async fn credential_for(
        &self,
        workspace: &WorkspaceId,
        remote: &GitRemote,
    ) -> Outcome<Option<Credential>> {
        let Some(row) = self.store.workspace(workspace).await? else {
            return Ok(None);
        };
        let best = self
            .store
            .credentials(&row.owner)
            .await?
            .into_iter()
            .filter(|(credential, _)| fits(credential, remote))
            .max_by_key(|(credential, _)| credential.path_prefix.len());
        let Some((credential, sealed)) = best else {
            return Ok(None);
        };
        match self
            .sealer
            .open(&seal_context(&row.owner, &credential), &sealed)
        {
            Ok(secret) => {
                self.store
                    .use_credential(&credential.id, self.world.now_ms())
                    .await?;
                Ok(Some(Credential {
                    username: credential.username,
                    secret,
                }))
            }
            Err(error) => {
                tracing::error!(credential = credential.id, %error, "a git credential does not open");
                Ok(None)
            }
        }
    }
}

/// The name of a remote's server as credentials have it.
pub fn server_of(remote: &GitRemote) -> String {
    let authority = remote.authority.to_ascii_lowercase();
    if remote.scheme == "http" {
        format!("http://{authority}")
    } else {
        authority
    }
}

fn fits(credential: &GitCredential, remote: &GitRemote) -> bool {
    let authority = remote.authority.to_ascii_lowercase();
    let has_port = authority
        .rsplit(':')
        .next()
        .is_some_and(|port| port.parse::<u16>().is_ok());
    let server = credential.authority == server_of(remote)
        || (has_port && credential.authority == authority);
    let prefix = credential.path_prefix.as_str();
    let below = remote
        .path
        .strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with(['/', '.']));
    server && below
}

/// What is sealed belongs to one user, server and path.
fn seal_context(user: &UserId, credential: &GitCredential) -> String {
    format!(
        "git-credential\n{user}\n{}\n{}",
        credential.authority, credential.path_prefix
    )
}

fn server(text: &str) -> Outcome<String> {
    let text = text.trim();
    let wrong = || {
        Fault::from(
            Problem::new(
                Kind::InvalidField,
                format!("{text:?} names no server. Give its host, such as github.com or git.example.com:8443."),
            )
            .field("authority"),
        )
    };
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let url = Url::parse(&full).map_err(|_| wrong())?;
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(wrong)?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    match url.scheme() {
        "https" => Ok(authority),
        "http" => Ok(format!("http://{authority}")),
        _ => Err(wrong()),
    }
}

fn path_prefix(text: &str) -> Outcome<String> {
    let text = text.trim().trim_end_matches('/');
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.contains(['?', '#', '\\']) || text.chars().any(|character| character.is_control()) {
        let detail = "Give the path that repositories begin with, such as /team.";
        return Err(Problem::new(Kind::InvalidField, detail)
            .field("path_prefix")
            .into());
    }
    Ok(format!("/{}", text.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(scheme: &str, authority: &str, path: &str) -> GitRemote {
        GitRemote {
            scheme: scheme.into(),
            authority: authority.into(),
            path: path.into(),
            write: false,
        }
    }

    fn given(server_text: &str, prefix: &str) -> GitCredential {
        GitCredential {
            id: String::new(),
            authority: server(server_text).unwrap(),
            path_prefix: path_prefix(prefix).unwrap(),
            username: "git".into(),
            created_ms: 0,
            used_ms: None,
        }
    }

    #[test]
    fn a_secret_for_https_is_never_sent_in_the_open() {
        let secure = given("GitHub.com", "");
        assert!(fits(&secure, &remote("https", "github.com", "/a/b")));
        assert!(!fits(&secure, &remote("http", "github.com", "/a/b")));
        assert!(!fits(
            &secure,
            &remote("https", "github.com.evil.example", "/a/b")
        ));
        let plain = given("http://github.com", "");
        assert!(fits(&plain, &remote("http", "github.com", "/a/b")));
        assert!(!fits(&plain, &remote("https", "github.com", "/a/b")));
        let port = given("127.0.0.1:3000", "");
        assert!(fits(&port, &remote("http", "127.0.0.1:3000", "/a")));
        assert!(!fits(&port, &remote("http", "127.0.0.1", "/a")));
        assert_eq!(
            given("https://git.example:443/x", "").authority,
            "git.example"
        );
    }

    #[test]
    fn a_prefix_ends_at_a_part_of_the_path() {
        let team = given("a.b", "team/");
        assert_eq!(team.path_prefix, "/team");
        for (path, expected) in [
            ("/team", true),
            ("/team/x", true),
            ("/team.git", true),
            ("/teams/x", false),
            ("/other/team", false),
        ] {
            assert_eq!(
                fits(&team, &remote("https", "a.b", path)),
                expected,
                "{path}"
            );
        }
        assert!(server("").is_err() && server("ssh://a.b").is_err() && server("a b").is_err());
    }
}
