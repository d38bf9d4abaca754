//! The server, by its own name and by those that files for Paste use.

use super::{Count, Limit, Time, given};
use crate::config::units;
use crate::config::{Listen, Runtime, TlsFiles};
use crate::deploy::build::Section;
use crate::deploy::registry::{Registry, fields_of};
#[cfg(feature = "tls")]
use crate::server::Tls;
use crate::{Error, Result, Server};
use serde::de::{SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Registers it.
pub(super) fn register(registry: Registry) -> Registry {
    let servers = ["purlin:server", "paste:http", "pastescript:wsgiutils", "waitress:main", "gunicorn:main"];
    servers.into_iter().fold(registry, |registry, name| {
        let registry = registry.server(name, fields_of::<ServerOptions>().unwrap_or_default());
        let registry = match name {
            "purlin:server" => registry.doc("The server."),
            _ => registry.doc("`purlin:server`, by a name that files for Paste use."),
        };
        server_options(registry)
    })
}

/// The options of a server: those of `[server]` and `[server.tls]` in the configuration, and the two by which Paste's files say where.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::deploy) struct ServerOptions {
    listen: Option<Listens>,
    host: Option<String>,
    port: Option<u16>,
    runtime: Option<Runtime>,
    http2: Option<bool>,
    header_timeout: Option<Limit>,
    body_timeout: Option<Limit>,
    idle_timeout: Option<Limit>,
    write_timeout: Option<Limit>,
    drain: Option<Time>,
    max_connections: Option<Count>,
    max_headers: Option<Count>,
    max_header_bytes: Option<Buffer>,
    processes: Option<bool>,
    prefork: Option<Count>,
    // Those of TLS are known without the feature, too: it is what is missing then.
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    more: Option<BTreeMap<String, TlsFiles>>,
    handshake_timeout: Option<Limit>,
    max_handshakes: Option<Count>,
    look_every: Option<Limit>,
    redirect_from: Option<Listens>,
}

/// One place, a list of them, or words: a line of a file for Waitress has several.
#[derive(Clone, Debug)]
struct Listens(Vec<Listen>);

impl<'de> Deserialize<'de> for Listens {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(ListensVisitor).map(Self)
    }
}

struct ListensVisitor;

