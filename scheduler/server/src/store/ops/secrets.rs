//! Encrypted values: opaque, versioned, and re-wrapped under a new key without being read.

use std::collections::HashMap;
use std::sync::LazyLock;

use davit_types::Tenant;
use uuid::Uuid;

use super::super::error::Failure;
use super::super::model::{AuditEntry, Done, Refusal, Sealed, Secret, SecretKey, Verdict};
use super::super::tx::{Bulk, Kind, Row, Sql, Tx, Value, values};
use super::{audit, rows};

const COLUMNS: &[(&str, Kind)] = &[
    ("tenant", Kind::Text),
    ("owner", Kind::Uuid),
    ("name", Kind::Text),
    ("version", Kind::Int),
    ("key_id", Kind::Text),
    ("wrapped_key", Kind::Bytes),
    ("ciphertext", Kind::Bytes),
];

pub(super) fn from_secret(secret: &Secret) -> Vec<Value> {
    values![
        &secret.key.tenant,
        secret.key.owner,
        &secret.key.name,
        secret.version,
        &secret.sealed.key_id,
        &secret.sealed.wrapped_key[..],
        &secret.sealed.ciphertext[..],
    ]
}

fn secret(row: Row) -> Result<Secret, Failure> {
    let mut c = row.columns();
    Ok(Secret {
        key: SecretKey {
            tenant: c.tenant()?,
            owner: c.uuid()?,
            name: c.text()?,
        },
        version: c.u64()?,
        sealed: Sealed {
            key_id: c.text()?,
            wrapped_key: c.bytes()?,
            ciphertext: c.bytes()?,
        },
    })
}

static VERSIONS: LazyLock<Bulk> = LazyLock::new(|| {
    let select = "SELECT s.tenant, s.owner, s.name, s.version, s.key_id, s.wrapped_key, s.ciphertext \
                  FROM secrets s";
    Bulk::new(
        &[Kind::Text, Kind::Uuid, Kind::Text],
        &format!("{select} WHERE s.tenant = $1 AND s.owner = $2 AND s.name = $3"),
        &format!(
            "{select} JOIN unnest($1::text[], $2::uuid[], $3::text[]) AS u(tenant, owner, name) \
             ON s.tenant = u.tenant AND s.owner = u.owner AND s.name = u.name \
             ORDER BY s.tenant, s.owner, s.name FOR UPDATE OF s"
        ),
    )
});

static PUT: LazyLock<Bulk> = LazyLock::new(|| {
    let suffix = "ON CONFLICT (tenant, owner, name) DO UPDATE SET version = excluded.version, \
                  key_id = excluded.key_id, wrapped_key = excluded.wrapped_key, \
                  ciphertext = excluded.ciphertext";
    Bulk::insert("secrets", COLUMNS, suffix)
});

/// Values of an owner that has none yet.
pub(super) static INSERT: LazyLock<Bulk> = LazyLock::new(|| Bulk::insert("secrets", COLUMNS, ""));

fn key(key: &SecretKey) -> Vec<Value> {
    values![&key.tenant, key.owner, &key.name]
}

/// Stores values whose version is the next one; the version is part of what the ciphertext is bound to,
/// so the caller chose it before encrypting.
pub(crate) async fn put(
    tx: &mut dyn Tx,
    batch: &[Secret],
    actor: &str,
    at_ms: u64,
) -> Result<Vec<Verdict>, Failure> {
    write(
        tx,
        batch,
        &|kept, new| {
            let current = kept.map_or(0, |kept| kept.version);
            if kept == Some(new) {
                return Ok(Done::Duplicate);
            }
            if new.version == current + 1 {
                return Ok(Done::Applied);
            }
            Err(Refusal::Revision {
                given: new.version.saturating_sub(1),
                current,
            })
        },
        (actor, at_ms, "secret.set"),
    )
    .await
}

/// Replaces wrapped keys of values that are still at the version given: a rotation never overwrites a
/// newer value.
pub(crate) async fn rewrap(
    tx: &mut dyn Tx,
    batch: &[Secret],
    actor: &str,
    at_ms: u64,
) -> Result<Vec<Verdict>, Failure> {
    write(
        tx,
        batch,
        &|kept, new| match kept {
            Some(kept) if kept == new => Ok(Done::Duplicate),
            Some(kept) if kept.version == new.version => Ok(Done::Applied),
            kept => Err(Refusal::Revision {
                given: new.version,
                current: kept.map_or(0, |kept| kept.version),
            }),
        },
        (actor, at_ms, "secret.rewrapped"),
    )
    .await
}

