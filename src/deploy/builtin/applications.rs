//! The built-in applications.

use super::layers::{StaticFilesOptions, static_files};
#[cfg(any(feature = "proxy", all(feature = "cgi", unix)))]
use super::{Count, Limit};
use super::{Size, given, status_of};
#[cfg(all(feature = "cgi", unix))]
use crate::Error;
use crate::deploy::registry::{Registry, fields_of};
use crate::{Cascade, Result};
use serde::Deserialize;
#[cfg(all(feature = "cgi", unix))]
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Registers them.
pub(super) fn register(registry: Registry) -> Registry {
    let registry = registry
        .app("purlin:static", |options: StaticOptions, section| {
            let options = StaticFilesOptions {
                folder: section.path("folder", options.folder),
                at: None,
                memory: options.memory,
                cache_control: options.cache_control,
            };
            Ok(static_files(options)?.service())
        })
        .doc("The files of a folder as an application; what is not there is a 404.")
        .option("folder", "", "the folder, below that of the file; must be set")
        .option("memory", "\"32 MiB\"", "how many bytes of files are held in memory")
        .option("cache_control", "\"no-cache\"", "of a file asked for without its fingerprint")
        // `egg:Paste#static`, as files for Paste name it.
        .app("paste:static", |options: PasteStaticOptions, section| {
            let cache_control = options.cache_max_age.map(|seconds| format!("max-age={seconds}"));
            let folder = section.path("document_root", options.document_root);
            Ok(static_files(StaticFilesOptions { folder, at: None, memory: None, cache_control })?.service())
        })
        .doc("`purlin:static` by the names that Paste gives its options.")
        .option("document_root", "", "the folder, below that of the file; must be set")
        .option("cache_max_age", "not set", "seconds that browsers may keep a file");
    let registry = registry
        .key(CASCADE, fields_of::<CascadeOptions>().unwrap_or_default())
        .doc("Asks one application after another: `cascade = [\"NAME\", \"NAME\"]`, with these options beside it.")
        .option("passes", "[404, 405]", "by which statuses an application passes the request on")
        .option("max_body", "\"64 KiB\"", "how much of a body that was read is kept for the next");
    wsgi(cgi(proxy(registry)))
}

/// What the key `cascade` is listed as.
pub(in crate::deploy) const CASCADE: &str = "purlin:cascade";

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::deploy) struct CascadeOptions {
    passes: Option<Vec<u16>>,
    max_body: Option<Size>,
}

pub(in crate::deploy) fn cascade(options: CascadeOptions) -> Result<Cascade> {
    let cascade = given!(Cascade::new(), options: max_body as |size: Size| size.0);
    let Some(passes) = options.passes else { return Ok(cascade) };
    let passes = passes.into_iter().map(|status| status_of("passes", &status.to_string()));
    Ok(cascade.passes(passes.collect::<Result<Vec<_>>>()?))
}

#[cfg(feature = "proxy")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyOptions {
    to: String,
    #[serde(default)]
    preserve_host: Option<bool>,
    #[serde(default)]
    connect_timeout: Option<Limit>,
    #[serde(default)]
    answer_timeout: Option<Limit>,
    #[serde(default)]
    idle_timeout: Option<Limit>,
    #[serde(default)]
    max_connections: Option<Count>,
}

#[cfg(feature = "proxy")]
fn proxy(registry: Registry) -> Registry {
    registry
        .app("purlin:proxy", |options: ProxyOptions, _| {
            Ok(given!(
                crate::proxy::Proxy::to(&options.to),
                options: preserve_host, connect_timeout as |limit: Limit| limit.0, answer_timeout as |limit: Limit| limit.0,
                idle_timeout as |limit: Limit| limit.0, max_connections as |count: Count| count.0
            ))
        })
        .doc("Asks another server.")
        .option("to", "", "its address, as \"http://127.0.0.1:3000\"; must be set")
        .option("preserve_host", "true", "whether `Host` stays the client's, or is that of the address")
        .option("connect_timeout", "\"5s\"", "for a connection, and for one of them to be free")
        .option("answer_timeout", "\"60s\"", "for the head of the answer")
        .option("idle_timeout", "\"60s\"", "for the next piece of the answer's body")
        .option("max_connections", "256", "to the server at the same time")
}

