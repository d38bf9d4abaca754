//! The address that is served: the one that is asked for, or the next free one.

use crate::failure::Failure;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// So many ports are tried.
const TRIES: u16 = 50;

/// The address of a site that says nothing else.
pub(crate) const DEFAULT: &str = "127.0.0.1:8000";

/// Listens there, or on the next free port above.
///
/// Returns who has the first, if that is not free.
///
/// # Errors
///
/// None of them can be had.
pub(crate) fn listen(address: SocketAddr) -> Result<(TcpListener, Option<String>), Failure> {
    let mut taken = None;
    for next in 0..TRIES {
        let Some(port) = address.port().checked_add(next) else { break };
        let address = SocketAddr::new(address.ip(), port);
        match open(address) {
            Ok(listener) => return Ok((listener, taken)),
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
                taken.get_or_insert_with(|| {
                    let who = who_has(port).unwrap_or_else(|| "another program".to_owned());
                    format!("{address} is taken by {who}")
                });
            }
            Err(cause) => {
                let failure = Failure::new(format!("could not listen on {address}: {cause}"));
                return Err(failure.remedy(format!("choose another address: purlin dev --listen {DEFAULT}")));
            }
        }
    }
    let taken = taken.unwrap_or_else(|| format!("{address} cannot be had"));
    Err(Failure::new(format!("{taken}, and so are the ports above it"))
        .remedy("choose another: --listen 127.0.0.1:9000"))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    // The standard library lets the port of a server that has just ended be taken again.
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The program that listens on a port of this machine: its name and number. Where the system does not tell us, `None`.
#[cfg(target_os = "linux")]
fn who_has(port: u16) -> Option<String> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter(|process| process.file_name().as_encoded_bytes()[0].is_ascii_digit()).find_map(|process| {
        let open = std::fs::read_dir(process.path().join("fd")).ok()?;
        let has = |socket: &str| sockets.iter().any(|other| other == socket);
        let mut links = open.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        links.any(|link| link.to_str().is_some_and(has)).then(|| {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("{} (process {})", name.trim(), process.file_name().to_string_lossy())
        })
    })
}

#[cfg(not(target_os = "linux"))]
fn who_has(_: u16) -> Option<String> {
    None
}

/// The sockets that listen on the port, in a table as `proc_net_tcp(5)` describes it.
#[cfg(target_os = "linux")]
fn inodes(table: &str, port: u16) -> Vec<String> {
    const LISTENS: &str = "0A";
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let own = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        (own == port && *state == LISTENS).then(|| (*inode).to_owned())
    };
    table.lines().skip(1).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_and_the_next_one_is_taken() {
        let (first, _) = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        // Nothing is sure of the ports above but that this one is not free.
        let (second, taken) = listen(address).unwrap();
        assert!(second.local_addr().unwrap().port() > address.port());
        let taken = taken.unwrap();
        assert!(taken.starts_with(&format!("{address} is taken by ")), "{taken}");
        if cfg!(target_os = "linux") {
            assert!(taken.contains(&format!("(process {})", std::process::id())), "{taken}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_socket_of_a_port_is_the_one_that_listens() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
             1: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
             2: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n\n";
        assert_eq!(inodes(table, 8000), ["4711"]);
        assert_eq!(inodes("", 8000), [] as [String; 0]);
    }
}
