//! Results as a table for people and as JSON for programs.
//!
//! Ratios are davit : peer, of medians and of 95th percentiles. The JSON form holds those of medians
//! under `<what>: davit / <peer>`, those of percentiles under `<what>_p95: davit / <peer>`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::host;
use crate::sample::Quantity;
use crate::statistics::Summary;
use crate::target::Target;

/// The path whose figures are divided by the others'.
pub(crate) const SUBJECT: &str = "davit";
/// The same with a link to the outside: divided alike.
const SUBJECTS: [&str; 2] = [SUBJECT, "davit-bridge"];

/// What `--json` writes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    commit: String,
    host: String,
    kernel: String,
    versions: BTreeMap<String, String>,
    results: Vec<Row>,
    ratios: BTreeMap<String, f64>,
    /// What the quantities span; for people.
    #[serde(skip)]
    legend: Vec<Quantity>,
}

/// One quantity of one path.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) path: &'static str,
    pub(crate) n: usize,
    pub(crate) median: f64,
    pub(crate) p95: f64,
    pub(crate) unit: &'static str,
}

impl Row {
    fn is_peer_of(&self, subject: &Self) -> bool {
        // davit by other ways is shown, not compared with.
        !self.path.starts_with(SUBJECT) && self.what == subject.what
    }
}

/// Results in the order to show them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<Row>,
    legend: Vec<Quantity>,
}

impl Rows {
    /// Adds `values` of `quantity` on `path`; nothing when there are none.
    pub(crate) fn add(&mut self, quantity: Quantity, path: &'static str, values: &[f64]) {
        let Some(Summary { n, median, p95 }) = Summary::of(values) else {
            return;
        };
        if !self.legend.contains(&quantity) {
            self.legend.push(quantity);
        }
        self.rows.push(Row {
            what: quantity.name,
            path,
            n,
            median,
            p95,
            unit: quantity.unit,
        });
    }

    /// Each `<what>: davit / <peer>` of a quantity that both have, of medians and of percentiles. What
    /// is zero cannot be divided by, and less than nothing (a daemon that shrank) compares with nothing.
    fn ratios(&self) -> BTreeMap<String, f64> {
        let mut ratios = BTreeMap::new();
        let subjects = |row: &&Row| SUBJECTS.contains(&row.path);
        for subject in self.rows.iter().filter(subjects) {
            for peer in self.rows.iter().filter(|row| row.is_peer_of(subject)) {
                let pairs = [
                    ("", subject.median, peer.median),
                    ("_p95", subject.p95, peer.p95),
                ];
                let comparable =
                    |(_, ours, theirs): &(&str, f64, f64)| *ours >= 0.0 && *theirs > 0.0;
                for (of, ours, theirs) in pairs.into_iter().filter(comparable) {
                    let name = format!("{}{of}: {} / {}", subject.what, subject.path, peer.path);
                    ratios.insert(name, ours / theirs);
                }
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
            versions: host::versions(),
            ratios: if complete {
                rows.ratios()
            } else {
                BTreeMap::new()
            },
            results: rows.rows,
            legend: rows.legend,
        })
    }

    /// The ratio of that name, if both sides were measured.
    pub(crate) fn ratio(&self, name: &str) -> Option<f64> {
        self.ratios.get(name).copied()
    }

    /// davit's own figures of a quantity, if it was measured.
    pub(crate) fn own(&self, quantity: Quantity) -> Option<&Row> {
        let ours = |row: &&Row| row.what == quantity.name && row.path == SUBJECT;
        self.results.iter().find(ours)
    }

    /// Writes the JSON form to `file`.
    pub(crate) fn write_json(&self, file: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("encode the report")?;
        text.push('\n');
        fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }

