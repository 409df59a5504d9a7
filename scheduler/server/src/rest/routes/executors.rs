//! The operator's hosts, and join tokens for new ones.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::rest::answer::{Answer, done, json, ok};
use crate::rest::auth::Asking;
use crate::rest::body::{Body, OptionalBody};
use crate::rest::openapi::Problems;
use crate::rest::params::{IdPath, PageParams, Params, limit};
use crate::rest::views::accounts::{JoinInput, JoinReply};
use crate::rest::views::executors::{DrainInput, ExecutorReply, ExecutorView, ExecutorsReply};
use crate::rest::views::time;
use crate::rest::{Api, cursor};
use crate::service::access::{Caller, Scope};
use crate::service::executors;
use crate::store::HostState;

/// Life of a join token when none is asked for: an hour.
const JOIN_SECONDS_DEFAULT: u64 = 3_600;

/// Lists executors.
#[utoipa::path(get, path = "/v1/executors", tag = "executors", params(PageParams),
    security(("token" = ["operator"])), operation_id = "list_executors",
    responses((status = 200, description = "A page.", body = ExecutorsReply), Problems))]
pub(in crate::rest) async fn list(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Params(page): Params<PageParams>,
) -> Answer {
    caller.may(Scope::Operator)?;
    let rows = limit(page.limit)?;
    let after = cursor::id(page.after.as_deref())?;
    let found = executors::list(&api.service, after, rows).await?;
    let next = cursor::next(&found, rows, |host| host.host);
    let executors = found.into_iter().map(ExecutorView::from).collect();
    Ok(ok(&ExecutorsReply { executors, next }))
}

/// Shows an executor and the runs that it has.
#[utoipa::path(get, path = "/v1/executors/{executor_id}", tag = "executors",
    params(("executor_id" = uuid::Uuid, Path)), security(("token" = ["operator"])),
    operation_id = "show_executor",
    responses((status = 200, description = "The executor.", body = ExecutorReply), Problems))]
pub(in crate::rest) async fn show(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
) -> Answer {
    caller.may(Scope::Operator)?;
    let detail = executors::show(&api.service, id).await?;
    Ok(ok(&ExecutorReply::from(detail)))
}

async fn set(api: &Api, caller: &Caller, id: uuid::Uuid, state: HostState) -> Answer {
    caller.may(Scope::Operator)?;
    executors::set_state(&api.service, caller, id, state).await?;
    Ok(done())
}

/// Gives an executor no more runs; it finishes what it has, or has a deadline for that. The answer names what it waits for.
#[utoipa::path(post, path = "/v1/executors/{executor_id}/drain", tag = "executors",
    params(("executor_id" = uuid::Uuid, Path)), request_body = Option<DrainInput>, security(("token" = ["operator"])),
    operation_id = "drain_executor",
    responses((status = 200, description = "It drains.", body = ExecutorReply), Problems))]
pub(in crate::rest) async fn drain(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
    OptionalBody(input): OptionalBody<DrainInput>,
) -> Answer {
    caller.may(Scope::Operator)?;
    let (seconds, stop) = (input.deadline_seconds, input.stop_runs);
    let detail = executors::drain(&api.service, &caller, id, seconds, stop).await?;
    Ok(ok(&ExecutorReply::from(detail)))
}

/// Gives an executor runs again.
#[utoipa::path(post, path = "/v1/executors/{executor_id}/resume", tag = "executors",
    params(("executor_id" = uuid::Uuid, Path)), security(("token" = ["operator"])),
    operation_id = "resume_executor",
    responses((status = 204, description = "It is given runs."), Problems))]
pub(in crate::rest) async fn resume(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
) -> Answer {
    set(&api, &caller, id, HostState::Online).await
}

/// Takes an executor out.
#[utoipa::path(delete, path = "/v1/executors/{executor_id}", tag = "executors",
    params(("executor_id" = uuid::Uuid, Path)), security(("token" = ["operator"])),
    operation_id = "remove_executor",
    responses((status = 204, description = "It is given nothing any more."), Problems))]
pub(in crate::rest) async fn remove(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
) -> Answer {
    set(&api, &caller, id, HostState::Removed).await
}

/// Makes a one-time permission to register a host.
#[utoipa::path(post, path = "/v1/join-tokens", tag = "executors", request_body = JoinInput,
    security(("token" = ["operator"])), operation_id = "create_join_token",
    responses((status = 201, description = "It may be used once.", body = JoinReply), Problems))]
pub(in crate::rest) async fn join_token(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Body(input): Body<JoinInput>,
) -> Answer {
    caller.may(Scope::Operator)?;
    let life = input.expires_in_seconds.unwrap_or(JOIN_SECONDS_DEFAULT);
    let actor = caller.actor();
    let minted = executors::add_join_token(&api.service, &actor, &input.region, life).await?;
    let reply = JoinReply {
        secret: minted.text,
        region: minted.region,
        expires_at: time(minted.expires_ms),
    };
    Ok(json(StatusCode::CREATED, &reply))
}
