//! `check`: whether a site is in order, without starting it.

use super::{Assembly, outline};
use crate::config::Config;
use crate::site::Site;
use crate::{Error, Result, report::Redaction};
use serde_json::{Value, json};

/// What was looked at, and what was found.
#[derive(Debug, PartialEq)]
struct Finding {
    about: &'static str,
    state: State,
    says: String,
    remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Ok,
    Warning,
    Failed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Finding {
    fn ok(about: &'static str, says: impl Into<String>) -> Self {
        Self { about, state: State::Ok, says: says.into(), remedy: None }
    }

    /// With the causes of the error; what is secret in them is hidden.
    fn failed(about: &'static str, error: &Error, remedy: &str) -> Self {
        let causes = error.chain().collect::<Vec<_>>().join("\ncaused by: ");
        let says = Redaction::new().text(&causes).trim_end().to_owned();
        Self { about, state: State::Failed, says, remedy: Some(remedy.to_owned()) }
    }

    fn json(&self) -> Value {
        json!({ "about": self.about, "state": self.state.name(), "says": self.says, "remedy": self.remedy })
    }

    fn print(&self) {
        let mut lines = self.says.lines();
        say!("{:7}  {:9}  {}", self.state.name(), self.about, lines.next().unwrap_or_default());
        for line in lines {
            say!("{:20}{line}", "");
        }
        if let Some(remedy) = &self.remedy {
            say!("{:18}→ {remedy}", "");
        }
    }
}

/// Prints each finding.
///
/// # Errors
///
/// Something has failed.
pub(super) fn check(config: Result<Config>, stack: Assembly, as_json: bool) -> Result<()> {
    let findings = findings(config, stack);
    if as_json {
        say!("{:#}", findings.iter().map(Finding::json).collect::<Value>());
    } else {
        findings.iter().for_each(Finding::print);
    }
    match findings.iter().filter(|finding| finding.state == State::Failed).count() {
        0 => Ok(()),
        1 => Err(Error::internal("one check failed")),
        failed => Err(Error::internal(format!("{failed} checks failed"))),
    }
}

/// What cannot be looked at since something before it failed is left out.
fn findings(config: Result<Config>, stack: Assembly) -> Vec<Finding> {
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            let mut finding = Finding::failed("settings", &error, "mend what it names, then check again");
            if finding.says.contains("PURLIN__SECRET") {
                finding.remedy = Some("export PURLIN__SECRET=$(openssl rand -hex 32)".to_owned());
            }
            return vec![finding];
        }
    };
    let environment = config.environment.name().to_owned();
    let mut findings = vec![match config.warnings.as_slice() {
        [] => Finding::ok("settings", format!("config/{environment}.toml and the environment's variables can be read")),
        warnings => Finding {
            about: "settings",
            state: State::Warning,
            says: warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            remedy: Some("cargo run -- config prints every setting with the place where it is set".to_owned()),
        },
    }];
    if let Err(error) = config.check_details(&config.server.listen) {
        findings.push(Finding::failed("errors", &error, "set errors.details = false"));
    }
    let site = match outline(config, stack) {
        Ok(site) => site,
        Err(error) => {
            let remedy = "mend src/stack.rs and src/routes.rs: cargo run -- stack tries again";
            findings.push(Finding::failed("stack", &error, remedy));
            return findings;
        }
    };
    findings.push(Finding::ok("stack", format!("{} layers fit together", site.layers().len())));
    findings.push(Finding::ok("routes", format!("none is in the way of another, of {}", site.routes().len())));
    match site.check_templates() {
        Ok(0) => {}
        Ok(_) => findings.push(Finding::ok("templates", "all can be read, and the routes that they name are there")),
        Err(error) => {
            findings.push(Finding::failed(
                "templates",
                &error,
                "mend the template; a save is enough, nothing is built",
            ));
        }
    }
    findings.extend(databases(&site));
    findings
}

#[cfg(feature = "database")]
fn databases(site: &Site) -> Vec<Finding> {
    use crate::database::MigrationState;
    let finding = |database: &std::sync::Arc<dyn crate::database::Migrated>| {
        let migrations = match super::inside(|| database.migrations()) {
            Ok(migrations) => migrations,
            Err(error) => return Finding::failed("database", &error, "start it, or set database.url to where it is"),
        };
        let named = |state| -> Vec<&str> {
            migrations.iter().filter(|migration| migration.state == state).map(|migration| &*migration.name).collect()
        };
        let (changed, pending) = (named(MigrationState::Changed), named(MigrationState::Pending));
        let (state, says, remedy) = if !changed.is_empty() {
            let remedy = "put the file back as it was, and write the change into a new one";
            (State::Failed, format!("{database}: changed since it has run: {}", changed.join(", ")), Some(remedy))
        } else if !pending.is_empty() {
            (State::Warning, format!("{database} lacks {}", pending.join(", ")), Some("cargo run -- migrate"))
        } else {
            (State::Ok, format!("{database} can be reached, and has every migration"), None)
        };
        Finding { about: "database", state, says, remedy: remedy.map(str::to_owned) }
    };
    site.databases().map(finding).collect()
}

