//! The sockets a server listens on.

use super::wire::Stream;
use crate::config::Listen;
use crate::{Connection, Context as _, Error, Result};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::task::{Context, Poll};

/// How many connections may wait to be accepted; the kernel's own limit (`net.core.somaxconn`) stands above.
const BACKLOG: i32 = 4096;

/// A socket that is bound and listens. It needs a runtime to accept from only.
#[derive(Debug)]
pub(super) enum Socketed {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, Option<Leftover>),
}

impl Socketed {
    /// Binds everything that `listen` means.
    pub(super) fn bind(listen: &Listen, shares_port: bool, all: &[Listen]) -> Result<Vec<Self>> {
        match listen {
            Listen::Tcp(address) => tcp(*address, shares_port, all)
                .map(|socket| vec![Self::Tcp(socket)])
                .map_err(|error| cannot_listen(*address, error)),
            #[cfg(unix)]
            Listen::Unix(path) => {
                let (socket, leftover) = unix(path)?;
                Ok(vec![Self::Unix(socket, Some(leftover))])
            }
            #[cfg(not(unix))]
            Listen::Unix(path) => Err(Error::internal(format!(
                "cannot listen on unix:{}: there are no unix sockets here",
                path.display()
            ))),
            Listen::Inherited => inherited(),
        }
    }

    /// One that another process has opened, and handed over to this one.
    #[cfg(unix)]
    pub(super) fn handed_over(socket: std::os::fd::OwnedFd) -> Result<Self> {
        let address = socket2::SockRef::from(&socket).local_addr();
        if !address.context("asking a socket for its address")?.is_unix() {
            return Ok(Self::Tcp(socket.into()));
        }
        let socket = std::os::unix::net::UnixListener::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self::Unix(socket, None))
    }

    /// Where it listens: with the port that was found for port 0.
    pub(super) fn address(&self) -> Result<Listen> {
        Ok(match self {
            Self::Tcp(socket) => Listen::Tcp(socket.local_addr().context("asking a socket for its address")?),
            #[cfg(unix)]
            Self::Unix(socket, _) => {
                let address = socket.local_addr().context("asking a socket for its address")?;
                Listen::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned())
            }
        })
    }

    /// The same for another core: with `shares_port` a socket of its own on the same port, from which the kernel hands
    /// each core its share; else another handle of this one.
    pub(super) fn another(&self, shares_port: bool) -> Result<Self> {
        Ok(match self {
            Self::Tcp(socket) if shares_port => {
                let address = socket.local_addr().context("asking a socket for its address")?;
                let only_v6 = socket2::SockRef::from(socket).only_v6().unwrap_or(false);
                Self::Tcp(tcp_socket(address, true, only_v6).map_err(|error| cannot_listen(address, error))?)
            }
            Self::Tcp(socket) => Self::Tcp(socket.try_clone().context("sharing a socket between cores")?),
            #[cfg(unix)]
            Self::Unix(socket, _) => Self::Unix(socket.try_clone().context("sharing a socket between cores")?, None),
        })
    }

    pub(super) fn into_listener(self) -> Result<Listener> {
        Ok(match self {
            Self::Tcp(socket) => Listener::Tcp(tokio::net::TcpListener::from_std(socket)?),
            #[cfg(unix)]
            Self::Unix(socket, leftover) => Listener::Unix(tokio::net::UnixListener::from_std(socket)?, leftover),
        })
    }
}

/// A socket from which connections are accepted.
pub(super) enum Listener {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(
        tokio::net::UnixListener,
        #[allow(dead_code, reason = "removes the file when it is dropped")] Option<Leftover>,
    ),
}

impl Listener {
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Connection)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, peer)| {
                // Small answers leave at once. Where this fails, the connection is gone already.
                let _ = stream.set_nodelay(true);
                let local = stream.local_addr().ok();
                (Stream::Tcp(stream), Connection::new(Some(peer), local))
            }),
            #[cfg(unix)]
            Self::Unix(listener, _) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| (Stream::Unix(stream), Connection::new(None, None)))
            }
        }
    }
}

fn tcp(address: SocketAddr, shares_port: bool, all: &[Listen]) -> io::Result<std::net::TcpListener> {
    // `[::]:80` takes IPv4 too, unless `0.0.0.0:80` is asked for by itself.
    let v4_too =
        |other: &Listen| matches!(other, Listen::Tcp(other) if other.is_ipv4() && other.port() == address.port());
    let only_v6 = address.is_ipv6() && address.port() != 0 && all.iter().any(v4_too);
    if shares_port && address.port() != 0 {
        // Any other process of this user that shares the port would silently get half of the connections:
        // it has to be free first.
        drop(tcp_socket(address, false, only_v6)?);
    }
    tcp_socket(address, shares_port, only_v6)
}

