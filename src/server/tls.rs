//! `Tls`: https by rustls.

mod certificates;
mod validity;

use super::connection::Slot;
use super::wire::Stream;
use crate::config::{Listen, TlsConfig};
use crate::lock::locked;
use crate::{Context, Error, Result};
pub(super) use certificates::Certificates;
use rustls::ServerConfig;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

/// Certificates, and how a server speaks TLS: see [`Server::tls`](super::Server::tls).
///
/// TLS 1.2 and 1.3 by [rustls](https://docs.rs/rustls) with ring: no older version, no renegotiation, no data before the handshake's
/// end (0-RTT). HTTP/2 and HTTP/1.1 are chosen by ALPN (RFC 7301), HTTP/2 with the feature `http2`. Sessions are resumed by tickets, whose key
/// each process makes for itself.
///
/// - Of **several certificates** the first counts that is for the name which the client says (SNI, RFC 6066 §3); for another name, or
///   none, the first of all.
/// - The **files are read again** each minute, and used if they have changed: a renewed certificate needs no restart. Where they cannot be used
///   (half written, of another key), the log says so, and the old ones serve on.
/// - A certificate that has **ended**, or has not begun, is a warning in the log, with its date; so is a key that everybody on this machine may
///   read.
/// - Who asks by **plain http** is told by a 400 that this port speaks TLS. [`redirect_from`](Tls::redirect_from) is a port from which
///   visitors are sent to https.
///
/// ```no_run
/// use purlin::server::{Server, Tls};
///
/// # fn example() -> purlin::Result<()> {
/// let tls = Tls::new("/etc/site/cert.pem", "/etc/site/key.pem").redirect_from("[::]:80".parse()?);
/// let server = Server::new().listen("[::]:443".parse()?).tls(tls).bind()?;
/// # let _ = server;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tls {
    pairs: Vec<Pair>,
    handshake_timeout: Duration,
    max_handshakes: usize,
    look_every: Duration,
    pub(super) redirect_from: Vec<Listen>,
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// The certificate with those that lead from it to a known authority, itself first, and its private key (PKCS #8, PKCS #1 or SEC 1);
    /// both in PEM.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            pairs: vec![Pair { certificate: certificate.into(), key: key.into() }],
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 1024,
            look_every: Duration::from_secs(60),
            redirect_from: Vec::new(),
        }
    }

    /// What `[server.tls]` says; `None` if it names no certificate.
    pub fn from_config(config: &TlsConfig) -> Option<Self> {
        if config.certificate.as_os_str().is_empty() {
            return None;
        }
        let mut tls = Self::new(&config.certificate, &config.key)
            .handshake_timeout(config.handshake_timeout)
            .look_every(config.look_every);
        for files in config.more.values() {
            tls = tls.also(&files.certificate, &files.key);
        }
        tls.redirect_from.clone_from(&config.redirect_from);
        Some(tls)
    }

    /// A certificate for other names, with its key; may be said several times.
    pub fn also(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.pairs.push(Pair { certificate: certificate.into(), key: key.into() });
        self
    }

    /// For a handshake, from the connection's beginning; 10 seconds by default.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// How many handshakes may be under way; 1024 by default, one at least. For one more, the one that has taken longest gives way.
    pub fn max_handshakes(mut self, handshakes: usize) -> Self {
        self.max_handshakes = handshakes.max(1);
        self
    }

    /// How often the files are looked at; each minute by default.
    pub fn look_every(mut self, time: Duration) -> Self {
        self.look_every = time.max(Duration::from_millis(1));
        self
    }

    /// Listens there too, without TLS, and sends whoever asks to the same URL by https (308), at the port of the server's first address.
    pub fn redirect_from(mut self, listen: Listen) -> Self {
        self.redirect_from.push(listen);
        self
    }

    /// The same with another first certificate.
    #[cfg(feature = "deploy")]
    pub(crate) fn first(mut self, certificate: PathBuf, key: PathBuf) -> Self {
        self.pairs[0] = Pair { certificate, key };
        self
    }

    /// The same with the first certificate only.
    #[cfg(feature = "deploy")]
    pub(crate) fn alone(mut self) -> Self {
        self.pairs.truncate(1);
        self
    }

    /// Redirects from there, and from no other place that was named before.
    #[cfg(feature = "deploy")]
    pub(crate) fn only_redirect_from(mut self, listen: &[Listen]) -> Self {
        self.redirect_from = listen.to_vec();
        self
    }

    /// Reads the files.
    pub(super) fn load(&self) -> Result<Arc<Certificates>> {
        Certificates::load(self.pairs.clone()).map(Arc::new)
    }

    /// For a server with these certificates. `port` is where it speaks TLS, and `plain` where it sends there.
    pub(super) fn secure(
        self,
        certificates: Arc<Certificates>,
        http2: bool,
        port: u16,
        plain: Vec<u16>,
    ) -> Result<Secure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.context("setting up TLS")?.with_no_client_auth();
        let mut config = config.with_cert_resolver(certificates.clone());
        config.ticketer = rustls::crypto::ring::Ticketer::new().context("setting up TLS")?;
        config.alpn_protocols = if http2 { vec![b"h2".to_vec()] } else { Vec::new() };
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(Secure {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificates,
            tls: self,
            port,
            plain,
            under_way: Mutex::default(),
        })
    }
}

