//! Tokens, tenants, audit.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Money, time};
use crate::service::access::Scope;
use crate::service::tenants::Account;
use crate::service::tokens::{NewToken, scopes_of};
use crate::store::{AuditRow, Tenancy, Token};

/// A token as it is kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct TokenView {
    id: Uuid,
    name: String,
    /// Its first characters.
    prefix: String,
    scopes: BTreeSet<Scope>,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        Self {
            scopes: scopes_of(&token),
            id: token.id,
            name: token.name,
            prefix: token.prefix,
            created_at: time(token.created_ms),
            expires_at: token.expires_ms.map(time),
            revoked_at: token.revoked_ms.map(time),
        }
    }
}

/// A token to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct TokenInput {
    /// For people.
    name: String,
    /// None that its maker has not.
    scopes: BTreeSet<Scope>,
    /// Never, when absent; not longer than its maker.
    expires_in_seconds: Option<u64>,
}

impl From<TokenInput> for NewToken {
    fn from(input: TokenInput) -> Self {
        Self {
            name: input.name,
            scopes: input.scopes,
            expires_in_seconds: input.expires_in_seconds,
        }
    }
}

/// A new token.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct MintedReply {
    pub(in crate::rest) token: TokenView,
    /// What to send; it is shown this once.
    pub(in crate::rest) secret: String,
}

/// A page of tokens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct TokensReply {
    pub(in crate::rest) tokens: Vec<TokenView>,
    /// Where the next page begins; `null` after the last.
    pub(in crate::rest) next: Option<String>,
}

/// A tenant and what it used.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct TenantView {
    name: String,
    /// Whether it may submit.
    open: bool,
    /// What it may spend, decimal; `null` without bound.
    spend_cap: Option<String>,
    created_at: String,
    /// Billable milliseconds up to now.
    active_ms: u64,
    /// Up to now.
    cost: Money,
}

impl TenantView {
    pub(in crate::rest) fn new(account: Account, currency: &str) -> Self {
        let Account { tenancy, totals } = account;
        Self {
            name: tenancy.tenant.as_str().to_owned(),
            open: tenancy.open,
            spend_cap: tenancy.spend_cap_micros.map(crate::service::usage::decimal),
            created_at: time(tenancy.created_ms),
            active_ms: totals.active_ms,
            cost: Money::new(totals.cost_micros, currency),
        }
    }
}

/// One tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct TenantReply {
    pub(in crate::rest) tenant: TenantView,
}

/// A tenant without what it used.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct TenancyView {
    pub(in crate::rest) name: String,
    open: bool,
    spend_cap: Option<String>,
    created_at: String,
}

impl From<Tenancy> for TenancyView {
    fn from(tenancy: Tenancy) -> Self {
        Self {
            name: tenancy.tenant.as_str().to_owned(),
            open: tenancy.open,
            spend_cap: tenancy.spend_cap_micros.map(crate::service::usage::decimal),
            created_at: time(tenancy.created_ms),
        }
    }
}

/// A page of tenants.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct TenantsReply {
    pub(in crate::rest) tenants: Vec<TenancyView>,
    /// The name the next page begins after; `null` after the last.
    pub(in crate::rest) next: Option<String>,
}

/// A tenant to be made or changed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct TenantInput {
    /// Whether it may submit.
    pub(in crate::rest) open: bool,
    /// What it may spend: decimal string with at most six places; without bound, when absent.
    pub(in crate::rest) spend_cap: Option<String>,
}

/// Somebody did something.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct AuditView {
    at: String,
    /// A token's, host's or principal's id.
    actor: String,
    #[schema(example = "run.submitted")]
    action: String,
    subject: String,
    detail: String,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        Self {
            at: time(row.at_ms),
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            detail: row.detail,
        }
    }
}

/// A page of the audit log, in the order of its commits.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct AuditReply {
    pub(in crate::rest) entries: Vec<AuditView>,
    /// Where the next page begins, also when there is nothing there yet.
    pub(in crate::rest) next: String,
}

/// Where a host may register.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct JoinInput {
    /// Slug of the region the host will be in.
    pub(in crate::rest) region: String,
    /// 1 to 604800; 3600 when absent.
    pub(in crate::rest) expires_in_seconds: Option<u64>,
}

/// A permission to register one host.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct JoinReply {
    /// What the host shows; it is shown this once.
    pub(in crate::rest) secret: String,
    pub(in crate::rest) region: String,
    pub(in crate::rest) expires_at: String,
}
