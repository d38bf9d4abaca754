//! The control socket: by it the command `restart` finds the site that runs, and is told what became of it.
//!
//! A client sends the line `restart`. The answer is a text that begins with `ok` or `failed` and a space, and ends with the connection.

use crate::config::{Config, Listen};
use crate::{Context, Error, Result};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// The environment variable that has the number of a predecessor's control socket: see [`spawn`](crate::spawn).
pub(super) const SOCKET: &str = "PURLIN_CONTROL_SOCKET";

/// The only request.
const RESTART: &[u8] = b"restart\n";

/// For a client to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer.
const MOST: u64 = 64 * 1024;

/// Where the control socket of this site is; nowhere, if the configuration says `none`.
///
/// # Errors
///
/// The folder cannot be made, or is not this user's alone.
pub(super) fn place(config: &Config, file: Option<&str>, listen: &[Listen]) -> Result<Option<PathBuf>> {
    let control = &config.server.control;
    if control.as_os_str() == "none" {
        return Ok(None);
    }
    if !control.as_os_str().is_empty() {
        return Ok(Some(config.root.join(control)));
    }
    let program = super::restart::program();
    let program = program.file_stem().map_or("site".into(), |name| name.to_string_lossy().into_owned());
    // systemd may give several, with colons between.
    let folder = |name: &str| {
        let folders = std::env::var(name).ok()?;
        folders.split(':').next().map(PathBuf::from).filter(|path| path.is_absolute())
    };
    // It is the unit's own: that has one site.
    if let Some(folder) = folder("RUNTIME_DIRECTORY") {
        return Ok(Some(folder.join(format!("{program}.control"))));
    }
    let mut key = Key::new();
    key.add(std::path::absolute(&config.root)?.to_string_lossy());
    key.add(config.environment.name());
    key.add(std::env::var_os("PURLIN_CONFIG").unwrap_or_default().to_string_lossy());
    key.add(file.map(std::path::absolute).transpose()?.unwrap_or_default().to_string_lossy());
    listen.iter().for_each(|listen| key.add(listen.to_string()));
    let folder = match folder("XDG_RUNTIME_DIR") {
        Some(folder) => folder.join("purlin"),
        None => std::env::temp_dir().join(format!("purlin-{}", own_user()?)),
    };
    private(&folder)?;
    Ok(Some(folder.join(format!("{program}-{:016x}.control", key.0))))
}

/// FNV-1a: the same in every version, so that an old server is found by a new executable. Nobody has to be kept from making equal
/// ones: they are this user's.
struct Key(u64);

impl Key {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, text: impl AsRef<str>) {
        // With its end, so that `ab` and `c` are not `a` and `bc`.
        for byte in text.as_ref().bytes().chain([0]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Makes a folder into which nobody else can put anything.
fn private(folder: &Path) -> Result<()> {
    let shown = folder.display();
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::from(error).context(format!("making the folder {shown}"))),
    }
    let found = folder.symlink_metadata().context(format!("looking at the folder {shown}"))?;
    if found.is_dir() && found.uid() == own_user()? && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::internal(format!("expected a folder of this user's alone (mode 0700), found {shown}")))
}

/// The user of this process. In a runtime.
fn own_user() -> Result<u32> {
    let (one, _) = UnixStream::pair().context("finding out the user")?;
    Ok(one.peer_cred().context("finding out the user")?.uid())
}

/// The control socket of this process. Its file is removed with it, unless it is another process's: a predecessor's before this one
/// serves, and a successor's afterwards.
#[derive(Debug)]
pub(super) struct Control {
    path: PathBuf,
    socket: UnixListener,
    of_another: bool,
    /// That of a predecessor, at a place which the configuration does not name any more.
    before: Option<Box<Control>>,
}

