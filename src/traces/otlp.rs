//! Spans on their way to a collector, by OTLP over HTTP.

use crate::config::TracesConfig;
use crate::outbound::Target;
use crate::{Context as _, Error, Result};
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// What sends spans as the configuration and the standard variables say; `None` if they name no collector.
///
/// # Errors
///
/// One of them that cannot be read.
pub(crate) fn provider(config: &TracesConfig) -> Result<Option<SdkTracerProvider>> {
    let Some(settings) = Settings::of(config, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))?
    else {
        return Ok(None);
    };
    let client = Post::new(&settings)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(settings.endpoint)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(settings.timeout)
        // Those of the variables are added to them.
        .with_headers(settings.headers)
        .with_http_client(client)
        // The next batch comes within seconds.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .context("the exporter of traces")?;
    let mut resource = Resource::builder();
    if let Some(service) = settings.service {
        resource = resource.with_service_name(service);
    }
    let mut provider = SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter);
    if let Some(sample) = settings.sample {
        let begun_here = if sample < 1.0 { Sampler::TraceIdRatioBased(sample) } else { Sampler::AlwaysOn };
        provider = provider.with_sampler(Sampler::ParentBased(Box::new(begun_here)));
    }
    Ok(Some(provider.build()))
}

/// What the configuration says, unless the variables that are the same in all languages say otherwise.
struct Settings {
    /// The whole URL.
    endpoint: String,
    headers: HashMap<String, String>,
    /// `None` if the variables name it.
    service: Option<String>,
    /// `None` if the variables name a sampler.
    sample: Option<f64>,
    timeout: Duration,
    /// A file of certificates.
    certificate: Option<String>,
}

impl Settings {
    fn of(config: &TracesConfig, var: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        if var("OTEL_SDK_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        // Those of traces go before those of all signals.
        let either = |what: &str| {
            let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
            names.into_iter().find_map(|name| var(&name).map(|value| (name, value)))
        };
        match var("OTEL_TRACES_EXPORTER").as_deref().map(str::trim) {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                let message = format!("expected `otlp` or `none` in OTEL_TRACES_EXPORTER, found {other:?}");
                return Err(Error::internal(message));
            }
        }
        let of_all = |base: &str| format!("{}/v1/traces", base.trim_end_matches('/'));
        let endpoint = match either("ENDPOINT") {
            Some((name, url)) if name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => url,
            Some((_, base)) => of_all(&base),
            None if config.endpoint.is_empty() => return Ok(None),
            None => of_all(&config.endpoint),
        };
        if let Some((name, protocol)) = either("PROTOCOL").filter(|(_, protocol)| protocol.trim() != "http/protobuf") {
            let message = format!("expected `http/protobuf` in {name}, found {protocol:?}: by others nothing is sent");
            return Err(Error::internal(message));
        }
        let timeout = match either("TIMEOUT") {
            Some((name, text)) => {
                let ms = text.trim().parse().ok().filter(|ms| *ms > 0);
                let expected = || format!("expected a number of milliseconds in {name}, found {text:?}");
                Duration::from_millis(ms.ok_or_else(|| Error::internal(expected()))?)
            }
            None => Duration::from_secs(10),
        };
        let in_resource = |name: &str| {
            let attributes = var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
            attributes.split(',').filter_map(|attribute| attribute.split_once('=')).any(|(key, _)| key.trim() == name)
        };
        let service = match config.service.as_str() {
            _ if var("OTEL_SERVICE_NAME").is_some() || in_resource("service.name") => None,
            "" => Some(executable()),
            service => Some(service.to_owned()),
        };
        Ok(Some(Self {
            endpoint,
            headers: headers(config.secret_headers.expose_str())?,
            service,
            sample: var("OTEL_TRACES_SAMPLER").is_none().then_some(config.sample),
            timeout,
            certificate: either("CERTIFICATE").map(|(_, file)| file),
        }))
    }
}

