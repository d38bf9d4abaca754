//! `Password`: what somebody typed; and `Passwords`, which hashes it and tells whether it is the right one.

use crate::{Error, Result};
use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// A password as somebody typed it: it does not print, and is wiped from memory when it is dropped.
///
/// It is read from a form like a string, and cannot be written to one: a page that shows a form again shows it without.
/// Everything in it counts, spaces too, and nothing is normalised. What came before, the bytes of the form, is not
/// wiped.
///
/// ```
/// use purlin::auth::Password;
///
/// let password = Password::new("correct horse battery staple")?;
/// assert_eq!(format!("{password:?}"), "Password(•••)");
/// assert!(password.chars() >= 8);
/// assert!(Password::new("x".repeat(1 << 20)).is_err());
/// # Ok::<(), purlin::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// How long a password may be: 1024 bytes. A passphrase has room; hashing what is longer would be work for nothing.
    pub const MAX_BYTES: usize = 1024;

    /// A password of this text.
    ///
    /// # Errors
    ///
    /// 422 if it is longer than [`MAX_BYTES`](Self::MAX_BYTES). In a form that is a 400 which names the field.
    #[track_caller]
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = Zeroizing::new(text.into());
        if text.len() > Self::MAX_BYTES {
            let message = TooLong(text.len()).to_string();
            let public = format!("A password has at most {} bytes.", Self::MAX_BYTES);
            return Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, message).public(public));
        }
        Ok(Self(text))
    }

    /// How many characters it has, for asking that it be long enough. NIST asks for 8 at least, and for nothing about
    /// which (SP 800-63B §5.1.1.2).
    pub fn chars(&self) -> usize {
        self.0.chars().count()
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(•••)")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Password;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a password of at most {} bytes", Password::MAX_BYTES)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, source: D) -> Result<Password, D::Error> {
                source.deserialize_string(self)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Password, E> {
                // Measured before it is copied.
                let fits = text.len() <= Password::MAX_BYTES;
                fits.then(|| Password(Zeroizing::new(text.to_owned()))).ok_or_else(|| E::custom(TooLong(text.len())))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Password, E> {
                let text = Zeroizing::new(text);
                if text.len() <= Password::MAX_BYTES { Ok(Password(text)) } else { Err(E::custom(TooLong(text.len()))) }
            }
        }

        // By its name a form knows that it is not to be shown again.
        source.deserialize_newtype_struct("Password", Text)
    }
}

struct TooLong(usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a password of at most {} bytes, found {}", Password::MAX_BYTES, self.0)
    }
}

/// A password's hash as a PHC string, `$argon2id$v=19$m=19456,t=2,p=1$…$…`: what the site's database keeps.
///
/// `Debug` does not print it: whoever has it can guess at leisure.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The string, for the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> Self {
        hash.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(•••)")
    }
}

/// Hashes passwords by Argon2id (RFC 9106), off the runtime's threads, and never more at once than the machine can
/// bear.
///
/// Each hash takes memory and a core for about 20 ms, on purpose: it is what a stranger with a stolen database pays for
/// each guess. So that a flood of sign-ins does not take all memory, only [`at_once`](Passwords::at_once) are hashed at
/// the same time, [`waiting`](Passwords::waiting) more wait for their turn, and others are refused. With the defaults
/// and 4 cores that is 76 MiB at most. Clones share these bounds.
///
/// - By default 19 MiB, 2 iterations and 1 lane, the first of what OWASP's Password Storage Cheat Sheet asks for.
/// - Hashes of other costs, and of argon2i and argon2d, are verified as they are, so that a site may bring its users
///   along. [`Verified::Outdated`] has the password hashed anew where the old hash cost less (memory × iterations).
/// - Verifying against no hash costs as much as against one: see [`verify`](Passwords::verify).
///
/// ```
/// use purlin::auth::{Password, Passwords, Verified};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let passwords = Passwords::new();
/// let hash = passwords.hash(&Password::new("correct horse")?).await?;
/// assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
///
/// let typed = Password::new("battery staple")?;
/// assert_eq!(passwords.verify(&typed, Some(hash.as_str())).await?, Verified::No);
/// # Ok::<(), purlin::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Passwords {
    cost: Params,
    at_once: usize,
    most_waiting: usize,
    shared: Arc<Shared>,
}

struct Shared {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    hashed: AtomicU64,
}

/// Whether a password is the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// It is not.
    No,
    /// It is.
    Yes,
    /// It is, and its hash costs less than new ones do: here is one to be kept instead.
    Outdated(PasswordHash),
}

