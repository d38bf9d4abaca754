//! Secrets: what signs and encrypts, and never prints.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A text that does not print: a signing secret, a password, a token.
///
/// `Debug` and `Display` print `•••`. It reads from a configuration like a string, so it also fits a site's own settings.
///
/// ```
/// use purlin::config::Secret;
///
/// let secret = Secret::new("correct horse battery staple");
/// assert_eq!(format!("{secret} {secret:?}"), "••• •••");
/// assert_eq!(secret.expose(), b"correct horse battery staple");
/// ```
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret's bytes.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The secret as it was written.
    pub fn expose_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The secret in use, and those which it took over from.
///
/// New cookies and tokens are made with [`current`](Self::current); what an old secret made is still read. To change
/// the secret, move the one in use to `old_secrets`, and drop it there when all that it made has expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKeys {
    current: Secret,
    old: Vec<Secret>,
}

impl SecretKeys {
    /// `current` alone, with nothing old.
    pub fn new(current: Secret) -> Self {
        Self { current, old: Vec::new() }
    }

    /// Also reads what `old` made, most recent first; none by default.
    pub fn old(self, old: Vec<Secret>) -> Self {
        Self { old, ..self }
    }

    /// A new secret of 32 random bytes, which nothing keeps: for tests, and programs that outlive no cookie.
    ///
    /// # Panics
    ///
    /// When the operating system has no random bytes to give.
    pub fn random() -> Self {
        Self::new(random())
    }

    /// What makes new cookies and tokens.
    pub fn current(&self) -> &Secret {
        &self.current
    }

    /// All that are read: the current one first, then the old.
    pub fn all(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.old)
    }
}

pub(crate) const MASK: &str = "•••";

/// 256 bits: what the ciphers and MACs that are keyed with it can use.
const LEAST_BYTES: usize = 32;

/// Whether a setting of this name is never shown. Judged by the words in it: what is hidden without need costs a second
/// look into the file, what is shown without need costs a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["secret", "passw", "passphrase", "token", "key", "credential", "private", "webhook"];
    words.iter().any(|word| name.contains(word))
}

/// Whether there is a URL with a user in it, `postgres://me:password@host/`, or `postgres://host/?password=…`.
pub(crate) fn has_login(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| rest.contains('@') || rest.contains("password="))
}

/// Says what is wrong with a secret that somebody chose; `public` is a site that strangers can reach.
pub(super) fn weakness(secret: &Secret, public: bool) -> Option<String> {
    let make = "make one with `openssl rand -hex 32`";
    let length = secret.expose().len();
    if length < LEAST_BYTES {
        return Some(format!("expected {LEAST_BYTES} bytes at least, found {length}: {make}"));
    }
    let text = secret.0.to_ascii_lowercase();
    let known = ["change-me", "change_me", "change me", "changeme", "example", "placeholder", "insecure", "0123456789"];
    let known = known.iter().any(|word| text.contains(word)) || text.contains("your") && text.contains("secret");
    let mut distinct = secret.expose().to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    // 64 random hexadecimal digits have fewer than 8 different ones once in 10¹⁸ times.
    (public && (known || distinct.len() < 8))
        .then(|| format!("expected a random secret, found a well-known one: {make}"))
}

/// The secret in `.purlin/secret` below `root`, made there when it is missing.
///
/// # Errors
///
/// A warning to print, when the file cannot be made or holds something else.
pub(super) fn of_developer(root: &Path) -> Result<(Secret, PathBuf), String> {
    let folder = root.join(".purlin");
    let path = folder.join("secret");
    let warn = |what: &str| format!("{what}: using a secret that ends with this process, and the sessions with it");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(&folder, &path).and_then(|()| fs::read_to_string(&path))
        }
        read => read,
    };
    let text = text.map_err(|error| warn(&format!("cannot keep a secret in {}: {error}", path.display())))?;
    let secret = Secret::new(text.trim());
    if weakness(&secret, false).is_some() {
        return Err(warn(&format!("{} holds no secret of {LEAST_BYTES} bytes: delete it", path.display())));
    }
    Ok((secret, path))
}

fn make(folder: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(".gitignore"), "*\n")?;
    // Written aside and linked into place: of two first starts at the same time one wins, and both read the winner's.
    let aside = folder.join(format!("secret.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let linked = options
        .open(&aside)
        .and_then(|mut file| writeln!(file, "{}", random().expose_str()))
        .and_then(|()| fs::hard_link(&aside, path));
    // A copy that cannot be removed is as private as the file, and the next start does not need it gone.
    drop(fs::remove_file(&aside));
    linked.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

pub(super) fn random() -> Secret {
    let mut bytes = [0; LEAST_BYTES];
    // Without random bytes nothing can be kept secret; std's own `HashMap` gives up in the same way.
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    Secret(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
