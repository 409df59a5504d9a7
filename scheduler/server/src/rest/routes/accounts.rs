//! Tokens, tenants, the audit log.

use std::sync::Arc;

use axum::extract::State;
use davit_types::Tenant;

use crate::rest::answer::{Answer, created_json, done, ok};
use crate::rest::auth::Asking;
use crate::rest::body::Body;
use crate::rest::openapi::{KeyHeader, Problems};
use crate::rest::params::{IdPath, Key, NamePath, PageParams, Params, limit};
use crate::rest::problem::Problem;
use crate::rest::views::accounts::{
    AuditReply, AuditView, MintedReply, TenancyView, TenantInput, TenantReply, TenantView,
    TenantsReply, TokenInput, TokenView, TokensReply,
};
use crate::rest::{Api, cursor};
use crate::service::access::Scope;
use crate::service::tokens::Minted;
use crate::service::usage::micros;
use crate::service::{tenants, tokens};

fn minted(minted: Minted) -> Answer {
    let path = format!("/v1/tokens/{}", minted.token.id);
    let reply = MintedReply {
        token: TokenView::from(minted.token),
        secret: minted.text,
    };
    Ok(created_json(&reply, &path, false))
}

/// Makes a token. A repeat with the same key is refused: its text was shown once.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", params(KeyHeader),
    request_body = TokenInput, security(("token" = ["tokens:write"])), operation_id = "create_token",
    responses((status = 201, description = "It is valid from now on.", body = MintedReply), Problems))]
pub(in crate::rest) async fn create_token(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Key(key): Key,
    Body(input): Body<TokenInput>,
) -> Answer {
    caller.may(Scope::TokensWrite)?;
    let tenant = caller.tenant.clone();
    let made = tokens::create(&api.service, &caller, &tenant, input.into(), key.as_deref());
    minted(made.await?)
}

/// Lists tokens, ended ones too.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", params(PageParams),
    security(("token" = ["tokens:write"])), operation_id = "list_tokens",
    responses((status = 200, description = "A page.", body = TokensReply), Problems))]
pub(in crate::rest) async fn list_tokens(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Params(page): Params<PageParams>,
) -> Answer {
    caller.may(Scope::TokensWrite)?;
    let rows = limit(page.limit)?;
    let after = cursor::id(page.after.as_deref())?;
    let found = tokens::list(&api.service, &caller.tenant, after, rows).await?;
    let next = cursor::next(&found, rows, |token| token.id);
    let tokens = found.into_iter().map(TokenView::from).collect();
    Ok(ok(&TokensReply { tokens, next }))
}

/// Ends a token, its own too: it opens nothing from now on.
#[utoipa::path(delete, path = "/v1/tokens/{token_id}", tag = "tokens",
    params(("token_id" = uuid::Uuid, Path)), security(("token" = ["tokens:write"])),
    operation_id = "revoke_token",
    responses((status = 204, description = "It opens nothing any more."), Problems))]
pub(in crate::rest) async fn revoke_token(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    IdPath(id): IdPath,
) -> Answer {
    caller.may(Scope::TokensWrite)?;
    tokens::revoke(&api.service, &caller, id).await?;
    Ok(done())
}

async fn shown(api: &Api, tenant: &Tenant) -> Answer {
    let account = tenants::show(&api.service, tenant).await?;
    let tenant = TenantView::new(account, &api.service.currency);
    Ok(ok(&TenantReply { tenant }))
}

/// Shows the tenant of the token, and what it used.
#[utoipa::path(get, path = "/v1/tenant", tag = "tenants",
    security(("token" = ["usage:read"])), operation_id = "show_own_tenant",
    responses((status = 200, description = "The tenant.", body = TenantReply), Problems))]
pub(in crate::rest) async fn own_tenant(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
) -> Answer {
    caller.may(Scope::UsageRead)?;
    shown(&api, &caller.tenant).await
}

fn named(name: &str) -> Result<Tenant, Problem> {
    name.parse().map_err(|_| Problem::not_found("tenant", name))
}

/// Lists tenants by name.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", params(PageParams),
    security(("token" = ["operator"])), operation_id = "list_tenants",
    responses((status = 200, description = "A page.", body = TenantsReply), Problems))]
