//! Who may use a preview: its owner's browser, on behalf of the preview itself or of a sibling.
//!
//! A cookie alone proves nothing, since a browser sends it whoever's page asks. So a request that another
//! site's page causes is refused, except that a link leads here.

use axum::http::{HeaderMap, Method, header};
use fleet_api::control::Route;
use fleet_api::ticket::{Door, Ticket};

use super::Target;
use crate::Gateway;
use crate::cookies;

/// Whether the page that causes this request, as far as the browser tells, may do so.
pub fn may_ask(method: &Method, headers: &HeaderMap, target: &Target) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let fetch = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own = |origin: &str| {
        let sibling = if target.by_listener {
            // All ports of the workspace's own loopback address are its own.
            without_port(origin) == without_port(&target.origin)
        } else {
            target.origins.is_preview_of(origin, &target.workspace)
        };
        origin == target.origin || sibling
    };
    if headers.contains_key(header::ORIGIN) {
        return text(header::ORIGIN).is_some_and(is_own);
    }
    let comes_from_sibling = || {
        let referer = text(header::REFERER).and_then(|referer| url::Url::parse(referer).ok());
        referer.is_some_and(|referer| is_own(&referer.origin().ascii_serialization()))
    };
    match fetch("sec-fetch-site") {
        // Not a browser, one of long ago, or one that does not hold this origin to be secure enough to
        // tell: then only what a link can do.
        None => true,
        Some("same-origin" | "none") => true,
        // A link, or the address typed into a page's window; but not a frame within another's page.
        Some(_) if fetch("sec-fetch-mode") == Some("navigate") && is_read(method) => {
            fetch("sec-fetch-dest") == Some("document") || comes_from_sibling()
        }
        Some(_) => comes_from_sibling(),
    }
}

pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The ticket of the workspace's owner for this port, if one of the cookies is it.
pub async fn owner(
    gateway: &Gateway,
    headers: &HeaderMap,
    route: &Route,
    target: &Target,
) -> Option<Ticket> {
    let (name, port) = (target.cookie(), target.port);
    let texts =
        cookies::values(headers, &name).chain(cookies::values(headers, cookies::PREVIEW_CROSS));
    let ticket = gateway
        .tickets
        .check(texts, &route.workspace, Door::Preview { port })
        .await;
    ticket.ok().filter(|ticket| ticket.user == route.owner)
}

fn without_port(origin: &str) -> &str {
    origin.rsplit_once(':').map_or(origin, |(host, _)| host)
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origins::{Origins, Scheme};

    fn may(method: Method, pairs: &[(&str, &str)]) -> bool {
        let origins = Origins {
            scheme: Scheme::Http,
            domain: "localhost".into(),
            port: Some(7070),
        };
        let target = Target {
            port: 3000,
            workspace: "demo".into(),
            origin: origins.preview(3000, "demo"),
            by_listener: false,
            origins,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        may_ask(&method, &headers, &target)
    }

    const LINK: [(&str, &str); 3] = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];

    #[test]
    fn the_preview_its_siblings_and_links_may_ask() {
        let sibling = "http://8000--demo.localhost:7070";
        assert!(may(Method::GET, &[]));
        assert!(may(Method::GET, &LINK));
        assert!(may(Method::GET, &[("sec-fetch-site", "same-origin")]));
        assert!(may(
            Method::POST,
            &[("origin", "http://3000--demo.localhost:7070")]
        ));
        assert!(may(
            Method::POST,
            &[("origin", sibling), ("sec-fetch-site", "cross-site")]
        ));
        let image = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
        ];
        let referer = ("referer", "http://8000--demo.localhost:7070/");
        assert!(may(Method::GET, &[image[0], image[1], referer]));
    }

    #[test]
    fn pages_of_others_may_not() {
        for origin in [
            "https://evil.example",
            "http://localhost:7070",
            "http://code.localhost:7070",
            "http://3000--other.localhost:7070",
            "http://3000--demo.localhost:9999",
            "null",
        ] {
            assert!(!may(Method::GET, &[("origin", origin)]), "{origin}");
            assert!(!may(Method::POST, &[("origin", origin)]), "{origin}");
        }
        let from = ("referer", "https://evil.example/");
        for extra in [&[][..], &[from]] {
            let image = [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "no-cors"),
            ];
            assert!(!may(Method::GET, &[&image, extra].concat()));
            let frame = [LINK[0], LINK[1], ("sec-fetch-dest", "iframe")];
            assert!(!may(Method::GET, &[&frame, extra].concat()));
            assert!(!may(Method::POST, &[&LINK, extra].concat()));
        }
        let same_site = [
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-mode", "no-cors"),
        ];
        assert!(!may(Method::GET, &same_site));
    }
}
