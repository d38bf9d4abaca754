//! `Front`: the port, which is never closed, and what it answers.
//!
//! A request is the site's where there is one, and passed on with its body as it comes. While new code is built it waits, for a
//! limit; where the site is broken it is told so.

use super::page::Pages;
use super::site::Upstream;
use super::state::{Busy, Shown, State, Step};
use super::trouble::Trouble;
use super::{Event, build::Progress};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// Where pages ask whether they are still true.
pub(crate) const LIVE: &str = "/_purlin/live";

/// A page waits for new code so long before it is one that shows how the build stands: others wait longer, and see nothing.
const PAGE_WAITS: Duration = Duration::from_secs(3);

/// The same before anything was served: it may be that there is nothing to build.
const FIRST_WAITS: Duration = Duration::from_millis(200);

/// A stream that says nothing for longer is taken for dead by something in between.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Who asks again for what was broken a moment ago is not somebody who has pressed reload.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The end of a site is known this soon after its connections are cut, on a machine that is busy too.
const END: Duration = Duration::from_secs(4);

pub(crate) struct Front {
    pub(crate) state: watch::Receiver<State>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) pages: Pages,
    /// How long requests wait for new code.
    pub(crate) hold: Duration,
    /// Whether pages renew themselves.
    pub(crate) reload: bool,
}

