//! Finds a port: the one that was asked for, or the usual one, or the next that is free.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpListener;

use crate::config::DEFAULT_PORT;

/// How many ports are tried after the usual one.
const TRIED: u16 = 100;

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error(
        "port {port} of {address} is taken by another program; choose another with --port, or leave it out \
         and the next free one is used"
    )]
    Taken { address: IpAddr, port: u16 },
    #[error("cannot listen on {address}: {source}")]
    Refused {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("no port from {first} to {last} of {address} is free")]
    None {
        address: IpAddr,
        first: u16,
        last: u16,
    },
}

/// A listener, and the port that was wanted if it is another one.
#[derive(Debug)]
pub struct Bound {
    pub listener: TcpListener,
    pub instead_of: Option<u16>,
}

/// Listens on `asked`, which must be free; or on `remembered` or the usual port, or the next free one.
pub async fn listen(
    address: IpAddr,
    asked: Option<u16>,
    remembered: Option<u16>,
) -> Result<Bound, PortError> {
    if let Some(port) = asked {
        return match TcpListener::bind((address, port)).await {
            Ok(listener) => Ok(Bound {
                listener,
                instead_of: None,
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(PortError::Taken { address, port })
            }
            Err(source) => Err(PortError::Refused {
                address: (address, port).into(),
                source,
            }),
        };
    }
    let wanted = remembered.unwrap_or(DEFAULT_PORT);
    let others = (DEFAULT_PORT..=DEFAULT_PORT + TRIED).filter(|port| *port != wanted);
    for port in std::iter::once(wanted).chain(others) {
        match TcpListener::bind((address, port)).await {
            Ok(listener) => {
                return Ok(Bound {
                    listener,
                    instead_of: (port != wanted).then_some(wanted),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => {
                return Err(PortError::Refused {
                    address: (address, port).into(),
                    source,
                });
            }
        }
    }
    Err(PortError::None {
        address,
        first: DEFAULT_PORT,
        last: DEFAULT_PORT + TRIED,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_taken_port_is_an_error_only_when_it_was_asked_for() {
        let other = TcpListener::bind((HERE, 0)).await.unwrap();
        let taken = other.local_addr().unwrap().port();
        let error = listen(HERE, Some(taken), None).await.unwrap_err();
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
        let bound = listen(HERE, None, Some(taken)).await.unwrap();
        assert_eq!(bound.instead_of, Some(taken));
    }
}
