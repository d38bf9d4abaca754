//! The sockets a server listens on.

use super::wire::Stream;
use crate::config::Listen;
use crate::{Connection, Context as _, Error, Result};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// How many connections may wait to be accepted; the kernel's own limit (`net.core.somaxconn`) stands above.
const BACKLOG: i32 = 4096;

/// A socket that is bound and listens. It needs a runtime to accept from only.
#[derive(Debug)]
pub(super) struct Socketed {
    /// What it was opened for.
    pub(super) asked: Listen,
    pub(super) kind: Kind,
    pub(super) lives_on: LivesOn,
    #[cfg(unix)]
    leftover: Option<Leftover>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

impl Kind {
    #[cfg(unix)]
    fn of(socket: std::os::fd::OwnedFd) -> Result<Self> {
        let address = socket2::SockRef::from(&socket).local_addr().context("asking a socket for its address")?;
        let kind = if address.is_unix() { Self::Unix(socket.into()) } else { Self::Tcp(socket.into()) };
        match &kind {
            Self::Tcp(socket) => socket.set_nonblocking(true)?,
            Self::Unix(socket) => socket.set_nonblocking(true)?,
        }
        Ok(kind)
    }
}

/// Whether a socket has others who accept from it, so that it does not end with this server: systemd, or a server that took over.
#[derive(Clone, Debug, Default)]
pub(crate) struct LivesOn(Arc<AtomicBool>);

impl LivesOn {
    pub(super) fn yes() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// The one who had it before has given it up.
    pub(super) fn no_longer(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Socketed {
    /// Binds everything that `listen` means, unless a server before this one has handed it over.
    pub(super) fn bind(listen: &Listen, shares_port: bool, all: &[Listen]) -> Result<Vec<Self>> {
        #[cfg(unix)]
        {
            let handed = super::handover::take(listen);
            if !handed.is_empty() {
                return handed.into_iter().map(|socket| Self::handed_over(listen, socket)).collect();
            }
        }
        let one = |kind| vec![Self::new(listen, kind)];
        match listen {
            Listen::Tcp(address) => tcp(*address, shares_port, all)
                .map(|socket| one(Kind::Tcp(socket)))
                .map_err(|error| cannot_listen(*address, error)),
            #[cfg(unix)]
            Listen::Unix(path) => {
                let (socket, mut leftover) = unix(path)?;
                let mut socket = Self::new(listen, Kind::Unix(socket));
                leftover.lives_on = socket.lives_on.clone();
                socket.leftover = Some(leftover);
                Ok(vec![socket])
            }
            #[cfg(not(unix))]
            Listen::Unix(path) => Err(Error::internal(format!(
                "cannot listen on unix:{}: there are no unix sockets here",
                path.display()
            ))),
            Listen::Inherited => inherited(),
        }
    }

    fn new(asked: &Listen, kind: Kind) -> Self {
        Self {
            asked: asked.clone(),
            kind,
            lives_on: LivesOn::default(),
            #[cfg(unix)]
            leftover: None,
        }
    }

    /// One that the process which has started this one has opened; with `lives_on`, for others too.
    #[cfg(unix)]
    pub(super) fn handed_down(socket: std::os::fd::OwnedFd, lives_on: bool) -> Result<Self> {
        let lives_on = if lives_on { LivesOn::yes() } else { LivesOn::default() };
        Ok(Self { lives_on, ..Self::new(&Listen::Inherited, Kind::of(socket)?) })
    }

    /// One of a server before this one.
    #[cfg(unix)]
    fn handed_over(asked: &Listen, socket: std::os::fd::OwnedFd) -> Result<Self> {
        // It is that server's until this one serves, which may not come to pass.
        let mut socket = Self { lives_on: LivesOn::yes(), ..Self::new(asked, Kind::of(socket)?) };
        if let Listen::Unix(path) = asked {
            let lives_on = socket.lives_on.clone();
            let inode = inode(path).ok();
            socket.leftover = inode.map(|inode| Leftover { path: path.clone(), inode, lives_on });
        }
        Ok(socket)
    }

    /// From now on it is this server's alone, unless somebody else has opened it.
    pub(super) fn own(&self) {
        if self.asked != Listen::Inherited {
            self.lives_on.no_longer();
        }
    }

    /// Where it listens: with the port that was found for port 0.
    pub(super) fn address(&self) -> Result<Listen> {
        Ok(match &self.kind {
            Kind::Tcp(socket) => Listen::Tcp(socket.local_addr().context("asking a socket for its address")?),
            #[cfg(unix)]
            Kind::Unix(socket) => {
                let address = socket.local_addr().context("asking a socket for its address")?;
                Listen::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned())
            }
        })
    }

    /// Whether each core can have a socket of its own on the same port, from which the kernel hands it its share.
    pub(super) fn can_share_port(&self) -> bool {
        #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
        if let Kind::Tcp(socket) = &self.kind {
            // Not so where a server before this one had no need of it.
            return self.asked != Listen::Inherited && socket2::SockRef::from(socket).reuse_port().unwrap_or(false);
        }
        false
    }

    /// The same for another core: a socket of its own where it can have one, else another handle of this one.
    pub(super) fn another(&self) -> Result<Self> {
        let kind = match &self.kind {
            Kind::Tcp(socket) if self.can_share_port() => {
                let address = socket.local_addr().context("asking a socket for its address")?;
                let only_v6 = socket2::SockRef::from(socket).only_v6().unwrap_or(false);
                Kind::Tcp(tcp_socket(address, true, only_v6).map_err(|error| cannot_listen(address, error))?)
            }
            Kind::Tcp(socket) => Kind::Tcp(socket.try_clone().context("sharing a socket between cores")?),
            #[cfg(unix)]
            Kind::Unix(socket) => Kind::Unix(socket.try_clone().context("sharing a socket between cores")?),
        };
        // The file of a unix socket is removed by the first handle.
        Ok(Self { lives_on: self.lives_on.clone(), ..Self::new(&self.asked, kind) })
    }

    /// Lets nobody begin a new connection, as [`Listener::shut`] does: for those who accept from this socket in other processes.
    #[cfg(unix)]
    pub(super) fn shut(&mut self) -> Door {
        if self.lives_on.is_set() {
            return Door::Elsewhere;
        }
        match &self.kind {
            Kind::Tcp(listener) => keep_out(&socket2::SockRef::from(listener)),
            Kind::Unix(_) => {
                self.leftover = None;
                Door::Open
            }
        }
    }

    pub(super) fn into_listener(self) -> Result<Listener> {
        Ok(Listener {
            kind: match self.kind {
                Kind::Tcp(socket) => Accepting::Tcp(tokio::net::TcpListener::from_std(socket)?),
                #[cfg(unix)]
                Kind::Unix(socket) => Accepting::Unix(tokio::net::UnixListener::from_std(socket)?),
            },
            lives_on: self.lives_on,
            #[cfg(unix)]
            leftover: self.leftover,
        })
    }
}

/// A socket from which connections are accepted.
pub(super) struct Listener {
    kind: Accepting,
    lives_on: LivesOn,
    #[cfg(unix)]
    leftover: Option<Leftover>,
}

enum Accepting {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// What becomes of connections once nobody is to come any more.
#[derive(Debug, PartialEq)]
pub(super) enum Door {
    /// Others accept them.
    Elsewhere,
    /// No new one begins; those that have begun come.
    Shut,
    /// They come until the socket is closed.
    Open,
}

impl Listener {
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Connection)>> {
        match &self.kind {
            Accepting::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, peer)| {
                // Small answers leave at once. Where this fails, the connection is gone already.
                let _ = stream.set_nodelay(true);
                let local = stream.local_addr().ok();
                (Stream::Tcp(stream), Connection::new(Some(peer), local))
            }),
            #[cfg(unix)]
            Accepting::Unix(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| (Stream::Unix(stream), Connection::new(None, None)))
            }
        }
    }

    /// Lets nobody begin a new connection, so that none is lost between the last one which is accepted and the end of the socket:
    /// to its client the kernel has said that we are there.
    pub(super) fn shut(&mut self) -> Door {
        if self.lives_on.is_set() {
            return Door::Elsewhere;
        }
        match &self.kind {
            Accepting::Tcp(listener) => keep_out(&socket2::SockRef::from(listener)),
            // Without its file nobody finds it.
            #[cfg(unix)]
            Accepting::Unix(_) => {
                self.leftover = None;
                Door::Open
            }
        }
    }
}

