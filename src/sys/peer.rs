//! Who is at the other end of a TCP connection over loopback. Any user may listen on a free port, so
//! a secret is sent only after the kernel's own table has named the user that took the connection.
//! Source: proc_pid_net(5), proc_net_tcp.txt of Linux.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};

/// As much of a table as is read, in bytes: 150 bytes for each socket of the host.
const TABLE_LIMIT: u64 = 16 * 1024 * 1024;
/// Sockets of IPv4, and those of IPv6 that took a connection of IPv4.
const TABLES: [(&str, &str); 2] =
    [("/proc/self/net/tcp", ""), ("/proc/self/net/tcp6", "0000000000000000FFFF0000")];

/// The user whose process has accepted the connection from `ours` to `theirs`, two addresses of
/// this host; `None` where the table does not name it (a socket of another network namespace).
///
/// # Errors
/// When the kernel's table cannot be read.
pub fn owner(ours: SocketAddr, theirs: SocketAddr) -> io::Result<Option<u32>> {
    let (SocketAddr::V4(ours), SocketAddr::V4(theirs)) = (ours, theirs) else { return Ok(None) };
    for (table, prefix) in TABLES {
        let Ok(file) = File::open(table) else { continue };
        let mut text = String::new();
        file.take(TABLE_LIMIT).read_to_string(&mut text)?;
        let end = |ip: &Ipv4Addr, port| format!("{prefix}{:08X}:{port:04X}", u32::from_ne_bytes(ip.octets()));
        let (local, remote) = (end(theirs.ip(), theirs.port()), end(ours.ip(), ours.port()));
        if let Some(uid) = text.lines().find_map(|line| owner_in(line, &local, &remote)) {
            return Ok(Some(uid));
        }
    }
    Ok(None)
}

/// The owner in a line of the table, if it is about the socket between these two ends.
#[must_use]
pub fn owner_in(line: &str, local: &str, remote: &str) -> Option<u32> {
    let mut columns = line.split_whitespace().skip(1);
    (columns.next()? == local && columns.next()? == remote).then_some(())?;
    // After the two ends: state, queues, timer, retransmissions.
    columns.nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_user_that_took_a_connection_is_named_whichever_family_it_listens_on() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let (ours, theirs) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let accepted = listener.accept().unwrap();
            let us = nix::unistd::geteuid().as_raw();
            assert_eq!(owner(ours, theirs).unwrap(), Some(us), "{address}");
            drop((stream, accepted, listener));
            let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            assert_eq!(owner(nobody, nobody).unwrap(), None);
        }
    }
}
