//! Service principals: made, listed, given new secrets, removed.

use std::sync::Arc;

use axum::extract::State;

use crate::rest::answer::{Answer, created_json, done, ok};
use crate::rest::auth::Asking;
use crate::rest::body::{Body, OptionalBody};
use crate::rest::openapi::{KeyHeader, Problems};
use crate::rest::params::{IdPath, Key, PageParams, Params, limit};
use crate::rest::views::principals::{
    PrincipalInput, PrincipalIssuedReply, PrincipalReply, PrincipalView, PrincipalsReply,
    RotationInput,
};
use crate::rest::{Api, cursor};
use crate::service::access::Scope;
use crate::service::principals::{self, Issued};

fn issued(issued: Issued) -> Answer {
    let path = format!("/v1/principals/{}", issued.principal.id);
    let reply = PrincipalIssuedReply::from(issued);
    Ok(created_json(&reply, &path, false))
}

/// Makes a service principal. A repeat with the same key is refused: its secret was shown once.
#[utoipa::path(post, path = "/v1/principals", tag = "principals", params(KeyHeader),
    request_body = PrincipalInput, security(("token" = ["tokens:write"])), operation_id = "create_principal",
    responses((status = 201, description = "It may ask for access tokens.", body = PrincipalIssuedReply), Problems))]
pub(in crate::rest) async fn create(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Key(key): Key,
    Body(input): Body<PrincipalInput>,
) -> Answer {
    caller.may(Scope::TokensWrite)?;
    let made = principals::create(&api.service, &caller, input.into(), key.as_deref());
    issued(made.await?)
}

/// Lists service principals.
#[utoipa::path(get, path = "/v1/principals", tag = "principals", params(PageParams),
    security(("token" = ["tokens:write"])), operation_id = "list_principals",
    responses((status = 200, description = "A page.", body = PrincipalsReply), Problems))]
pub(in crate::rest) async fn list(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Params(page): Params<PageParams>,
) -> Answer {
    caller.may(Scope::TokensWrite)?;
    let rows = limit(page.limit)?;
    let after = cursor::id(page.after.as_deref())?;
    let found = principals::list(&api.service, &caller.tenant, after, rows).await?;
    let next = cursor::next(&found, rows, |principal| principal.id);
    let principals = found.into_iter().map(PrincipalView::from).collect();
    Ok(ok(&PrincipalsReply { principals, next }))
}

/// Shows a service principal.
#[utoipa::path(get, path = "/v1/principals/{principal_id}", tag = "principals",
    params(("principal_id" = uuid::Uuid, Path)), security(("token" = ["tokens:write"])),
    operation_id = "show_principal",
    responses((status = 200, description = "The principal.", body = PrincipalReply), Problems))]
pub(in crate::rest) async fn show(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
) -> Answer {
    caller.may(Scope::TokensWrite)?;
    let principal = principals::show(&api.service, &caller.tenant, id).await?;
    Ok(ok(&PrincipalReply {
        principal: principal.into(),
    }))
}

/// Gives a service principal a new secret. Those before it are valid for an overlap.
#[utoipa::path(post, path = "/v1/principals/{principal_id}/secrets", tag = "principals",
    params(("principal_id" = uuid::Uuid, Path)), request_body = Option<RotationInput>,
    security(("token" = ["tokens:write"])), operation_id = "rotate_principal",
    responses((status = 201, description = "The new secret is valid from now on.", body = PrincipalIssuedReply), Problems))]
pub(in crate::rest) async fn rotate(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
    OptionalBody(input): OptionalBody<RotationInput>,
) -> Answer {
    caller.may(Scope::TokensWrite)?;
    let rotated = principals::rotate(&api.service, &caller, id, input.overlap_seconds);
    issued(rotated.await?)
}

/// Removes a service principal: neither its secrets nor its access tokens open anything from now on.
#[utoipa::path(delete, path = "/v1/principals/{principal_id}", tag = "principals",
    params(("principal_id" = uuid::Uuid, Path)), security(("token" = ["tokens:write"])),
    operation_id = "remove_principal",
    responses((status = 204, description = "It is gone."), Problems))]
pub(in crate::rest) async fn remove(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
) -> Answer {
    caller.may(Scope::TokensWrite)?;
    principals::remove(&api.service, &caller, id).await?;
    Ok(done())
}