type Rule<'a> = &'a (dyn Fn(Option<&Secret>, &Secret) -> Verdict + Sync);

async fn write(
    tx: &mut dyn Tx,
    batch: &[Secret],
    rule: Rule<'_>,
    (actor, at_ms, action): (&str, u64, &'static str),
) -> Result<Vec<Verdict>, Failure> {
    let keys = batch.iter().map(|secret| key(&secret.key)).collect();
    let mut kept: HashMap<(Tenant, Uuid, String), Secret> = HashMap::new();
    let name = |s: &Secret| (s.key.tenant.clone(), s.key.owner, s.key.name.clone());
    for row in tx.bulk(&VERSIONS, keys).await? {
        let found = secret(row)?;
        kept.insert(name(&found), found);
    }
    let mut verdicts = Vec::with_capacity(batch.len());
    let mut entries = Vec::new();
    let mut puts = HashMap::new();
    for new in batch {
        let verdict = rule(kept.get(&name(new)), new);
        if verdict == Ok(Done::Applied) {
            kept.insert(name(new), new.clone());
            puts.insert(name(new), from_secret(new));
            entries.push(AuditEntry {
                tenant: Some(new.key.tenant.clone()),
                actor: actor.to_owned(),
                action,
                subject: format!("{}/{}", new.key.owner, new.key.name),
                detail: format!("version {}, key {}", new.version, new.sealed.key_id),
                at_ms,
            });
        }
        verdicts.push(verdict);
    }
    tx.bulk(&PUT, puts.into_values().collect()).await?;
    audit::append(tx, entries).await?;
    Ok(verdicts)
}

const OF_OWNER: Sql = Sql::both(
    "SELECT tenant, owner, name, version, key_id, wrapped_key, ciphertext FROM secrets \
     WHERE tenant = $1 AND owner = $2 ORDER BY name LIMIT $3",
);

/// The secrets of a runner, a registry or a run.
pub(crate) async fn of_owner(
    tx: &mut dyn Tx,
    tenant: &Tenant,
    owner: Uuid,
    limit: usize,
) -> Result<Vec<Secret>, Failure> {
    let found = tx.query(OF_OWNER, values![tenant, owner, limit]).await?;
    found.into_iter().map(secret).collect()
}

static OF_OWNERS: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = rows::list(COLUMNS, "s");
    Bulk::new(
        &[Kind::Text, Kind::Uuid],
        &format!(
            "SELECT {columns} FROM secrets s WHERE s.tenant = $1 AND s.owner = $2 ORDER BY s.name"
        ),
        &format!(
            "SELECT {columns} FROM unnest($1::text[], $2::uuid[]) AS u(tenant, owner) \
             JOIN secrets s ON s.tenant = u.tenant AND s.owner = u.owner ORDER BY s.name"
        ),
    )
});

/// The secrets of many owners, those of one in order of their names.
pub(crate) async fn of_owners(
    tx: &mut dyn Tx,
    owners: &[(Tenant, Uuid)],
) -> Result<Vec<Secret>, Failure> {
    let owners = owners.iter().map(|(tenant, owner)| values![tenant, *owner]);
    let found = tx.bulk(&OF_OWNERS, owners.collect()).await?;
    found.into_iter().map(secret).collect()
}

const NOT_UNDER: Sql = Sql::both(
    "SELECT tenant, owner, name, version, key_id, wrapped_key, ciphertext FROM secrets \
     WHERE key_id <> $1 ORDER BY key_id LIMIT $2",
);

/// Secrets that are not wrapped by this key yet.
pub(crate) async fn not_under(
    tx: &mut dyn Tx,
    key_id: &str,
    limit: usize,
) -> Result<Vec<Secret>, Failure> {
    let found = tx.query(NOT_UNDER, values![key_id, limit]).await?;
    found.into_iter().map(secret).collect()
}

const DELETE: Sql =
    Sql::both("DELETE FROM secrets WHERE tenant = $1 AND owner = $2 AND name = $3 RETURNING name");

/// Whether it was there.
pub(crate) async fn delete(
    tx: &mut dyn Tx,
    secret: &SecretKey,
    actor: &str,
    at_ms: u64,
) -> Result<bool, Failure> {
    if tx.query(DELETE, key(secret)).await?.is_empty() {
        return Ok(false);
    }
    let entry = AuditEntry {
        tenant: Some(secret.tenant.clone()),
        actor: actor.to_owned(),
        action: "secret.deleted",
        subject: format!("{}/{}", secret.owner, secret.name),
        detail: String::new(),
        at_ms,
    };
    audit::append(tx, vec![entry]).await?;
    Ok(true)
}
