//! The table at the end: a line a behaviour, a column a suite.

use std::fmt::Write;

use crate::outcome::{Outcome, TestReport};

/// Draws the table; suites may have run different tests.
pub(super) fn draw(results: &[(&str, Vec<TestReport>)]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for report in results.iter().flat_map(|(_, reports)| reports) {
        if !names.contains(&report.name.as_str()) {
            names.push(&report.name);
        }
    }
    let width = names
        .iter()
        .map(|name| name.len())
        .max()
        .unwrap_or_default();
    let mut text = format!("\n{:width$}", "");
    for (suite, _) in results {
        push(&mut text, format_args!("  {suite:>12}"));
    }
    for name in names {
        push(&mut text, format_args!("\n{name:width$}"));
        for (_, reports) in results {
            let report = reports.iter().find(|report| report.name == name);
            push(
                &mut text,
                format_args!("  {:>12}", report.map_or("-".to_owned(), cell)),
            );
        }
    }
    text.push_str("\n\n");
    text
}

fn cell(report: &TestReport) -> String {
    match report.outcome {
        Outcome::Passed => format!(
            "{}.{} s",
            report.duration_ms / 1000,
            report.duration_ms / 100 % 10
        ),
        Outcome::Failed { .. } => "FAILED".to_owned(),
        Outcome::Skipped { .. } => "skipped".to_owned(),
    }
}

fn push(text: &mut String, piece: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    text.write_fmt(piece).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, outcome: Outcome) -> TestReport {
        TestReport {
            name: name.to_owned(),
            outcome,
            duration_ms: 1_250,
        }
    }

    #[test]
    fn each_suite_has_a_column_and_a_test_that_did_not_run_a_dash() {
        let skipped = Outcome::Skipped {
            reason: "no io".to_owned(),
        };
        let results = [
            ("trixie", vec![report("a", Outcome::Passed)]),
            (
                "forky",
                vec![report("a", skipped), report("long_name", Outcome::Passed)],
            ),
        ];
        let drawn = draw(&results);
        let lines: Vec<Vec<&str>> = drawn
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["trixie", "forky"]);
        assert_eq!(lines[2], ["a", "1.2", "s", "skipped"]);
        assert_eq!(lines[3], ["long_name", "-", "1.2", "s"]);
    }
}