#[cfg(not(feature = "proxy"))]
fn proxy(registry: Registry) -> Registry {
    registry
}

#[cfg(all(feature = "cgi", unix))]
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CgiOptions {
    program: Option<PathBuf>,
    folder: Option<PathBuf>,
    args: Option<Vec<String>>,
    env: BTreeMap<String, String>,
    pass_env: Option<Vec<String>>,
    interpreters: BTreeMap<String, PathBuf>,
    index: Option<String>,
    document_root: Option<PathBuf>,
    authorization: Option<bool>,
    cookies: Option<bool>,
    check_exit_status: Option<bool>,
    max_held_body: Option<Size>,
    hold_bodies: Option<bool>,
    temporary_folder: Option<PathBuf>,
    answer_timeout: Option<Limit>,
    timeout: Option<Limit>,
    queue_timeout: Option<Limit>,
    max_programs: Option<Count>,
}

#[cfg(all(feature = "cgi", unix))]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FastCgiOptions {
    at: String,
    #[serde(default)]
    root: Option<PathBuf>,
    #[serde(default)]
    index: Option<String>,
    #[serde(default)]
    front_controller: Option<String>,
    #[serde(default)]
    extension: Option<String>,
    #[serde(default)]
    check_script: Option<bool>,
    #[serde(default)]
    params: BTreeMap<String, String>,
    #[serde(default)]
    authorization: Option<bool>,
    #[serde(default)]
    cookies: Option<bool>,
    #[serde(default)]
    max_held_body: Option<Size>,
    #[serde(default)]
    hold_bodies: Option<bool>,
    #[serde(default)]
    temporary_folder: Option<PathBuf>,
    #[serde(default)]
    connect_timeout: Option<Limit>,
    #[serde(default)]
    answer_timeout: Option<Limit>,
    #[serde(default)]
    idle_timeout: Option<Limit>,
    #[serde(default)]
    max_connections: Option<Count>,
    #[serde(default)]
    keep: Option<usize>,
}