/// `name=value` with commas between, values percent-encoded where they have to be: as in `OTEL_EXPORTER_OTLP_HEADERS`. The values are
/// as the exporter wants them, which decodes them.
fn headers(text: &str) -> Result<HashMap<String, String>> {
    // What is wrong is not shown: it holds secrets.
    let wrong = || {
        let expected = "`traces.secret_headers`: expected headers as \"api-key=abc\", several with commas between";
        Error::internal(format!("{expected}, found something else"))
    };
    let header = |text: &str| {
        let (name, value) = text.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?.into_owned();
        let name = http::HeaderName::try_from(name.trim()).ok()?;
        http::HeaderValue::try_from(&value).ok()?;
        // Encoded anew: what is no encoding would not be read by all in the same way.
        Some((name.as_str().to_owned(), value.replace('%', "%25")))
    };
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs.map(|pair| header(pair).ok_or_else(wrong)).collect()
}

/// What the site is called if nobody says so.
fn executable() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(|path| path.file_stem()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "purlin".to_owned())
}

/// What posts batches of spans. It is used on the thread of the batches only, and has a runtime of its own there: so it waits for no
/// request, and no request for it; and what is left is sent also when the server's runtime stands still.
struct Post {
    target: Target,
    timeout: Duration,
    runtime: OnceLock<Runtime>,
    /// The last attempt failed, which has been told.
    failing: AtomicBool,
}

impl Post {
    fn new(settings: &Settings) -> Result<Self> {
        let wrong = || {
            Error::internal(
                "expected an endpoint as https://collector.example.org:4318 without a user (`traces.endpoint`, \
                 OTEL_EXPORTER_OTLP_ENDPOINT), found a URL that cannot be read or has one",
            )
        };
        let mut target = Target::parse(&settings.endpoint).ok_or_else(wrong)?;
        if let Some(file) = &settings.certificate {
            let pem = std::fs::read(file).context(format!("reading the certificates {file} for traces"))?;
            target.trust(&pem).ok_or_else(|| {
                Error::internal(format!("expected certificates in PEM, for an endpoint of https, found none in {file}"))
            })?;
        }
        if target.trusts_nobody() {
            return Err(Error::internal(
                "the collector of traces cannot be checked: this system has no root certificates; Debian's are in \
                 ca-certificates",
            ));
        }
        Ok(Self { target, timeout: settings.timeout, runtime: OnceLock::new(), failing: AtomicBool::new(false) })
    }

    fn post(&self, request: http::Request<Bytes>) -> std::result::Result<http::Response<Bytes>, HttpError> {
        let runtime = match self.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let made = Builder::new_current_thread().enable_all().build()?;
                self.runtime.get_or_init(|| made)
            }
        };
        runtime.block_on(async {
            match tokio::time::timeout(self.timeout, self.target.send(request, LONGEST_ANSWER)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {:?}", self.timeout).into()),
            }
        })
    }

    /// Once, and not for each batch.
    fn tell(&self, failed: Option<String>) {
        let endpoint = &*self.target.host;
        match failed {
            Some(error) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(target: "purlin::traces", endpoint, error, "spans are lost until the collector takes them");
            }
            None if self.failing.swap(false, Ordering::Relaxed) => {
                tracing::info!(target: "purlin::traces", endpoint, "the collector takes spans again");
            }
            _ => {}
        }
    }
}

/// What a collector says of spans that it did not take is short.
const LONGEST_ANSWER: usize = 64 * 1024;

type Sent<'a> = Pin<Box<dyn Future<Output = std::result::Result<http::Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Post {
    fn send_bytes<'a, 'b>(&'a self, request: http::Request<Bytes>) -> Sent<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let sent = self.post(request);
            self.tell(match &sent {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("it answered {}", answer.status())),
                Err(error) => Some(in_words(&**error)),
            });
            sent
        })
    }
}

fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The host only: a URL may hold a token.
impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("host", &self.target.host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loader;

    fn settings(toml: &str, variables: &[(&str, &str)]) -> Option<Settings> {
        let config = Loader::new().environment("test").toml(format!("[traces]\n{toml}")).load().unwrap().traces;
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        Settings::of(&config, |name| variables.get(name).map(|value| (*value).to_owned())).unwrap()
    }

    /// The configuration, the variables, and the endpoint by them.
    type Row = (&'static str, &'static [(&'static str, &'static str)], Option<&'static str>);

    #[test]
    fn the_variables_go_before_the_configuration_and_those_of_traces_before_both() {
        const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:1/");
        const OWN: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:2/x");
        let table: [Row; 8] = [
            ("", &[], None),
            ("endpoint = 'http://file:3'", &[], Some("http://file:3/v1/traces")),
            ("endpoint = 'http://file:3/otlp/'", &[], Some("http://file:3/otlp/v1/traces")),
            ("endpoint = 'http://file:3'", &[ALL], Some("http://all:1/v1/traces")),
            ("endpoint = 'http://file:3'", &[ALL, OWN], Some("http://own:2/x")),
            ("", &[ALL, ("OTEL_SDK_DISABLED", "TRUE")], None),
            ("", &[ALL, ("OTEL_SDK_DISABLED", "1")], Some("http://all:1/v1/traces")),
            ("endpoint = 'http://file:3'", &[("OTEL_TRACES_EXPORTER", "none")], None),
        ];
        for (toml, variables, endpoint) in table {
            let settings = settings(toml, variables);
            assert_eq!(settings.map(|settings| settings.endpoint).as_deref(), endpoint, "{toml} {variables:?}");
        }
        let service = |variables: &[(&str, &str)]| {
            settings("endpoint = 'http://file:3'\nservice = 'wiki'\nsample = 0.5", variables).unwrap()
        };
        assert_eq!(service(&[]).service.as_deref(), Some("wiki"));
        assert_eq!(service(&[("OTEL_SERVICE_NAME", "shop")]).service, None);
        assert_eq!(service(&[("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=shop")]).service, None);
        assert_eq!(service(&[("OTEL_RESOURCE_ATTRIBUTES", "a=service.name")]).service.as_deref(), Some("wiki"));
        assert_eq!(service(&[]).sample, Some(0.5));
        assert_eq!(service(&[("OTEL_TRACES_SAMPLER", "always_on")]).sample, None);
        let timeout = [("OTEL_EXPORTER_OTLP_TIMEOUT", "500"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250")];
        assert_eq!(service(&timeout[..1]).timeout, Duration::from_millis(500));
        assert_eq!(service(&timeout).timeout, Duration::from_millis(250));
    }

    #[test]
    fn headers_are_decoded_once_or_are_wrong() {
        let table = [
            ("", Some(vec![])),
            ("api-key=abc", Some(vec![("api-key", "abc")])),
            (" A = b%20c , d=e=f ,", Some(vec![("a", "b%20c"), ("d", "e=f")])),
            ("a=abc%2541", Some(vec![("a", "abc%2541")])),
            ("a=abc%250A", Some(vec![("a", "abc%250A")])),
            ("a=50%", Some(vec![("a", "50%25")])),
            ("a=%zz%20", Some(vec![("a", "%25zz%20")])),
            ("a=b%0Ac", None),
            ("a=%ff", None),
            ("a", None),
            ("a b=c", None),
        ];
        for (text, expected) in table {
            let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
            let expected = expected.map(|pairs| {
                pairs.into_iter().map(|(name, value)| (name.to_owned(), decoded(value))).collect::<HashMap<_, _>>()
            });
            // As the exporter reads them.
            let found = headers(text).ok().map(|headers| {
                headers.into_iter().map(|(name, value)| (name, decoded(&value))).collect::<HashMap<_, _>>()
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