/// What the connections of a server share that speaks TLS.
pub(super) struct Secure {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
    tls: Tls,
    port: u16,
    /// The ports that send to this one.
    plain: Vec<u16>,
    under_way: Mutex<Handshakes>,
}

/// Those under way, the oldest first.
#[derive(Default)]
struct Handshakes {
    count: u64,
    open: BTreeMap<u64, Arc<Slot>>,
}

/// What a connection has become.
pub(super) enum Opened {
    /// It has spoken the handshake.
    Tls(Stream),
    /// It is none of TLS: a unix socket's, or of a port that redirects.
    Plain(Stream),
    Redirected(Stream),
}

/// How long who speaks no TLS is listened to, so that what he is told arrives.
const LINGER: Duration = Duration::from_secs(2);

const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\
    content-length: 66\r\n\r\nThis port speaks TLS: ask for the same URL with https:// instead.\n";

impl Secure {
    /// Looks at the files again and again, until it is dropped.
    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        let (certificates, every) = (self.certificates.clone(), self.tls.look_every);
        Watch(tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                certificates.look();
            }
        }))
    }

    /// Where a request that came without TLS is sent.
    pub(super) fn location<B>(&self, req: &http::Request<B>) -> Option<String> {
        let host: http::uri::Authority = req.headers().get(http::header::HOST)?.to_str().ok()?.parse().ok()?;
        let name = host.host();
        let target = req.uri().path_and_query().map_or("/", |target| target.as_str());
        Some(match self.port {
            443 => format!("https://{name}{target}"),
            port => format!("https://{name}:{port}{target}"),
        })
    }

    /// Has the handshake spoken. `None`: there is nobody to serve.
    pub(super) async fn open(&self, io: Stream, slot: &Arc<Slot>) -> Option<Opened> {
        match io {
            #[cfg(unix)]
            Stream::Unix(io) => return Some(Opened::Plain(Stream::Unix(io))),
            Stream::Tcp(io) if slot.local_port().is_some_and(|port| self.plain.contains(&port)) => {
                return Some(Opened::Redirected(Stream::Tcp(io)));
            }
            _ => {}
        }
        let turn = self.turn(slot);
        let limit = slot.since() + self.tls.handshake_timeout;
        let mut work = pin!(self.shake(io));
        let mut timer = pin!(sleep_until(limit));
        let done = poll_fn(|cx| {
            if let std::task::Poll::Ready(done) = work.as_mut().poll(cx) {
                return std::task::Poll::Ready(done);
            }
            if slot.is_told() {
                return std::task::Poll::Ready(Err(io::Error::other("it gave way to another")));
            }
            // In the drain it is waited for no longer than for a request.
            let deadline = slot.rests_until().map_or(limit, |rests| rests.min(limit));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
        });
        let done = done.await;
        drop(turn);
        match done {
            Ok(io) => Some(Opened::Tls(io)),
            Err(error) => {
                slot.failed(&error);
                None
            }
        }
    }

    async fn shake(&self, io: Stream) -> io::Result<Stream> {
        match io {
            Stream::Tcp(io) => {
                let mut first = [0];
                match io.peek(&mut first).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    // A record of TLS begins with a number below these (RFC 8446 §5.1), a request with its method.
                    _ if first[0].is_ascii_uppercase() => {
                        tell(io).await?;
                        return Err(io::Error::other("it speaks plain http"));
                    }
                    _ => {}
                }
                Ok(Stream::Other(Box::new(self.acceptor.accept(io).await?)))
            }
            Stream::Other(io) => Ok(Stream::Other(Box::new(self.acceptor.accept(io).await?))),
            #[cfg(unix)]
            other => Ok(other),
        }
    }

    /// A place among those under way.
    fn turn<'a>(&'a self, slot: &Arc<Slot>) -> Turn<'a> {
        let mut under_way = locked(&self.under_way);
        if under_way.open.len() >= self.tls.max_handshakes
            && let Some((_, oldest)) = under_way.open.pop_first()
        {
            oldest.tell();
            oldest.wake();
        }
        let id = under_way.count;
        under_way.count += 1;
        under_way.open.insert(id, slot.clone());
        Turn { secure: self, id }
    }
}

struct Turn<'a> {
    secure: &'a Secure,
    id: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        locked(&self.secure.under_way).open.remove(&self.id);
    }
}

/// Ends the looking at files when it is dropped.
pub(super) struct Watch(tokio::task::JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Says in plain text what is spoken here.
async fn tell(mut io: TcpStream) -> io::Result<()> {
    io.write_all(PLAIN).await?;
    io.shutdown().await?;
    // A socket closed with unread bytes in it is reset, and what was said is lost.
    let mut bytes = [0; 4096];
    let all_read = async {
        for _ in 0..64 {
            if io.read(&mut bytes).await? == 0 {
                break;
            }
        }
        Ok(())
    };
    timeout(LINGER, all_read).await.unwrap_or(Ok(()))
}

/// A connection by TLS to a server of this very machine, of which nobody asks who it is: for the command `health`.
pub(crate) fn to_itself(stream: std::net::TcpStream) -> Result<impl io::Read + io::Write> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = config.context("setting up TLS")?.dangerous();
    let config = config.with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").map_err(Error::from)?;
    let connection = rustls::ClientConnection::new(Arc::new(config), name).context("setting up TLS")?;
    Ok(rustls::StreamOwned::new(connection, stream))
}

#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
