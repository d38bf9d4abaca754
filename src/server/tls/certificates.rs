//! `Certificates`: those of a server, read from files, and again when these change.

use super::Pair;
use super::validity::validity;
use crate::lock::locked;
use crate::{Context, Error, Result};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// One or more certificates, each with its key.
#[derive(Debug)]
pub(in crate::server) struct Certificates {
    pairs: Vec<Pair>,
    hashes: RandomState,
    /// What the files were when they were last looked at, whether they could be used or not.
    seen: Mutex<Option<u64>>,
    current: Mutex<Arc<[Arc<CertifiedKey>]>>,
}

impl Certificates {
    /// # Errors
    ///
    /// A file that cannot be read, or holds no such thing; a key that is another certificate's.
    pub(super) fn load(pairs: Vec<Pair>) -> Result<Self> {
        let hashes = RandomState::new();
        let files = read(&pairs)?;
        let current = parse(&pairs, &files)?;
        let seen = Mutex::new(Some(hashes.hash_one(&files)));
        Ok(Self { pairs, hashes, seen, current: Mutex::new(current) })
    }

    /// Reads the files again, and takes them if they are others and can be used.
    pub(super) fn look(&self) {
        let files = read(&self.pairs);
        let found = files.as_ref().ok().map(|files| self.hashes.hash_one(files));
        if std::mem::replace(&mut *locked(&self.seen), found) == found {
            return;
        }
        match files.and_then(|files| parse(&self.pairs, &files)) {
            Ok(current) => {
                *locked(&self.current) = current;
                tracing::info!(target: "purlin::server", "the certificates have changed, and are used");
            }
            Err(error) => tracing::error!(
                target: "purlin::server",
                error = format_args!("{error:#}"),
                "the certificates have changed and cannot be used: the old ones serve on"
            ),
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = locked(&self.current).clone();
        let name = hello.server_name().filter(|_| current.len() > 1);
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let is_for = |key: &&Arc<CertifiedKey>| {
            let (Some(name), Ok(certificate)) = (&name, key.end_entity_cert()) else { return false };
            let parsed = ParsedCertificate::try_from(certificate);
            parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
        };
        current.iter().find(is_for).or_else(|| current.first()).cloned()
    }
}

fn read(pairs: &[Pair]) -> Result<Vec<[Vec<u8>; 2]>> {
    let read = |path: &Path, what: &str| std::fs::read(path).context(format!("reading the {what} {}", path.display()));
    pairs.iter().map(|pair| Ok([read(&pair.certificate, "certificate")?, read(&pair.key, "key")?])).collect()
}

fn parse(pairs: &[Pair], files: &[[Vec<u8>; 2]]) -> Result<Arc<[Arc<CertifiedKey>]>> {
    let all = pairs.iter().zip(files).map(|(pair, [certificate, key])| {
        let key = one(pair, certificate, key)?;
        warn(pair, &key);
        Ok(Arc::new(key))
    });
    all.collect()
}

fn one(pair: &Pair, certificate: &[u8], key: &[u8]) -> Result<CertifiedKey> {
    let (certificate_path, key_path) = (pair.certificate.display(), pair.key.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .context(format!("reading the certificate {certificate_path}"))?;
    if chain.is_empty() {
        let message =
            format!("{certificate_path}: expected a certificate in PEM (-----BEGIN CERTIFICATE-----), found none");
        return Err(Error::internal(message));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        let expected = "expected a private key in PEM (-----BEGIN PRIVATE KEY-----), without a password";
        Error::internal(format!("{key_path}: {expected}, found none"))
    })?;
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(certified) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(Error::internal(format!("the key {key_path} is not that of the certificate {certificate_path}")))
        }
        Err(error) => {
            Err(Error::from(error).context(format!("using the certificate {certificate_path} with the key {key_path}")))
        }
    }
}

/// What can be used, and is probably not what was meant.
fn warn(pair: &Pair, key: &CertifiedKey) {
    let certificate = pair.certificate.display();
    if let Some((begins, ends)) = key.end_entity_cert().ok().and_then(|leaf| validity(leaf)) {
        let now = SystemTime::now();
        if now > ends {
            let date = httpdate::fmt_http_date(ends);
            tracing::warn!(target: "purlin::server", "the certificate {certificate} has ended on {date}: browsers refuse it");
        } else if now < begins {
            let date = httpdate::fmt_http_date(begins);
            tracing::warn!(target: "purlin::server", "the certificate {certificate} begins on {date}: browsers refuse it until then");
        }
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let key = &pair.key;
        if std::fs::metadata(key).is_ok_and(|file| file.permissions().mode() & 0o004 > 0) {
            let key = key.display();
            tracing::warn!(target: "purlin::server", "everybody on this machine may read the key {key}: `chmod o= {key}`");
        }
    }
}
