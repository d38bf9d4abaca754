//! Where a server listens.

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server listens: an address with its port, a unix socket, or sockets that are open already.
///
/// Names such as `localhost` are not looked up: a server should know where it listens.
///
/// ```
/// use purlin::config::Listen;
///
/// assert!(matches!("127.0.0.1:8000".parse(), Ok(Listen::Tcp(_))));
/// assert!(matches!("[::]:80".parse(), Ok(Listen::Tcp(_))));
/// assert_eq!("unix:/run/site.sock".parse(), Ok(Listen::Unix("/run/site.sock".into())));
/// assert_eq!("inherited".parse(), Ok(Listen::Inherited));
///
/// let error = "localhost:8000".parse::<Listen>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "expected an address such as \"127.0.0.1:8000\", \"[::]:80\" or \"unix:/run/site.sock\", found \"localhost:8000\"",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Listen {
    /// An IP address and a port; port 0 is any free one.
    Tcp(SocketAddr),
    /// The path of a unix socket, made when the server starts.
    Unix(PathBuf),
    /// `inherited`: the sockets that systemd, or whoever else started the site, has opened for it (`LISTEN_FDS`).
    Inherited,
}

/// A text that is no [`Listen`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenError {
    found: String,
}

const EXPECTED: &str = "an address such as \"127.0.0.1:8000\", \"[::]:80\" or \"unix:/run/site.sock\"";

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() && !path.contains('\0') => Ok(Self::Unix(path.into())),
            Some(_) => Err(ListenError { found: text.into() }),
            None if text == "inherited" => Ok(Self::Inherited),
            None => text.parse().map(Self::Tcp).map_err(|_| ListenError { found: text.into() }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited => f.write_str("inherited"),
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {EXPECTED}, found {:?}", self.found)
    }
}

impl std::error::Error for ListenError {}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let mut one = source.deserialize_any(Addresses { many: false })?;
        Ok(one.swap_remove(0)) // `Addresses` is never empty
    }
}

/// One address, or a list with one at least.
pub(crate) fn one_or_more<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Listen>, D::Error> {
    source.deserialize_any(Addresses { many: true })
}

struct Addresses {
    many: bool,
}

impl<'de> Visitor<'de> for Addresses {
    type Value = Vec<Listen>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{EXPECTED}{}", if self.many { ", or a list of these" } else { "" })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<Listen>, E> {
        let one = text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))?;
        Ok(vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Listen>, A::Error> {
        if !self.many {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        if all.is_empty() {
            return Err(A::Error::custom(format_args!("expected one address at least, found an empty list")));
        }
        Ok(all)
    }
}
