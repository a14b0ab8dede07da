//! Which origin a request is for, and how the browser names the others. `docs/decisions/0002-origins.md`
//! says why there are so many.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use model::WorkspaceName;

/// What an origin serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// Dashboard and API.
    Main,
    /// The editor, of all workspaces.
    Workbench,
    /// Frames with the output of extensions: files without any credentials.
    Webview,
    /// What listens on a port in a workspace.
    Preview { port: u16, workspace: String },
    /// This machine by another name: sent on to the main origin.
    Alias,
    /// None of ours.
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub fn websocket(self) -> &'static str {
        match self {
            Self::Http => "ws",
            Self::Https => "wss",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The server's origins as one browser sees them. The port is the one that the browser used, which is another
/// one than ours behind a proxy or an SSH tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    pub scheme: Scheme,
    /// Host name of the main origin; the others are below it.
    pub domain: Arc<str>,
    /// Unless it is the scheme's own.
    pub port: Option<u16>,
}

impl Origins {
    /// The main origin, such as `http://localhost:7070`: no slash at the end.
    pub fn main(&self) -> String {
        self.at(&self.domain)
    }

    pub fn workbench(&self) -> String {
        self.at(&format!("code.{}", self.domain))
    }

    pub fn webview(&self) -> String {
        self.at(&format!("webview.{}", self.domain))
    }

    pub fn preview(&self, port: u16, workspace: &str) -> String {
        self.at(&format!("{port}--{workspace}.{}", self.domain))
    }

    /// The workbench's WebSocket origin, for its content security policy.
    pub fn workbench_socket(&self) -> String {
        format!(
            "{}{}",
            self.scheme.websocket(),
            &self.workbench()[self.scheme.as_str().len()..]
        )
    }

    /// Whether the text of an `Origin` header names a preview of this workspace.
    pub fn is_preview_of(&self, origin: &str, workspace: &str) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let (host, port) = split_authority(authority);
        scheme == self.scheme.as_str()
            && port == self.port
            && matches!(classify(host, &self.domain), Site::Preview { workspace: of, .. } if of == workspace)
    }

    /// Whether names below the domain are sites of their own to a browser, so that a `SameSite` cookie of
    /// one preview is not sent when another preview asks for something.
    pub fn is_localhost(&self) -> bool {
        &*self.domain == "localhost"
    }

    fn at(&self, host: &str) -> String {
        match self.port {
            Some(port) => format!("{}://{host}:{port}", self.scheme),
            None => format!("{}://{host}", self.scheme),
        }
    }
}

/// What a host name, without its port, stands for.
pub fn classify(host: &str, domain: &str) -> Site {
    let host = host.to_ascii_lowercase();
    if host == domain {
        return Site::Main;
    }
    if let Some(label) = host
        .strip_suffix(domain)
        .and_then(|rest| rest.strip_suffix('.'))
    {
        return match label {
            "code" => Site::Workbench,
            "webview" => Site::Webview,
            _ => preview(label).unwrap_or(Site::Foreign),
        };
    }
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    if host == "localhost" || address.is_ok_and(|address| address.is_loopback()) {
        return Site::Alias;
    }
    Site::Foreign
}

fn preview(label: &str) -> Option<Site> {
    let (digits, workspace) = label.split_once("--")?;
    let port: u16 = digits.parse().ok().filter(|port| *port > 0)?;
    // One spelling only: "+80" and "080" are other hosts to a browser, so other origins.
    if port.to_string() != digits {
        return None;
    }
    WorkspaceName::parse(workspace).ok()?;
    Some(Site::Preview {
        port,
        workspace: workspace.into(),
    })
}

/// Host and port of a `Host` header or of a URL's authority. A port that is no number is dropped.
pub fn split_authority(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand within brackets.
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins() -> Origins {
        Origins {
            scheme: Scheme::Http,
            domain: "localhost".into(),
            port: Some(7070),
        }
    }

    #[test]
    fn every_origin_has_a_host_of_its_own() {
        for (host, site) in [
            ("localhost", Site::Main),
            ("LocalHost", Site::Main),
            ("code.localhost", Site::Workbench),
            ("webview.localhost", Site::Webview),
            (
                "8000--demo.localhost",
                Site::Preview {
                    port: 8000,
                    workspace: "demo".into(),
                },
            ),
            ("127.0.0.1", Site::Alias),
            ("[::1]", Site::Alias),
            ("10.0.0.1", Site::Foreign),
            ("0--demo.localhost", Site::Foreign),
            ("080--demo.localhost", Site::Foreign),
            ("65536--demo.localhost", Site::Foreign),
            ("8000--a--b.localhost", Site::Foreign),
            ("8000--x.code.localhost", Site::Foreign),
            ("evil.localhost", Site::Foreign),
            ("notlocalhost", Site::Foreign),
            ("localhost.", Site::Foreign),
            ("", Site::Foreign),
        ] {
            assert_eq!(classify(host, "localhost"), site, "{host}");
        }
        assert_eq!(classify("localhost", "roost.example"), Site::Alias);
        assert_eq!(
            classify("code.roost.example", "roost.example"),
            Site::Workbench
        );
    }

    #[test]
    fn origins_are_written_as_a_browser_writes_them() {
        let origins = origins();
        assert_eq!(origins.main(), "http://localhost:7070");
        assert_eq!(origins.workbench(), "http://code.localhost:7070");
        assert_eq!(origins.workbench_socket(), "ws://code.localhost:7070");
        assert_eq!(
            origins.preview(80, "demo"),
            "http://80--demo.localhost:7070"
        );
        let public = Origins {
            scheme: Scheme::Https,
            domain: "roost.example".into(),
            port: None,
        };
        assert_eq!(public.workbench(), "https://code.roost.example");
        assert_eq!(public.workbench_socket(), "wss://code.roost.example");
    }

    #[test]
    fn only_previews_of_the_same_workspace_are_siblings() {
        let origins = origins();
        assert!(origins.is_preview_of("http://3000--demo.localhost:7070", "demo"));
        for other in [
            "http://3000--other.localhost:7070",
            "https://3000--demo.localhost:7070",
            "http://3000--demo.localhost",
            "http://3000--demo.localhost.evil.example:7070",
            "http://localhost:7070",
            "http://code.localhost:7070",
            "null",
            "",
        ] {
            assert!(!origins.is_preview_of(other, "demo"), "{other}");
        }
    }
}
