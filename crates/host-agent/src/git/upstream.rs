//! Connects to a Git server: look-up, check of every address, proxy, TLS; then HTTP/1.1.
//!
//! The address that was checked is the one that is connected to; nothing is looked up twice, so a name that
//! changes its mind in between gains nothing.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use fleet_api::control::GitRemote;
use http_body_util::combinators::BoxBody;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

use crate::address::Range;
use crate::config::Proxy;
use crate::git::policy::Allowed;

/// For the look-up and for each connection.
const CONNECT: Duration = Duration::from_secs(15);

/// Body of a request or an answer that is passed on as it comes.
pub type Body = BoxBody<Bytes, hyper::Error>;

/// Why a server was not reached. Each text is for the user, and what to do stands in it.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("the host name {host} cannot be found: check the URL")]
    Unknown {
        host: String,
        source: Option<io::Error>,
    },
    #[error(
        "{host} is at {address}, a private address, which Roost does not connect to. An operator can allow \
         it with git.allow = [\"{host}:{port}\"] in the configuration"
    )]
    Private {
        host: String,
        port: u16,
        address: IpAddr,
    },
    #[error("{host} does not answer on port {port}: check the URL, or try again later")]
    Unreachable {
        host: String,
        port: u16,
        source: io::Error,
    },
    #[error("the proxy {proxy} refused the way to {host}: {answer}")]
    ProxyRefused {
        proxy: String,
        host: String,
        answer: String,
    },
    #[error(
        "no secure connection to {host}: {source}. If it has a certificate of your own authority, add that with SSL_CERT_FILE"
    )]
    Tls { host: String, source: io::Error },
    #[error("{host} broke the connection: try again later")]
    Http { host: String, source: hyper::Error },
    #[error("{host} took longer than {seconds} s to answer: try again later")]
    Slow { host: String, seconds: u64 },
}

/// Reaches Git servers as this host may.
pub struct Upstream {
    allowed: Allowed,
    proxy: Proxy,
    extra_certificates: Vec<String>,
    tls: OnceLock<Arc<rustls::ClientConfig>>,
}

/// A connection, ready for one request after another.
pub struct Connection {
    pub sender: SendRequest<Body>,
    /// What the request line must name: the whole URL to a proxy, otherwise path and query.
    pub absolute: bool,
    /// For the proxy, when it is spoken to directly.
    pub proxy_authorization: Option<String>,
}

impl Upstream {
    pub fn new(allowed: Allowed, proxy: Proxy, extra_certificates: Vec<String>) -> Self {
        Self {
            allowed,
            proxy,
            extra_certificates,
            tls: OnceLock::new(),
        }
    }

    /// Connects to the remote's server.
    pub async fn connect(&self, remote: &GitRemote) -> Result<Connection, UpstreamError> {
        let (host, name, port) = split(remote);
        let secure = remote.scheme == "https";
        let proxy = if secure {
            &self.proxy.https
        } else {
            &self.proxy.http
        };
        let proxy = proxy
            .as_ref()
            .filter(|_| !goes_direct(&self.proxy.without, &name, port));
        let Some(proxy) = proxy else {
            let stream = self.direct(&host, &name, port).await?;
            return self.finish(stream, secure, &name, None).await;
        };
        // The proxy does the look-up, so only what is an address already can be judged here.
        if let Some(address) = literal(&host) {
            self.judge(&name, port, address)?;
        }
        let mut stream = connect_proxy(proxy).await?;
        if secure {
            open_tunnel(&mut stream, proxy, &remote.authority, port).await?;
            self.finish(stream, true, &name, None).await
        } else {
            self.finish(stream, false, &name, Some(proxy)).await
        }
    }

