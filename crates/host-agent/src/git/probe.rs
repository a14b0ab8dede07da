//! Asks a server early whether a repository is there, so that the answer does not wait for a boot.

use std::time::Duration;

use fleet_api::control::GitRemote;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use model::WorkspaceId;
use tokio::time::timeout;
use url::Url;

use crate::git::relay::{self, Relay, no_repository, outgoing, refused_text};
use crate::git::remote;
use crate::git::upstream::UpstreamError;

const DEADLINE: Duration = Duration::from_secs(30);
const REDIRECTS: usize = 3;
/// A list of refs beyond this is not read; what is asked for may be in it.
const MAX_REFS: usize = 32 * 1024 * 1024;

/// What is known of a repository without fetching it.
#[derive(Debug)]
pub enum Probed {
    /// It is there. `branches`: absent when the server's list could not be read.
    Found {
        branches: Option<Vec<String>>,
    },
    NotFound {
        message: String,
    },
    Credentials {
        message: String,
    },
    Unreachable {
        message: String,
    },
}

/// Asks for the repository's refs as the workspace's owner.
pub async fn probe(relay: &Relay, workspace: &WorkspaceId, remote: &GitRemote) -> Probed {
    match timeout(DEADLINE, ask(relay, workspace, remote.clone())).await {
        Ok(Ok(probed)) => probed,
        Ok(Err(error)) => Probed::Unreachable {
            message: error.to_string(),
        },
        Err(_) => Probed::Unreachable {
            message: format!(
                "{} took longer than {} s to answer",
                remote.authority,
                DEADLINE.as_secs()
            ),
        },
    }
}

async fn ask(
    relay: &Relay,
    workspace: &WorkspaceId,
    mut remote: GitRemote,
) -> Result<Probed, UpstreamError> {
    for _ in 0..=REDIRECTS {
        let target = format!("{}/info/refs?service=git-upload-pack", remote.path);
        let credential = relay.credentials.credential(workspace, &remote).await;
        let mut headers = HeaderMap::new();
        // Servers choose their answer by it.
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static("git/2.40 (roost)"),
        );
        if let Some(credential) = &credential {
            headers.insert(header::AUTHORIZATION, relay::authorization(credential));
        }
        let connection = relay.upstream.connect(&remote).await?;
        let request = outgoing(
            Method::GET,
            headers,
            &remote,
            &target,
            &connection,
            relay::nothing(),
        );
        let mut sender = connection.sender;
        let host = remote.authority.clone();
        let answer = sender
            .send_request(request)
            .await
            .map_err(|source| UpstreamError::Http {
                host: host.clone(),
                source,
            })?;
        let status = answer.status();
        match status {
            StatusCode::OK => {
                let body = Limited::new(answer.into_body(), MAX_REFS).collect().await;
                let branches = body.ok().and_then(|body| branches(&body.to_bytes()));
                return Ok(Probed::Found { branches });
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                relay.credentials.rejected(workspace, &remote);
                let message = refused_text(&remote, status, credential.is_some());
                return Ok(Probed::Credentials { message });
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                let message = no_repository(&remote);
                return Ok(Probed::NotFound { message });
            }
            _ if status.is_redirection() => match next(&remote, &target, answer.headers()) {
                Some(next) => remote = next,
                None => break,
            },
            _ => {
                let message = format!("{host} answers {status} for {}", remote.path);
                return Ok(Probed::Unreachable { message });
            }
        }
    }
    let message = format!(
        "{} answers with redirects that lead nowhere",
        remote.authority
    );
    Ok(Probed::Unreachable { message })
}

fn next(remote: &GitRemote, target: &str, headers: &HeaderMap) -> Option<GitRemote> {
    let base = Url::parse(&format!("{}://{}{target}", remote.scheme, remote.authority)).ok()?;
    let mut location = base
        .join(headers.get(header::LOCATION)?.to_str().ok()?)
        .ok()?;
    let path = location.path().strip_suffix("/info/refs")?.to_owned();
    location.set_path(&path);
    location.set_query(None);
    remote::parse(location.as_str()).ok()
}

/// The branches in an advertisement of refs; `None` when it is none of the first protocol.
fn branches(advertised: &[u8]) -> Option<Vec<String>> {
    let mut rest = advertised;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = usize::from_str_radix(std::str::from_utf8(rest.get(..4)?).ok()?, 16).ok()?;
        if length < 4 {
            rest = &rest[4..];
            continue;
        }
        let line = rest.get(4..length)?;
        rest = &rest[length..];
        // "<id> <name>[\0<capabilities>]\n"
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        if line.starts_with("version 2") {
            return None;
        }
        if let Some((_, name)) = line.trim_end().split_once(' ')
            && let Some(branch) = name.strip_prefix("refs/heads/")
        {
            found.push(branch.to_owned());
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(line: &str) -> String {
        format!("{:04x}{line}", line.len() + 4)
    }

    #[test]
    fn branches_are_read_from_an_advertisement() {
        let id = "1234567890123456789012345678901234567890";
        let advertised = [
            packet("# service=git-upload-pack\n"),
            "0000".into(),
            packet(&format!(
                "{id} HEAD\0multi_ack side-band-64k symref=HEAD:refs/heads/main\n"
            )),
            packet(&format!("{id} refs/heads/feature/x\n")),
            packet(&format!("{id} refs/heads/main\n")),
            packet(&format!("{id} refs/tags/v1\n")),
            "0000".into(),
        ]
        .concat();
        assert_eq!(
            branches(advertised.as_bytes()).unwrap(),
            ["feature/x", "main"]
        );
        assert_eq!(branches(b"<!doctype html>"), None);
        assert_eq!(branches(b"00"), None);
        assert_eq!(branches(packet("version 2\n").as_bytes()), None);
    }
}
