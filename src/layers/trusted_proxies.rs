//! Believes what trusted proxies say of the client, and nobody else.

use crate::forwarded::{Client, Hop, Network, Node, TakenOff, forwarded, host_of, is_of_proxy, x_forwarded};
use crate::request::Https;
use crate::site::{About, Start};
use crate::{Error, Middleware, Request, RequestExt, Response, Result, Service};
use http::{HeaderName, HeaderValue, header};
use std::net::IpAddr;

/// Makes the request what it was when it came to the outermost proxy that is trusted.
///
/// - [`RequestExt::client_ip`] is then the client's address, in the access log, in reports and where failed sign-ins are counted;
///   [`RequestExt::is_https`] says how the client came, for cookies, `Strict-Transport-Security` and CSRF; with
///   [`host`](TrustedProxies::host), `Host` is what the client asked for. The layer stands above all of these: outermost.
/// - A proxy is trusted by its address: see [`network`](TrustedProxies::network). From the last entry on, which the nearest
///   proxy has written, entries are believed as long as their writer is one; the first address that is none is the
///   client's. Or by number, see [`hops`](TrustedProxies::hops). With neither, nobody is.
/// - Read are `X-Forwarded-For`, `-Proto` and `-Host`; or instead `Forwarded` (RFC 7239), with
///   [`forwarded`](TrustedProxies::forwarded). Never both: a proxy that writes one of them passes the other on as the client
///   sent it.
/// - All headers by which proxies speak of clients are taken off, whoever sent them: `Forwarded`, everything that begins with
///   `X-Forwarded-`, `X-Real-IP` and others like it. No code below can believe them by mistake. `X-Forwarded-Prefix` is none that
///   is read: where a proxy has the site below a path, the site is mounted there itself.
///
/// The connection stays what it is: [`Connection::peer`](crate::Connection::peer) is the proxy, and the debugger, which is for
/// who sits at this machine, looks at that only, and at no request that came through a proxy.
///
/// # Errors
///
/// 400 where a trusted proxy sends a `Forwarded` that cannot be read. The site does not start with a network that is none, or
/// with both ways of trusting at once.
///
/// ```
/// use purlin::layers::TrustedProxies;
/// use purlin::{Request, RequestExt, Stack, handler};
///
/// async fn who(req: Request) -> String {
///     format!("{:?} {}", req.client_ip(), req.is_https())
/// }
///
/// let app = Stack::new().layer(TrustedProxies::new().network("127.0.0.0/8")).app(handler(who));
/// # use purlin::testing::Client;
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let request = Client::new(app).get("/").header("x-forwarded-for", "203.0.113.9").header("x-forwarded-proto", "https");
/// request.await.assert_contains("Some(203.0.113.9) true");
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    problems: Vec<String>,
    hops: Option<usize>,
    sockets: bool,
    forwarded: bool,
    host: bool,
}

impl TrustedProxies {
    /// Trusts nobody yet, and takes the headers off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts proxies of this network, such as `10.0.0.0/8`, or with this address. May be said several times.
    pub fn network(mut self, network: &str) -> Self {
        match network.parse() {
            Ok(network) => self.networks.push(network),
            Err(error) => self.problems.push(format!("TrustedProxies: {error}")),
        }
        self
    }

    /// Trusts as many proxies as there are in front of the site, whatever their addresses: with 1 the peer, with 2 also
    /// the one that it names. Only where nobody can reach the site but through all of them.
    pub fn hops(mut self, proxies: usize) -> Self {
        self.hops = Some(proxies);
        self
    }

    /// Whether the peer at a unix socket is a trusted proxy; no by default. Who may connect is then the matter of the
    /// socket's file.
    pub fn unix_sockets(mut self, trust: bool) -> Self {
        self.sockets = trust;
        self
    }