impl Control {
    /// Opens it, or takes it over from a predecessor.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        if let Some(socket) = crate::spawn::handed_over(SOCKET)?.pop() {
            let socket = UnixListener::from(socket);
            let its = socket.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
            let control = Self { path: its.unwrap_or_default(), socket, of_another: true, before: None };
            if control.path == path {
                control.socket.set_nonblocking(true)?;
                return Ok(control);
            }
            let mut new = Self::bind(path)?;
            new.before = Some(Box::new(control));
            return Ok(new);
        }
        Self::bind(path)
    }

    fn bind(path: PathBuf) -> Result<Self> {
        let shown = path.display();
        if let Ok(file) = path.symlink_metadata() {
            if !file.file_type().is_socket() {
                return Err(Error::internal(format!("{shown} is a file which is no socket")));
            }
            match std::os::unix::net::UnixStream::connect(&path) {
                Ok(_) => return Err(Error::internal(format!("{shown} is that of another server of this site"))),
                // Its server has died.
                Err(_) => std::fs::remove_file(&path)
                    .context(format!("removing {shown}, left by a program that has ended"))?,
            }
        }
        let socket = UnixListener::bind(&path).context(format!("opening {shown}"))?;
        let control = Self { path, socket, of_another: false, before: None };
        // Others cannot connect in between, either: that takes the right to write, which the umask gives nobody; and they are
        // asked who they are.
        std::fs::set_permissions(&control.path, std::fs::Permissions::from_mode(0o600))?;
        control.socket.set_nonblocking(true)?;
        Ok(control)
    }

    /// The socket, for a successor.
    pub(super) fn socket(&self) -> &impl AsFd {
        &self.socket
    }

    /// A successor has it.
    pub(super) fn hand_over(mut self) {
        self.of_another = true;
    }

    /// The predecessor has given it up.
    pub(super) fn own(&mut self) {
        self.of_another = false;
        if let Some(mut before) = self.before.take() {
            before.own();
        }
    }

    /// Listens to those who may ask for something.
    pub(super) fn listen(&self, asked: impl Fn(Caller) + Clone + Send + 'static) -> Result<tokio::task::AbortHandle> {
        let socket = self.socket.try_clone().context("listening for commands")?;
        let socket = tokio::net::UnixListener::from_std(socket).context("listening for commands")?;
        let user = own_user()?;
        let listening = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = socket.accept().await else {
                    // No file descriptors, say.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                };
                match stream.peer_cred() {
                    Ok(peer) if peer.uid() == user || peer.uid() == 0 => {
                        drop(tokio::spawn(hear(stream, asked.clone())))
                    }
                    peer => {
                        let user = peer.ok().map(|peer| peer.uid());
                        tracing::warn!(target: "purlin::restart", user, "a command of another user: refused");
                    }
                }
            }
        });
        Ok(listening.abort_handle())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if !self.of_another {
            // Nobody is left to be told; the next server replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn hear(mut stream: UnixStream, asked: impl Fn(Caller)) {
    let mut words = [0; RESTART.len()];
    let heard = tokio::time::timeout(PATIENCE, stream.read_exact(&mut words)).await;
    let caller = Caller(stream);
    match heard {
        Ok(Ok(_)) if words == RESTART => asked(caller),
        _ => caller.answer(Err("expected the line `restart`")).await,
    }
}

/// Who has asked for a restart, and waits for the answer.
#[derive(Debug)]
pub(super) struct Caller(UnixStream);

impl Caller {
    pub(super) fn answer(mut self, answer: Result<&str, &str>) -> impl Future<Output = ()> + Send + 'static {
        let answer = match answer {
            Ok(text) => format!("ok {text}"),
            Err(text) => format!("failed {text}"),
        };
        async move {
            // Who has left does not hear it.
            let _ = tokio::time::timeout(PATIENCE, self.0.write_all(answer.as_bytes())).await;
        }
    }
}

/// Asks the site that runs to be restarted; tells what it says.
///
/// # Errors
///
/// No site runs; it has not been replaced, and goes on; it has not answered within `limit`.
pub(super) async fn restart(path: &Path, limit: Duration) -> Result<String> {
    let shown = path.display();
    let stream = UnixStream::connect(path).await;
    let mut stream = stream.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::internal(format!(
            "no such site runs here: nobody listens at {shown}, which stands for this executable, its folder, PURLIN_ENV, and the \
             FILE and `--listen` that it was started with (`server.control` names another place)"
        )),
        _ => Error::from(error).context(format!("connecting to {shown}")),
    })?;
    let asked = async {
        stream.write_all(RESTART).await?;
        let mut answer = String::new();
        (&mut stream).take(MOST).read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let answer = tokio::time::timeout(limit, asked).await;
    let answer = answer.map_err(|_| Error::internal(format!("the site has not answered within {limit:?}")))?;
    let answer = answer.context("asking the site to restart")?;
    match answer.split_once(' ') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some(("failed", text)) => Err(Error::internal(text.to_owned())),
        _ => Err(Error::internal("the site has ended before it answered")),
    }
}

/// Callers, as they come.
pub(super) fn callers<T: Send + 'static>(
    events: mpsc::UnboundedSender<T>,
    event: fn(Caller) -> T,
) -> impl Fn(Caller) + Clone + Send + 'static {
    // Where nobody receives it, it is dropped, and the client told so by the end of its connection.
    move |caller| drop(events.send(event(caller)))
}
