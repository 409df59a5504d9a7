//! One run: seen, stopped, paused, extended. An order to a run that is over changes nothing and shows it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::rest::answer::{Answer, ok};
use crate::rest::auth::Asking;
use crate::rest::body::{Body, OptionalBody};
use crate::rest::openapi::Problems;
use crate::rest::params::{Params, RunPath};
use crate::rest::problem::Problem;
use crate::rest::views::run::{RunChange, StopInput};
use crate::rest::views::run_view::{RunReply, RunView};
use crate::rest::{Api, WAIT_MS_MAX};
use crate::service::access::{Caller, Scope};
use crate::service::runs;
use crate::store::{Stop, Want};

/// SIGKILL.
const KILL: i32 = 9;

/// How long an answer may wait for the run's end.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct WaitParams {
    /// Answer when the run is over, or after so many milliseconds: 0 to 25000; at once, when absent. A busy replica answers at
    /// once.
    wait_ms: Option<u64>,
}

impl WaitParams {
    fn longest(&self) -> Result<Duration, Problem> {
        let wait_ms = self.wait_ms.unwrap_or(0);
        if wait_ms <= WAIT_MS_MAX {
            return Ok(Duration::from_millis(wait_ms));
        }
        let problem = format!("must be 0 to {WAIT_MS_MAX}");
        Err(Problem::bad_parameter(
            "wait_ms",
            &wait_ms.to_string(),
            problem,
        ))
    }
}

/// The run as it is once it is over, or the time is up.
async fn awaited(api: &Api, caller: &Caller, path: &RunPath, longest: Duration) -> Answer {
    if !longest.is_zero()
        && let Ok(_place) = api.waits.try_acquire()
    {
        runs::wait(&api.service, caller, path.run, longest).await?;
    }
    let shown = runs::show(&api.service, caller, path.run, path.runner).await?;
    let run = RunView::new(&api.service, &shown);
    Ok(ok(&RunReply { run }))
}

/// Lets a run end, and waits for that if it is asked for.
async fn end(api: &Api, caller: &Caller, path: &RunPath, stop: Stop, wait: &WaitParams) -> Answer {
    let longest = wait.longest()?;
    let want = Want::Stop(stop);
    let shown = runs::order(&api.service, caller, path.run, path.runner, want).await?;
    if shown.view.ended.is_none() && !longest.is_zero() {
        return awaited(api, caller, path, longest).await;
    }
    let run = RunView::new(&api.service, &shown);
    Ok(ok(&RunReply { run }))
}

async fn order(api: &Api, caller: &Caller, path: &RunPath, want: Want) -> Answer {
    let shown = runs::order(&api.service, caller, path.run, path.runner, want).await?;
    let run = RunView::new(&api.service, &shown);
    Ok(ok(&RunReply { run }))
}

/// Shows a run, at once or when it is over.
#[utoipa::path(get, path = "", tag = "runs", params(("run_id" = uuid::Uuid, Path), WaitParams),
    security(("token" = ["runs:read"])), operation_id = "show_run",
    responses((status = 200, description = "The run.", body = RunReply), Problems))]
pub(in crate::rest) async fn show(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
    Params(wait): Params<WaitParams>,
) -> Answer {
    caller.may(Scope::RunsRead)?;
    let longest = wait.longest()?;
    // Whose it is, and of which runner, before anything is waited for.
    let shown = runs::show(&api.service, &caller, path.run, path.runner).await?;
    if shown.view.ended.is_none() && !longest.is_zero() {
        return awaited(&api, &caller, &path, longest).await;
    }
    let run = RunView::new(&api.service, &shown);
    Ok(ok(&RunReply { run }))
}

/// Gives a live run another timeout.
#[utoipa::path(patch, path = "", tag = "runs", params(("run_id" = uuid::Uuid, Path)),
    request_body = RunChange, security(("token" = ["runs:write"])), operation_id = "change_run",
    responses((status = 200, description = "The run as it is now.", body = RunReply), Problems))]
pub(in crate::rest) async fn change(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
    Body(change): Body<RunChange>,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    order(&api, &caller, &path, Want::Timeout(change.timeout_seconds)).await
}

/// Stops a run: a signal, and the kill after a grace.
#[utoipa::path(post, path = "/stop", tag = "runs", params(("run_id" = uuid::Uuid, Path), WaitParams),
    request_body = Option<StopInput>, security(("token" = ["runs:write"])), operation_id = "stop_run",
    responses((status = 200, description = "The run as it is now; its host is told.",
        body = RunReply), Problems))]
pub(in crate::rest) async fn stop(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
    Params(wait): Params<WaitParams>,
    OptionalBody(input): OptionalBody<StopInput>,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    end(&api, &caller, &path, input.stop()?, &wait).await
}

/// Kills a run at once.
#[utoipa::path(post, path = "/cancel", tag = "runs", params(("run_id" = uuid::Uuid, Path), WaitParams),
    security(("token" = ["runs:write"])), operation_id = "cancel_run",
    responses((status = 200, description = "The run as it is now; its host is told.",
        body = RunReply), Problems))]
pub(in crate::rest) async fn cancel(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
    Params(wait): Params<WaitParams>,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    let kill = Stop {
        signal: KILL,
        grace_ms: 0,
    };
    end(&api, &caller, &path, kill, &wait).await
}

/// Freezes a run. Paused time does not count to its timeout and is not billed.
#[utoipa::path(post, path = "/pause", tag = "runs", params(("run_id" = uuid::Uuid, Path)),
    security(("token" = ["runs:write"])), operation_id = "pause_run",
    responses((status = 200, description = "The run as it is now; its host is told.",
        body = RunReply), Problems))]
pub(in crate::rest) async fn pause(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    order(&api, &caller, &path, Want::Pause).await
}

/// Lets a frozen run go on.
#[utoipa::path(post, path = "/resume", tag = "runs", params(("run_id" = uuid::Uuid, Path)),
    security(("token" = ["runs:write"])), operation_id = "resume_run",
    responses((status = 200, description = "The run as it is now; its host is told.",
        body = RunReply), Problems))]
pub(in crate::rest) async fn resume(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    order(&api, &caller, &path, Want::Resume).await
}
