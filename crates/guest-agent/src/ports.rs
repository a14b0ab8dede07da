//! TCP ports that the user's processes listen on: which there are, and connections to them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use guest_protocol::frames::{Ports, failure};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use crate::machine::Machine;
use crate::session::{Answer, Call, CallError, Outcome};

mod listening;

/// How often the kernel's tables are read while somebody watches.
const INTERVAL: Duration = Duration::from_millis(500);
/// Connections are within the machine: what does not answer by then hangs.
const CONNECTING: Duration = Duration::from_secs(10);

/// Connects to a port of the machine, also when its server listens on the loopback interface alone.
pub async fn connect(port: u32) -> Result<TcpStream, CallError> {
    let Some(port) = u16::try_from(port).ok().filter(|port| *port != 0) else {
        return Err(CallError::invalid(format!("there is no port {port}")));
    };
    let addresses: [SocketAddr; 2] = [
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ];
    let mut refused = true;
    for address in addresses {
        match tokio::time::timeout(CONNECTING, TcpStream::connect(address)).await {
            Ok(Ok(connection)) => {
                // Small writes are what interactive protocols are made of. A failure costs only time.
                let _ = connection.set_nodelay(true);
                return Ok(connection);
            }
            // A machine without IPv6 says so; that says nothing about the server.
            Ok(Err(error)) => {
                refused &=
                    error.kind() == std::io::ErrorKind::ConnectionRefused || address.is_ipv6();
            }
            Err(_elapsed) => refused = false,
        }
    }
    Err(if refused {
        let reason = format!("nothing in the workspace listens on port {port}");
        CallError::failed(failure::Kind::Refused, reason)
    } else {
        let reason = format!("what listens on port {port} does not accept connections");
        CallError::failed(failure::Kind::Internal, reason)
    })
}

/// Sends the listening ports at once and at every change.
pub async fn watch(machine: &'static Machine, call: Call) -> Outcome {
    let own = machine.settings().git_relay_port;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = listening::Known::default();
    let mut last = None;
    loop {
        ticks.tick().await;
        let ports = known.ports(own);
        if last.as_ref() != Some(&ports) {
            call.answer(Answer::Ports(Ports {
                ports: ports.clone(),
            }))
            .await?;
            last = Some(ports);
        }
    }
}
