//! Our origins as this browser sees them; the decision record on origins says why there are several.
//!
//! The gateway before us has written the `x-forwarded-*` headers, so they can be believed; the port is the
//! one that the browser used, which may be another than the server's.

use axum::http::HeaderMap;

/// Scheme and port of this request, and the names of all sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    scheme: &'static str,
    domain: String,
    /// With its colon, unless it is the scheme's own.
    port: String,
}

impl Origins {
    pub fn of(headers: &HeaderMap, domain: &str) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let scheme = if text("x-forwarded-proto") == Some("https") {
            "https"
        } else {
            "http"
        };
        let authority = text("x-forwarded-host")
            .or_else(|| text("host"))
            .unwrap_or_default();
        let port = match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => format!(":{port}"),
            Some(_) | None => String::new(),
        };
        let own = if scheme == "https" { ":443" } else { ":80" };
        let port = if port == own { String::new() } else { port };
        Self {
            scheme,
            domain: domain.into(),
            port,
        }
    }

    /// Of the dashboard and this API; no slash at the end.
    pub fn main(&self) -> String {
        self.at(&self.domain)
    }

    pub fn workbench(&self) -> String {
        self.at(&format!("code.{}", self.domain))
    }

    pub fn preview(&self, port: &str, workspace: &str) -> String {
        self.at(&format!("{port}--{workspace}.{}", self.domain))
    }

    /// Of WebSockets on the main origin.
    pub fn main_socket(&self) -> String {
        self.main().replacen("http", "ws", 1)
    }

    pub fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    fn at(&self, host: &str) -> String {
        format!("{}://{host}{}", self.scheme, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(headers: &[(&'static str, &str)]) -> Origins {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Origins::of(&map, "roost.example")
    }

    #[test]
    fn origins_are_as_the_browser_writes_them() {
        let plain = origins(&[("host", "roost.example:7070")]);
        assert_eq!(plain.main(), "http://roost.example:7070");
        assert_eq!(plain.workbench(), "http://code.roost.example:7070");
        assert_eq!(
            plain.preview("80", "demo"),
            "http://80--demo.roost.example:7070"
        );
        assert_eq!(plain.main_socket(), "ws://roost.example:7070");
        let secure = origins(&[
            ("host", "inner:1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "roost.example:443"),
        ]);
        assert_eq!(secure.main(), "https://roost.example");
        assert_eq!(secure.main_socket(), "wss://roost.example");
        assert_eq!(origins(&[("host", "[::1]")]).main(), "http://roost.example");
    }
}
