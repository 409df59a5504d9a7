//! `/v1/runs`, `/v1/runners/{runner_id}/runs`, `/v1/explain`: making and listing runs.

use std::sync::Arc;

use axum::extract::State;
use davit_types::RunId;
use serde::Deserialize;
use tokio::task::JoinHandle;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::rest::answer::{Answer, created, created_many, ok};
use crate::rest::auth::Asking;
use crate::rest::body::{BatchBody, Body, OptionalBody};
use crate::rest::openapi::{KeyHeader, Problems};
use crate::rest::params::{IdPath, Key, Params, limit};
use crate::rest::problem::Problem;
use crate::rest::views::run::{NewOneOff, NewOneOffs, NewRun, NewRuns};
use crate::rest::views::run_view::{
    BatchReply, ExplainReply, RunReply, RunView, RunsReply, Status,
};
use crate::rest::{Api, cursor};
use crate::service::access::{Caller, Scope};
use crate::service::runs::{self, Shown};
use crate::service::submit::{self, Asked, AskedTogether};
use crate::service::{Service, ServiceError};

/// What a submit is answered, now and whenever its key is repeated.
fn render(service: &Service, shown: &Shown) -> String {
    let run = RunView::new(service, shown);
    serde_json::to_string(&RunReply { run }).unwrap_or_default()
}

/// Submits in a task of its own: a client that goes away does not leave half of it undone.
async fn submit(api: &Api, caller: Caller, asked: Asked, key: Option<String>) -> Answer {
    let service = api.service.clone();
    let runner = match &asked {
        Asked::OfRunner(runner, _) => Some(*runner),
        Asked::OneOff(_) => None,
    };
    let task =
        tokio::spawn(async move { submit::submit(&service, &caller, asked, key, render).await });
    let answer = finished(task).await?;
    let path = match runner {
        Some(runner) => format!("/v1/runners/{runner}/runs/{}", answer.run),
        None => format!("/v1/runs/{}", answer.run),
    };
    Ok(created(answer.text, &path, answer.replayed))
}

/// What the task of a submit says.
async fn finished(
    task: JoinHandle<Result<submit::Answer, ServiceError>>,
) -> Result<submit::Answer, Problem> {
    match task.await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Problem::busy(
            "the scheduler is going down; repeat the request",
        )),
    }
}

/// Submits many in a task of its own.
async fn submit_together(
    api: &Api,
    caller: Caller,
    asked: AskedTogether,
    key: Option<String>,
) -> Answer {
    let service = api.service.clone();
    let task = tokio::spawn(async move {
        submit::submit_together(&service, &caller, asked, key, render_ids).await
    });
    let answer = finished(task).await?;
    Ok(created_many(answer.text, answer.replayed))
}

/// What a batch is answered.
fn render_ids(runs: &[RunId]) -> String {
    let run_ids = runs.iter().map(|run| *run.as_uuid()).collect();
    serde_json::to_string(&BatchReply { run_ids }).unwrap_or_default()
}

/// Makes up to 1000 runs of a saved runner: all of them or none.
#[utoipa::path(post, path = "/v1/runners/{runner_id}/runs/batch", tag = "runs", operation_id = "run_runner_batch",
    params(("runner_id" = Uuid, Path), KeyHeader), request_body = NewRuns, security(("token" = ["runs:write"])),
    responses((status = 201, description = "All are accepted.", body = BatchReply), Problems))]
pub(in crate::rest) async fn create_batch_of_runner(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(runner): IdPath,
    Key(key): Key,
    BatchBody(new): BatchBody<NewRuns>,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    let overrides = new.runs.into_iter().map(Into::into).collect();
    let asked = AskedTogether::OfRunner(runner, overrides);
    submit_together(&api, caller, asked, key).await
}

/// Makes up to 1000 runs without a saved runner: all of them or none.
#[utoipa::path(post, path = "/v1/runs/batch", tag = "runs", operation_id = "create_run_batch", params(KeyHeader),
    request_body = NewOneOffs, security(("token" = ["runs:write"])),
    responses((status = 201, description = "All are accepted.", body = BatchReply), Problems))]
