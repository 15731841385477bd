//! Listens for HTTP at every address of the host's name.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use crate::addresses::HostPort;
use crate::demo::Failure;

/// Listens at each address of `at`. A name such as `localhost` has an IPv4 and an IPv6 address, and
/// the machine may lack one of them.
pub fn listen(at: &HostPort) -> Result<Vec<TcpListener>, Failure> {
    let found = at.to_string().to_socket_addrs();
    let found = found.map_err(|error| {
        Failure(format!("--http {at}: the host's address can't be found: {error}"))
    })?;
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut last = Error::from(ErrorKind::NotFound);
    for mut address in found {
        // With port 0, all addresses use the port of the first.
        if let Some(port) = listeners.first().and_then(|first| first.local_addr().ok()) {
            address.set_port(port.port());
        }
        match TcpListener::bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_refused(&error) => return Err(not_at(at, address, &error)),
            Err(error) => last = error,
        }
    }
    if listeners.is_empty() {
        return Err(Failure(format!("--http {at}: this machine has no such address: {last}")));
    }
    Ok(listeners)
}

/// Whether the machine has the address but refuses to bind it.
fn is_refused(error: &Error) -> bool {
    [ErrorKind::AddrInUse, ErrorKind::PermissionDenied].contains(&error.kind())
}

fn not_at(at: &HostPort, address: SocketAddr, error: &Error) -> Failure {
    Failure(format!("can't serve HTTP at {at} ({address}): {error}; is the port taken?"))
}
