//! `purlin dev`: serves a site while it is developed.

use super::Command;
pub(crate) use crate::dev::Options;
use crate::dev::project::Choice;
use crate::dev::{self, build};
use crate::failure::Failure;
use lexopt::Arg;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) const COMMAND: Command = Command {
    name: "dev",
    summary: "build and serve a site, again at each change",
    help: HELP,
    options: &[
        "--listen",
        "--open",
        "--hold",
        "--poll",
        "--no-reload",
        "--features",
        "--release",
        "--bin",
        "--package",
        "--help",
    ],
    work: run,
};

const HELP: &str = "\
usage: purlin dev [OPTIONS] [-- ARGS]

Builds the site in this folder and serves it; builds it again when a file changes, and serves the new one. The port stays
open all the time: requests wait for the new code, and an error of the compiler is a page.

      --listen ADDRESS      where to serve: 127.0.0.1:8000, or what config/development.toml says; the next port if it is taken
      --open                open it in the browser, which shows how the first build stands
      --hold TIME           how long requests wait for new code (30s); a page waits 3s, then shows how the build stands
      --poll TIME           how often files are looked at (100ms), beside the look before each request
      --no-reload           pages in the browser do not renew themselves
      --features FEATURES   features of the site's package, with commas between
      --release             build with the profile release; the configuration is development's all the same
      --bin NAME            which executable of the package is the site, if it has several
  -p, --package NAME        which package of the workspace, if it has several
  -h, --help                this text

ARGS are for the site itself. PURLIN_EDITOR (vscode, zed, idea, vim, neovim, emacs, sublime) makes places of the source links.

example:
  PURLIN_EDITOR=vscode purlin dev --open
";

fn run(command: &Command, arguments: lexopt::Parser) -> Result<ExitCode, Failure> {
    match read(command, arguments)? {
        Some(options) => serve(Path::new("."), options),
        None => command.print_help(),
    }
}

/// Serves the site of a folder.
pub(crate) fn serve(folder: &Path, options: Options) -> Result<ExitCode, Failure> {
    let folder = folder.canonicalize().map_err(|cause| Failure::file("look into", folder, &cause))?;
    // By which purlin doctor knows whose server it is.
    std::env::set_current_dir(&folder).map_err(|cause| Failure::file("go to", &folder, &cause))?;
    dev::run(&folder, options)
}

/// As it is without any option.
pub(crate) fn defaults() -> Options {
    Options {
        listen: None,
        open: false,
        hold: Duration::from_secs(30),
        poll: Duration::from_millis(100),
        reload: true,
        build: build::Options::default(),
        arguments: Vec::new(),
    }
}

/// None when help is asked for.
fn read(command: &Command, mut arguments: lexopt::Parser) -> Result<Option<Options>, Failure> {
    let mut options = defaults();
    let mut choice = Choice::default();
    loop {
        // Everything beyond `--` is the site's.
        if let Some(mut raw) = arguments.try_raw_args()
            && raw.peek().is_some_and(|argument| argument == "--")
        {
            raw.next();
            options.arguments = raw.map(utf8).collect::<Result<_, _>>()?;
            break;
        }
        let Some(argument) = arguments.next().map_err(Failure::arguments)? else { break };
        let is_poll = argument == Arg::Long("poll");
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Long("open") => options.open = true,
            Arg::Long("no-reload") => options.reload = false,
            Arg::Long("release") => options.build.release = true,
            Arg::Long("listen") => options.listen = Some(text(arguments.value())?),
            Arg::Long("hold" | "poll") => {
                let given = text(arguments.value())?;
                let time = time(&given).ok_or_else(|| {
                    Failure::usage(format!("`{given}` is no time")).remedy("expected one as 30s, 500ms or 2m")
                })?;
                if is_poll {
                    options.poll = time.max(Duration::from_millis(10));
                } else {
                    options.hold = time;
                }
            }
            Arg::Long("features") => {
                let given = text(arguments.value())?;
                let names = given.split([',', ' ']).filter(|name| !name.is_empty());
                choice.features.extend(names.map(str::to_owned));
            }
            Arg::Long("bin") => choice.bin = Some(text(arguments.value())?),
            Arg::Short('p') | Arg::Long("package") => choice.package = Some(text(arguments.value())?),
            other => return Err(command.unexpected(&other)),
        }
    }
    options.build.choice = choice;
    Ok(Some(options))
}

fn text(value: Result<OsString, lexopt::Error>) -> Result<String, Failure> {
    utf8(value.map_err(Failure::arguments)?)
}

fn utf8(value: OsString) -> Result<String, Failure> {
    value.into_string().map_err(|value| Failure::usage(format!("`{}` is not UTF-8", value.to_string_lossy())))
}

/// `30s`, `500ms`, `2m`, or seconds alone.
fn time(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number.into())),
        "" | "s" => Some(Duration::from_secs(number.into())),
        "m" => Some(Duration::from_secs(u64::from(number) * 60)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Option<Options>, Failure> {
        read(&COMMAND, lexopt::Parser::from_args(arguments))
    }

    #[test]
    fn times_have_units() {
        for (text, expected) in [
            ("30s", Some(30_000)),
            ("30", Some(30_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("0", Some(0)),
            ("s", None),
            ("1h", None),
            ("-1s", None),
            ("1.5s", None),
            ("", None),
        ] {
            assert_eq!(time(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn what_stands_beyond_the_dashes_is_for_the_site() {
        let found = options(&["--open", "--features", "a,b", "--hold=5s", "--poll", "1s", "--", "site.toml", "--help"]);
        let found = found.unwrap().unwrap();
        assert_eq!(found.arguments, ["site.toml", "--help"]);
        assert!(found.open && found.reload);
        assert_eq!(found.build.choice.features, ["a", "b"]);
        assert_eq!((found.hold, found.poll), (Duration::from_secs(5), Duration::from_secs(1)));
        assert!(options(&["--help"]).unwrap().is_none());
        assert!(options(&["--hold", "soon"]).is_err());
        assert!(options(&["site"]).is_err());
    }
}
