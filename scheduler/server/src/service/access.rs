//! Who calls: the credential says for which tenant, and how far it reaches.
//!
//! ```text
//!  text ──check: kind, checksum──► SHA-256 ──► stored token ──live?──► Caller { tenant, scopes }
//! ```
//!
//! Invariants: nothing is looked up for a text that cannot be a token; a token that is unknown, expired or revoked is
//! not told from another. There is no cache: a revoked token opens nothing from the next request on.

use std::collections::BTreeSet;

use davit_types::Tenant;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Service, ServiceError, now_ms};
use crate::credentials::{self, CredentialKind};
use crate::store::StoreError;

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
    pub const ALL: [Self; 10] = [
        Self::RunnersRead,
        Self::RunnersWrite,
        Self::RunsRead,
        Self::RunsWrite,
        Self::LogsRead,
        Self::UsageRead,
        Self::AuditRead,
        Self::TokensWrite,
        Self::SecretsRead,
        Self::Operator,
    ];

    /// The word in tokens and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunnersRead => "runners:read",
            Self::RunnersWrite => "runners:write",
            Self::RunsRead => "runs:read",
            Self::RunsWrite => "runs:write",
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
    /// With which token.
    pub token: Uuid,
    /// The token's SHA-256, by which it is looked up again.
    pub hash: [u8; 32],
    /// How far it reaches.
    pub scopes: BTreeSet<Scope>,
    /// Not valid from then on, Unix milliseconds.
    pub expires_ms: Option<u64>,
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
        format!("token {}", self.token)
    }
}

/// Who shows this token; `None`: nobody.
///
/// # Errors
/// The store's.
pub async fn caller(service: &Service, text: &str) -> Result<Option<Caller>, StoreError> {
    let Ok(hash) = credentials::check(CredentialKind::Api, text) else {
        return Ok(None);
    };
    by_hash(service, hash).await
}

/// The same credential again: whether it still opens anything, for requests that last.
///
/// # Errors
/// The store's.
pub async fn again(service: &Service, caller: &Caller) -> Result<Option<Caller>, StoreError> {
    by_hash(service, caller.hash).await
}

async fn by_hash(service: &Service, hash: [u8; 32]) -> Result<Option<Caller>, StoreError> {
    let found = service.store.token_by_hash(hash).await?;
    let live = found.filter(|token| token.is_live(now_ms()));
    Ok(live.map(|token| Caller {
        // Words of a later davit open nothing here.
        scopes: scopes(&token.scopes),
        tenant: token.tenant,
        token: token.id,
        hash,
        expires_ms: token.expires_ms,
    }))
}

/// The scopes in a stored list; unknown words are left out.
pub(super) fn scopes(list: &str) -> BTreeSet<Scope> {
    let words: Vec<String> = serde_json::from_str(list).unwrap_or_default();
    let known = |word: &String| Scope::ALL.into_iter().find(|s| s.as_str() == word);
    words.iter().filter_map(known).collect()
}