    /// The form for people: where, what each figure spans, the figures, the ratios, the targets.
    pub(crate) fn text(&self, targets: &[Target]) -> String {
        let mut text = format!(
            "{}, Linux {}, commit {}\n",
            self.host, self.kernel, self.commit
        );
        for version in self.versions.values() {
            text.push_str(&format!("{version}\n"));
        }
        text.push('\n');
        for alike in self.legend.chunk_by(|a, b| a.spans == b.spans) {
            let names: Vec<&str> = alike.iter().map(|quantity| quantity.name).collect();
            text.push_str(&format!("{}: {}\n", names.join(", "), alike[0].spans));
        }
        text.push_str(&format!("\n{}\n", self.results_table()));
        if !self.ratios.is_empty() {
            text.push_str(&format!("\n{}\n", self.ratios_table()));
        }
        let verdicts: Vec<String> = targets.iter().filter_map(|t| t.verdict(self)).collect();
        if !verdicts.is_empty() {
            text.push_str(&format!("\n{}\n", verdicts.join("\n")));
        }
        text
    }

    fn results_table(&self) -> Table {
        let mut results = table(["what", "path", "median", "p95", "unit", "n"], 2..=3);
        for row in &self.results {
            results.add_row([
                row.what.to_owned(),
                row.path.to_owned(),
                figure(row.median),
                figure(row.p95),
                row.unit.to_owned(),
                row.n.to_string(),
            ]);
        }
        results
    }

    fn ratios_table(&self) -> Table {
        let mut ratios = table(["ratio", "of medians", "of p95"], 1..=2);
        for (name, ratio) in &self.ratios {
            let Some((what, sides)) = name.split_once(": ") else {
                continue;
            };
            if what.ends_with("_p95") {
                continue;
            }
            let p95 = self.ratio(&format!("{what}_p95: {sides}"));
            ratios.add_row([
                name.clone(),
                format!("{ratio:.3}"),
                p95.map_or_else(String::new, |ratio| format!("{ratio:.3}")),
            ]);
        }
        ratios
    }
}

/// Three significant digits at least, no false ones beyond.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 1_000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
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
pub(crate) mod tests {
    use super::*;

    pub(crate) const CLEANED: Quantity = Quantity {
        name: "cleaned",
        unit: "ms",
        spans: "all of it",
    };
    const ENDED: Quantity = Quantity {
        name: "ended",
        unit: "ms",
        spans: "some of it",
    };

    fn rows() -> Rows {
        let mut rows = Rows::default();
        rows.add(CLEANED, "davit", &[10.0, 20.0, 30.0]);
        rows.add(CLEANED, "ctr-runc", &[100.0]);
        rows.add(ENDED, "davit", &[9.0]);
        rows.add(CLEANED, "davit-cli", &[25.0]);
        rows.add(CLEANED, "crun", &[]);
        rows.add(CLEANED, "free", &[0.0]);
        rows
    }

    pub(crate) fn report() -> Report {
        let rows = rows();
        Report {
            commit: "c".into(),
            host: "h".into(),
            kernel: "k".into(),
            versions: BTreeMap::from([("crun".into(), "1".into())]),
            ratios: rows.ratios(),
            results: rows.rows,
            legend: rows.legend,
        }
    }

    #[test]
    fn a_ratio_needs_both_sides_and_something_to_divide_by() {
        let expected = BTreeMap::from([
            ("cleaned: davit / ctr-runc".to_owned(), 0.2),
            ("cleaned_p95: davit / ctr-runc".to_owned(), 0.3),
        ]);
        assert_eq!(rows().ratios(), expected);
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

    #[test]
    fn the_text_says_what_each_figure_spans_and_both_ratios() {
        let text = report().text(&[]);
        assert!(text.contains("cleaned: all of it\n"), "{text}");
        let line = text.lines().find(|line| line.contains("/ ctr-runc"));
        let words: Vec<&str> = line.unwrap().split_whitespace().collect();
        assert_eq!(words[words.len() - 2..], ["0.200", "0.300"]);
    }

    #[test]
    fn figures_keep_three_digits() {
        for (value, text) in [
            (12_345.6, "12346"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (0.0, "0.00"),
            (0.0123, "0.0123"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}
