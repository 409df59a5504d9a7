//! What all kinds of catalogue entries share: bodies as JSON, ids from idempotency keys; and regions, the plainest kind.

use davit_types::Tenant;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::access::Caller;
use super::check::Check;
use super::{Service, ServiceError, now_ms};
use crate::store::limits::DOCUMENT_BYTES_MAX;
use crate::store::{CatalogEntry, CatalogKey, CatalogKind, CatalogPut, Refusal};

/// Characters of a slug.
pub const SLUG_CHARS_MAX: usize = 63;
/// Namespace of ids that follow from idempotency keys (a fixed random UUID).
const KEY_NAMESPACE: Uuid = Uuid::from_u128(0x0d3c_9b67_51b4_4f0e_a0c5_77e2_9f1c_4ab3);
/// Entries of one kind that the operator may have: lists of them are not paged.
pub const OPERATOR_ENTRIES_MAX: usize = 1_000;

/// The id of a new entry. With a key the same one each time: a repeated request finds what the first one made.
pub(super) fn id_of(tenant: &Tenant, kind: CatalogKind, key: Option<&str>) -> Uuid {
    let Some(key) = key else {
        return Uuid::now_v7();
    };
    id_for(tenant, kind.as_str(), key)
}

/// The id of what a key makes, of whatever kind.
pub(super) fn id_for(tenant: &Tenant, kind: &str, key: &str) -> Uuid {
    let name = format!("{}/{kind}/{key}", tenant.as_str());
    Uuid::new_v5(&KEY_NAMESPACE, name.as_bytes())
}

/// Where a tenant's entry is.
pub(super) fn key_of(kind: CatalogKind, tenant: &Tenant, id: Uuid) -> CatalogKey {
    CatalogKey {
        kind,
        tenant: Some(tenant.clone()),
        id,
    }
}

/// SHA-256 (hex) of a request's content.
pub(super) fn fingerprint(request: &impl Serialize) -> String {
    use std::fmt::Write as _;
    let hash = digest(request);
    hash.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 of a request's content: serde writes fields in the order of their type, so equal requests are equal bytes.
pub(super) fn digest(request: &impl Serialize) -> [u8; 32] {
    let bytes = serde_json::to_vec(request).unwrap_or_default();
    Sha256::digest(bytes).into()
}

/// An entry's body.
pub(super) fn body<T: DeserializeOwned>(
    entry: &CatalogEntry,
    what: &'static str,
) -> Result<T, ServiceError> {
    serde_json::from_str(&entry.body).map_err(|source| ServiceError::Corrupt {
        what,
        id: entry.key.id.to_string(),
        source,
    })
}

/// A body as it is stored.
pub(super) fn text(
    body: &impl Serialize,
    what: &'static str,
    id: Uuid,
) -> Result<String, ServiceError> {
    let text = serde_json::to_string(body).map_err(|source| ServiceError::Corrupt {
        what,
        id: id.to_string(),
        source,
    })?;
    if text.len() > DOCUMENT_BYTES_MAX {
        let problem = format!("makes a document of more than {DOCUMENT_BYTES_MAX} bytes");
        return Err(ServiceError::field("", what, problem));
    }
    Ok(text)
}

/// A place where executors stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Name in requests.
    pub slug: String,
    /// Name for people.
    pub name: String,
}

/// The operator's regions.
///
/// # Errors
/// The store's.
pub async fn regions(service: &Service) -> Result<Vec<Region>, ServiceError> {
    let kind = CatalogKind::Region;
    let found = service
        .store
        .entries(kind, None, None, OPERATOR_ENTRIES_MAX);
    let found = found.await?;
    found.iter().map(|entry| body(entry, "region")).collect()
}

/// Makes or changes a region.
///
/// # Errors
/// Fields that are wrong, the store's.
pub async fn put_region(
    service: &Service,
    actor: &str,
    region: &Region,
) -> Result<(), ServiceError> {
    let mut check = Check::default();
    check.slug("slug", &region.slug, SLUG_CHARS_MAX);
    check.name("name", &region.name, 1, SLUG_CHARS_MAX);
    check.done()?;
    put_by_name(service, actor, CatalogKind::Region, &region.slug, region).await
}

/// Makes or changes one of the operator's entries, which are named by their slugs.
pub(super) async fn put_by_name(
    service: &Service,
    actor: &str,
    kind: CatalogKind,
    slug: &str,
    body: &impl Serialize,
) -> Result<(), ServiceError> {
    let kept = service
        .store
        .entry_by_name(kind, None, slug.to_owned())
        .await?;
    let id = kept
        .as_ref()
        .map_or_else(Uuid::now_v7, |entry| entry.key.id);
    let put = CatalogPut {
        key: CatalogKey {
            kind,
            tenant: None,
            id,
        },
        revision: kept.map_or(0, |entry| entry.revision),
        name: slug.to_owned(),
        body: text(body, kind.as_str(), id)?,
        runs_max: None,
        actor: actor.to_owned(),
        at_ms: now_ms(),
    };
    match service.store.put_entry(put).await? {
        Ok(_) => Ok(()),
        // Both mean that somebody else put it at the same time.
        Err(Refusal::Revision { .. } | Refusal::NameTaken { .. }) => Err(ServiceError::Contended {
            what: kind.as_str(),
            id: slug.to_owned(),
            tries: 1,
        }),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Removes one of the operator's entries.
pub(super) async fn remove_by_name(
    service: &Service,
    caller: &Caller,
    kind: CatalogKind,
    slug: &str,
) -> Result<(), ServiceError> {
    let missing = || ServiceError::not_found(kind.as_str(), slug);
    let kept = service.store.entry_by_name(kind, None, slug.to_owned());
    let kept = kept.await?.ok_or_else(missing)?;
    let removed = service
        .store
        .remove_entry(kept.key, caller.actor(), now_ms());
    if removed.await? {
        Ok(())
    } else {
        Err(missing())
    }
}

/// Removes a region. Runs that wait for it go on waiting.
///
/// # Errors
/// It is not there; the store's.
pub async fn remove_region(
    service: &Service,
    caller: &Caller,
    slug: &str,
) -> Result<(), ServiceError> {
    remove_by_name(service, caller, CatalogKind::Region, slug).await
}
