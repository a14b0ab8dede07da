//! Which server and repository a URL, or a request to the relay, means. Pure.

use fleet_api::control::{Credential, GitRemote};
use model::remote::{Remote, RemoteError};
use url::Url;

/// A relayed request, understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    pub remote: GitRemote,
    pub service: Service,
    /// Path and query on the server.
    pub target: String,
    /// Credentials that stand in the URL itself.
    pub explicit: Option<Credential>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `GET …/info/refs?service=…`
    Advertise,
    /// `POST …/git-upload-pack` or `…/git-receive-pack`
    Exchange,
}

/// Why a request is not carried; each is told to the user by git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCarried {
    #[error("Roost carries only git's own requests (fetch, clone and push over HTTP) this way")]
    NotGit,
    #[error("Roost carries only the smart HTTP protocol; this git asks for the old one")]
    Dumb,
    #[error("Git LFS objects are not carried by Roost's git relay")]
    Lfs,
    #[error("this is no URL of a Git server")]
    Malformed,
}

/// The remote that a URL, as a user gives it, means; SSH forms mean the same path over HTTPS.
pub fn parse(url: &str) -> Result<GitRemote, RemoteError> {
    let parsed = Remote::parse(url)?;
    Ok(GitRemote {
        scheme: parsed.url.scheme().into(),
        authority: parsed.authority(),
        path: parsed.url.path().into(),
        write: false,
    })
}

/// What a request to the relay asks for. `path_and_query` is that of the request line.
pub fn understand(method: &http::Method, path_and_query: &str) -> Result<Asked, NotCarried> {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let (form, rest) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .ok_or(NotCarried::NotGit)?;
    let full = match form {
        "https" | "http" => {
            let (authority, path) = rest.split_once('/').ok_or(NotCarried::Malformed)?;
            Some(format!("{form}://{}/{path}", decode_authority(authority)))
        }
        "ssh" => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let authority = decode_authority(authority);
            scp(&if path.is_empty() {
                authority
            } else {
                format!("{authority}/{path}")
            })
        }
        "sshurl" => {
            let (authority, path) = rest.split_once('/').ok_or(NotCarried::Malformed)?;
            ssh_url(&format!("{}/{path}", decode_authority(authority)))
        }
        _ => return Err(NotCarried::NotGit),
    };
    let url = full
        .and_then(|full| Url::parse(&full).ok())
        .ok_or(NotCarried::Malformed)?;
    let path = url.path();
    if path.contains("/info/lfs/") {
        return Err(NotCarried::Lfs);
    }
    let (repository, service, write, target) = match *method {
        http::Method::GET => {
            let repository = path.strip_suffix("/info/refs").ok_or(NotCarried::NotGit)?;
            let write = match query {
                Some("service=git-upload-pack") => false,
                Some("service=git-receive-pack") => true,
                _ => return Err(NotCarried::Dumb),
            };
            (
                repository,
                Service::Advertise,
                write,
                format!("{path}?{}", query.unwrap_or_default()),
            )
        }
        http::Method::POST => {
            let (repository, write) = match path.strip_suffix("/git-upload-pack") {
                Some(repository) => (repository, false),
                None => (
                    path.strip_suffix("/git-receive-pack")
                        .ok_or(NotCarried::NotGit)?,
                    true,
                ),
            };
            (repository, Service::Exchange, write, path.to_owned())
        }
        _ => return Err(NotCarried::NotGit),
    };
    let explicit = url.password().map(|secret| Credential {
        username: decode(url.username()),
        secret: decode(secret),
    });
    let remote = remote(&url, repository.into(), write).ok_or(NotCarried::Malformed)?;
    Ok(Asked {
        remote,
        service,
        target,
        explicit,
    })
}

/// The place on the relay of a server's URL, for redirects: `/https/HOST/PATH?QUERY`.
pub fn relayed(url: &Url) -> Option<String> {
    if !matches!(url.scheme(), "https" | "http") {
        return None;
    }
    let authority = authority(url)?;
    let query = url
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    Some(format!(
        "/{}/{authority}{}{query}",
        url.scheme(),
        url.path()
    ))
}

fn remote(url: &Url, path: String, write: bool) -> Option<GitRemote> {
    if path.is_empty() {
        return None;
    }
    Some(GitRemote {
        scheme: url.scheme().into(),
        authority: authority(url)?,
        path,
        write,
    })
}

