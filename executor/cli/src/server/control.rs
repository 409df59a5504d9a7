//! Orders to runs. A scheduler takes an order and passes it on; here it is waited until it is carried out, as the
//! executor of a host does. With several runs each is tried; the last error is returned, earlier ones are printed.

use std::time::{Duration, Instant};

use davit_types::limits;
use serde_json::json;

use super::Session;
use super::client::Call;
use super::error::ServerError;
use super::run::RunView;
use super::words::RUNS;
use crate::error::CliError;
use crate::output::tree::Tree;
use crate::output::{print_json, print_line};

/// The first and the longest pause between two looks at a run.
const LOOK_MS_FIRST: u64 = 100;
const LOOK_MS_MAX: u64 = 2_000;
/// How long an order takes to reach its host and be carried out, beyond the grace it has.
const CARRIED_OUT_SECONDS_MAX: u64 = 60;

/// What is done to each of several runs.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Pause,
    Resume,
    Cancel,
}

impl Act {
    const fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
        }
    }

    /// Whether it shows in the run.
    fn is_done(self, run: &RunView) -> bool {
        run.has_ended()
            || match self {
                Self::Pause => run.paused_at.is_some(),
                Self::Resume => run.paused_at.is_none(),
                Self::Cancel => false,
            }
    }
}

/// Does `act` to every run.
pub(super) async fn each(act: Act, runs: &[String], session: &Session) -> Result<(), CliError> {
    let mut outcome = Outcome::default();
    for run in runs {
        let done = one(act, run, session).await;
        outcome.take(done, session)?;
    }
    outcome.finish()
}

async fn one(act: Act, run: &str, session: &Session) -> Result<Tree, CliError> {
    let id = RUNS.id(&session.client, run).await?;
    session
        .client
        .send(&Call::order(&["runs", &id, act.word()]))
        .await?;
    let limit = Some((act.word(), CARRIED_OUT_SECONDS_MAX));
    until(&id, limit, |run| act.is_done(run), session).await
}

/// Stops every run.
pub(super) async fn stop(
    runs: &[String],
    signal: Option<&str>,
    grace_ms: Option<u64>,
    session: &Session,
) -> Result<(), CliError> {
    let mut outcome = Outcome::default();
    for run in runs {
        let done = stop_one(run, signal, grace_ms, session).await;
        outcome.take(done, session)?;
    }
    outcome.finish()
}

async fn stop_one(
    run: &str,
    signal: Option<&str>,
    grace_ms: Option<u64>,
    session: &Session,
) -> Result<Tree, CliError> {
    let id = RUNS.id(&session.client, run).await?;
    let body = json!({"signal": signal, "grace_ms": grace_ms});
    let call = Call::order(&["runs", &id, "stop"]).body(&body)?;
    session.client.send(&call).await?;
    let grace_ms = grace_ms.unwrap_or(limits::STOP_GRACE_MS_DEFAULT);
    let limit = Some(("stop", grace_ms.div_ceil(1_000) + CARRIED_OUT_SECONDS_MAX));
    until(&id, limit, RunView::has_ended, session).await
}

/// Sets a run's timeout.
pub(super) async fn extend(
    run: &str,
    timeout_seconds: u64,
    session: &Session,
) -> Result<(), CliError> {
    let id = RUNS.id(&session.client, run).await?;
    let body = json!({"timeout_seconds": timeout_seconds});
    let call = Call::new(reqwest::Method::PATCH, &["runs", &id]).body(&body)?;
    let run = session.client.send(&call).await?.tree("run")?;
    session.print_done(&run, "id")
}

/// Waits for every run; the exit code is the first that is not 0.
pub(super) async fn wait(runs: &[String], session: &Session) -> Result<u8, CliError> {
    let mut first = 0;
    for run in runs {
        let id = RUNS.id(&session.client, run).await?;
        let ended = until(&id, None, RunView::has_ended, session).await?;
        let code = RunView::of(&ended)?.exit();
        match session.is_json() {
            true => print_json(&ended)?,
            false => print_line(&code.to_string())?,
        }
        if first == 0 {
            first = code;
        }
    }
    Ok(first)
}

/// Looks at a run until it is as wanted; for ever, unless an order is to be carried out within so many seconds.
pub(super) async fn until(
    run: &str,
    limit: Option<(&'static str, u64)>,
    wanted: impl Fn(&RunView) -> bool,
    session: &Session,
) -> Result<Tree, CliError> {
    let begin = Instant::now();
    let mut pause_ms = LOOK_MS_FIRST;
    loop {
        let answer = session.client.send(&Call::get(&["runs", run])).await?;
        let shown = answer.tree("run")?;
        if wanted(&RunView::of(&shown)?) {
            return Ok(shown);
        }
        if let Some((order, seconds)) = limit
            && begin.elapsed() > Duration::from_secs(seconds)
        {
            let run = run.to_owned();
            return Err(ServerError::NotYet {
                run,
                order,
                seconds,
            }
            .into());
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(LOOK_MS_MAX);
    }
}

/// Errors of several things: all but the last are printed as they happen.
#[derive(Default)]
pub(super) struct Outcome {
    error: Option<CliError>,
}

impl Outcome {
    /// Prints what was done, or keeps why not.
    pub(super) fn take(
        &mut self,
        done: Result<Tree, CliError>,
        session: &Session,
    ) -> Result<(), CliError> {
        match done {
            Ok(done) => session.print_done(&done, "id"),
            Err(error) => {
                self.failed(error);
                Ok(())
            }
        }
    }

    pub(super) fn failed(&mut self, error: CliError) {
        if let Some(earlier) = self.error.replace(error) {
            earlier.print();
        }
    }

    pub(super) fn finish(self) -> Result<(), CliError> {
        self.error.map_or(Ok(()), Err)
    }
}