    async fn direct(
        &self,
        host: &Host<String>,
        name: &str,
        port: u16,
    ) -> Result<TcpStream, UpstreamError> {
        let addresses = match literal(host) {
            Some(address) => vec![SocketAddr::new(address, port)],
            None => look_up(name, port).await?,
        };
        let mut refused = None;
        let mut unreachable = None;
        for address in addresses {
            match self.judge(name, port, address.ip()) {
                Err(error) => refused = Some(error),
                Ok(()) => match timeout(CONNECT, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => {
                        let _ = stream.set_nodelay(true);
                        return Ok(stream);
                    }
                    Ok(Err(error)) => unreachable = Some(error),
                    Err(_) => unreachable = Some(io::ErrorKind::TimedOut.into()),
                },
            }
        }
        Err(match (unreachable, refused) {
            (Some(source), _) => UpstreamError::Unreachable {
                host: name.into(),
                port,
                source,
            },
            (None, Some(refused)) => refused,
            (None, None) => UpstreamError::Unknown {
                host: name.into(),
                source: None,
            },
        })
    }

    fn judge(&self, host: &str, port: u16, address: IpAddr) -> Result<(), UpstreamError> {
        if self.allowed.permits(host, port, address, is_own(address)) {
            Ok(())
        } else {
            Err(UpstreamError::Private {
                host: host.into(),
                port,
                address,
            })
        }
    }

    async fn finish(
        &self,
        stream: TcpStream,
        secure: bool,
        name: &str,
        proxy: Option<&Url>,
    ) -> Result<Connection, UpstreamError> {
        let sender = if secure {
            let tls_error = |source| UpstreamError::Tls {
                host: name.into(),
                source,
            };
            let server = ServerName::try_from(name.to_owned())
                .map_err(|error| tls_error(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
            let connector = tokio_rustls::TlsConnector::from(self.tls());
            let stream = timeout(CONNECT, connector.connect(server, stream))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                .map_err(tls_error)?;
            speak_http(stream, name).await?
        } else {
            speak_http(stream, name).await?
        };
        Ok(Connection {
            sender,
            absolute: proxy.is_some(),
            proxy_authorization: proxy.and_then(proxy_authorization),
        })
    }

    fn tls(&self) -> Arc<rustls::ClientConfig> {
        let make = || {
            let mut roots = rustls::RootCertStore::empty();
            // What cannot be read is left out: a server that needs it is refused with a clear text.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            for pem in &self.extra_certificates {
                roots.add_parsable_certificates(
                    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok),
                );
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("ring has the default versions of TLS")
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Arc::new(config)
        };
        self.tls.get_or_init(make).clone()
    }
}

/// Host, its name without brackets, and port of a remote.
fn split(remote: &GitRemote) -> (Host<String>, String, u16) {
    let url = Url::parse(&format!("{}://{}/", remote.scheme, remote.authority)).ok();
    let host = url
        .as_ref()
        .and_then(|url| url.host())
        .map(|host| host.to_owned());
    let port = url
        .as_ref()
        .and_then(Url::port_or_known_default)
        .unwrap_or(443);
    match host {
        Some(Host::Domain(name)) => (Host::Domain(name.clone()), name, port),
        Some(Host::Ipv4(v4)) => (Host::Ipv4(v4), v4.to_string(), port),
        Some(Host::Ipv6(v6)) => (Host::Ipv6(v6), v6.to_string(), port),
        None => (Host::Domain(String::new()), String::new(), port),
    }
}

fn literal(host: &Host<String>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(v4) => Some((*v4).into()),
        Host::Ipv6(v6) => Some((*v6).into()),
    }
}

async fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, UpstreamError> {
    let unknown = |source| UpstreamError::Unknown {
        host: name.into(),
        source,
    };
    match timeout(CONNECT, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(unknown(Some(error))),
        Err(_) => Err(unknown(Some(io::ErrorKind::TimedOut.into()))),
    }
}

/// Whether the address is one of this machine's: what is sent to such a one has it as its source too.
/// Connecting a datagram socket asks the routing table and sends nothing.
fn is_own(address: IpAddr) -> bool {
    let any: SocketAddr = if address.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket
            .connect((address, 9))
            .and_then(|()| socket.local_addr())
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// Whether `NO_PROXY` names this host.
fn goes_direct(without: &[String], host: &str, port: u16) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    without.iter().any(|entry| {
        if let (Ok(range), Some(address)) = (entry.parse::<Range>(), address) {
            return range.contains(address);
        }
        let (name, wanted) = match entry.rsplit_once(':') {
            Some((name, wanted)) if wanted.parse::<u16>().is_ok() => (name, wanted.parse().ok()),
            _ => (entry.as_str(), None),
        };
        let name = name
            .trim_start_matches("*.")
            .trim_start_matches('.')
            .to_ascii_lowercase();
        let host = host.to_ascii_lowercase();
        let fits = name == "*" || host == name || host.ends_with(&format!(".{name}"));
        !name.is_empty() && fits && wanted.is_none_or(|wanted: u16| wanted == port)
    })
}