pub(in crate::rest) async fn create_batch(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Key(key): Key,
    BatchBody(new): BatchBody<NewOneOffs>,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    let one_offs = new.runs.into_iter().map(Into::into).collect();
    let asked = AskedTogether::OneOffs(one_offs);
    submit_together(&api, caller, asked, key).await
}

/// Runs a saved runner.
#[utoipa::path(post, path = "/v1/runners/{runner_id}/runs", tag = "runs", operation_id = "run_runner",
    params(("runner_id" = Uuid, Path), KeyHeader), request_body = Option<NewRun>,
    security(("token" = ["runs:write"])),
    responses((status = 201, description = "It is accepted.", body = RunReply), Problems))]
pub(in crate::rest) async fn create_of_runner(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(runner): IdPath,
    Key(key): Key,
    OptionalBody(new): OptionalBody<NewRun>,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    let asked = Asked::OfRunner(runner, Box::new(new.into()));
    submit(&api, caller, asked, key).await
}

/// Runs an image without a saved runner.
#[utoipa::path(post, path = "/v1/runs", tag = "runs", operation_id = "create_run", params(KeyHeader), request_body = NewOneOff,
    security(("token" = ["runs:write"])),
    responses((status = 201, description = "It is accepted.", body = RunReply), Problems))]
pub(in crate::rest) async fn create(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Key(key): Key,
    Body(new): Body<NewOneOff>,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    submit(&api, caller, Asked::OneOff(Box::new(new.into())), key).await
}

/// Says what would become of a run, without making it.
#[utoipa::path(post, path = "/v1/explain", tag = "runs", operation_id = "explain_run", request_body = NewOneOff,
    security(("token" = ["runs:write"])),
    responses((status = 200, description = "What would become of it.", body = ExplainReply), Problems))]
pub(in crate::rest) async fn explain(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Body(new): Body<NewOneOff>,
) -> Answer {
    caller.may(Scope::RunsWrite)?;
    let asked = Asked::OneOff(Box::new(new.into()));
    let explained = submit::explain(&api.service, &caller, asked).await?;
    Ok(ok(&ExplainReply {
        explanation: explained.into(),
    }))
}

/// Which runs, and where the page begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct ListParams {
    /// Only with this status.
    #[param(inline)]
    status: Option<Status>,
    /// Where the page begins: `next` of the one before.
    after: Option<String>,
    /// Runs at most: 1 to 1000, 100 when absent.
    limit: Option<usize>,
}

async fn page(api: &Api, caller: &Caller, runner: Option<Uuid>, params: ListParams) -> Answer {
    caller.may(Scope::RunsRead)?;
    let rows = limit(params.limit)?;
    let before = cursor::run(params.after.as_deref())?;
    let status = params.status.map(Into::into);
    let found = runs::list(&api.service, caller, runner, status, before, rows).await?;
    let next = cursor::next(&found, rows, |run| *run.view.base.run.as_uuid());
    let views = found.iter().map(|shown| RunView::new(&api.service, shown));
    Ok(ok(&RunsReply {
        runs: views.collect(),
        next,
    }))
}

/// Lists a runner's runs, newest first.
#[utoipa::path(get, path = "/v1/runners/{runner_id}/runs", tag = "runs", operation_id = "list_runs_of_runner",
    params(("runner_id" = Uuid, Path), ListParams), security(("token" = ["runs:read"])),
    responses((status = 200, description = "A page.", body = RunsReply), Problems))]
pub(in crate::rest) async fn list_of_runner(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(runner): IdPath,
    Params(params): Params<ListParams>,
) -> Answer {
    page(&api, &caller, Some(runner), params).await
}

/// Lists all runs, newest first.
#[utoipa::path(get, path = "/v1/runs", tag = "runs", operation_id = "list_runs", params(ListParams),
    security(("token" = ["runs:read"])),
    responses((status = 200, description = "A page.", body = RunsReply), Problems))]
pub(in crate::rest) async fn list(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Params(params): Params<ListParams>,
) -> Answer {
    page(&api, &caller, None, params).await
}
