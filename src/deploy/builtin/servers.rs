//! The server, by its own name and by those that files for Paste use.

use super::{Count, Limit, Time, given};
use crate::config::units;
use crate::config::{Listen, Runtime};
use crate::deploy::registry::{Registry, fields_of};
use crate::{Error, Result, Server};
use serde::de::{SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

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

/// The options of a server: those of `[server]` in the configuration, and the two by which Paste's files say where.
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
        .option("http2", "true", "HTTP/2 by prior knowledge, with the feature `http2`")
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
}

/// `server`, with these options.
pub(in crate::deploy) fn server(options: ServerOptions, server: Server) -> Result<Server> {
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
