//! For tests whose programs are also what they start: a harness that runs their tests one after another, and other processes.

use std::time::{Duration, Instant};

/// Runs those of the tests whose names contain the first word of the command line, all without one.
macro_rules! tests {
    ($runtime:expr, $($test:ident)+) => {{
        let mut tests = $crate::processes::Tests::new(&$runtime);
        $(tests.run(stringify!($test), $test());)+
        tests.end();
    }};
}
pub(crate) use tests;

pub(crate) struct Tests<'a> {
    runtime: &'a tokio::runtime::Runtime,
    only: Option<String>,
    count: usize,
}

impl<'a> Tests<'a> {
    pub(crate) fn new(runtime: &'a tokio::runtime::Runtime) -> Self {
        let only = std::env::args().skip(1).find(|word| !word.starts_with('-'));
        Self { runtime, only, count: 0 }
    }

    pub(crate) fn run(&mut self, name: &str, test: impl Future<Output = ()>) {
        if self.only.as_deref().is_none_or(|only| name.contains(only)) {
            let began = Instant::now();
            let done = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await });
            assert!(done.is_ok(), "{name} takes too long");
            println!("test {name} ... ok ({:?})", began.elapsed());
            self.count += 1;
        }
    }

    pub(crate) fn end(self) {
        println!("test result: ok. {} passed", self.count);
    }
}

pub(crate) fn is_there(pid: u32) -> bool {
    // One that has ended and was not waited for has no command line any more.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

pub(crate) fn kill(pid: u32) {
    let killed = std::process::Command::new("/bin/sh").args(["-c", &format!("kill -9 {pid}")]).status().unwrap();
    assert!(killed.success());
}