impl Passwords {
    /// With the costs above, as many at once as there are cores, and 64 waiting.
    pub fn new() -> Self {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cost: Params::DEFAULT, at_once, most_waiting: 64, shared: Shared::new(at_once) }
    }

    /// Hashes so cheaply that they protect nothing: for tests.
    pub fn for_tests() -> Self {
        Self::new().cost(8, 1, 1)
    }

    /// What a new hash costs: `memory` in KiB (8 for each lane at least), iterations and lanes (1 at least). 19456, 2
    /// and 1 by default.
    ///
    /// To be measured on the machine that does it: dearer is better, as long as signing in stays pleasant. Lanes are
    /// worked on one after another.
    pub fn cost(mut self, memory: u32, iterations: u32, lanes: u32) -> Self {
        let lanes = lanes.clamp(1, Params::MAX_P_COST);
        let memory = memory.max(lanes.saturating_mul(8));
        self.cost = Params::new(memory, iterations.max(1), lanes, None).expect("none is less than the least");
        self
    }

    /// How many are hashed at the same time; the number of cores by default. Each takes its memory and a thread.
    pub fn at_once(mut self, most: usize) -> Self {
        self.at_once = most.clamp(1, Semaphore::MAX_PERMITS);
        self.shared = Shared::new(self.at_once);
        self
    }

    /// How many more wait for their turn before others are refused; 64 by default.
    pub fn waiting(mut self, most: usize) -> Self {
        self.most_waiting = most;
        self
    }

    /// Hashes a password, with a salt of its own.
    ///
    /// # Errors
    ///
    /// 503 with `Retry-After` (RFC 9110 §15.6.4) if too many wait already.
    pub async fn hash(&self, password: &Password) -> Result<PasswordHash> {
        let (cost, password, shared) = (self.cost.clone(), password.clone(), self.shared.clone());
        self.run(move || hash(cost, &password, &shared)).await?
    }

    /// Whether this is the password that was hashed.
    ///
    /// With `None`, or with what is no hash (a mark for accounts that nobody may sign in to), it never is; and it takes
    /// as long to say so, so that the time tells nobody which accounts there are. A hash made at another cost takes
    /// another time, until its owner signs in.
    ///
    /// # Errors
    ///
    /// 503 with `Retry-After` (RFC 9110 §15.6.4) if too many wait already; 500 for a hash that asks for more than 1
    /// GiB, or more than 8 GiB in all its iterations, unless that is the cost here.
    pub async fn verify(&self, password: &Password, stored: Option<&str>) -> Result<Verified> {
        let (cost, password, shared) = (self.cost.clone(), password.clone(), self.shared.clone());
        let stored = match stored.map(Stored::read) {
            Some(Some(stored)) => {
                stored.affordable(&cost)?;
                Some(stored)
            }
            Some(None) => {
                tracing::debug!("the password hash of an account is none: nobody can sign in to it by a password");
                None
            }
            None => None,
        };
        self.run(move || match stored {
            Some(stored) => stored.verify(cost, &password, &shared),
            None => {
                // The result is for nobody; the error could only be that of the real thing.
                std::hint::black_box(hash(cost, &password, &shared)?);
                Ok(Verified::No)
            }
        })
        .await?
    }

    /// How many passwords were hashed since the start, to keep, to compare or for nothing: for metrics, and for tests
    /// which look that an unknown user costs as much as a known one.
    pub fn hashed(&self) -> u64 {
        self.shared.hashed.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let slot = match self.shared.slots.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                let _place = Place::take(&self.shared.waiting, self.most_waiting).ok_or_else(busy)?;
                // It is never closed.
                self.shared.slots.clone().acquire_owned().await?
            }
        };
        // The slot goes with the work: when the client goes away, the work goes on, and still counts.
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(slot);
            done
        });
        Ok(done.await?)
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords")
            .field("memory_kib", &self.cost.m_cost())
            .field("iterations", &self.cost.t_cost())
            .field("lanes", &self.cost.p_cost())
            .field("at_once", &self.at_once)
            .field("waiting", &self.most_waiting)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn new(at_once: usize) -> Arc<Self> {
        let slots = Arc::new(Semaphore::new(at_once));
        Arc::new(Self { slots, waiting: AtomicUsize::new(0), hashed: AtomicU64::new(0) })
    }
}

/// A place among those who wait, given back when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn busy() -> Error {
    Error::new(StatusCode::SERVICE_UNAVAILABLE, "too many passwords wait to be hashed")
        .header(RETRY_AFTER, HeaderValue::from_static("1"))
        .public("Too many people are signing in at this moment. Please try again in a few seconds.")
}

fn hash(cost: Params, password: &Password, shared: &Shared) -> Result<PasswordHash> {
    shared.hashed.fetch_add(1, Ordering::Relaxed);
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost);
    let hash = argon2.hash_password_with_salt(password.expose().as_bytes(), &salt).map_err(failed)?;
    Ok(PasswordHash(hash.to_string()))
}

/// A hash from the site's database.
struct Stored {
    hash: phc::PasswordHash,
    cost: Params,
}

impl Stored {
    /// The most memory that a stored hash may ask for, in KiB, and the most in all its iterations.
    const MOST_MEMORY: u32 = 1 << 20;
    const MOST_WORK: u64 = 8 << 20;

