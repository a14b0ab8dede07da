//! Network interfaces. The addresses are the same in every machine; the host tells them apart.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use crate::sys::{self, Interface};

const ADDRESS: [u8; 4] = [172, 31, 255, 2];
const GATEWAY: [u8; 4] = [172, 31, 255, 1];
/// Two addresses: this machine's and the host's.
const MASK: [u8; 4] = [255, 255, 255, 252];

pub fn bring_up_loopback() -> io::Result<()> {
    // Any internet socket takes these requests. The address 127.0.0.1 comes with the interface.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    sys::set_interface(socket.as_raw_fd(), "lo", Interface::Up)
}

/// Doing it again is fine: the host does so after its own restart.
pub fn bring_up_ethernet() -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let socket = socket.as_raw_fd();
    sys::set_interface(socket, "eth0", Interface::Address(ADDRESS))?;
    sys::set_interface(socket, "eth0", Interface::Mask(MASK))?;
    sys::set_interface(socket, "eth0", Interface::Up)?;
    match sys::add_default_route(socket, GATEWAY) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
