//! From a client secret to an access token, and from that back to its principal.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::constant_time;
use davit_types::Tenant;
use uuid::Uuid;

use super::{KeptSecret, Principal, find, hexadecimal};
use crate::credentials::{self, CredentialKind};
use crate::service::access::Scope;
use crate::service::{Service, ServiceError, now_ms};

/// For whom access tokens of principals are.
pub const AUDIENCE: &str = "davit-api";
/// How long an access token lives.
pub const ACCESS_SECONDS: u64 = 15 * 60;

/// An access token.
#[derive(Debug)]
pub struct Access {
    /// The JWT.
    pub token: String,
    /// How long it is valid.
    pub expires_in_seconds: u64,
    /// How far it reaches.
    pub scopes: BTreeSet<Scope>,
}

/// The principal with this client id and secret; `None`: there is none.
///
/// # Errors
/// The store's.
pub async fn authenticate(
    service: &Service,
    client_id: &str,
    secret: &str,
) -> Result<Option<Principal>, ServiceError> {
    let Ok(hash) = credentials::check(CredentialKind::Client, secret) else {
        return Ok(None);
    };
    let found = by_client_id(service, client_id).await?;
    let now_ms = now_ms();
    let shown = hexadecimal(&hash);
    let same = |kept: &KeptSecret| {
        let kept_hash = kept.sha256.as_bytes();
        kept.is_live(now_ms)
            && constant_time::verify_slices_are_equal(kept_hash, shown.as_bytes()).is_ok()
    };
    Ok(found.filter(|found| found.is_live(now_ms) && found.secrets.iter().any(same)))
}

async fn by_client_id(
    service: &Service,
    client_id: &str,
) -> Result<Option<Principal>, ServiceError> {
    let Some((tenant, id)) = client_id.rsplit_once('.') else {
        return Ok(None);
    };
    let (Ok(tenant), Ok(id)) = (tenant.parse::<Tenant>(), Uuid::try_parse(id)) else {
        return Ok(None);
    };
    find(service, &tenant, id).await
}

/// An access token for a principal, for the scopes asked for; `None`: it has not all of them.
///
/// # Errors
/// It cannot be signed.
pub fn issue(
    service: &Service,
    principal: &Principal,
    asked: Option<&BTreeSet<Scope>>,
) -> Result<Option<Access>, ServiceError> {
    let scopes = asked.unwrap_or(&principal.scopes);
    if !scopes.is_subset(&principal.scopes) || scopes.is_empty() {
        return Ok(None);
    }
    let now_ms = now_ms();
    let left_ms = principal
        .expires_ms
        .map_or(u64::MAX, |end| end.saturating_sub(now_ms));
    let seconds = ACCESS_SECONDS.min(left_ms / 1_000).max(1);
    let words: Vec<String> = scopes.iter().map(|s| s.as_str().to_owned()).collect();
    let token = service.signer.issue(
        &principal.client_id(),
        AUDIENCE,
        &words,
        Duration::from_secs(seconds),
        now_ms,
    )?;
    tracing::info!(principal = %principal.id, "an access token was issued");
    Ok(Some(Access {
        token,
        expires_in_seconds: seconds,
        scopes: scopes.clone(),
    }))
}

/// The principal of an access token and what the token reaches of it; `None`: it opens nothing.
///
/// # Errors
/// The store's.
pub(in crate::service) async fn of_access_token(
    service: &Service,
    token: &str,
) -> Result<Option<(Principal, BTreeSet<Scope>)>, ServiceError> {
    let Ok(claims) = service.signer.verify(token, AUDIENCE, now_ms()) else {
        return Ok(None);
    };
    let found = by_client_id(service, &claims.subject).await?;
    let live =
        found.filter(|found| found.is_live(now_ms()) && claims.issued_s >= found.valid_from_s);
    Ok(live.map(|principal| {
        let reached = Scope::known(&claims.scopes);
        let reached = reached.intersection(&principal.scopes).copied().collect();
        (principal, reached)
    }))
}
