//! Lets the script of live reload through the Content-Security-Policy of a page (CSP level 3), such as that of an error page.

use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderMap, HeaderValue};

/// Lets scripts of the site itself in, and connections to it, and returns the nonce that scripts have.
///
/// A page without a policy of its own gets that of a layer further out, which lets both in by default.
pub(crate) fn admit(headers: &mut HeaderMap) -> Option<String> {
    let mut nonce = None;
    let policies: Vec<HeaderValue> = headers
        .get_all(CONTENT_SECURITY_POLICY)
        .iter()
        .map(|value| match value.to_str() {
            Ok(text) => {
                // A list of policies, each of which must let it in.
                let admitted: Vec<_> = text.split(',').map(|policy| admitted(policy, &mut nonce)).collect();
                HeaderValue::try_from(admitted.join(",")).unwrap_or_else(|_| value.clone())
            }
            Err(_) => value.clone(),
        })
        .collect();
    headers.remove(CONTENT_SECURITY_POLICY);
    for policy in policies {
        headers.append(CONTENT_SECURITY_POLICY, policy);
    }
    nonce
}

fn admitted(policy: &str, nonce: &mut Option<String>) -> String {
    let mut directives: Vec<(String, Vec<String>)> = policy
        .split(';')
        .filter_map(|directive| {
            let mut words = directive.split_ascii_whitespace().map(str::to_owned);
            Some((words.next()?.to_ascii_lowercase(), words.collect()))
        })
        .collect();
    for names in [["script-src-elem", "script-src"], ["connect-src", "connect-src"]] {
        let at = names.iter().find_map(|name| directives.iter().position(|(of, _)| of == name));
        let sources = match at {
            Some(at) => &mut directives[at].1,
            None => {
                // What is not said falls back to `default-src`; where that is not said either, everything is let in.
                let Some((_, sources)) = directives.iter().find(|(of, _)| of == "default-src") else { continue };
                let sources = sources.clone();
                directives.push((names[1].to_owned(), sources));
                let last = directives.len() - 1;
                &mut directives[last].1
            }
        };
        if names[1] == "script-src" {
            let found = sources.iter().find_map(|source| source.strip_prefix("'nonce-")?.strip_suffix('\''));
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
            *nonce = nonce.take().or(found.filter(|nonce| nonce.bytes().all(plain)).map(str::to_owned));
        }
        sources.retain(|source| !source.eq_ignore_ascii_case("'none'"));
        if !sources.iter().any(|source| source.eq_ignore_ascii_case("'self'") || source == "*") {
            sources.push("'self'".to_owned());
        }
    }
    let directives: Vec<_> = directives
        .into_iter()
        .map(|(name, sources)| match sources.is_empty() {
            true => name,
            false => format!("{name} {}", sources.join(" ")),
        })
        .collect();
    directives.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_and_its_connection_are_let_in() {
        let table = [
            ("default-src 'self'", "default-src 'self'; script-src 'self'; connect-src 'self'", None),
            (
                "default-src 'none'; style-src 'nonce-a'",
                "default-src 'none'; style-src 'nonce-a'; script-src 'self'; connect-src 'self'",
                None,
            ),
            ("script-src 'nonce-abc' 'strict-dynamic'", "script-src 'nonce-abc' 'strict-dynamic' 'self'", Some("abc")),
            ("script-src 'none'; connect-src 'none'", "script-src 'self'; connect-src 'self'", None),
            (
                "SCRIPT-SRC-ELEM 'self'; script-src 'none'; connect-src *",
                "script-src-elem 'self'; script-src 'none'; connect-src *",
                None,
            ),
            ("img-src data:; upgrade-insecure-requests", "img-src data:; upgrade-insecure-requests", None),
            (
                "default-src 'none', connect-src https://a",
                "default-src 'none'; script-src 'self'; connect-src 'self',connect-src https://a 'self'",
                None,
            ),
            ("script-src 'nonce-\"><b>'", "script-src 'nonce-\"><b>' 'self'", None),
        ];
        for (policy, expected, nonce) in table {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_SECURITY_POLICY, policy.parse().unwrap());
            assert_eq!(admit(&mut headers).as_deref(), nonce, "{policy}");
            assert_eq!(headers[CONTENT_SECURITY_POLICY], expected, "{policy}");
        }
    }
}
