//! One request to another server, by http or https: for what a site sends now and then, beside its requests.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Uri};
use http_body::Body as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Where a URL leads: `https://…`, or `http://…`.
pub(crate) struct Target {
    pub(crate) host: String,
    port: u16,
    /// What `Host` says: with a port, if the URL has one.
    authority: HeaderValue,
    path: Uri,
    tls: Option<Tls>,
}

struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    trusts_nobody: bool,
}

impl Target {
    /// That of a URL without a user; by https the server's certificate is checked against the system's roots.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        let (is_tls, port) = match scheme {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return None,
        };
        // A user, or a port that is none.
        if authority.port().is_none() && authority.as_str() != authority.host() || authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).ok()?;
        let mut roots = RootCertStore::empty();
        if is_tls {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(Self {
            port: authority.port_u16().unwrap_or(port),
            authority: authority.as_str().parse().ok()?,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).parse().ok()?,
            tls: is_tls.then(|| Tls::new(roots, name)),
            host,
        })
    }

    /// Trusts these certificates, in PEM, instead of the system's; `None` where there is none in it, or one that is broken, or where the
    /// URL is not `https`.
    pub(crate) fn trust(&mut self, pem: &[u8]) -> Option<()> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let mut roots = RootCertStore::empty();
        for certificate in certificates.ok()? {
            roots.add(certificate).ok()?;
        }
        let tls = self.tls.as_mut().filter(|_| !roots.is_empty())?;
        *tls = Tls::new(roots, tls.name.clone());
        Some(())
    }

    /// Whether no server can be checked, since this system has no root certificates.
    pub(crate) fn trusts_nobody(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.trusts_nobody)
    }

    /// Sends the request to the URL, on a connection of its own, and waits for the answer. Of its
    /// body at most so many bytes are read; if there are more, none of them are told.
    pub(crate) async fn send(
        &self,
        request: http::Request<Bytes>,
        most: usize,
    ) -> Result<http::Response<Bytes>, AnyError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            None => self.speak(stream, request, most).await,
            Some(tls) => {
                let connector = TlsConnector::from(tls.config.clone());
                self.speak(connector.connect(tls.name.clone(), stream).await?, request, most).await
            }
        }
    }

    async fn speak<S>(
        &self,
        stream: S,
        mut request: http::Request<Bytes>,
        most: usize,
    ) -> Result<http::Response<Bytes>, AnyError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        let agent = HeaderValue::from_static(concat!("purlin/", env!("CARGO_PKG_VERSION")));
        headers.entry(HOST).or_insert_with(|| self.authority.clone());
        headers.entry(USER_AGENT).or_insert(agent);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with this, whatever the server still has to say.
        let mut speaking = JoinSet::new();
        speaking.spawn(async move {
            // What is wrong with it, the sender is told.
            let _ = connection.await;
        });
        let (head, mut body) = sender.send_request(request.map(crate::Body::from)).await?.into_parts();
        let mut read = BytesMut::new();
        while read.len() <= most && most > 0 {
            match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(frame)) => frame.data_ref().into_iter().for_each(|data| read.extend_from_slice(data)),
                // What has gone before it, the status, is what counts.
                Some(Err(_)) | None => break,
            }
        }
        let body = if read.len() > most { Bytes::new() } else { read.freeze() };
        Ok(http::Response::from_parts(head, body))
    }
}

impl Tls {
    fn new(roots: RootCertStore, name: ServerName<'static>) -> Self {
        let trusts_nobody = roots.is_empty();
        // Named, since rustls panics where a site's packages bring two to choose from.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of TLS 1.2 and 1.3, the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config: Arc::new(config), name, trusts_nobody }
    }
}
