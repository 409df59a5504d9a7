//! Figures beside their targets: a table for people, JSON for programs.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::figures::Wish;
use crate::world::Cpu;

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    target: Target,
    seen: f64,
    unit: &'static str,
    met: bool,
    /// How it was seen, and who used the CPUs meanwhile.
    detail: String,
}

impl Row {
    pub(crate) fn new(
        what: impl Into<String>,
        target: Target,
        seen: f64,
        unit: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let met = match target {
            Target::AtLeast(least) => seen >= least,
            Target::AtMost(most) => seen <= most,
        };
        Self {
            what: what.into(),
            target,
            seen,
            unit,
            met,
            detail: detail.into(),
        }
    }

    /// For progress.
    pub(crate) fn line(&self) -> String {
        let mark = if self.met { "met" } else { "MISSED" };
        let (target, seen) = (self.target_text(), number(self.seen));
        format!(
            "{}: {seen} {} ({target}: {mark}) {}",
            self.what, self.unit, self.detail
        )
    }

    fn target_text(&self) -> String {
        match self.target {
            Target::AtLeast(least) => format!("≥ {}", number(least)),
            Target::AtMost(most) => format!("≤ {}", number(most)),
        }
    }
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value == value.trunc() {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// CPU time by party, a thing.
pub(crate) fn cpu_text(cpu: Cpu, things: usize) -> String {
    let each = |ms: u64| ms as f64 / things.max(1) as f64;
    let database = match cpu.database_ms {
        0 => String::new(),
        ms => format!(", database {:.3}", each(ms)),
    };
    format!(
        "CPU ms each: scheduler {:.3}{database}, hosts {:.3}, load {:.3}",
        each(cpu.scheduler_ms),
        each(cpu.hosts_ms),
        each(cpu.load_ms)
    )
}

/// All figures of a round, and what they were measured on.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    commit: String,
    host: String,
    kernel: String,
    seed: u64,
    scale: f64,
    full: bool,
    hosts_max: Option<usize>,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(commit: &str, seed: u64, wish: &Wish) -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
        Ok(Self {
            commit: commit.to_owned(),
            host: processors(&text),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            seed,
            scale: wish.scale,
            full: wish.full,
            hosts_max: wish.hosts_max,
            rows: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    pub(crate) fn write_json(&self, file: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("encode the report")?;
        text.push('\n');
        fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }

    pub(crate) fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["what", "target", "seen", "", "how"]);
        for row in &self.rows {
            let seen = format!("{} {}", number(row.seen), row.unit);
            let met = if row.met { "met" } else { "missed" };
            table.add_row([&row.what, &row.target_text(), &seen, met, &row.detail]);
        }
        let extent = if self.full {
            "in full".to_owned()
        } else {
            format!("scale {}, time-boxed", self.scale)
        };
        let extent = match self.hosts_max {
            Some(most) => format!("{extent}, at most {most} hosts"),
            None => extent,
        };
        format!(
            "{}, Linux {}, commit {}, seed {}, {extent}\nscheduler, database, hosts and load share the CPUs; \
             REST and link without TLS on loopback\n\n{table}\n",
            self.host, self.kernel, self.commit, self.seed
        )
    }
}

fn processors(cpuinfo: &str) -> String {
    let models: Vec<&str> = cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.trim_end() == "model name")
        .map(|(_, value)| value.trim())
        .collect();
    let model = models.first().unwrap_or(&"unknown processor");
    format!("{} × {model}", models.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_from_its_side() {
        let met = |target, seen| Row::new("x", target, seen, "ms", "").met;
        assert!(met(Target::AtLeast(5.0), 5.0) && !met(Target::AtLeast(5.0), 4.9));
        assert!(met(Target::AtMost(5.0), 5.0) && !met(Target::AtMost(5.0), 5.1));
    }
}
