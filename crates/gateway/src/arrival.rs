//! What is known of a request before anybody looks at its path: who sent it, and to which origin.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};

use crate::origins::{Origins, Scheme, Site, classify, split_authority};

/// Facts about one request, in its extensions.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Our origins in this browser's words.
    pub origins: Origins,
    pub site: Site,
    /// The client, as far as it can be known.
    pub client: IpAddr,
    /// Names this request in logs and in the answer's `x-request-id`.
    pub trace: Arc<str>,
}

/// A reverse proxy, or a network of them, whose `X-Forwarded-*` headers are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy {
    address: IpAddr,
    /// Leading bits that count.
    bits: u8,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address or a network such as 10.0.0.0/8")]
pub struct NotANetwork(String);

impl FromStr for TrustedProxy {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.into());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            Err(wrong())
        } else {
            Ok(Self { address, bits })
        }
    }
}

impl TrustedProxy {
    pub fn contains(&self, peer: IpAddr) -> bool {
        let shifted = |value: u128, width: u8| {
            value
                .checked_shr(u32::from(width - self.bits))
                .unwrap_or_default()
        };
        match (self.address, peer.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                shifted(u32::from(own).into(), 32) == shifted(u32::from(peer).into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                shifted(own.into(), 128) == shifted(peer.into(), 128)
            }
            _ => false,
        }
    }
}

/// Finds out who asks and for which origin, and makes the forwarding headers say the same, so that nobody
/// behind this believes a stranger's.
pub fn note(
    request: &mut Request,
    peer: SocketAddr,
    own_scheme: Scheme,
    domain: &Arc<str>,
    proxies: &[TrustedProxy],
) -> Arrival {
    let trusted = proxies.iter().any(|proxy| proxy.contains(peer.ip()));
    let forwarded = |name: &str| trusted.then(|| first(request.headers(), name)).flatten();
    let authority = forwarded("x-forwarded-host")
        .or_else(|| first(request.headers(), "host"))
        .or_else(|| request.uri().authority().map(ToString::to_string))
        .unwrap_or_default();
    let scheme = match forwarded("x-forwarded-proto").as_deref() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        _ => own_scheme,
    };
    let client = trusted
        .then(|| last_address(request.headers()))
        .flatten()
        .unwrap_or_else(|| peer.ip().to_canonical());
    let (host, mut port) = split_authority(&authority);
    port = port.or_else(|| forwarded("x-forwarded-port").and_then(|port| port.parse().ok()));
    let own = match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    let arrival = Arrival {
        site: classify(host, domain),
        origins: Origins {
            scheme,
            domain: domain.clone(),
            port: port.filter(|port| *port != own),
        },
        client,
        trace: crate::tickets::nonce().into(),
    };
    rewrite(request.headers_mut(), &arrival, &authority);
    arrival
}

fn rewrite(headers: &mut HeaderMap, arrival: &Arrival, authority: &str) {
    for name in [
        "forwarded",
        "x-forwarded-port",
        "x-forwarded-server",
        "x-real-ip",
    ] {
        headers.remove(name);
    }
    for (name, text) in [
        ("x-forwarded-for", arrival.client.to_string().as_str()),
        ("x-forwarded-proto", arrival.origins.scheme.as_str()),
        ("x-forwarded-host", authority),
        ("x-request-id", &arrival.trace),
    ] {
        match HeaderValue::from_str(text) {
            Ok(value) => headers.insert(name, value),
            Err(_) => headers.remove(name),
        };
    }
    if !headers.contains_key(header::HOST)
        && let Ok(value) = HeaderValue::from_str(authority)
    {
        // HTTP/2 has it in the URI only; everything behind reads the header.
        headers.insert(header::HOST, value);
    }
}

fn first(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.split(',').next()?.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The address that the trusted proxy itself has seen: what stands before it is a claim of the client's.
fn last_address(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers
        .get_all("x-forwarded-for")
        .iter()
        .next_back()?
        .to_str()
        .ok()?;
    value.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn arrive(headers: &[(&str, &str)], proxies: &[&str]) -> (Arrival, HeaderMap) {
        let mut request = Request::new(Body::empty());
        for (name, value) in headers {
            let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request
                .headers_mut()
                .append(name, HeaderValue::from_str(value).unwrap());
        }
        let proxies: Vec<_> = proxies.iter().map(|text| text.parse().unwrap()).collect();
        let peer = "10.1.2.3:5555".parse().unwrap();
        let domain: Arc<str> = "roost.example".into();
        let arrival = note(&mut request, peer, Scheme::Http, &domain, &proxies);
        (arrival, request.headers().clone())
    }

    const FORWARDED: [(&str, &str); 4] = [
        ("host", "upstream"),
        ("x-forwarded-host", "code.roost.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "6.6.6.6, 192.0.2.7"),
    ];

    #[test]
    fn a_declared_proxy_is_believed() {
        let (arrival, headers) = arrive(&FORWARDED, &["10.0.0.0/8"]);
        assert_eq!(arrival.site, Site::Workbench);
        assert_eq!(arrival.origins.workbench(), "https://code.roost.example");
        assert_eq!(arrival.client.to_string(), "192.0.2.7");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    }

    #[test]
    fn anybody_else_is_not() {
        for proxies in [&[][..], &["10.1.2.4", "fd00::/8", "11.0.0.0/8"]] {
            let (arrival, headers) = arrive(&FORWARDED, proxies);
            assert_eq!(arrival.site, Site::Foreign);
            assert_eq!(arrival.origins.scheme, Scheme::Http);
            assert_eq!(arrival.client.to_string(), "10.1.2.3");
            assert_eq!(headers["x-forwarded-for"], "10.1.2.3");
            assert_eq!(headers["x-forwarded-proto"], "http");
            assert_eq!(headers["x-forwarded-host"], "upstream");
        }
    }

    #[test]
    fn networks_are_compared_by_their_leading_bits() {
        let all: TrustedProxy = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("8.8.8.8".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
        let one: TrustedProxy = "::1".parse().unwrap();
        assert!(one.contains("::1".parse().unwrap()) && !one.contains("::2".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<TrustedProxy>().is_err());
        assert!("proxy".parse::<TrustedProxy>().is_err());
    }
}
