//! API tokens: made, listed, ended. The text is shown once; its SHA-256 is kept.
//!
//! Invariant: nobody hands out more than he has. A token reaches no further than the one that made it, in scopes and in
//! time.

use std::collections::BTreeSet;

use davit_types::Tenant;
use uuid::Uuid;

use super::access::{self, Caller, Scope};
use super::catalogue::{self, id_of};
use super::check::Check;
use super::{Service, ServiceError, now_ms};
use crate::credentials::{self, CredentialKind};
use crate::store::{CatalogKind, Refusal, Token};

/// Characters of a token's name.
pub const NAME_CHARS_MAX: usize = 63;
/// Characters of a token that are kept for people to tell it from others: its kind and four of its own.
pub const PREFIX_CHARS: usize = 14;
/// The longest life of a token that ends: ten years.
pub const LIFE_SECONDS_MAX: u64 = 315_576_000;

/// A token to be made.
#[derive(Clone, Debug, serde::Serialize)]
pub struct NewToken {
    /// For people.
    pub name: String,
    /// How far it reaches.
    pub scopes: BTreeSet<Scope>,
    /// When it ends; never, when absent.
    pub expires_in_seconds: Option<u64>,
}

/// A new token with its text.
#[derive(Debug)]
pub struct Minted {
    /// As it is kept.
    pub token: Token,
    /// Shown once.
    pub text: String,
}

/// Makes a token for a tenant.
///
/// # Errors
/// Fields that are wrong, scopes the maker has not, the store's.
pub async fn create(
    service: &Service,
    maker: &Caller,
    tenant: &Tenant,
    new: NewToken,
    key: Option<&str>,
) -> Result<Minted, ServiceError> {
    within(maker, &new.scopes)?;
    if *tenant != maker.tenant {
        maker.may(Scope::Operator)?;
    }
    let expires_ms = ends(maker, new.expires_in_seconds, now_ms());
    let id = id_of(
        tenant,
        CatalogKind::Principal,
        key.map(|key| format!("token/{key}")).as_deref(),
    );
    mint(service, &maker.actor(), tenant, id, new, expires_ms).await
}

/// Whether somebody may hand out these scopes.
pub(super) fn within(maker: &Caller, scopes: &BTreeSet<Scope>) -> Result<(), ServiceError> {
    if maker.scopes.contains(&Scope::Operator) {
        return Ok(());
    }
    scopes.iter().try_for_each(|scope| maker.may(*scope))
}

/// When something ends that somebody makes for so long: not after him.
pub(super) fn ends(maker: &Caller, life_seconds: Option<u64>, now_ms: u64) -> Option<u64> {
    let asked = life_seconds.map(|seconds| now_ms.saturating_add(seconds.saturating_mul(1_000)));
    match (asked, maker.expires_ms) {
        (Some(asked), Some(own)) => Some(asked.min(own)),
        (asked, own) => asked.or(own),
    }
}

/// Makes the first token of a place: there is nobody yet who could ask for it.
///
/// # Errors
/// Fields that are wrong, the store's.
pub async fn bootstrap(
    service: &Service,
    actor: &str,
    tenant: &Tenant,
    new: NewToken,
) -> Result<Minted, ServiceError> {
    let life_ms = new
        .expires_in_seconds
        .map(|seconds| seconds.saturating_mul(1_000));
    let expires_ms = life_ms.map(|life_ms| now_ms().saturating_add(life_ms));
    mint(service, actor, tenant, Uuid::now_v7(), new, expires_ms).await
}

async fn mint(
    service: &Service,
    actor: &str,
    tenant: &Tenant,
    id: Uuid,
    new: NewToken,
    expires_ms: Option<u64>,
) -> Result<Minted, ServiceError> {
    let mut check = Check::default();
    check.name("name", &new.name, 1, NAME_CHARS_MAX);
    if new.scopes.is_empty() {
        check.fail("scopes", "", "is empty: such a token would open nothing");
    }
    if let Some(seconds) = new.expires_in_seconds {
        check.range("expires_in_seconds", seconds, 1, LIFE_SECONDS_MAX);
    }
    check.done()?;
    let minted = credentials::mint(CredentialKind::Api)?;
    let words: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
    let token = Token {
        id,
        tenant: tenant.clone(),
        name: new.name,
        prefix: minted.text.chars().take(PREFIX_CHARS).collect(),
        hash: minted.hash,
        scopes: catalogue::text(&words, "token", id)?,
        created_ms: now_ms(),
        expires_ms,
        revoked_ms: None,
    };
    let added = service.store.add_token(token.clone(), actor.to_owned());
    match added.await? {
        Ok(_) => Ok(Minted {
            token,
            text: minted.text,
        }),
        // The id is there with another text: a repeat with the same key.
        Err(Refusal::NameTaken { .. }) => Err(ServiceError::MadeBefore { what: "a token" }),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The tenant's tokens by id, after one.
///
/// # Errors
/// The store's.
pub async fn list(
    service: &Service,
    tenant: &Tenant,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Token>, ServiceError> {
    Ok(service.store.tokens(tenant.clone(), after, limit).await?)
}

/// Ends a token: it opens nothing from now on.
///
/// # Errors
/// There is no live one; the store's.
pub async fn revoke(service: &Service, caller: &Caller, id: Uuid) -> Result<(), ServiceError> {
    let revoked = service
        .store
        .revoke_token(caller.tenant.clone(), id, caller.actor(), now_ms());
    if revoked.await? {
        Ok(())
    } else {
        Err(ServiceError::not_found("token", id))
    }
}

/// The scopes of a stored token.
#[must_use]
pub fn scopes_of(token: &Token) -> BTreeSet<Scope> {
    access::scopes(&token.scopes)
}