impl<'de> Visitor<'de> for ListensVisitor {
    type Value = Vec<Listen>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address such as \"127.0.0.1:8000\", \"[::]:80\" or \"unix:/run/site.sock\", or a list of these")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<Listen>, E> {
        let place = |word: &str| match word.strip_prefix("localhost:") {
            // The one name that is the same everywhere.
            Some(port) => format!("127.0.0.1:{port}").parse(),
            None => word.parse(),
        };
        let wrong = |_| E::invalid_value(Unexpected::Str(text), &self);
        match place(text) {
            Ok(listen) => Ok(vec![listen]),
            Err(error) if text.trim().is_empty() => Err(wrong(error)),
            Err(_) => text.split_whitespace().map(|word| place(word).map_err(wrong)).collect(),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Listen>, A::Error> {
        let mut all = Vec::new();
        while let Some(Listens(places)) = list.next_element()? {
            all.extend(places);
        }
        match all.is_empty() {
            true => Err(serde::de::Error::custom("expected one address at least, found an empty list")),
            false => Ok(all),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Buffer(#[serde(deserialize_with = "units::buffer")] usize);

fn server_options(registry: Registry) -> Registry {
    registry
        .option("listen", "\"127.0.0.1:8000\"", "where it listens: one place, or a list")
        .option("host", "\"127.0.0.1\"", "an IP address or `localhost`, instead of `listen`")
        .option("port", "8000", "a port, instead of `listen`")
        .option("runtime", "\"shared\"", "how the cores are used: \"shared\" or \"per-core\"")
        .option("http2", "true", "HTTP/2, with the feature `http2`: with TLS by ALPN, without it by prior knowledge")
        .option("header_timeout", "\"15s\"", "for the head of a request to arrive")
        .option("body_timeout", "\"30s\"", "for the next piece of a request's body to arrive")
        .option("idle_timeout", "\"75s\"", "for the next request on a connection")
        .option("write_timeout", "\"30s\"", "for a client to take some of its answer")
        .option("drain", "\"8s\"", "for requests under way to end when the server stops")
        .option("max_connections", "8192", "open at the same time")
        .option("max_headers", "100", "in one request")
        .option("max_header_bytes", "\"64 KiB\"", "of one request")
        .option("prefork", "1", "how many processes serve the same sockets, on unix")
        .option("processes", "false", "whether other processes serve the same site, here or on other machines")
        .option("certificate", "\"\"", "its file, for https, with the feature `tls`; empty for none")
        .option("key", "\"\"", "the file of its key")
        .option("more", "{}", "further certificates by a name of their own: `certificate` and `key` of each")
        .option("handshake_timeout", "\"10s\"", "for the handshake of TLS")
        .option("max_handshakes", "1024", "under way at the same time")
        .option("look_every", "\"60s\"", "how often the files of TLS are looked at, and used if they have changed")
        .option(
            "redirect_from",
            "[]",
            "where plain http is sent to https: one place, or a list; none for a server that says where it listens",
        )
}

/// `server`, with these options.
pub(in crate::deploy) fn server(options: ServerOptions, server: Server, section: &Section<'_>) -> Result<Server> {
    // Ports that send to https are those of whoever listens there.
    let elsewhere = options.listen.is_some() || options.host.is_some() || options.port.is_some();
    let server = if elsewhere && options.redirect_from.is_none() { server.without_redirects() } else { server };
    let server = secured(&options, server, section)?;
    let server = given!(
        server,
        options: runtime, http2, header_timeout as |limit: Limit| limit.0, body_timeout as |limit: Limit| limit.0,
        idle_timeout as |limit: Limit| limit.0, write_timeout as |limit: Limit| limit.0, drain as |time: Time| time.0,
        max_connections as |count: Count| count.0, max_headers as |count: Count| count.0,
        max_header_bytes as |bytes: Buffer| bytes.0, processes, prefork as |count: Count| count.0
    );
    match (options.listen, options.host, options.port) {
        (Some(_), host, port) if host.is_some() || port.is_some() => {
            Err(Error::internal("it has `listen` and also `host` or `port`: one of them says where it listens"))
        }
        (Some(Listens(all)), ..) => Ok(server.only_at(&all)),
        (None, None, None) => Ok(server),
        (None, host, port) => {
            let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
            let host = if host == "localhost" { "127.0.0.1".to_owned() } else { host };
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            let address =
                address.map_err(|_| Error::internal(format!("`host`: expected an IP address, found {host:?}")))?;
            Ok(server.only_at(&[Listen::Tcp((address, port.unwrap_or(8000)).into())]))
        }
    }
}

/// `server`, with TLS as these options have it. What they leave out is as it was.
fn secured(options: &ServerOptions, server: Server, section: &Section<'_>) -> Result<Server> {
    let ServerOptions { handshake_timeout, max_handshakes, look_every, redirect_from, more, .. } = options;
    let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
    let (certificate, key) = (given(&options.certificate), given(&options.key));
    let all = [
        ("certificate", certificate.is_some()),
        ("key", key.is_some()),
        ("more", more.is_some()),
        ("handshake_timeout", handshake_timeout.is_some()),
        ("max_handshakes", max_handshakes.is_some()),
        ("look_every", look_every.is_some()),
        ("redirect_from", redirect_from.is_some()),
    ];
    let first = all.into_iter().find_map(|(name, is_set)| is_set.then_some(name));
    match first {
        Some(first) if certificate.is_none() && options.certificate.is_some() => {
            let problem = format!("`certificate` is empty, which is for a server without TLS, and `{first}` is set");
            Err(Error::internal(problem))
        }
        Some(_) if certificate.is_some() != key.is_some() => {
            let [is, is_not] = if key.is_some() { ["key", "certificate"] } else { ["certificate", "key"] };
            Err(Error::internal(format!("`{is}` is set, and `{is_not}` is not: expected both")))
        }
        Some(first) => with_tls(options, certificate.zip(key), first, server, section),
        None if options.certificate.is_some() => Ok(server.without_tls()),
        None => Ok(server),
    }
}

#[cfg(not(feature = "tls"))]
fn with_tls(
    _: &ServerOptions,
    _: Option<(PathBuf, PathBuf)>,
    first: &str,
    _: Server,
    _: &Section<'_>,
) -> Result<Server> {
    Err(Error::internal(format!("`{first}` is set, and this build speaks no TLS: switch on Purlin's feature `tls`")))
}

#[cfg(feature = "tls")]
fn with_tls(
    options: &ServerOptions,
    files: Option<(PathBuf, PathBuf)>,
    first: &str,
    server: Server,
    section: &Section<'_>,
) -> Result<Server> {
    // Where nobody may look, it may be; what the server makes of it is said when it starts.
    let file = |option: &str, path: PathBuf| match section.path(option, path) {
        path if matches!(path.try_exists(), Ok(false)) => {
            Err(Error::internal(format!("`{option}`: there is no file {}", path.display())))
        }
        path => Ok(path),
    };
    let files = files.map(|(certificate, key)| Ok::<_, Error>((file("certificate", certificate)?, file("key", key)?)));
    let tls = match (files.transpose()?, server.own_tls()) {
        (Some((certificate, key)), Some(tls)) => tls.clone().first(certificate, key),
        (Some((certificate, key)), None) => Tls::new(certificate, key),
        (None, Some(tls)) => tls.clone(),
        (None, None) => {
            let problem = format!("`{first}` is set, and there is no `certificate`, here or in `[server.tls]`");
            return Err(Error::internal(problem));
        }
    };
    let mut tls = given!(
        tls,
        options: handshake_timeout as |limit: Limit| limit.0, max_handshakes as |count: Count| count.0,
        look_every as |limit: Limit| limit.0
    );
    if let Some(more) = &options.more {
        tls = tls.alone();
        for files in more.values() {
            tls = tls.also(file("more", files.certificate.clone())?, file("more", files.key.clone())?);
        }
    }
    if let Some(Listens(places)) = &options.redirect_from {
        tls = tls.only_redirect_from(places);
    }
    Ok(server.tls(tls))
}
