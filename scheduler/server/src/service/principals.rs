//! Service principals: identities of machines, which show a client secret for an access token of minutes.
//!
//! ```text
//!  create, rotate ──► secret, shown once; SHA-256 in the catalogue
//!  client id + secret ──► issue ──► JWT (Ed25519) ── each request: signature, then the principal is looked up ──► Caller
//! ```
//!
//! Invariants:
//! - Nobody hands out more than he has: a principal reaches no further than the one that made it, an access token no
//!   further than its principal, as it is at each request. A removed principal opens nothing from the next request on.
//! - A secret that is replaced is valid until its overlap ends; without an overlap it ends at once, and with it what was
//!   issued before.
//! - A wrong secret is not told from a principal that is not there.

mod grant;

use std::collections::BTreeSet;

use davit_types::Tenant;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access::{Caller, Scope};
use super::check::Check;
use super::tokens::{self, LIFE_SECONDS_MAX, NAME_CHARS_MAX};
use super::{Service, ServiceError, catalogue, now_ms};
use crate::credentials::{self, CredentialKind};
use crate::store::{CatalogEntry, CatalogKind, CatalogPut, Refusal};

pub(super) use grant::of_access_token;
pub use grant::{ACCESS_SECONDS, AUDIENCE, Access, authenticate, issue};

/// Secrets of a principal that are valid at once; of more the oldest goes.
pub const SECRETS_MAX: usize = 4;
/// How long a replaced secret is valid when nothing else is said: a day.
pub const OVERLAP_SECONDS_DEFAULT: u64 = 24 * 60 * 60;
/// And at most: thirty days.
pub const OVERLAP_SECONDS_MAX: u64 = 30 * 24 * 60 * 60;
/// Tries of a rotation that others came before.
const TRIES_MAX: u32 = 5;

/// A principal to be made.
#[derive(Clone, Debug, Serialize)]
pub struct NewPrincipal {
    /// Unique among the tenant's.
    pub name: String,
    /// How far it reaches.
    pub scopes: BTreeSet<Scope>,
    /// When it ends; never, when absent.
    pub expires_in_seconds: Option<u64>,
}

/// A principal as it is kept.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub tenant: Tenant,
    /// Unique among the tenant's.
    pub name: String,
    /// How far it reaches.
    pub scopes: BTreeSet<Scope>,
    /// Not valid from then on.
    pub expires_ms: Option<u64>,
    /// The oldest first.
    pub secrets: Vec<KeptSecret>,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Access tokens from before are not valid, Unix seconds.
    valid_from_s: u64,
}

impl Principal {
    /// What it calls itself when it asks for an access token.
    #[must_use]
    pub fn client_id(&self) -> String {
        format!("{}.{}", self.tenant.as_str(), self.id)
    }

    fn is_live(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|expires| now_ms < expires)
    }
}

/// A secret of which the text is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSecret {
    /// Its first characters.
    pub prefix: String,
    /// Hexadecimal.
    sha256: String,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Not valid from then on.
    pub expires_ms: Option<u64>,
}

impl KeptSecret {
    fn is_live(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|expires| now_ms < expires)
    }
}

/// A principal with a new secret.
#[derive(Debug)]
pub struct Issued {
    /// As it is kept.
    pub principal: Principal,
    /// Shown once.
    pub secret: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    scopes: Vec<String>,
    expires_ms: Option<u64>,
    secrets: Vec<KeptSecret>,
    #[serde(default)]
    valid_from_s: u64,
}

fn principal(entry: CatalogEntry) -> Result<Option<Principal>, ServiceError> {
    let body: Body = catalogue::body(&entry, "principal")?;
    let Some(tenant) = entry.key.tenant else {
        return Ok(None);
    };
    Ok(Some(Principal {
        id: entry.key.id,
        tenant,
        name: entry.name,
        scopes: Scope::known(&body.scopes),
        expires_ms: body.expires_ms,
        secrets: body.secrets,
        created_ms: entry.created_ms,
        valid_from_s: body.valid_from_s,
    }))
}