#[cfg(all(feature = "cgi", unix))]
fn cgi(registry: Registry) -> Registry {
    use crate::cgi::Cgi;
    use crate::fastcgi::FastCgi;
    const HELD: &str = "of a body whose length is not known before, which is held back until it is";
    const HOLD: &str = "whether such a body is held back, or passed on without its length";
    let registry = registry
        .app("purlin:cgi", |options: CgiOptions, section| {
            let mut cgi = match (options.program, options.folder) {
                (Some(program), None) => Cgi::program(section.path("program", program)),
                (None, Some(folder)) => Cgi::folder(section.path("folder", folder)),
                _ => return Err(Error::internal("expected one of `program` and `folder`")),
            };
            for (name, value) in options.env {
                cgi = cgi.env(name, value);
            }
            for (extension, program) in options.interpreters {
                cgi = cgi.interpreter(&extension, section.path("interpreters", program));
            }
            if let Some(index) = &options.index {
                cgi = cgi.index(index);
            }
            if let Some(root) = options.document_root {
                cgi = cgi.document_root(section.path("document_root", root));
            }
            if let Some(folder) = options.temporary_folder {
                cgi = cgi.temporary_folder(section.path("temporary_folder", folder));
            }
            Ok(given!(cgi, options: args, pass_env, authorization, cookies, check_exit_status, hold_bodies,
                max_held_body as |size: Size| size.0, answer_timeout as |limit: Limit| limit.0,
                timeout as |limit: Limit| limit.0, queue_timeout as |limit: Limit| limit.0,
                max_programs as |count: Count| count.0))
        })
        .doc("A program for each request, by CGI: one, or the scripts of a folder.")
        .option("program", "not set", "the program, below the folder of the file; this or `folder` must be set")
        .option("folder", "not set", "the folder of the scripts, below that of the file")
        .option("args", "[]", "of the program")
        .option("env", "{}", "variables of its environment, beside those of the request")
        .option("pass_env", "[]", "names of variables that it has of this process's environment, beside PATH")
        .option("interpreters", "{}", "programs for scripts by their extension: { php = \"/usr/bin/php-cgi\" }")
        .option("index", "not set", "the script for a folder itself")
        .option("document_root", "the folder", "`DOCUMENT_ROOT`")
        .option("authorization", "false", "whether it has the header `Authorization`")
        .option("cookies", "true", "whether it has the client's cookies")
        .option("check_exit_status", "true", "whether a status that is not 0 makes an answer one that was cut")
        .option("max_held_body", "\"64 MiB\"", HELD)
        .option("hold_bodies", "true", HOLD)
        .option("temporary_folder", "the system's", "where they are held back that are large")
        .option("answer_timeout", "\"60s\"", "for the head of the answer")
        .option("timeout", "\"5min\"", "for all of it")
        .option("queue_timeout", "\"5s\"", "for one of the programs to have ended")
        .option("max_programs", "32", "at the same time");
    registry
        .app("purlin:fastcgi", |options: FastCgiOptions, section| {
            let mut fastcgi = FastCgi::at(&options.at);
            if let Some(root) = options.root {
                fastcgi = fastcgi.root(section.path("root", root));
            }
            for (name, value) in options.params {
                fastcgi = fastcgi.param(&name, value);
            }
            if let Some(index) = &options.index {
                fastcgi = fastcgi.index(index);
            }
            if let Some(script) = &options.front_controller {
                fastcgi = fastcgi.front_controller(script);
            }
            if let Some(extension) = &options.extension {
                fastcgi = fastcgi.extension(extension);
            }
            if let Some(folder) = options.temporary_folder {
                fastcgi = fastcgi.temporary_folder(section.path("temporary_folder", folder));
            }
            Ok(given!(fastcgi, options: check_script, authorization, cookies, hold_bodies, keep,
                max_held_body as |size: Size| size.0, connect_timeout as |limit: Limit| limit.0,
                answer_timeout as |limit: Limit| limit.0, idle_timeout as |limit: Limit| limit.0,
                max_connections as |count: Count| count.0))
        })
        .doc("Asks a FastCGI server, as php-fpm.")
        .option("at", "", "its address, as \"unix:/run/php/php-fpm.sock\" or \"127.0.0.1:9000\"; must be set")
        .option(
            "root",
            "not set",
            "the folder of the scripts, below that of the file; without it the server is one application",
        )
        .option("index", "\"index.php\"", "the script for a folder itself")
        .option("front_controller", "not set", "the script for every path that leads to none")
        .option("extension", "\".php\"", "how the name of a script ends")
        .option("check_script", "true", "whether a script has to be there before it is asked for")
        .option("params", "{}", "parameters for the server, beside those of the request")
        .option("authorization", "false", "whether it has the header `Authorization`")
        .option("cookies", "true", "whether it has the client's cookies")
        .option("max_held_body", "\"64 MiB\"", HELD)
        .option("hold_bodies", "true", HOLD)
        .option("temporary_folder", "the system's", "where they are held back that are large")
        .option("connect_timeout", "\"5s\"", "for a connection, and for one of them to be free")
        .option("answer_timeout", "\"60s\"", "for the head of the answer")
        .option("idle_timeout", "\"60s\"", "for the next piece of the answer")
        .option("max_connections", "64", "to the server at the same time")
        .option("keep", "0", "how many idle connections are kept")
}

