//! A session cookie that comes from anywhere is a session or none, and one that was written reads back.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use purlin::config::{Secret, SecretKeys};
use purlin::seal::Seal;
use purlin::session::{CookieStore, Store, Token, Values};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

#[derive(Arbitrary, Debug)]
struct Input {
    // What a stranger sends.
    token: String,
    // What would be in a cookie whose seal is good, if somebody had the secret.
    sealed: Vec<u8>,
    now: u64,
}

static KEYS: LazyLock<SecretKeys> =
    LazyLock::new(|| SecretKeys::new(Secret::new("a fuzzer's: 0123456789abcdef0123456789abcdef")));
static STORE: LazyLock<CookieStore> = LazyLock::new(|| CookieStore::new(&KEYS));
static SEAL: LazyLock<Seal> =
    LazyLock::new(|| Seal::new(&KEYS, CookieStore::PURPOSE).expect("the secret is long enough"));

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a cookie waits for nothing"),
    }
}

fuzz_target!(|input: Input| {
    let load = |token: &str| now(STORE.load(Token::new("session", token), input.now)).expect("it is never an error");
    assert!(load(&input.token).is_none(), "nobody guesses a seal");

    let token = SEAL.seal(&input.sealed, b"session").expect("randomness");
    let opened = SEAL.open(&token, b"session").expect("what was sealed opens");
    assert_eq!(opened.bytes, input.sealed);
    if let Some(record) = load(&token) {
        assert!(record.created <= record.expires && input.now < record.expires);
        // Ascending, each once: what is read is what would be written.
        let values: Values = record.values.iter().collect();
        assert_eq!(values, record.values);
        let size = values.iter().map(|(key, text)| key.len() + text.len()).sum::<usize>();
        assert!(size < input.sealed.len());
    }
    assert!(now(STORE.load(Token::new("__Host-session", &token), input.now)).expect("never an error").is_none());
});
