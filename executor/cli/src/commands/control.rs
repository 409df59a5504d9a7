//! Commands that change runs. With several runs each is tried; the first error is returned after
//! the others were done, every error is printed.

use davit_rpc::local::{ExtendRequest, ReapRequest, Run, RunRef, StopRequest};

use super::Context;
use crate::args::Format;
use crate::error::CliError;
use crate::exit;
use crate::output::{print_json, print_line, run::RunJson};

/// What is done to each of several runs.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Pause,
    Resume,
    Cancel,
}

/// Does `act` to every run.
pub(super) async fn each(act: Act, runs: &[String], context: &Context) -> Result<(), CliError> {
    let mut outcome = Outcome::default();
    for run in runs {
        let run_ref = RunRef { run: run.clone() };
        let mut service = context.client.runs();
        let answer = match act {
            Act::Pause => service.pause(run_ref).await,
            Act::Resume => service.resume(run_ref).await,
            Act::Cancel => service.cancel(run_ref).await,
        };
        outcome.take(answer.map(tonic::Response::into_inner), context)?;
    }
    outcome.finish()
}

/// Stops every run.
pub(super) async fn stop(
    runs: &[String],
    signal: Option<&str>,
    grace_ms: Option<u64>,
    context: &Context,
) -> Result<(), CliError> {
    let mut outcome = Outcome::default();
    for run in runs {
        let request = StopRequest {
            run: run.clone(),
            signal: signal.map(str::to_owned),
            grace_ms,
        };
        let answer = context.client.runs().stop(request).await;
        outcome.take(answer.map(tonic::Response::into_inner), context)?;
    }
    outcome.finish()
}

/// Sets a run's timeout.
pub(super) async fn extend(
    run: String,
    timeout_seconds: u64,
    context: &Context,
) -> Result<(), CliError> {
    let mut outcome = Outcome::default();
    let request = ExtendRequest {
        run,
        timeout_seconds,
    };
    let answer = context.client.runs().extend(request).await;
    outcome.take(answer.map(tonic::Response::into_inner), context)?;
    outcome.finish()
}

/// Waits for every run; the exit code is the first that is not 0.
pub(super) async fn wait(runs: &[String], context: &Context) -> Result<u8, CliError> {
    let mut first = 0;
    for run in runs {
        let ended = context
            .client
            .runs()
            .wait(RunRef { run: run.clone() })
            .await?
            .into_inner();
        let code = exit::of_run(&ended);
        match context.format {
            Format::Json => print_json(&RunJson::from(&ended))?,
            Format::Table => print_line(&code.to_string())?,
        }
        if first == 0 {
            first = code;
        }
    }
    Ok(first)
}

/// Forgets every run.
pub(super) async fn remove(
    runs: &[String],
    force: bool,
    context: &Context,
) -> Result<(), CliError> {
    let mut outcome = Outcome::default();
    for run in runs {
        let mut service = context.client.runs();
        if force {
            match service.cancel(RunRef { run: run.clone() }).await {
                Ok(_) => {}
                Err(status) => {
                    outcome.failed(status.into());
                    continue;
                }
            }
        }
        match service.remove(RunRef { run: run.clone() }).await {
            Ok(_) => print_line(run)?,
            Err(status) => outcome.failed(status.into()),
        }
    }
    outcome.finish()
}

/// Sweeps leftovers.
pub(super) async fn reap(age_seconds: Option<u64>, context: &Context) -> Result<(), CliError> {
    let reaped = context
        .client
        .runs()
        .reap(ReapRequest { age_seconds })
        .await?
        .into_inner();
    let counts = [
        ("containers", reaped.containers),
        ("snapshots", reaped.snapshots),
        ("leases", reaped.leases),
        ("cgroups", reaped.cgroups),
        ("lost_runs", reaped.lost_runs),
        ("run_dirs", reaped.run_dirs),
    ];
    match context.format {
        Format::Json => {
            let object: serde_json::Map<_, _> = counts
                .into_iter()
                .map(|(what, count)| (what.to_owned(), count.into()))
                .collect();
            print_json(&object)
        }
        Format::Table => {
            let told: Vec<String> = counts
                .iter()
                .map(|(what, count)| format!("{count} {}", what.replace('_', " ")))
                .collect();
            print_line(&format!("reaped {}", told.join(", ")))
        }
    }
}

/// Errors of several runs: all but the last are printed as they happen.
#[derive(Default)]
struct Outcome {
    error: Option<CliError>,
}

impl Outcome {
    fn take(
        &mut self,
        answer: Result<Run, tonic::Status>,
        context: &Context,
    ) -> Result<(), CliError> {
        match answer {
            Ok(answer) if context.format == Format::Json => print_json(&RunJson::from(&answer)),
            Ok(answer) => print_line(&answer.id),
            Err(status) => {
                self.failed(status.into());
                Ok(())
            }
        }
    }

    fn failed(&mut self, error: CliError) {
        if let Some(earlier) = self.error.replace(error) {
            earlier.print();
        }
    }

    fn finish(self) -> Result<(), CliError> {
        self.error.map_or(Ok(()), Err)
    }
}
