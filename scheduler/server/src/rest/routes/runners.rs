//! `/v1/runners`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::rest::answer::{Answer, created_json, done, ok};
use crate::rest::auth::Asking;
use crate::rest::body::Body;
use crate::rest::openapi::{KeyHeader, Problems};
use crate::rest::params::{IdPath, Key, PageParams, Params, limit};
use crate::rest::problem::Problem;
use crate::rest::views::catalogue::{InstanceTypeView, RegionView};
use crate::rest::views::runner::NewRunner;
use crate::rest::views::runner_change::RunnerChange;
use crate::rest::views::runner_view::{RunnerReply, RunnerView, RunnersReply};
use crate::rest::{Api, cursor};
use crate::service::access::Scope;
use crate::service::runners::{self, Made, Runner};
use crate::service::{catalogue, environment, instance_types};

/// Runners as they are shown, with what is offered now.
async fn views(api: &Api, found: Vec<Runner>) -> Result<Vec<RunnerView>, Problem> {
    let regions = catalogue::regions(&api.service).await?;
    let regions: Vec<RegionView> = regions.into_iter().map(RegionView::from).collect();
    let types = instance_types::list(&api.service).await?;
    let types: Vec<InstanceTypeView> = types.into_iter().map(InstanceTypeView::from).collect();
    let views = found.into_iter().map(|runner| {
        let settings = &runner.body.settings;
        let region = regions.iter().find(|known| known.slug == settings.region);
        let size = types
            .iter()
            .find(|known| known.slug == settings.instance_type);
        RunnerView::new(runner.clone(), region.cloned(), size.cloned())
    });
    Ok(views.collect())
}

async fn reply(api: &Api, runner: Runner) -> Result<RunnerReply, Problem> {
    let mut views = views(api, vec![runner]).await?;
    let runner = views.pop().ok_or_else(Problem::no_route)?;
    Ok(RunnerReply { runner })
}

/// Saves a runner.
#[utoipa::path(post, path = "/v1/runners", tag = "runners", operation_id = "create_runner", params(KeyHeader),
    request_body = NewRunner, security(("token" = ["runners:write"])),
    responses((status = 201, description = "It is saved.", body = RunnerReply), Problems))]
pub(in crate::rest) async fn create(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Key(key): Key,
    Body(new): Body<NewRunner>,
) -> Answer {
    caller.may(Scope::RunnersWrite)?;
    let made = runners::create(&api.service, &caller, new.into(), key.as_deref()).await?;
    let (runner, replayed) = match made {
        Made::New(runner) => (runner, false),
        Made::Before(runner) => (runner, true),
    };
    let path = format!("/v1/runners/{}", runner.id);
    Ok(created_json(&reply(&api, runner).await?, &path, replayed))
}

/// Lists runners.
#[utoipa::path(get, path = "/v1/runners", tag = "runners", operation_id = "list_runners", params(PageParams),
    security(("token" = ["runners:read"])),
    responses((status = 200, description = "A page.", body = RunnersReply), Problems))]
pub(in crate::rest) async fn list(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Params(page): Params<PageParams>,
) -> Answer {
    caller.may(Scope::RunnersRead)?;
    let rows = limit(page.limit)?;
    let after = cursor::id(page.after.as_deref())?;
    let found = runners::list(&api.service, &caller.tenant, after, rows).await?;
    let next = cursor::next(&found, rows, |runner| runner.id);
    let runners = views(&api, found).await?;
    Ok(ok(&RunnersReply { runners, next }))
}

/// How a runner is shown.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct ShowParams {
    /// Whether the values of its environment variables are told; needs the scope `secrets:read` too.
    reveal: bool,
}

/// Shows a runner.
#[utoipa::path(get, path = "/v1/runners/{runner_id}", tag = "runners", operation_id = "show_runner",
    params(("runner_id" = uuid::Uuid, Path), ShowParams),
    security(("token" = ["runners:read"])),
    responses((status = 200, description = "The runner.", body = RunnerReply), Problems))]
pub(in crate::rest) async fn show(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
    Params(params): Params<ShowParams>,
) -> Answer {
    caller.may(Scope::RunnersRead)?;
    let runner = runners::show(&api.service, &caller.tenant, id).await?;
    if !params.reveal {
        return Ok(ok(&reply(&api, runner).await?));
    }
    caller.may(Scope::SecretsRead)?;
    let clear = environment::open(&api.service, &caller.tenant, id).await?;
    let plain = reply(&api, runner).await?;
    let runner = plain.runner.reveal(&clear);
    Ok(ok(&RunnerReply { runner }))
}

/// Changes a runner. Runs that were submitted keep what they have.
#[utoipa::path(patch, path = "/v1/runners/{runner_id}", tag = "runners", operation_id = "change_runner",
    params(("runner_id" = uuid::Uuid, Path)), request_body = RunnerChange,
    security(("token" = ["runners:write"])),
    responses((status = 200, description = "The runner as it is now.", body = RunnerReply), Problems))]
pub(in crate::rest) async fn change(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
    Body(change): Body<RunnerChange>,
) -> Answer {
    caller.may(Scope::RunnersWrite)?;
    let merge = |kept: &_| change.merge(kept);
    let runner = runners::change(&api.service, &caller, id, merge).await?;
    Ok(ok(&reply(&api, runner).await?))
}

/// Removes a runner. Runs that were submitted go on.
#[utoipa::path(delete, path = "/v1/runners/{runner_id}", tag = "runners", operation_id = "remove_runner",
    params(("runner_id" = uuid::Uuid, Path)), security(("token" = ["runners:write"])),
    responses((status = 204, description = "It is gone."), Problems))]
pub(in crate::rest) async fn remove(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
) -> Answer {
    caller.may(Scope::RunnersWrite)?;
    runners::remove(&api.service, &caller, id).await?;
    Ok(done())
}

/// Lets a host fetch the runner's image, and prefers that host for its next run.
#[utoipa::path(post, path = "/v1/runners/{runner_id}/warmup", tag = "runners", operation_id = "warm_runner",
    params(("runner_id" = uuid::Uuid, Path)), security(("token" = ["runners:write"])),
    responses((status = 202, description = "A host was told; `warmed_at` says when it was done.",
        body = RunnerReply), Problems))]
pub(in crate::rest) async fn warm(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
) -> Answer {
    caller.may(Scope::RunnersWrite)?;
    runners::warm(&api.service, &caller, id).await?;
    let runner = runners::show(&api.service, &caller.tenant, id).await?;
    let reply = reply(&api, runner).await?;
    Ok(crate::rest::answer::json(StatusCode::ACCEPTED, &reply))
}
