//! Commands that only look.

use std::io;

use davit_rpc::local::{Empty, ListRequest, Run, RunRef};

use super::Context;
use crate::args::Format;
use crate::error::CliError;
use crate::output::run::RunJson;
use crate::output::{
    Paint, host::HostJson, print_bytes, print_json, print_line, print_text, run, table,
};

/// `davit ps`.
pub(super) async fn list(all: bool, quiet: bool, context: &Context) -> Result<(), CliError> {
    let runs = all_runs(all, context).await?;
    if quiet {
        for run in &runs {
            print_line(&run.id)?;
        }
        return Ok(());
    }
    match context.format {
        Format::Json => print_json(&runs.iter().map(RunJson::from).collect::<Vec<_>>()),
        Format::Table => print_text(&table::runs(&runs, Paint::of(&io::stdout()))),
    }
}

/// `davit inspect`.
pub(super) async fn inspect(references: &[String], context: &Context) -> Result<(), CliError> {
    let runs = named_runs(references, context).await?;
    let runs: Vec<RunJson<'_>> = runs.iter().map(RunJson::from).collect();
    match context.format {
        Format::Json => print_json(&runs),
        Format::Table => {
            for run in &runs {
                print_text(&table::details(run)?)?;
            }
            Ok(())
        }
    }
}

/// `davit usage`.
pub(super) async fn usage(references: &[String], context: &Context) -> Result<(), CliError> {
    let runs = if references.is_empty() {
        all_runs(true, context).await?
    } else {
        named_runs(references, context).await?
    };
    match context.format {
        Format::Json => print_json(&runs.iter().map(run::UsageOfRun::from).collect::<Vec<_>>()),
        Format::Table => print_text(&table::usage(&runs)),
    }
}

/// `davit info`.
pub(super) async fn info(context: &Context) -> Result<(), CliError> {
    let info = context.client.host().info(Empty {}).await?.into_inner();
    match context.format {
        Format::Json => print_json(&HostJson::from(&info)),
        Format::Table => print_text(&table::host(&info)),
    }
}

/// `davit metrics`: one format, the one that collectors read.
pub(super) async fn metrics(context: &Context) -> Result<(), CliError> {
    let metrics = context.client.host().metrics(Empty {}).await?.into_inner();
    print_bytes(metrics.openmetrics_text.as_bytes())
}

async fn all_runs(all: bool, context: &Context) -> Result<Vec<Run>, CliError> {
    Ok(context
        .client
        .runs()
        .list(ListRequest { all })
        .await?
        .into_inner()
        .runs)
}

async fn named_runs(references: &[String], context: &Context) -> Result<Vec<Run>, CliError> {
    let mut runs = Vec::with_capacity(references.len());
    for reference in references {
        let run = RunRef {
            run: reference.clone(),
        };
        runs.push(context.client.runs().get(run).await?.into_inner());
    }
    Ok(runs)
}
