//! What was measured, as tables: to the terminal while it goes on, and as markdown at the end.

use crate::aims;
use crate::idle::Idle;
use crate::workloads::{HYPER, SERVERS};
use peers::drive::{Round, median};
use std::fmt::Write;
use std::time::Duration;

/// All of it.
pub struct Tables {
    pub machine: String,
    rounds: usize,
    round: Duration,
    pub rows: Vec<Row>,
    pub idle: Vec<Idle>,
}

/// A workload, and what each server took for it.
pub struct Row {
    pub name: &'static str,
    pub title: &'static str,
    pub cells: Vec<Cell>,
}

pub struct Cell {
    pub server: &'static str,
    pub rounds: Vec<Round>,
    /// MiB.
    pub peak: f64,
    /// Bytes of the body.
    pub length: Option<usize>,
}

impl Cell {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of))
    }
}

/// What people call it.
pub fn name(server: &str) -> &'static str {
    SERVERS.iter().find(|(known, _)| *known == server).map_or("?", |(_, name)| *name)
}

impl Row {
    fn cell(&self, server: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.server == server)
    }

    pub fn micros(&self, server: &str) -> Option<f64> {
        Some(self.cell(server)?.median(|round| round.micros))
    }

    /// The median of the ratios of the rounds, of which each pair was run one after the other.
    pub fn ratio(&self, server: &str, than: &str) -> Option<f64> {
        let (cell, than) = (self.cell(server)?, self.cell(than)?);
        Some(median(cell.rounds.iter().zip(&than.rounds).map(|(one, other)| one.micros / other.micros)))
    }

    /// For the terminal.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} ({})\n{:<12}{:>11}{:>8}{:>13}{:>9}{:>10}{:>11}\n",
            self.title, self.name, "", "µs CPU", "ratio", "requests/s", "p99 ms", "peak MiB", "bytes"
        );
        for cell in &self.cells {
            let _ = writeln!(
                text,
                "{:<12}{:>11.2}{:>8.2}{:>13.0}{:>9.2}{:>10.1}{:>11}",
                name(cell.server),
                cell.median(|round| round.micros),
                self.ratio(cell.server, HYPER).unwrap_or(f64::NAN),
                cell.median(|round| round.per_second),
                cell.median(|round| round.p99),
                cell.peak,
                cell.length.map_or("varies".to_owned(), |length| length.to_string()),
            );
        }
        text
    }
}

impl Tables {
    pub fn new(machine: String, rounds: usize, round: Duration) -> Self {
        Self { machine, rounds, round, rows: Vec::new(), idle: Vec::new() }
    }

    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// For the terminal.
    pub fn idle_text(&self) -> String {
        let mut text = String::from("idle connections, each answered once\n");
        for idle in &self.idle {
            let _ = writeln!(
                text,
                "{:<12}{:>8} open{:>9.2} KiB each{:>9.1} MiB in all",
                name(idle.server),
                idle.connections,
                idle.each,
                idle.whole
            );
        }
        text
    }

    /// All of it, for `benches/README.md`.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "{}\nMedians of {} interleaved rounds of {} ms.\n\n",
            self.machine,
            self.rounds,
            self.round.as_millis()
        );
        if !self.rows.is_empty() {
            text += "CPU of the server per request: raw hyper's in µs, the others' as ratios to it.\n\n";
            text += &self.table(|row, cell| match cell.server {
                HYPER => format!("{:.1} µs", cell.median(|round| round.micros)),
                server => format!("{:.2} ×", row.ratio(server, HYPER).unwrap_or(f64::NAN)),
            });
            text += "\nThousands of requests a second, and the ms in which 99 of 100 were answered.\n\n";
            text += &self.table(|_, cell| {
                format!(
                    "{:.1}, {:.2} ms",
                    cell.median(|round| round.per_second) / 1000.0,
                    cell.median(|round| round.p99)
                )
            });
            text += "\nMiB of memory at most.\n\n";
            text += &self.table(|_, cell| format!("{:.1}", cell.peak));
        }
        if !self.idle.is_empty() {
            text += "\n| connections that have been answered once and rest |";
            self.idle.iter().for_each(|idle| text += &format!(" {} |", name(idle.server)));
            text += "\n|---|";
            self.idle.iter().for_each(|_| text += "---|");
            text += "\n| KiB of memory for each |";
            self.idle.iter().for_each(|idle| text += &format!(" {:.2} ({} open) |", idle.each, idle.connections));
            text += "\n| MiB of the whole process |";
            self.idle.iter().for_each(|idle| text += &format!(" {:.1} |", idle.whole));
            text += "\n";
        }
        text + "\nAims, and what was measured:\n\n" + &aims::list(self)
    }

    fn table(&self, of: impl Fn(&Row, &Cell) -> String) -> String {
        let mut text = String::from("| |");
        SERVERS.iter().for_each(|(_, name)| text += &format!(" {name} |"));
        text += "\n|---|---|---|---|---|---|\n";
        for row in &self.rows {
            text += &format!("| {} |", row.title);
            for (server, _) in SERVERS {
                text += &row.cell(server).map_or(" – |".to_owned(), |cell| format!(" {} |", of(row, cell)));
            }
            text += "\n";
        }
        text
    }
}
