//! Results as a table for people and as JSON for programs.
//!
//! Ratios are of medians, always davit : peer, and only given when the whole run succeeded.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::host;
use crate::sample::Quantity;
use crate::statistics::Summary;

/// The path whose figures are divided by the others'.
pub(crate) const SUBJECT: &str = "davit";
/// davit by other ways: shown, not compared with.
const OTHER_WAYS: [&str; 1] = ["davit-cli"];

/// What davit promises.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The ratio of that name is at most that.
    Ratio {
        /// As in the report, e.g. `cleaned: davit / ctr-runc`.
        name: &'static str,
        /// At most.
        most: f64,
    },
    /// davit's own median is at most that.
    Median {
        /// Of what.
        quantity: Quantity,
        /// At most, in the quantity's unit.
        most: f64,
    },
}

/// What `--json` writes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    commit: String,
    host: String,
    kernel: String,
    versions: BTreeMap<String, String>,
    results: Vec<Row>,
    ratios: BTreeMap<String, f64>,
}

/// One quantity of one path.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: &'static str,
    path: &'static str,
    n: usize,
    median: f64,
    p95: f64,
    unit: &'static str,
}

impl Row {
    fn is_peer_of(&self, subject: &Self) -> bool {
        let ours = self.path == SUBJECT || OTHER_WAYS.contains(&self.path);
        !ours && self.what == subject.what
    }
}

/// Results in the order to show them.
#[derive(Debug, Default)]
pub(crate) struct Rows(Vec<Row>);

impl Rows {
    /// Adds `values` of `quantity` on `path`; nothing when there are none.
    pub(crate) fn add(&mut self, quantity: Quantity, path: &'static str, values: &[f64]) {
        if let Some(Summary { n, median, p95 }) = Summary::of(values) {
            let (what, unit) = (quantity.name(), quantity.unit());
            self.0.push(Row {
                what,
                path,
                n,
                median,
                p95,
                unit,
            });
        }
    }

    /// Each `<what>: davit / <peer>` of a quantity that both have.
    fn ratios(&self) -> BTreeMap<String, f64> {
        let mut ratios = BTreeMap::new();
        for subject in self.0.iter().filter(|row| row.path == SUBJECT) {
            for peer in self.0.iter().filter(|row| row.is_peer_of(subject)) {
                let name = format!("{}: {SUBJECT} / {}", subject.what, peer.path);
                ratios.insert(name, subject.median / peer.median);
            }
        }
        ratios
    }
}

impl Report {
    /// Puts `rows` beside what they were measured on. Without `complete` there are no ratios.
    pub(crate) fn new(commit: &str, rows: Rows, complete: bool) -> anyhow::Result<Self> {
        Ok(Self {
            commit: commit.to_owned(),
            host: host::machine()?,
            kernel: host::kernel(),
            versions: host::versions()?,
            ratios: if complete {
                rows.ratios()
            } else {
                BTreeMap::new()
            },
            results: rows.0,
        })
    }

    /// Whether `target` is reached, in a sentence; `None` when it was not measured.
    pub(crate) fn verdict(&self, target: &Target) -> Option<String> {
        let (name, value, most, unit) = match *target {
            Target::Ratio { name, most } => (name, *self.ratios.get(name)?, most, ""),
            Target::Median { quantity, most } => {
                let (what, unit) = (quantity.name(), quantity.unit());
                let ours = |row: &&Row| row.what == what && row.path == SUBJECT;
                (what, self.results.iter().find(ours)?.median, most, unit)
            }
        };
        let verdict = if value <= most { "met" } else { "MISSED" };
        Some(format!(
            "target {name} ≤ {most} {unit}: {value:.3}, {verdict}"
        ))
    }

    /// Writes the JSON form to `file`.
    pub(crate) fn write_json(&self, file: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("encode the report")?;
        text.push('\n');
        fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{}, Linux {}, commit {}\n",
            self.host, self.kernel, self.commit
        );
        for version in self.versions.values() {
            text.push_str(version);
            text.push('\n');
        }
        let mut results = table(["what", "path", "median", "p95", "unit", "n"], 2..=3);
        for row in &self.results {
            results.add_row([
                row.what.to_owned(),
                row.path.to_owned(),
                format!("{:.2}", row.median),
                format!("{:.2}", row.p95),
                row.unit.to_owned(),
                row.n.to_string(),
            ]);
        }
        text.push_str(&format!("\n{results}\n"));
        if !self.ratios.is_empty() {
            let mut ratios = table(["ratio of medians", ""], 1..=1);
            for (name, ratio) in &self.ratios {
                ratios.add_row([name.clone(), format!("{ratio:.3}")]);
            }
            text.push_str(&format!("\n{ratios}\n"));
        }
        text
    }
}

fn table<const N: usize>(header: [&str; N], numbers: std::ops::RangeInclusive<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for at in numbers {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let mut rows = Rows::default();
        rows.add(Quantity::Cleaned, "davit", &[10.0, 20.0, 30.0]);
        rows.add(Quantity::Cleaned, "ctr-runc", &[100.0]);
        rows.add(Quantity::DurableEnd, "davit", &[9.0]);
        rows.add(Quantity::Cleaned, "davit-cli", &[25.0]);
        rows.add(Quantity::Cleaned, "crun", &[]);
        rows
    }

    #[test]
    fn a_ratio_is_of_medians_and_needs_both_sides() {
        let expected = BTreeMap::from([("cleaned: davit / ctr-runc".to_owned(), 0.2)]);
        assert_eq!(rows().ratios(), expected);
    }

    fn report() -> Report {
        let rows = rows();
        Report {
            commit: "c".into(),
            host: "h".into(),
            kernel: "k".into(),
            versions: BTreeMap::from([("crun".into(), "1".into())]),
            ratios: rows.ratios(),
            results: rows.0,
        }
    }

    #[test]
    fn a_target_is_met_up_to_its_bound_and_silent_when_not_measured() {
        let name = "cleaned: davit / ctr-runc";
        let verdict = |target| report().verdict(&target);
        assert!(
            verdict(Target::Ratio { name, most: 0.2 })
                .unwrap()
                .ends_with("0.200, met")
        );
        assert!(
            verdict(Target::Ratio { name, most: 0.19 })
                .unwrap()
                .ends_with("MISSED")
        );
        let quantity = Quantity::Cleaned;
        assert!(
            verdict(Target::Median {
                quantity,
                most: 19.0
            })
            .unwrap()
            .ends_with("MISSED")
        );
        let quantity = Quantity::Memory;
        assert_eq!(
            verdict(Target::Median {
                quantity,
                most: 1.0
            }),
            None
        );
    }

    #[test]
    fn the_json_form_is_the_agreed_one() {
        let json = serde_json::to_value(report()).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["commit", "host", "kernel", "ratios", "results", "versions"]
        );
        let first = serde_json::json!({
            "what": "cleaned", "path": "davit", "n": 3, "median": 20.0, "p95": 30.0, "unit": "ms",
        });
        assert_eq!(json["results"][0], first);
        assert_eq!(json["ratios"]["cleaned: davit / ctr-runc"], 0.2);
    }
}
