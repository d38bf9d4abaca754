//! An `Authorization` header is Basic, Bearer, something else or malformed, and what was encoded is what is read.
#![no_main]

use arbitrary::Arbitrary;
use ct_codecs::{Base64, Encoder};
use libfuzzer_sys::fuzz_target;
use purlin::auth::{Basic, Password, Token};
use purlin::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

#[derive(Arbitrary, Debug)]
enum Line {
    Raw(Vec<u8>),
    Basic(Vec<u8>),
    Bearer(Vec<u8>),
}

impl Line {
    fn value(&self) -> Option<HeaderValue> {
        let value = match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Basic(bytes) => format!("Basic {}", Base64::encode_to_string(bytes).ok()?).into_bytes(),
            Self::Bearer(bytes) => [b"Bearer ", bytes.as_slice()].concat(),
        };
        HeaderValue::from_bytes(&value).ok()
    }
}

fuzz_target!(|lines: Vec<Line>| {
    let headers: HeaderMap = lines.iter().filter_map(Line::value).map(|line| (AUTHORIZATION, line)).collect();
    let (basic, bearer) = (Basic::read(&headers), Token::read(&headers));
    assert!(!matches!((&basic, &bearer), (Ok(Some(_)), Ok(Some(_)))));
    if headers.len() > 1 {
        assert!(!matches!(basic, Ok(Some(_))) && !matches!(bearer, Ok(Some(_))), "of two headers none is believed");
    }
    if let Ok(Some(basic)) = &basic {
        assert!(!basic.login.contains(':') && !basic.login.chars().any(char::is_control));
        assert!(basic.password.expose().len() <= Password::MAX_BYTES);
    }
    if let Ok(Some(token)) = &bearer {
        assert!(token.expose().is_ascii() && token.expose().len() <= Token::MAX_BYTES);
        assert_eq!(Token::parse(token.expose()).as_ref(), Some(token));
    }
    if let [Line::Basic(bytes)] = lines.as_slice() {
        let text = str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control));
        let sent = text.and_then(|text| text.split_once(':')).filter(|_| bytes.len() <= 1000);
        match (sent, &basic) {
            (Some((login, password)), Ok(Some(basic))) => {
                assert_eq!((login, password), (basic.login.as_str(), basic.password.expose()));
            }
            (Some(sent), other) => panic!("{sent:?} is read as {other:?}"),
            (None, basic) => assert!(bytes.len() > 1000 || basic.is_err()),
        }
    }
});