#[cfg(not(feature = "database"))]
fn databases(_: &Site) -> Vec<Finding> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Router, Service, Stack, get};

    fn settings() -> Result<Config> {
        Config::for_tests().map_err(Error::from)
    }

    fn findings<S: Service + 'static>(
        config: Result<Config>,
        stack: impl FnOnce(Config) -> Result<S> + Send + 'static,
    ) -> Vec<Finding> {
        super::findings(config, crate::run::assembly(stack))
    }

    fn states(findings: &[Finding]) -> Vec<(&str, State)> {
        findings.iter().map(|finding| (finding.about, finding.state)).collect()
    }

    #[cfg(feature = "tera")]
    fn with_template(source: &'static [u8]) -> Vec<Finding> {
        let files: &'static [(&str, &[u8])] = Box::leak(Box::new([("a.html", source)]));
        findings(settings(), move |_| {
            let tera = crate::template::Tera::new(crate::Assets::embedded(files));
            let routes = Router::new().route("/", get(async || crate::View::new("a.html", ())).name("home"));
            Ok(Stack::new().layer(crate::layers::Templates::new(tera)).app(routes))
        })
    }

    #[test]
    fn a_site_in_order_has_nothing_but_ok() {
        let found = findings(settings(), |_| Ok(Stack::new().app(Router::new().route("/", get(async || "")))));
        assert_eq!(states(&found), [("settings", State::Ok), ("stack", State::Ok), ("routes", State::Ok)]);
        assert_eq!(found[2].says, "none is in the way of another, of 1");
        #[cfg(feature = "tera")]
        assert_eq!(states(&with_template(b"{{ url_for(name=\"home\") }}"))[3], ("templates", State::Ok));
    }

    #[cfg(feature = "tera")]
    #[test]
    fn a_broken_template_is_found_without_a_start() {
        for (source, word) in [(&b"{% if %}"[..], "a.html"), (b"{{ url_for(name=\"hmoe\") }}", "hmoe")] {
            let found = with_template(source);
            assert_eq!(found[3].state, State::Failed, "{found:?}");
            assert!(found[3].says.contains(word) && found[3].remedy.is_some(), "{found:?}");
        }
    }

    #[test]
    fn details_for_strangers_are_found() {
        let of = |vars: &[(&str, &str)]| {
            let secret = crate::config::SecretKeys::random();
            let mut loader = crate::config::Loader::new().environment("production");
            loader = loader.var("PURLIN__SECRET", secret.current().expose_str());
            let loader = vars.iter().fold(loader, |loader, (name, value)| loader.var(*name, *value));
            findings(loader.load().map_err(Error::from), |_| Ok(Stack::new().app(Router::new())))
        };
        let details = ("PURLIN__ERRORS__DETAILS", "true");
        let open = ("PURLIN__SERVER__LISTEN", "0.0.0.0:80");
        let found = of(&[details, open]);
        assert_eq!(states(&found)[..2], [("settings", State::Warning), ("errors", State::Failed)]);
        assert!(found[0].says.starts_with("PURLIN__ERRORS__DETAILS: `errors.details` is on in the production"));
        assert!(found[1].says.contains("the site listens at 0.0.0.0:80"), "{found:?}");

        let found = of(&[details, open, ("PURLIN__ERRORS__BEYOND_LOOPBACK", "true")]);
        assert_eq!(states(&found)[..2], [("settings", State::Warning), ("stack", State::Ok)]);
        for harmless in [&[details][..], &[details, ("PURLIN__SERVER__LISTEN", "unix:/run/site.sock")]] {
            assert_eq!(states(&of(harmless))[..2], [("settings", State::Warning), ("stack", State::Ok)]);
        }
        assert_eq!(states(&of(&[open]))[0], ("settings", State::Ok));
    }

    #[test]
    fn what_cannot_be_read_ends_the_looking() {
        let broken = findings(Err(Error::internal("config/x.toml:3: no")), |_| Ok(Stack::new().app(Router::new())));
        assert_eq!(states(&broken), [("settings", State::Failed)]);
        assert_eq!(broken[0].says, "config/x.toml:3: no");
        let lacking = findings(Err(Error::internal("no PURLIN__SECRET")), |_| Ok(Stack::new().app(Router::new())));
        assert_eq!(lacking[0].remedy.as_deref(), Some("export PURLIN__SECRET=$(openssl rand -hex 32)"));
        let broken = findings(settings(), |_| -> Result<Router> { Err(Error::internal("no secret")) });
        assert_eq!(states(&broken), [("settings", State::Ok), ("stack", State::Failed)]);
    }
}