    fn read(text: &str) -> Option<Self> {
        let hash = phc::PasswordHash::new(text).ok()?;
        Algorithm::try_from(hash.algorithm.as_str()).ok()?;
        let cost = Params::try_from(&hash).ok()?;
        (hash.salt.is_some() && hash.hash.is_some()).then_some(Self { hash, cost })
    }

    fn affordable(&self, own: &Params) -> Result<()> {
        let memory = self.cost.m_cost() <= Self::MOST_MEMORY.max(own.m_cost());
        let all = work(&self.cost) <= Self::MOST_WORK.max(work(own));
        if memory && all {
            return Ok(());
        }
        let (memory, iterations) = (self.cost.m_cost(), self.cost.t_cost());
        Err(Error::internal(format!(
            "the password hash of an account asks for {memory} KiB in {iterations} iterations: \
             expected {} KiB at most, and {} KiB in all iterations",
            Self::MOST_MEMORY,
            Self::MOST_WORK
        )))
    }

    fn verify(&self, cost: Params, password: &Password, shared: &Shared) -> Result<Verified> {
        shared.hashed.fetch_add(1, Ordering::Relaxed);
        match Argon2::default().verify_password(password.expose().as_bytes(), &self.hash) {
            Err(argon2::password_hash::Error::PasswordInvalid) => Ok(Verified::No),
            Err(error) => Err(failed(error)),
            Ok(()) if self.is_outdated(&cost) => hash(cost, password, shared).map(Verified::Outdated),
            Ok(()) => Ok(Verified::Yes),
        }
    }

    /// One that costs more is left: a setting that was lowered by mistake takes nothing away.
    fn is_outdated(&self, cost: &Params) -> bool {
        self.hash.algorithm != Algorithm::Argon2id.ident()
            || self.hash.version != Some(Version::V0x13.into())
            || work(&self.cost) < work(cost)
    }
}

fn work(cost: &Params) -> u64 {
    u64::from(cost.m_cost()) * u64::from(cost.t_cost())
}

fn failed(error: argon2::password_hash::Error) -> Error {
    match error {
        argon2::password_hash::Error::OutOfMemory => Error::unavailable(error),
        error => Error::from(error),
    }
    .context("hashing a password")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_hash_is_read_or_is_none() {
        let good = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA";
        let table = [
            (good, true),
            (&good.replace("argon2id", "argon2i"), true),
            (&good.replace("$v=19", ""), true),
            ("", false),
            ("!", false),
            ("*LK*", false),
            ("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", false),
            (&good.replace("argon2id", "scrypt"), false),
            (&good.replace("m=8", "m=7"), false),
            (&good.replace("m=8", "m=99999999999"), false),
            (&good.replace("t=1", "t=0"), false),
            (&good.replace("p=1", "p=0"), false),
            (&good.replace("p=1", "p=16777215"), false),
            ("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA", false),
            ("$argon2id$v=19$m=8,t=1,p=1", false),
            ("$argon2id", false),
        ];
        for (text, expected) in table {
            assert_eq!(Stored::read(text).is_some(), expected, "{text}");
        }
    }

    #[test]
    fn a_hash_that_asks_for_too_much_is_refused_before_memory_is_taken() {
        let stored = |cost: &str| {
            Stored::read(&format!("$argon2id$v=19${cost}$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")).unwrap()
        };
        let own = Passwords::new().cost;
        for (cost, fits) in [
            ("m=19456,t=2,p=1", true),
            ("m=1048576,t=8,p=4", true),
            ("m=1048576,t=9,p=4", false),
            ("m=1048577,t=1,p=1", false),
            ("m=4294967295,t=4294967295,p=1", false),
        ] {
            assert_eq!(stored(cost).affordable(&own).is_ok(), fits, "{cost}");
        }
        // A site that wants so much has it.
        assert!(stored("m=2097152,t=1,p=1").affordable(&Passwords::new().cost(2 << 20, 1, 1).cost).is_ok());
    }

    #[test]
    fn a_cheaper_hash_is_outdated_and_a_dearer_one_is_not() {
        let own = Passwords::new().cost(1000, 2, 1).cost;
        for (text, expected) in [
            ("$argon2id$v=19$m=1000,t=2,p=1", false),
            ("$argon2id$v=19$m=2000,t=1,p=2", false),
            ("$argon2id$v=19$m=5000,t=5,p=1", false),
            ("$argon2id$v=19$m=999,t=2,p=1", true),
            ("$argon2id$v=19$m=1000,t=1,p=1", true),
            ("$argon2i$v=19$m=5000,t=5,p=1", true),
            ("$argon2id$v=16$m=5000,t=5,p=1", true),
        ] {
            let stored = Stored::read(&format!("{text}$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")).unwrap();
            assert_eq!(stored.is_outdated(&own), expected, "{text}");
        }
    }
}