fn tcp_socket(address: SocketAddr, shares_port: bool, only_v6: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Not on Windows, where it would let two servers have one port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
    if shares_port {
        socket.set_reuse_port(true)?;
    }
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Says what is wrong with an address, and what can be done about it.
fn cannot_listen(address: SocketAddr, error: io::Error) -> Error {
    let (ip, port) = (address.ip(), address.port());
    let message = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let other = if port < u16::MAX { port + 1 } else { port - 1 };
            let other = SocketAddr::new(ip, other);
            format!(
                "port {port} on {ip} is in use; `{}` shows by which program, and `--listen {other}` takes another port",
                who_has(port)
            )
        }
        io::ErrorKind::PermissionDenied if port < 1024 => format!(
            "port {port} on {ip} is for privileged programs; take one from 1024 up (`--listen {}`) with a proxy before it, \
             or let systemd open it (`--listen inherited`)",
            SocketAddr::new(ip, 8000)
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "this machine has no address {ip}; `{}` shows those it has, and `--listen {}` takes them all",
            if cfg!(target_os = "linux") { "ip addr" } else { "ifconfig" },
            SocketAddr::new(if ip.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, port)
        ),
        _ => format!("cannot listen on {address}"),
    };
    Error::from(error).context(message)
}

fn who_has(port: u16) -> String {
    if cfg!(target_os = "linux") { format!("ss -ltnp sport = :{port}") } else { format!("lsof -nP -iTCP:{port}") }
}

/// The file of a unix socket, removed when its server ends: unless another server has put its own in that place.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Leftover {
    path: std::path::PathBuf,
    inode: (u64, u64),
}

#[cfg(unix)]
impl Drop for Leftover {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // Nobody is left to be told; the next server replaces the file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(unix)]
fn inode(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let file = path.symlink_metadata()?;
    Ok((file.dev(), file.ino()))
}

/// Who may connect: the site's user and group. Connecting needs the right to write.
#[cfg(unix)]
const MODE: u32 = 0o660;

#[cfg(unix)]
fn unix(path: &Path) -> Result<(std::os::unix::net::UnixListener, Leftover)> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    let shown = path.display();
    if let Ok(file) = path.symlink_metadata() {
        if !file.file_type().is_socket() {
            return Err(Error::internal(format!("cannot listen on unix:{shown}: there is a file which is no socket")));
        }
        match UnixStream::connect(path) {
            Ok(_) => {
                let message =
                    format!("unix:{shown} is in use by a running program; stop it, or `--listen` on another path");
                return Err(Error::internal(message));
            }
            // Its program has ended without removing it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).context(format!("removing {shown}, left by a program that has ended"))?;
            }
            Err(error) => {
                return Err(Error::from(error).context(format!("finding out whether unix:{shown} is in use")));
            }
        }
    }
    let listen = || -> io::Result<(UnixListener, Leftover)> {
        let socket = UnixListener::bind(path)?;
        let leftover = Leftover { path: path.to_owned(), inode: inode(path)? };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
        socket.set_nonblocking(true)?;
        Ok((socket, leftover))
    };
    listen().map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => format!("cannot listen on unix:{shown}: its folder is not there"),
            _ => format!("cannot listen on unix:{shown}"),
        };
        Error::from(error).context(message)
    })
}

/// The sockets that were open when the program started: `sd_listen_fds(3)`.
#[cfg(unix)]
fn inherited() -> Result<Vec<Socketed>> {
    let mut found = crate::spawn::inherited();
    let mut sockets = Vec::new();
    for at in 0..found.len() {
        if let Ok(Some(socket)) = found.take_tcp_listener(at) {
            socket.set_nonblocking(true)?;
            sockets.push(Socketed::Tcp(socket));
        } else if let Some(socket) = found.take_unix_listener(at).context("taking over an inherited socket")? {
            socket.set_nonblocking(true)?;
            // Its file belongs to whoever made it.
            sockets.push(Socketed::Unix(socket, None));
        }
    }
    if sockets.is_empty() {
        let message = "no socket was inherited: `inherited` is for a site started by systemd's socket unit, \
                       or another program which sets LISTEN_FDS";
        return Err(Error::internal(message));
    }
    Ok(sockets)
}

#[cfg(not(unix))]
fn inherited() -> Result<Vec<Socketed>> {
    Err(Error::internal("no socket can be inherited here"))
}