fn new_secret(now_ms: u64) -> Result<(KeptSecret, String), ServiceError> {
    let minted = credentials::mint(CredentialKind::Client)?;
    let kept = KeptSecret {
        prefix: minted.shown().to_owned(),
        sha256: hexadecimal(&minted.hash),
        created_ms: now_ms,
        expires_ms: None,
    };
    Ok((kept, minted.text))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a principal with its first secret.
///
/// # Errors
/// Fields that are wrong, scopes the maker has not, a name that is taken, a key that was used, the store's.
pub async fn create(
    service: &Service,
    maker: &Caller,
    new: NewPrincipal,
    key: Option<&str>,
) -> Result<Issued, ServiceError> {
    tokens::within(maker, &new.scopes)?;
    let mut check = Check::default();
    check.name("name", &new.name, 1, NAME_CHARS_MAX);
    if new.scopes.is_empty() {
        check.fail("scopes", "", "is empty: such a principal could do nothing");
    }
    if let Some(seconds) = new.expires_in_seconds {
        check.range("expires_in_seconds", seconds, 1, LIFE_SECONDS_MAX);
    }
    check.done()?;
    let at_ms = now_ms();
    let (kept, secret) = new_secret(at_ms)?;
    let id = catalogue::id_of(&maker.tenant, CatalogKind::Principal, key);
    let words = new.scopes.iter().map(|scope| scope.as_str().to_owned());
    let body = Body {
        scopes: words.collect(),
        expires_ms: tokens::ends(maker, new.expires_in_seconds, at_ms),
        secrets: vec![kept],
        valid_from_s: 0,
    };
    let put = CatalogPut {
        key: catalogue::key_of(CatalogKind::Principal, &maker.tenant, id),
        revision: 0,
        name: new.name,
        body: catalogue::text(&body, "principal", id)?,
        runs_max: None,
        actor: maker.actor(),
        at_ms,
    };
    match service.store.put_entry(put).await? {
        Ok(_) => {}
        Err(Refusal::Revision { .. }) => {
            return Err(ServiceError::MadeBefore {
                what: "a principal",
            });
        }
        Err(refusal) => return Err(refusal.into()),
    }
    let principal = show(service, &maker.tenant, id).await?;
    Ok(Issued { principal, secret })
}

/// One of the tenant's principals.
///
/// # Errors
/// It is not there; the store's.
pub async fn show(service: &Service, tenant: &Tenant, id: Uuid) -> Result<Principal, ServiceError> {
    let found = find(service, tenant, id).await?;
    found.ok_or_else(|| ServiceError::not_found("principal", id))
}

async fn find(
    service: &Service,
    tenant: &Tenant,
    id: Uuid,
) -> Result<Option<Principal>, ServiceError> {
    match service
        .store
        .entry(catalogue::key_of(CatalogKind::Principal, tenant, id))
        .await?
    {
        Some(entry) => principal(entry),
        None => Ok(None),
    }
}

/// The tenant's principals by id, after one.
///
/// # Errors
/// The store's.
pub async fn list(
    service: &Service,
    tenant: &Tenant,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Principal>, ServiceError> {
    let kind = CatalogKind::Principal;
    let found = service
        .store
        .entries(kind, Some(tenant.clone()), after, limit);
    let mut all = Vec::new();
    for entry in found.await? {
        all.extend(principal(entry)?);
    }
    Ok(all)
}

/// Gives a principal another secret. Those it has are valid for the overlap; without one they end at once, and the access
/// tokens that were issued before with them.
///
/// # Errors
/// It is not there, reaches further than the caller, an overlap that is too long, the store's.
pub async fn rotate(
    service: &Service,
    caller: &Caller,
    id: Uuid,
    overlap_seconds: Option<u64>,
) -> Result<Issued, ServiceError> {
    let overlap_seconds = overlap_seconds.unwrap_or(OVERLAP_SECONDS_DEFAULT);
    let mut check = Check::default();
    check.range("overlap_seconds", overlap_seconds, 0, OVERLAP_SECONDS_MAX);
    check.done()?;
    let key = catalogue::key_of(CatalogKind::Principal, &caller.tenant, id);
    for _ in 0..TRIES_MAX {
        let kept = service.store.entry(key.clone()).await?;
        let kept = kept.ok_or_else(|| ServiceError::not_found("principal", id))?;
        let mut body: Body = catalogue::body(&kept, "principal")?;
        tokens::within(caller, &Scope::known(&body.scopes))?;
        let at_ms = now_ms();
        let (new, secret) = new_secret(at_ms)?;
        replace(&mut body, new, overlap_seconds, at_ms);
        let put = CatalogPut {
            key: key.clone(),
            revision: kept.revision,
            name: kept.name,
            body: catalogue::text(&body, "principal", id)?,
            runs_max: None,
            actor: caller.actor(),
            at_ms,
        };
        match service.store.put_entry(put).await? {
            Ok(_) => {
                let principal = show(service, &caller.tenant, id).await?;
                return Ok(Issued { principal, secret });
            }
            Err(Refusal::Revision { .. }) => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(ServiceError::Contended {
        what: "principal",
        id: id.to_string(),
        tries: TRIES_MAX,
    })
}

/// The secrets after a rotation.
fn replace(body: &mut Body, new: KeptSecret, overlap_seconds: u64, now_ms: u64) {
    let until_ms = now_ms.saturating_add(overlap_seconds.saturating_mul(1_000));
    for secret in &mut body.secrets {
        let until_ms = secret.expires_ms.map_or(until_ms, |own| own.min(until_ms));
        secret.expires_ms = Some(until_ms);
    }
    body.secrets.retain(|secret| secret.is_live(now_ms));
    body.secrets.push(new);
    let surplus = body.secrets.len().saturating_sub(SECRETS_MAX);
    body.secrets.drain(..surplus);
    if overlap_seconds == 0 {
        body.valid_from_s = now_ms / 1_000;
    }
}

/// Removes a principal: nothing of it opens anything from now on.
///
/// # Errors
/// It is not there; the store's.
pub async fn remove(service: &Service, caller: &Caller, id: Uuid) -> Result<(), ServiceError> {
    let key = catalogue::key_of(CatalogKind::Principal, &caller.tenant, id);
    let removed = service.store.remove_entry(key, caller.actor(), now_ms());
    if removed.await? {
        Ok(())
    } else {
        Err(ServiceError::not_found("principal", id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, expires_ms: Option<u64>) -> KeptSecret {
        KeptSecret {
            prefix: name.to_owned(),
            sha256: String::new(),
            created_ms: 0,
            expires_ms,
        }
    }

    fn body(secrets: Vec<KeptSecret>) -> Body {
        Body {
            scopes: vec![],
            expires_ms: None,
            secrets,
            valid_from_s: 0,
        }
    }

    #[test]
    fn a_rotation_leaves_the_old_secret_its_overlap_and_no_more() {
        let mut body = body(vec![
            kept("gone", Some(999)),
            kept("soon", Some(2_000)),
            kept("a", None),
        ]);
        replace(&mut body, kept("b", None), 5, 1_000);
        let left: Vec<_> = body
            .secrets
            .iter()
            .map(|s| (s.prefix.as_str(), s.expires_ms))
            .collect();
        assert_eq!(
            left,
            [("soon", Some(2_000)), ("a", Some(6_000)), ("b", None)]
        );
        assert_eq!(body.valid_from_s, 0);
        replace(&mut body, kept("c", None), 0, 1_500);
        assert_eq!(body.secrets, [kept("c", None)]);
        assert_eq!(body.valid_from_s, 1);
    }

    #[test]
    fn secrets_are_bounded() {
        let mut body = body(vec![]);
        for name in ["1", "2", "3", "4", "5", "6"] {
            replace(&mut body, kept(name, None), 60, 1_000);
        }
        let left: Vec<_> = body.secrets.iter().map(|s| s.prefix.as_str()).collect();
        assert_eq!(left, ["3", "4", "5", "6"]);
    }
}