impl Front {
    /// Answers until the program ends.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true);
                    let front = self.clone();
                    tokio::spawn(async move {
                        let service = service_fn(move |request| {
                            let front = front.clone();
                            async move { Ok::<_, Infallible>(front.answer(request, peer).await) }
                        });
                        let mut server = hyper::server::conn::http1::Builder::new();
                        // A client that goes away in the middle is no news.
                        let _ = server
                            .header_read_timeout(None)
                            .serve_connection(TokioIo::new(stream), service)
                            .with_upgrades()
                            .await;
                    });
                }
                // Too many open files, say: some will be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if request.uri().path() == LIVE {
            return self.live(request, peer).await;
        }
        let asker = Asker::of(&request, peer);
        let begun = Instant::now();
        let mut state = self.state.clone();
        // What was saved a moment ago is not what is served.
        self.look().await;
        loop {
            let now = state.borrow_and_update().clone();
            match &now.shown {
                Shown::Serving(site) => return self.pass_on(request, site, peer, &asker, state).await,
                Shown::Broken(trouble) => {
                    if trouble.may_pass && asker.wants == Wants::Html && trouble.since.elapsed() > TRY_AGAIN {
                        let (done, tried) = oneshot::channel();
                        let _ = self.events.send(Event::TryAgain(now.settled, done));
                        let _ = tried.await;
                        if state.has_changed().unwrap_or(false) {
                            continue;
                        }
                    }
                    return self.broken(trouble, &asker, now.settled);
                }
                Shown::Busy(busy) => {
                    let is_page = asker.wants == Wants::Html;
                    let limit = match (is_page, now.settled) {
                        // There is enough to look at, and it will take a while.
                        (true, 0) => FIRST_WAITS.min(self.hold),
                        (true, _) => self.hold.min(PAGE_WAITS),
                        (false, _) => self.hold,
                    };
                    match timeout_at(begun + limit, state.changed()).await {
                        Ok(Ok(())) => {}
                        _ if state.has_changed().unwrap_or(false) => {}
                        _ => return self.busy(busy, &asker, now.settled),
                    }
                }
            }
        }
    }

    /// Waits until whoever watches the files has looked at them.
    async fn look(&self) {
        let (done, looked) = oneshot::channel();
        if self.events.send(Event::Look(Instant::now(), done)).is_ok() {
            let _ = looked.await;
        }
    }

    async fn pass_on(
        &self,
        mut request: Request<Incoming>,
        site: &Arc<Upstream>,
        peer: SocketAddr,
        asker: &Asker,
        mut state: watch::Receiver<State>,
    ) -> Response<Body> {
        let upgrade = upgrade_of(request.headers());
        let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        prepare(&mut request, peer, upgrade.as_ref());
        match site.send(request).await {
            Ok(mut response) => {
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    let server = hyper::upgrade::on(&mut response);
                    if let Some(client) = client {
                        tokio::spawn(async move {
                            if let (Ok(client), Ok(server)) = (client.await, server.await) {
                                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                            }
                        });
                    }
                } else {
                    remove_hop_by_hop(response.headers_mut());
                }
                response.map(|body| Body::Through(body, None))
            }
            Err(error) => {
                // It may be that it has ended, and that the reason is known in a moment.
                let _ = timeout(END, state.changed()).await;
                let now = state.borrow().clone();
                match &now.shown {
                    Shown::Broken(trouble) => self.broken(trouble, asker, now.settled),
                    _ => {
                        let cause = chain(&*error);
                        let text = format!("502: the site has not answered: {cause}\n");
                        asker.finish(StatusCode::BAD_GATEWAY, "text/plain; charset=utf-8", text)
                    }
                }
            }
        }
    }

    /// The stream by which pages learn that they are out of date.
    async fn live(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let state = self.state.clone();
        let now = state.borrow().clone();
        let asker = Asker::of(&request, peer);
        if !self.reload {
            // By which a browser does not ask again (HTML §9.2.3).
            return asker.finish(StatusCode::NO_CONTENT, "", "");
        }
        let cut = Cut::when_settled(state, now.settled);
        // Ours say which they are.
        let is_own = request.uri().query().is_some_and(|query| query.starts_with("page="));
        let site = match &now.shown {
            Shown::Serving(site) => Some(site),
            Shown::Busy(busy) => busy.old.as_ref(),
            Shown::Broken(_) => None,
        };
        if let Some(site) = site.filter(|_| !is_own) {
            let mut request = request;
            prepare(&mut request, peer, None);
            if let Ok(mut response) = site.send(request).await {
                remove_hop_by_hop(response.headers_mut());
                return response.map(|body| Body::Through(body, Some(cut)));
            }
            return asker.finish(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", "the site has ended\n");
        }
        let (stream, events) = mpsc::channel(4);
        let hello = format!("retry: 100\nevent: hello\ndata: {}\n\n", self.pages.id(now.settled));
        let _ = stream.try_send(Bytes::from(hello));
        tokio::spawn(follow(stream, self.progress.clone(), self.state.clone()));
        let mut response = Response::new(Body::Live(events, cut));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn broken(&self, trouble: &Trouble, asker: &Asker, settled: u64) -> Response<Body> {
        const STATUS: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        if !asker.may_see {
            return asker.stranger(STATUS, "The site is broken");
        }
        match asker.wants {
            Wants::Html => self.pages.trouble(trouble, settled, asker.renew(self.reload)).into_response(STATUS, asker),
            Wants::Json => asker.finish(STATUS, "application/json", trouble.json.to_string()),
            Wants::Text => asker.finish(STATUS, "text/plain; charset=utf-8", trouble.text.clone()),
        }
    }

    fn busy(&self, busy: &Busy, asker: &Asker, settled: u64) -> Response<Body> {
        const STATUS: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        let progress = self.progress.borrow().clone();
        let mut response = if !asker.may_see {
            asker.stranger(STATUS, "The site is being built")
        } else if asker.wants == Wants::Html {
            self.pages.building(&progress, busy, settled, asker.renew(self.reload)).into_response(STATUS, asker)
        } else {
            let what = match busy.step {
                Step::Building => "is being built",
                Step::Starting => "is starting",
            };
            let how = match progress.crates() {
                crates if busy.step == Step::Building && !crates.is_empty() => format!(", {crates} done"),
                _ => String::new(),
            };
            let waited = super::trouble::seconds(self.hold);
            let text = format!("503: the site {what}{how}; this request has waited {waited} (purlin dev --hold)\n");
            asker.finish(STATUS, "text/plain; charset=utf-8", text)
        };
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }
}

/// Tells a page how the build stands, and that somebody is there.
async fn follow(stream: mpsc::Sender<Bytes>, mut progress: watch::Receiver<Progress>, state: watch::Receiver<State>) {
    progress.mark_changed();
    loop {
        let text = match timeout(KEEP_ALIVE, progress.changed()).await {
            Ok(Ok(())) => {
                let step = match &state.borrow().shown {
                    Shown::Busy(Busy { step, .. }) => Some(*step),
                    _ => None,
                };
                match step {
                    Some(step) => {
                        format!("event: progress\ndata: {}\n\n", Pages::progress(&progress.borrow_and_update(), step))
                    }
                    None => ":\n\n".to_owned(),
                }
            }
            Ok(Err(_)) => return,
            Err(_) => ":\n\n".to_owned(),
        };
        if stream.send(Bytes::from(text)).await.is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Html,
    Json,
    Text,
}

/// Who asks, and for what.
#[derive(Debug)]
pub(crate) struct Asker {
    wants: Wants,
    /// Whether pages with source may be shown: the browser must have been asked for this machine, and not for a name that somebody
    /// else may have pointed at it.
    may_see: bool,
    /// Whether asking again is harmless.
    is_safe: bool,
}

impl Asker {
    fn of(request: &Request<Incoming>, peer: SocketAddr) -> Self {
        let _ = peer;
        Self::new(request.method(), request.headers())
    }

    fn new(method: &Method, headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let has =
            |kind: &str| accept.split(',').any(|range| range.split(';').next().unwrap_or_default().trim() == kind);
        let wants = if has("text/html") {
            Wants::Html
        } else if has("application/json") || accept.contains("+json") {
            Wants::Json
        } else {
            Wants::Text
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        Self { wants, may_see: host.is_none_or(is_of_machine), is_safe: method.is_safe() }
    }

    /// How a page asks for itself again, if at all.
    fn renew(&self, reload: bool) -> Renew {
        match (reload, self.is_safe) {
            (false, _) => Renew::Never,
            (true, true) => Renew::Reload,
            // It is not sent a second time.
            (true, false) => Renew::Get,
        }
    }

    fn finish(&self, status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<Body> {
        let mut response = Response::new(Body::Full(Some(text.into())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    fn stranger(&self, status: StatusCode, what: &str) -> Response<Body> {
        let text = format!(
            "{}: {what}. What is wrong stands in the terminal of `purlin dev`, and on this page where it is asked for as \
             localhost or by the machine's address.\n",
            status.as_u16()
        );
        self.finish(status, "text/plain; charset=utf-8", text)
    }
}

/// How a page of ours asks for itself again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renew {
    Never,
    Reload,
    Get,
}

/// A page, with the policy for what it may load.
pub(crate) struct Html {
    pub(crate) text: String,
    pub(crate) nonce: String,
}

impl Html {
    fn into_response(self, status: StatusCode, asker: &Asker) -> Response<Body> {
        let nonce = &self.nonce;
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        );
        let mut response = asker.finish(status, "text/html; charset=utf-8", self.text);
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// `localhost`, a name below it, or an address: what no name server decides upon.
fn is_of_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => return rest.split_once(']').is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok()),
        None => host.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase(),
    };
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

/// What a client asks for, to speak it instead of HTTP: `websocket`.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let is_named = named.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| is_named).cloned()
}

/// Makes a request one for the site. From this machine it is passed on as it came, so that the site sees what it would see without
/// us; one from elsewhere says from where (and is told by that from one of this machine, to which alone the debugger opens).
fn prepare(request: &mut Request<Incoming>, peer: SocketAddr, upgrade: Option<&HeaderValue>) {
    *request.version_mut() = hyper::Version::HTTP_11;
    // What was asked for as `GET http://host/path` is the same as `/path` with that host.
    let asked = request.uri().authority().map(|authority| authority.as_str().to_owned());
    if let Some(authority) = asked.and_then(|authority| HeaderValue::from_str(&authority).ok()) {
        request.headers_mut().insert(header::HOST, authority);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse();
        *request.uri_mut() = path.unwrap_or_else(|_| hyper::Uri::from_static("/"));
    }
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade.clone());
    }
    if !peer.ip().to_canonical().is_loopback() {
        const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
        const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
        let before = headers.get_all(&FOR).iter().filter_map(|value| value.to_str().ok());
        let all =
            before.map(str::to_owned).chain([peer.ip().to_canonical().to_string()]).collect::<Vec<_>>().join(", ");
        if let Ok(all) = HeaderValue::from_str(&all) {
            headers.insert(FOR, all);
        }
        headers.entry(PROTO).or_insert(HeaderValue::from_static("http"));
    }
}

/// Leaves out what is between two neighbours only (RFC 9110 §7.6.1).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let trailers = headers.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    for name in named {
        headers.remove(name);
    }
    for name in ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Ready when a stream is to end, because something was settled since it began.
pub(crate) struct Cut(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Cut {
    fn when_settled(mut state: watch::Receiver<State>, before: u64) -> Self {
        Self(Box::pin(async move { drop(state.wait_for(|state| state.settled != before).await) }))
    }
}

/// What is sent back.
pub(crate) enum Body {
    Full(Option<Bytes>),
    /// The site's; cut off at some time.
    Through(Incoming, Option<Cut>),
    Live(mpsc::Receiver<Bytes>, Cut),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => {
                Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Through(body, cut) => {
                if cut.as_mut().is_some_and(|cut| cut.0.as_mut().poll(cx).is_ready()) {
                    *cut = None;
                    return Poll::Ready(None);
                }
                Pin::new(body).poll_frame(cx)
            }
            Self::Live(events, cut) => match events.poll_recv(cx) {
                Poll::Ready(event) => Poll::Ready(event.map(|event| Ok(Frame::data(event)))),
                Poll::Pending => cut.0.as_mut().poll(cx).map(|()| None),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Through(body, None) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.as_ref().is_none_or(|bytes| bytes.is_empty()),
            Self::Through(body, None) => body.is_end_stream(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_page_with_source_is_for_names_that_nobody_else_decides_upon() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:8000", true),
            ("site.localhost:8000", true),
            ("127.0.0.1:8000", true),
            ("192.168.1.7", true),
            ("[::1]:8000", true),
            ("example.org", false),
            ("localhost.example.org", false),
            ("127.0.0.1.example.org:8000", false),
            ("[evil]:8000", false),
            ("", false),
        ] {
            assert_eq!(is_of_machine(host), expected, "{host}");
        }
    }

    #[test]
    fn everybody_gets_what_they_read() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Wants::Html),
            ("application/json", Wants::Json),
            ("application/problem+json; q=0.5", Wants::Json),
            ("*/*", Wants::Text),
            ("text/css,*/*;q=0.1", Wants::Text),
            ("text/htmlish", Wants::Text),
        ] {
            assert_eq!(Asker::new(&Method::GET, &headers(&[("accept", accept)])).wants, expected, "{accept}");
        }
        assert_eq!(Asker::new(&Method::GET, &HeaderMap::new()).wants, Wants::Text);
        assert_eq!(Asker::new(&Method::POST, &HeaderMap::new()).renew(true), Renew::Get);
        assert_eq!(Asker::new(&Method::GET, &HeaderMap::new()).renew(true), Renew::Reload);
        assert_eq!(Asker::new(&Method::GET, &HeaderMap::new()).renew(false), Renew::Never);
    }

    #[test]
    fn what_is_between_neighbours_is_not_passed_on() {
        let mut left = headers(&[
            ("connection", "keep-alive, X-Own"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut left);
        let mut names: Vec<&str> = left.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "te"]);
    }

    #[test]
    fn an_upgrade_is_one_that_the_connection_names() {
        let upgrade = upgrade_of(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]));
        assert_eq!(upgrade.unwrap(), "websocket");
        assert_eq!(upgrade_of(&headers(&[("upgrade", "websocket")])), None);
        assert_eq!(upgrade_of(&headers(&[("connection", "upgrade")])), None);
    }
}
