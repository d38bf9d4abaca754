//! What is aimed at, beside what was measured.

use crate::table::Tables;
use crate::workloads::{ACTIX, AXUM, HYPER, NGINX, PURLIN};

/// Purlin's CPU a request in a workload, as a ratio to another server's.
struct Aim {
    text: &'static str,
    workload: &'static str,
    than: &'static [&'static str],
    most: f64,
}

const fn aim(text: &'static str, workload: &'static str, than: &'static [&'static str], most: f64) -> Aim {
    Aim { text, workload, than, most }
}

const AIMS: [Aim; 15] = [
    aim("bare plaintext, to raw hyper", "bare", &[HYPER], 1.03),
    aim("full stack, to raw hyper", "full", &[HYPER], 1.15),
    aim("full stack, to the equal stacks of", "full", &[AXUM, ACTIX], 0.6),
    aim("full stack and an untouched session, to", "full-session", &[AXUM, ACTIX], 0.6),
    aim("session counter in memory, to", "session-memory", &[AXUM, ACTIX], 0.75),
    aim("session counter in a cookie, to", "session-cookie", &[AXUM, ACTIX], 0.75),
    aim("template page, to", "template", &[AXUM, ACTIX], 0.75),
    aim("compressed page, to", "compressed", &[AXUM, ACTIX], 0.5),
    aim("compressed page that differs each time, to", "differs", &[AXUM, ACTIX], 0.5),
    aim("file of 1 KiB, to hyper from memory", "static-1k", &[HYPER], 1.25),
    aim("file of 50 KiB, to hyper from memory", "static-50k", &[HYPER], 1.25),
    aim("304, to hyper from memory", "static-304", &[HYPER], 1.25),
    aim("file of 1 KiB, to", "static-1k", &[NGINX], 0.5),
    aim("304, to", "static-304", &[NGINX], 0.5),
    aim("file of 50 KiB, to", "static-50k", &[NGINX], 1.0),
];

/// A line for each, as a list of markdown.
pub fn list(tables: &Tables) -> String {
    let mut list = String::new();
    for aim in &AIMS {
        for than in aim.than {
            let measured = tables.row(aim.workload).and_then(|row| row.ratio(PURLIN, than));
            list += &line(&named(aim.text, than), aim.most, measured, "×");
        }
    }
    // Not in one set of rounds: by the medians of both.
    let micros = |workload: &str| tables.row(workload).and_then(|row| row.micros(PURLIN));
    let cached = micros("cached").zip(micros("bare")).map(|(cached, bare)| cached / bare);
    list += &line("page from the cache, to bare plaintext", 1.10, cached, "×");
    let each = |server| tables.idle.iter().find(|idle| idle.server == server).map(|idle| idle.each);
    let idle = each(PURLIN).zip(each(AXUM)).map(|(purlin, axum)| purlin / axum);
    list + &line("memory of an idle connection, to axum", 1.0, idle, "×")
}

fn named(text: &str, than: &str) -> String {
    let name = crate::table::name(than);
    if than == HYPER { text.to_owned() } else { format!("{text} {name}") }
}

fn line(text: &str, most: f64, measured: Option<f64>, unit: &str) -> String {
    match measured {
        None => format!("- {text}: at most {most:.2} {unit}; not measured\n"),
        Some(measured) if measured <= most => {
            format!("- {text}: at most {most:.2} {unit}; {measured:.2} {unit}, met\n")
        }
        Some(measured) => {
            let missed = (measured / most - 1.0) * 100.0;
            format!("- {text}: at most {most:.2} {unit}; {measured:.2} {unit}, **missed by {missed:.0} %**\n")
        }
    }
}