fn shown(proxy: &Url) -> String {
    format!(
        "{}:{}",
        proxy.host_str().unwrap_or_default(),
        proxy.port_or_known_default().unwrap_or(80)
    )
}

async fn connect_proxy(proxy: &Url) -> Result<TcpStream, UpstreamError> {
    let (host, port) = (
        proxy.host_str().unwrap_or_default(),
        proxy.port_or_known_default().unwrap_or(80),
    );
    let host = host.trim_start_matches('[').trim_end_matches(']');
    timeout(CONNECT, TcpStream::connect((host, port)))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| UpstreamError::Unreachable {
            host: format!("the proxy {host}"),
            port,
            source,
        })
}

fn proxy_authorization(proxy: &Url) -> Option<String> {
    let password = proxy.password().unwrap_or_default();
    (!proxy.username().is_empty()).then(|| basic(proxy.username(), password))
}

/// The value of an `Authorization` header.
pub fn basic(username: &str, secret: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{secret}"));
    format!("Basic {pair}")
}

async fn open_tunnel(
    stream: &mut TcpStream,
    proxy: &Url,
    authority: &str,
    port: u16,
) -> Result<(), UpstreamError> {
    let target = if authority.ends_with(&format!(":{port}")) {
        authority.to_owned()
    } else {
        format!("{authority}:{port}")
    };
    let authorization = proxy_authorization(proxy)
        .map(|value| format!("Proxy-Authorization: {value}\r\n"))
        .unwrap_or_default();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    let refused = |answer: String| UpstreamError::ProxyRefused {
        proxy: shown(proxy),
        host: authority.into(),
        answer,
    };
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        // Byte by byte: what follows the head belongs to TLS. Heads are short and come once.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > 8192 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "an oversized answer",
                ));
            }
            head.push(stream.read_u8().await?);
        }
        Ok(head)
    };
    let head = timeout(CONNECT, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| refused(error.to_string()))?;
    let line = String::from_utf8_lossy(&head)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    match line.split(' ').nth(1) {
        Some(code) if code.starts_with('2') => Ok(()),
        _ => Err(refused(line)),
    }
}

async fn speak_http<T>(stream: T, host: &str) -> Result<SendRequest<Body>, UpstreamError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|source| UpstreamError::Http {
            host: host.into(),
            source,
        })?;
    // Ends when the sender is dropped and the answer's body has been read, or on the first error, which
    // the request reports.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_known() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(!is_own("203.0.113.77".parse().unwrap()));
    }

    #[test]
    fn no_proxy_names_domains_addresses_and_ranges() {
        let without = [".internal", "git.example:8443", "10.0.0.0/8", "*.lan"].map(String::from);
        for (host, port, expected) in [
            ("git.internal", 443, true),
            ("internal", 443, true),
            ("notinternal", 443, false),
            ("git.example", 8443, true),
            ("git.example", 443, false),
            ("10.2.3.4", 443, true),
            ("11.2.3.4", 443, false),
            ("box.lan", 80, true),
        ] {
            assert_eq!(goes_direct(&without, host, port), expected, "{host}:{port}");
        }
        assert!(goes_direct(&["*".into()], "any.example", 443));
        assert!(!goes_direct(&[String::new()], "any.example", 443));
    }

    #[test]
    fn a_remote_has_a_host_and_a_port() {
        let remote = |scheme: &str, authority: &str| GitRemote {
            scheme: scheme.into(),
            authority: authority.into(),
            path: "/r".into(),
            write: false,
        };
        assert_eq!(split(&remote("https", "git.example")).2, 443);
        assert_eq!(split(&remote("http", "git.example")).2, 80);
        let (host, name, port) = split(&remote("https", "[2001:db8::1]:8443"));
        assert_eq!((name.as_str(), port), ("2001:db8::1", 8443));
        assert!(literal(&host).is_some());
    }
}
