//! Who calls: the credential says for which tenant, and how far it reaches.
//!
//! ```text
//!  API token ────check: kind, checksum──► SHA-256 ──► stored token ──live?──┐
//!                                                                           ├──► Caller { tenant, scopes }
//!  access token ─check: our signature, time──► its principal ──live?────────┘
//! ```
//!
//! Invariants: nothing is looked up for a text that cannot be a credential; one that is unknown, expired or revoked is
//! not told from another. There is no cache: a revoked token, and an access token whose principal was removed, opens
//! nothing from the next request on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use davit_types::Tenant;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Service, ServiceError, now_ms, principals};
use crate::credentials::{self, CredentialKind};

/// What a credential may be for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
pub enum Scope {
    /// See runners, instance types, regions and registries.
    #[serde(rename = "runners:read")]
    RunnersRead,
    /// Change runners and registries.
    #[serde(rename = "runners:write")]
    RunnersWrite,
    /// See runs.
    #[serde(rename = "runs:read")]
    RunsRead,
    /// Start, stop, pause and extend runs.
    #[serde(rename = "runs:write")]
    RunsWrite,
    /// Be at the side of what runs: attach to it, and execute commands beside it.
    #[serde(rename = "runs:exec")]
    RunsExec,
    /// Read logs.
    #[serde(rename = "logs:read")]
    LogsRead,
    /// Read usage and costs.
    #[serde(rename = "usage:read")]
    UsageRead,
    /// Read the audit log.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Make and end tokens.
    #[serde(rename = "tokens:write")]
    TokensWrite,
    /// See environment variables in clear.
    #[serde(rename = "secrets:read")]
    SecretsRead,
    /// Run the place: tenants, instance types, regions, executors.
    #[serde(rename = "operator")]
    Operator,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 11] = [
        Self::RunnersRead,
        Self::RunnersWrite,
        Self::RunsRead,
        Self::RunsWrite,
        Self::RunsExec,
        Self::LogsRead,
        Self::UsageRead,
        Self::AuditRead,
        Self::TokensWrite,
        Self::SecretsRead,
        Self::Operator,
    ];

    /// Those of these words that are scopes: words of a later davit open nothing here.
    #[must_use]
    pub fn known(words: &[String]) -> BTreeSet<Self> {
        let known = |word: &String| Self::ALL.into_iter().find(|s| s.as_str() == word);
        words.iter().filter_map(known).collect()
    }

    /// The word in tokens and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunnersRead => "runners:read",
            Self::RunnersWrite => "runners:write",
            Self::RunsRead => "runs:read",
            Self::RunsWrite => "runs:write",
            Self::RunsExec => "runs:exec",
            Self::LogsRead => "logs:read",
            Self::UsageRead => "usage:read",
            Self::AuditRead => "audit:read",
            Self::TokensWrite => "tokens:write",
            Self::SecretsRead => "secrets:read",
            Self::Operator => "operator",
        }
    }
}

/// The one who makes a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// For whom.
    pub tenant: Tenant,
    /// The token's id, or the principal's.
    pub id: Uuid,
    /// By what it is looked up again.
    pub proof: Proof,
    /// How far it reaches.
    pub scopes: BTreeSet<Scope>,
    /// When the token or the principal ends, Unix milliseconds: what it makes ends no later.
    pub expires_ms: Option<u64>,
}

/// What was shown.
#[derive(Clone)]
pub enum Proof {
    /// An API token, of which the SHA-256 is known.
    Token([u8; 32]),
    /// A principal's access token.
    Access(Arc<str>),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(…)",
            Self::Access(_) => "Access(…)",
        })
    }
}

impl Caller {
    /// Whether the credential reaches so far.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`].
    pub fn may(&self, scope: Scope) -> Result<(), ServiceError> {
        if self.scopes.contains(&scope) {
            Ok(())
        } else {
            Err(ServiceError::Forbidden { scope })
        }
    }

    /// The name in the audit log.
    #[must_use]
    pub fn actor(&self) -> String {
        match self.proof {
            Proof::Token(_) => format!("token {}", self.id),
            Proof::Access(_) => format!("principal {}", self.id),
        }
    }
}

/// Who shows this text; `None`: nobody.
///
/// # Errors
/// The store's.
pub async fn caller(service: &Service, text: &str) -> Result<Option<Caller>, ServiceError> {
    match credentials::check(CredentialKind::Api, text) {
        Ok(hash) => by_hash(service, hash).await,
        // What is no JWT of ours fails before anything is looked up.
        Err(_) => by_access_token(service, text.into()).await,
    }
}

/// The same credential again: whether it still opens anything, for requests that last.
///
/// # Errors
/// The store's.
pub async fn again(service: &Service, caller: &Caller) -> Result<Option<Caller>, ServiceError> {
    match &caller.proof {
        Proof::Token(hash) => by_hash(service, *hash).await,
        Proof::Access(text) => by_access_token(service, Arc::clone(text)).await,
    }
}

async fn by_hash(service: &Service, hash: [u8; 32]) -> Result<Option<Caller>, ServiceError> {
    let found = service.store.token_by_hash(hash).await?;
    let live = found.filter(|token| token.is_live(now_ms()));
    Ok(live.map(|token| Caller {
        scopes: scopes(&token.scopes),
        tenant: token.tenant,
        id: token.id,
        proof: Proof::Token(hash),
        expires_ms: token.expires_ms,
    }))
}

async fn by_access_token(
    service: &Service,
    text: Arc<str>,
) -> Result<Option<Caller>, ServiceError> {
    let found = principals::of_access_token(service, &text).await?;
    Ok(found.map(|(principal, scopes)| Caller {
        scopes,
        tenant: principal.tenant,
        id: principal.id,
        proof: Proof::Access(text),
        expires_ms: principal.expires_ms,
    }))
}

/// The scopes in a stored list.
pub(super) fn scopes(list: &str) -> BTreeSet<Scope> {
    let words: Vec<String> = serde_json::from_str(list).unwrap_or_default();
    Scope::known(&words)
}