/// Has the kernel drop what would open a connection, and nothing else: its client tries again after a second, when the socket is
/// closed or another server's. A handshake that has begun is finished.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn keep_out(listener: &socket2::SockRef<'_>) -> Door {
    use socket2::SockFilter;
    // The filter sees the TCP header (RFC 9293 §3.1), whose byte 13 has the flags: SYN is 2, ACK is 16.
    const NO_SYN: [SockFilter; 5] = [
        SockFilter::new(0x30, 0, 0, 13),       // load the byte
        SockFilter::new(0x54, 0, 0, 0x12),     // keep SYN and ACK of it
        SockFilter::new(0x15, 0, 1, 0x02),     // unless that is SYN alone, skip the next
        SockFilter::new(0x06, 0, 0, 0),        // drop the packet
        SockFilter::new(0x06, 0, 0, u32::MAX), // take it
    ];
    match listener.attach_filter(&NO_SYN) {
        Ok(()) => Door::Shut,
        Err(_) => Door::Open,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn keep_out(_: &socket2::SockRef<'_>) -> Door {
    Door::Open
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

/// The file of a unix socket, removed when its server ends: unless another server has taken the socket over, or put its own in
/// that place.
#[cfg(unix)]
#[derive(Debug)]
struct Leftover {
    path: std::path::PathBuf,
    inode: (u64, u64),
    lives_on: LivesOn,
}

#[cfg(unix)]
impl Drop for Leftover {
    fn drop(&mut self) {
        if !self.lives_on.is_set() && inode(&self.path).is_ok_and(|inode| inode == self.inode) {
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
        let leftover = Leftover { path: path.to_owned(), inode: inode(path)?, lives_on: LivesOn::default() };
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
            sockets.push(Kind::Tcp(socket));
        } else if let Some(socket) = found.take_unix_listener(at).context("taking over an inherited socket")? {
            socket.set_nonblocking(true)?;
            sockets.push(Kind::Unix(socket));
        }
    }
    if sockets.is_empty() {
        let message = "no socket was inherited: `inherited` is for a site started by systemd's socket unit, \
                       or another program which sets LISTEN_FDS";
        return Err(Error::internal(message));
    }
    // Whoever opened them has them still, and the file of a unix socket belongs to whoever made it.
    let inherited = |kind| Socketed { lives_on: LivesOn::yes(), ..Socketed::new(&Listen::Inherited, kind) };
    Ok(sockets.into_iter().map(inherited).collect())
}

#[cfg(not(unix))]
fn inherited() -> Result<Vec<Socketed>> {
    Err(Error::internal("no socket can be inherited here"))
}
