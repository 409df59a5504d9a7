//! `ps`, `inspect` and `usage` through a scheduler.

use super::Session;
use super::client::Call;
use super::words::{RUNS, print_rows};
use crate::error::CliError;
use crate::output::tree::{Column, Show, Tree};
use crate::output::{note, print_json, print_line, print_text};

/// Newest runs of a status that are listed.
const LISTED_RUNS_MAX: usize = 1_000;

const COLUMNS: &[Column] = &[
    ("ID", "id", Show::Plain),
    ("STATUS", "status", Show::Plain),
    ("EXIT", "exit_code", Show::Plain),
    ("REASON", "end_reason", Show::Plain),
    ("REGION", "region", Show::Plain),
    ("TYPE", "instance_type", Show::Plain),
    ("EXECUTOR", "executor", Show::Plain),
    ("AGE", "created_at", Show::Age),
    ("DURATION", "duration_ms", Show::Milliseconds),
    ("IMAGE", "image", Show::Plain),
];

const USAGE_COLUMNS: &[Column] = &[
    ("ID", "id", Show::Plain),
    ("TYPE", "instance_type", Show::Plain),
    ("ACTIVE", "usage.active_ms", Show::Milliseconds),
    ("BILLED SECONDS", "usage.billed_seconds", Show::Plain),
    ("COST", "cost.amount", Show::Plain),
    ("CURRENCY", "cost.currency", Show::Plain),
    ("PAUSED", "usage.measured.paused_ms", Show::Milliseconds),
    ("CPU US", "usage.measured.cpu_us", Show::Plain),
    (
        "MEMORY PEAK",
        "usage.measured.memory_peak_bytes",
        Show::Bytes,
    ),
    ("OOM KILLS", "usage.measured.oom_kills", Show::Plain),
];

/// `davit ps`.
pub(super) async fn list(all: bool, quiet: bool, session: &Session) -> Result<(), CliError> {
    let statuses: &[Option<&str>] = match all {
        true => &[None],
        false => &[Some("running"), Some("pending")],
    };
    let mut runs: Vec<Tree> = Vec::new();
    for status in statuses {
        runs.extend(newest(*status, session).await?);
    }
    if quiet {
        for run in &runs {
            print_line(run.text("id").unwrap_or_default())?;
        }
        return Ok(());
    }
    print_rows(COLUMNS, &runs, session)
}

async fn newest(status: Option<&str>, session: &Session) -> Result<Vec<Tree>, CliError> {
    let mut call = Call::get(&["runs"]);
    if let Some(status) = status {
        call = call.query("status", status);
    }
    let rows = session.client.rows(&call, "runs", LISTED_RUNS_MAX);
    let (rows, whole) = rows.await?;
    if !whole {
        let which = status.map_or_else(String::new, |status| format!("{status} "));
        note(&format!(
            "only the newest {} {which}runs are shown",
            rows.len()
        ));
    }
    Ok(rows)
}

/// `davit inspect`.
pub(super) async fn inspect(references: &[String], session: &Session) -> Result<(), CliError> {
    let runs = named(references, session).await?;
    if session.is_json() {
        return print_json(&runs);
    }
    for run in &runs {
        print_text(&run.details())?;
    }
    Ok(())
}

/// `davit usage`.
pub(super) async fn usage(references: &[String], session: &Session) -> Result<(), CliError> {
    let runs = match references.is_empty() {
        true => newest(None, session).await?,
        false => named(references, session).await?,
    };
    print_rows(USAGE_COLUMNS, &runs, session)
}

async fn named(references: &[String], session: &Session) -> Result<Vec<Tree>, CliError> {
    let mut runs = Vec::with_capacity(references.len());
    for reference in references {
        let id = RUNS.id(&session.client, reference).await?;
        let answer = session.client.send(&Call::get(&["runs", &id])).await?;
        runs.push(answer.tree("run")?);
    }
    Ok(runs)
}