fn authority(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    // `Url` drops a port that is the scheme's own.
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// `[USER@]HOST:PATH` over HTTPS.
fn scp(text: &str) -> Option<String> {
    let (authority, path) = text.split_once(':')?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let path = path.trim_start_matches('/');
    let valid = !host.is_empty() && !path.is_empty() && !host.contains(['/', '\\', ' ']);
    valid.then(|| format!("https://{host}/{path}"))
}

/// What follows `ssh://`, over HTTPS: the port is SSH's, not the web server's.
fn ssh_url(rest: &str) -> Option<String> {
    let parsed = Url::parse(&format!("ssh://{rest}")).ok()?;
    let host = parsed.host_str().filter(|host| !host.is_empty())?;
    Some(format!("https://{host}{}", parsed.path()))
}

fn decode_authority(text: &str) -> String {
    let mut decoded = text.to_owned();
    for (code, character) in [
        ("%40", "@"),
        ("%3A", ":"),
        ("%3a", ":"),
        ("%5B", "["),
        ("%5D", "]"),
    ] {
        decoded = decoded.replace(code, character);
    }
    decoded
}

fn decode(text: &str) -> String {
    // A one-field form value decodes as a URL component, once "+" is protected.
    let protected = format!(
        "x={}",
        text.replace('+', "%2B")
            .replace('&', "%26")
            .replace('=', "%3D")
    );
    url::form_urlencoded::parse(protected.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_is_one_remote() {
        let remote = parse("git@Git.example:owner/repo.git").unwrap();
        assert_eq!(
            format!("{} {} {}", remote.scheme, remote.authority, remote.path),
            "https git.example /owner/repo.git"
        );
        assert!(!remote.write);
    }

    fn get(path: &str) -> Result<Asked, NotCarried> {
        understand(&http::Method::GET, path)
    }

    #[test]
    fn requests_of_git_are_understood() {
        for (path, expected) in [
            ("/https/git.example/o/r.git", "https git.example /o/r.git"),
            ("/http/git.example:8080/r", "http git.example:8080 /r"),
            ("/https/git.example%3A8443/r", "https git.example:8443 /r"),
            ("/ssh/git@git.example:o/r.git", "https git.example /o/r.git"),
            (
                "/ssh/git%40git.example%3Ao/r.git",
                "https git.example /o/r.git",
            ),
            (
                "/ssh/git@git.example:/o/r.git",
                "https git.example /o/r.git",
            ),
            (
                "/sshurl/git@git.example:22/o/r.git",
                "https git.example /o/r.git",
            ),
            ("/sshurl/git.example/o/r.git", "https git.example /o/r.git"),
        ] {
            let asked = get(&format!("{path}/info/refs?service=git-upload-pack")).unwrap();
            let GitRemote {
                scheme,
                authority,
                path,
                write,
            } = &asked.remote;
            assert_eq!(format!("{scheme} {authority} {path}"), expected);
            assert!(!write);
            assert_eq!(
                asked.target,
                format!("{path}/info/refs?service=git-upload-pack")
            );
        }
        let push = understand(
            &http::Method::POST,
            "/https/git.example/o/r/git-receive-pack",
        )
        .unwrap();
        assert!(push.remote.write && push.service == Service::Exchange);
        assert_eq!(push.target, "/o/r/git-receive-pack");
    }

    #[test]
    fn credentials_in_the_url_are_taken_out_of_it() {
        let asked =
            get("/https/me:p%40ss+w@git.example/r/info/refs?service=git-upload-pack").unwrap();
        let explicit = asked.explicit.unwrap();
        assert_eq!(
            (explicit.username.as_str(), explicit.secret.as_str()),
            ("me", "p@ss+w")
        );
        assert_eq!(asked.remote.authority, "git.example");
        assert_eq!(
            get("/https/me@git.example/r/info/refs?service=git-upload-pack")
                .unwrap()
                .explicit,
            None
        );
    }

    #[test]
    fn everything_else_is_refused() {
        for (path, why) in [
            ("/", NotCarried::NotGit),
            ("/https/git.example/r", NotCarried::NotGit),
            (
                "/ftp/git.example/r/info/refs?service=git-upload-pack",
                NotCarried::NotGit,
            ),
            ("/https/git.example/r/info/refs", NotCarried::Dumb),
            (
                "/https/git.example/r/info/refs?service=git-upload-pack&x=1",
                NotCarried::Dumb,
            ),
            ("/https/git.example/r/HEAD", NotCarried::NotGit),
            (
                "/https/git.example/info/refs?service=git-upload-pack",
                NotCarried::Malformed,
            ),
            (
                "/https/git.example/r/info/lfs/objects/batch",
                NotCarried::Lfs,
            ),
            (
                "/https//r/info/refs?service=git-upload-pack",
                NotCarried::Malformed,
            ),
        ] {
            assert_eq!(get(path).unwrap_err(), why, "{path}");
        }
        for path in [
            "/https/git.example/r/info/refs?service=git-upload-pack",
            "/https/git.example/r/x",
        ] {
            assert!(understand(&http::Method::POST, path).is_err(), "{path}");
            assert!(understand(&http::Method::DELETE, path).is_err(), "{path}");
        }
        let escaping =
            get("/https/git.example/a/../../r/info/refs?service=git-upload-pack").unwrap();
        assert_eq!(escaping.remote.path, "/r");
    }

    #[test]
    fn a_redirect_leads_back_through_the_relay() {
        let url =
            Url::parse("https://other.example:8443/r/info/refs?service=git-upload-pack").unwrap();
        assert_eq!(
            relayed(&url).unwrap(),
            "/https/other.example:8443/r/info/refs?service=git-upload-pack"
        );
        assert_eq!(relayed(&Url::parse("file:///etc/passwd").unwrap()), None);
    }
}
