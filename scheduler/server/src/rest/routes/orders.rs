//! One run: seen, stopped, paused, extended. An order to a run that is over changes nothing and shows it.

use std::sync::Arc;

use axum::extract::State;

use crate::rest::Api;
use crate::rest::answer::{Answer, ok};
use crate::rest::auth::Asking;
use crate::rest::body::{Body, OptionalBody};
use crate::rest::openapi::Problems;
use crate::rest::params::RunPath;
use crate::rest::views::run::{RunChange, StopInput};
use crate::rest::views::run_view::{RunReply, RunView};
use crate::service::access::{Caller, Scope};
use crate::service::runs;
use crate::store::{Stop, Want};

/// SIGKILL.
const KILL: i32 = 9;

async fn order(api: &Api, caller: &Caller, path: &RunPath, want: Want) -> Answer {
    let shown = runs::order(&api.service, caller, path.run, path.runner, want).await?;
    let run = RunView::new(&api.service, &shown);
    Ok(ok(&RunReply { run }))
}

/// Shows a run.
#[utoipa::path(get, path = "", tag = "runs", params(("run_id" = uuid::Uuid, Path)),
    security(("token" = ["runs:read"])), operation_id = "show_run",
    responses((status = 200, description = "The run.", body = RunReply), Problems))]
pub(in crate::rest) async fn show(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
) -> Answer {
    caller.may(Scope::RunsRead)?;
    let shown = runs::show(&api.service, &caller, path.run, path.runner).await?;
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
#[utoipa::path(post, path = "/stop", tag = "runs", params(("run_id" = uuid::Uuid, Path)),
    request_body = Option<StopInput>, security(("token" = ["runs:write"])), operation_id = "stop_run",
    responses((status = 200, description = "The run as it is now; its host is told.",
        body = RunReply), Problems))]
pub(in crate::rest) async fn stop(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
    OptionalBody(input): OptionalBody<StopInput>,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    order(&api, &caller, &path, Want::Stop(input.stop()?)).await
}

/// Kills a run at once.
#[utoipa::path(post, path = "/cancel", tag = "runs", params(("run_id" = uuid::Uuid, Path)),
    security(("token" = ["runs:write"])), operation_id = "cancel_run",
    responses((status = 200, description = "The run as it is now; its host is told.",
        body = RunReply), Problems))]
pub(in crate::rest) async fn cancel(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    path: RunPath,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    let kill = Stop {
        signal: KILL,
        grace_ms: 0,
    };
    order(&api, &caller, &path, Want::Stop(kill)).await
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