    /// Whether `Forwarded` (RFC 7239) is read, in place of `X-Forwarded-*`; off by default.
    pub fn forwarded(mut self, forwarded: bool) -> Self {
        self.forwarded = forwarded;
        self
    }

    /// Whether the host is believed too, and put into `Host`; off by default, since most proxies pass on the host they were
    /// asked for, and with it an `X-Forwarded-Host` that the client made up.
    pub fn host(mut self, host: bool) -> Self {
        self.host = host;
        self
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Whether the other end of the socket is a proxy that is trusted.
    fn trusts_peer(&self, req: &Request) -> bool {
        let Some(connection) = req.connection() else { return false };
        match (self.hops, connection.ip()) {
            (Some(hops), Some(_)) => hops > 0,
            (None, Some(ip)) => self.trusts(ip),
            (hops, None) => self.sockets && hops != Some(0),
        }
    }

    /// What the outermost trusted proxy wrote.
    fn outermost<'h>(&self, hops: &'h [Hop]) -> Option<&'h Hop> {
        if let Some(count) = self.hops {
            return hops.len().checked_sub(count).map_or(hops.first(), |at| hops.get(at));
        }
        let (mut outermost, before) = hops.split_last()?;
        for hop in before.iter().rev() {
            // Of this one's writer the address is known, and it is one of ours.
            match outermost.from {
                Some(Node::Ip(ip)) if self.trusts(ip) => outermost = hop,
                _ => break,
            }
        }
        Some(outermost)
    }

    fn read(&self, req: &Request) -> Result<Option<Hop>> {
        if !self.trusts_peer(req) {
            return Ok(None);
        }
        let hops = if self.forwarded {
            forwarded(req.headers()).map_err(|error| Error::from(error).status_code(http::StatusCode::BAD_REQUEST))?
        } else {
            x_forwarded(req.headers())
        };
        Ok(hops.and_then(|hops| self.outermost(&hops).cloned()))
    }
}

impl Middleware for TrustedProxies {
    async fn handle(&self, mut req: Request, next: &impl Service) -> Result<Response> {
        let spoken: Vec<HeaderName> = req.headers().keys().filter(|name| is_of_proxy(name)).cloned().collect();
        let Some(first) = spoken.first().cloned() else {
            return Ok(next.call(req).await);
        };
        let hop = self.read(&req)?;
        for name in &spoken {
            req.headers_mut().remove(name);
        }
        req.extensions_mut().insert(TakenOff(first));
        if let Some(hop) = hop {
            if let Some(from) = hop.from {
                let ip = if let Node::Ip(ip) = from { Some(ip) } else { None };
                req.extensions_mut().insert(Client(ip));
            }
            match hop.https {
                Some(true) => drop(req.extensions_mut().insert(Https)),
                Some(false) => drop(req.extensions_mut().remove::<Https>()),
                None => {}
            }
            let host = if self.host { host_of(&hop) } else { None };
            if let Some(host) = host.and_then(|host| HeaderValue::try_from(host).ok()) {
                req.headers_mut().insert(header::HOST, host);
            }
        }
        Ok(next.call(req).await)
    }

    fn describe(&self, about: &mut About) {
        let networks: Vec<String> = self.networks.iter().map(Network::to_string).collect();
        let headers = if self.forwarded { "Forwarded" } else { "X-Forwarded-*" };
        if let Some(hops) = self.hops {
            about.option("hops", hops);
        }
        about.option("networks", if networks.is_empty() { "none".to_owned() } else { networks.join(", ") });
        about.option("unix_sockets", self.sockets).option("headers", headers).option("host", self.host);
    }

    fn start(&self, _: &mut Start) -> Result<()> {
        if let Some(problem) = self.problems.first() {
            return Err(Error::internal(problem.clone()));
        }
        if self.hops.is_some() && !self.networks.is_empty() {
            return Err(Error::internal(
                "TrustedProxies: expected the networks of the proxies or their number, found both: take one of them out",
            ));
        }
        Ok(())
    }
}
