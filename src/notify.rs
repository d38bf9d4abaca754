//! `Notify`: tells systemd, or whoever else started the program, how it is: `sd_notify(3)`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// Tells the service manager how the program is, by the protocol of `sd_notify(3)`: datagrams to the socket that the variable
/// `NOTIFY_SOCKET` names. Where that is not set nobody asked, and nothing is sent.
///
/// A site that is started by [`run`](crate::run()) does all of this by itself; this is for programs that serve by
/// [`Server`](crate::server::Server) alone.
///
/// ```
/// use purlin::notify::Notify;
///
/// let notify = Notify::from_env();
/// notify.ready("serving http://127.0.0.1:8000"); // for `Type=notify` in systemd's unit
/// notify.stopping("draining");
/// ```
#[derive(Clone, Default)]
pub struct Notify {
    to: Option<Arc<(UnixDatagram, SocketAddr)>>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// To whom the environment says: `NOTIFY_SOCKET`, a path or an abstract name that begins with `@`; and how often the
    /// watchdog is to be fed: `WATCHDOG_USEC`, unless `WATCHDOG_PID` is another process.
    ///
    /// A socket that cannot be sent to is as good as none: a log has a warning.
    pub fn from_env() -> Self {
        let var = |name| std::env::var_os(name);
        Self::told(var("NOTIFY_SOCKET"), var("WATCHDOG_USEC"), var("WATCHDOG_PID"), std::process::id())
    }

    /// Nobody is told.
    pub fn nobody() -> Self {
        Self::default()
    }

    fn told(socket: Option<OsString>, usec: Option<OsString>, pid: Option<OsString>, own: u32) -> Self {
        let to = socket.filter(|socket| !socket.is_empty()).and_then(|socket| {
            let to = address(&socket).and_then(|address| Ok((UnixDatagram::unbound()?, address)));
            let to = to.inspect_err(|error| {
                tracing::warn!(target: "purlin::notify", socket = ?socket, %error, "cannot tell the service manager anything");
            });
            to.ok().map(Arc::new)
        });
        let number = |text: Option<OsString>| text.and_then(|text| text.to_str()?.parse::<u64>().ok());
        let ours = pid.is_none_or(|pid| number(Some(pid)) == Some(own.into()));
        let watchdog = number(usec).filter(|usec| ours && *usec > 0).map(Duration::from_micros);
        Self { watchdog: watchdog.filter(|_| to.is_some()), to }
    }

    /// Whether anybody is told.
    pub fn is_heard(&self) -> bool {
        self.to.is_some()
    }

    /// How long the service manager waits for a [`fed`](Self::fed) before it takes the program for dead and restarts it;
    /// feed it twice as often. `None`: it does not watch.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The program serves: it has started, or has reloaded. `status` is a line for people, in `systemctl status`.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// The program is being replaced by its successor. [`ready`](Self::ready) or [`replaced`](Self::replaced) is to follow.
    pub fn reloading(&self, status: &str) {
        // For `Type=notify-reload`, which compares the time with that of its signal.
        let since = monotonic_usec().map(|usec| format!("MONOTONIC_USEC={usec}\n")).unwrap_or_default();
        self.send(&format!("RELOADING=1\n{since}STATUS={}", line(status)));
    }

    /// Another process serves from now on, and is the one to be watched. (One datagram: of the next one this process would not
    /// be believed.)
    pub fn replaced(&self, by: u32, status: &str) {
        self.send(&format!("READY=1\nMAINPID={by}\nSTATUS={}", line(status)));
    }

    /// The program has begun to end.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", line(status)));
    }

    /// Says for people what the program does.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", line(status)));
    }

    /// Feeds the watchdog: the program works.
    pub fn fed(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some(to) = &self.to else { return };
        let (socket, address) = &**to;
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::warn!(target: "purlin::notify", %error, "cannot tell the service manager");
        }
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").field("heard", &self.is_heard()).field("watchdog", &self.watchdog).finish()
    }
}

/// A line break would begin another assignment.
fn line(status: &str) -> String {
    status.replace(|c: char| c.is_control(), " ")
}

fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(socket),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        [b'@', name @ ..] => {
            #[cfg(target_os = "android")]
            use std::os::android::net::SocketAddrExt;
            #[cfg(target_os = "linux")]
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "expected an absolute path or a name that begins with @")),
    }
}

/// `CLOCK_MONOTONIC` in microseconds. [`Instant`](std::time::Instant) is that clock on Linux, and tells its value by `Debug` only;
/// a Rust whose `Debug` says something else leaves the field out, which only `Type=notify-reload` misses.
fn monotonic_usec() -> Option<u64> {
    let text = format!("{:?}", std::time::Instant::now());
    let field = |name: &str| -> Option<u64> {
        let (_, rest) = text.split_once(name)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    field("tv_sec: ")?.checked_mul(1_000_000)?.checked_add(field("tv_nsec: ")? / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notify(socket: &OsStr, usec: Option<&str>, pid: Option<&str>) -> Notify {
        Notify::told(Some(socket.into()), usec.map(OsString::from), pid.map(OsString::from), 7)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_message_is_one_datagram_to_a_path_or_an_abstract_name() {
        let name = format!("purlin-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let _ = std::fs::remove_file(&path);
        let mut sockets = vec![(path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap())];
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            sockets.push((format!("@{name}").into(), UnixDatagram::bind_addr(&address).unwrap()));
        }
        for (name, socket) in sockets {
            let notify = notify(&name, None, None);
            assert!(notify.is_heard());
            notify.ready("serving\nMAINPID=1");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=serving MAINPID=1", "a status is one line");
            notify.replaced(12, "x");
            assert_eq!(heard(&socket), "READY=1\nMAINPID=12\nSTATUS=x");
            notify.stopping("draining");
            assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=draining");
            notify.fed();
            assert_eq!(heard(&socket), "WATCHDOG=1");
            notify.reloading("restarting");
            let said = heard(&socket);
            #[cfg(target_os = "linux")]
            assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said}");
            assert!(said.ends_with("\nSTATUS=restarting"), "{said}");
        }
        std::fs::remove_file(path).unwrap();
    }

    /// `/proc/uptime` counts the time of a sleeping machine too.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_clock_is_the_one_that_systemd_compares_with() {
        let uptime =
            || -> f64 { std::fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap() };
        let seconds = monotonic_usec().unwrap() as f64 / 1e6;
        assert!(seconds > 0.0 && seconds < uptime() + 0.1, "{seconds} {}", uptime());
        assert!(monotonic_usec() <= monotonic_usec());
    }

    #[test]
    fn the_watchdog_is_fed_by_the_process_that_it_is_for() {
        let table = [
            (None, None, None),
            (Some("30000000"), None, Some(30)),
            (Some("30000000"), Some("7"), Some(30)),
            (Some("30000000"), Some("8"), None),
            (Some("30000000"), Some("x"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
        ];
        let nobody = OsStr::new("/no/such/socket");
        for (usec, pid, seconds) in table {
            assert_eq!(notify(nobody, usec, pid).watchdog(), seconds.map(Duration::from_secs), "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn where_nobody_asked_nothing_is_sent() {
        for socket in [None, Some(""), Some("vsock:2:1")] {
            let notify = Notify::told(socket.map(OsString::from), Some("1".into()), None, 7);
            assert!(!notify.is_heard() && notify.watchdog().is_none(), "{socket:?}");
            notify.ready("");
        }
    }
}