#[cfg(not(all(feature = "cgi", unix)))]
fn cgi(registry: Registry) -> Registry {
    registry
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StaticOptions {
    folder: PathBuf,
    #[serde(default)]
    memory: Option<Size>,
    #[serde(default)]
    cache_control: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PasteStaticOptions {
    document_root: PathBuf,
    #[serde(default)]
    cache_max_age: Option<u64>,
}

#[cfg(all(feature = "wsgi", unix))]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WsgiOptions {
    app: String,
    #[serde(default)]
    folder: Option<PathBuf>,
    #[serde(default)]
    python: Option<PathBuf>,
    #[serde(default)]
    path: Vec<PathBuf>,
    #[serde(default)]
    processes: Option<Count>,
    #[serde(default)]
    threads: Option<Count>,
    #[serde(default)]
    timeout: Option<Limit>,
    #[serde(default)]
    queue_timeout: Option<Limit>,
    #[serde(default)]
    start_timeout: Option<Limit>,
    #[serde(default)]
    drain: Option<Limit>,
    #[serde(default)]
    max_requests: Option<Count>,
    #[serde(default)]
    max_memory: Option<Size>,
    #[serde(default)]
    lazy: Option<bool>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    pass_env: Vec<String>,
    #[serde(default)]
    authorization: Option<bool>,
    #[serde(default)]
    cookies: Option<bool>,
    #[serde(default)]
    hold_bodies: Option<bool>,
}

#[cfg(all(feature = "wsgi", unix))]
fn wsgi(registry: Registry) -> Registry {
    registry
        .app("purlin:wsgi", |options: WsgiOptions, section| {
            let folder = section.path("folder", options.folder.unwrap_or_default());
            let wsgi = crate::wsgi::Wsgi::app(options.app).folder(folder).pass_env(&options.pass_env);
            let wsgi = options.path.into_iter().fold(wsgi, |wsgi, path| wsgi.path(section.path("path", path)));
            let wsgi = options.env.iter().fold(wsgi, |wsgi, (name, value)| wsgi.env(name, value));
            // One without a slash is looked for in `PATH`.
            let python = options.python.map(|python| match python.components().count() {
                1 => python,
                _ => section.path("python", python),
            });
            let wsgi = python.into_iter().fold(wsgi, |wsgi, python| wsgi.python(python));
            Ok(given!(
                wsgi,
                options: processes as |count: Count| count.0, threads as |count: Count| count.0,
                timeout as |limit: Limit| limit.0, queue_timeout as |limit: Limit| limit.0,
                start_timeout as |limit: Limit| limit.0, drain as |limit: Limit| limit.0,
                max_requests as |count: Count| count.0 as u64, max_memory as |size: Size| size.0, lazy, authorization,
                cookies, hold_bodies
            ))
        })
        .doc("Runs a WSGI application in processes of Python's.")
        .option("app", "", "its name, as \"shop.web:app\"; must be set")
        .option("folder", "that of the file", "where it runs, and is imported from")
        .option("python", "\"python3\"", "the interpreter; that of a virtual environment is in its bin/")
        .option("path", "[]", "folders to import from, instead")
        .option("processes", "2", "of them")
        .option("threads", "4", "in each of them")
        .option("timeout", "\"60s\"", "for the head of an answer, and for the next piece of it")
        .option("queue_timeout", "\"5s\"", "for a thread to be free")
        .option("start_timeout", "\"30s\"", "for a process to import the application")
        .option("drain", "\"8s\"", "for what is under way in a process that is replaced or stopped")
        .option("max_requests", "never", "after how many a process is replaced")
        .option("max_memory", "never", "with how much resident memory a process is replaced")
        .option("lazy", "false", "whether the processes are started with the first request")
        .option("env", "{}", "variables of its environment: a table")
        .option("pass_env", "[]", "variables of this process that it is given")
        .option("authorization", "true", "whether it is given the header `Authorization`")
        .option("cookies", "true", "whether it is given the client's cookies")
        .option("hold_bodies", "true", "whether a body of unknown length is held back until that is known")
}

#[cfg(not(all(feature = "wsgi", unix)))]
fn wsgi(registry: Registry) -> Registry {
    registry
}