pub(in crate::rest) async fn list_tenants(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Params(page): Params<PageParams>,
) -> Answer {
    caller.may(Scope::Operator)?;
    let rows = limit(page.limit)?;
    let wrong = |name: &str| Problem::bad_parameter("after", name, "is no name of a tenant");
    let after = page
        .after
        .map(|name| name.parse().map_err(|_| wrong(&name)));
    let found = tenants::list(&api.service, after.transpose()?, rows).await?;
    let full = found.len() == rows;
    let tenants: Vec<TenancyView> = found.into_iter().map(TenancyView::from).collect();
    let next = tenants
        .last()
        .filter(|_| full)
        .map(|last| last.name.clone());
    Ok(ok(&TenantsReply { tenants, next }))
}

/// Shows a tenant.
#[utoipa::path(get, path = "/v1/tenants/{name}", tag = "tenants",
    params(("name" = String, Path)), security(("token" = ["operator"])),
    operation_id = "show_tenant",
    responses((status = 200, description = "The tenant.", body = TenantReply), Problems))]
pub(in crate::rest) async fn show_tenant(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    NamePath(name): NamePath,
) -> Answer {
    caller.may(Scope::Operator)?;
    shown(&api, &named(&name)?).await
}

/// Makes or changes a tenant.
#[utoipa::path(put, path = "/v1/tenants/{name}", tag = "tenants",
    params(("name" = String, Path)), request_body = TenantInput,
    security(("token" = ["operator"])), operation_id = "put_tenant",
    responses((status = 200, description = "The tenant as it is now.", body = TenantReply), Problems))]
pub(in crate::rest) async fn put_tenant(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    NamePath(name): NamePath,
    Body(input): Body<TenantInput>,
) -> Answer {
    caller.may(Scope::Operator)?;
    let tenant: Tenant = name.parse().map_err(|error: davit_types::ParseIdError| {
        Problem::bad_field("name", format!("must be {}", error.wanted))
    })?;
    let wrong = || Problem::bad_field("spend_cap", "must be a decimal with at most six places");
    let cap = input.spend_cap.as_deref();
    let cap = cap.map(|cap| micros(cap).ok_or_else(wrong)).transpose()?;
    let account = tenants::put(&api.service, &caller.actor(), tenant, input.open, cap).await?;
    let tenant = TenantView::new(account, &api.service.currency);
    Ok(ok(&TenantReply { tenant }))
}

/// Makes a token for a tenant: the first of a new one.
#[utoipa::path(post, path = "/v1/tenants/{name}/tokens", tag = "tenants",
    params(("name" = String, Path), KeyHeader), request_body = TokenInput,
    security(("token" = ["operator"])), operation_id = "create_tenant_token",
    responses((status = 201, description = "It is valid from now on.", body = MintedReply), Problems))]
pub(in crate::rest) async fn create_tenant_token(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    NamePath(name): NamePath,
    Key(key): Key,
    Body(input): Body<TokenInput>,
) -> Answer {
    caller.may(Scope::Operator)?;
    let tenant = tenants::show(&api.service, &named(&name)?).await?;
    let tenant = tenant.tenancy.tenant;
    let made = tokens::create(&api.service, &caller, &tenant, input.into(), key.as_deref());
    minted(made.await?)
}

/// Reads the audit log: who did what to what, in the order of the commits.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(PageParams),
    security(("token" = ["audit:read"])), operation_id = "read_audit",
    responses((status = 200, description = "A page.", body = AuditReply), Problems))]
pub(in crate::rest) async fn audit(
    State(api): State<Arc<Api>>,
    Asking(caller): Asking,
    Params(page): Params<PageParams>,
) -> Answer {
    caller.may(Scope::AuditRead)?;
    let rows = limit(page.limit)?;
    let after = cursor::row(page.after.as_deref())?;
    let tenant = Some(caller.tenant.clone());
    let found = api.service.store.audit_page(tenant, after, rows).await?;
    Ok(ok(&AuditReply {
        entries: found.rows.into_iter().map(AuditView::from).collect(),
        next: cursor::after_row(found.next),
    }))
}
