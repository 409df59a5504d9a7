//! API tokens, by hash.

use std::sync::LazyLock;

use davit_types::Tenant;
use uuid::Uuid;

use super::super::error::Failure;
use super::super::model::{AuditEntry, Done, Refusal, Token};
use super::super::tx::{Row, Sql, Tx, values};
use super::audit;

const COLUMNS: &str = "id, tenant, name, prefix, hash, scopes, created_ms, expires_ms, revoked_ms";

const INSERT: Sql = Sql::both(
    "INSERT INTO tokens (id, tenant, name, prefix, hash, scopes, created_ms, expires_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING id",
);

pub(crate) async fn add(
    tx: &mut dyn Tx,
    token: &Token,
    actor: &str,
) -> Result<Result<Done, Refusal>, Failure> {
    let values = values![
        token.id,
        &token.tenant,
        &token.name,
        &token.prefix,
        &token.hash[..],
        &token.scopes,
        token.created_ms,
        token.expires_ms,
    ];
    if tx.query(INSERT, values).await?.is_empty() {
        let same = by_hash(tx, &token.hash).await?;
        return Ok(match same {
            Some(kept) if kept.id == token.id => Ok(Done::Duplicate),
            _ => Err(Refusal::NameTaken {
                name: token.prefix.clone(),
            }),
        });
    }
    let entry = entry(
        token.tenant.clone(),
        actor,
        "token.created",
        token.id,
        token.created_ms,
    );
    audit::append(tx, vec![entry]).await?;
    Ok(Ok(Done::Applied))
}

fn entry(tenant: Tenant, actor: &str, action: &'static str, token: Uuid, at_ms: u64) -> AuditEntry {
    AuditEntry {
        tenant: Some(tenant),
        actor: actor.to_owned(),
        action,
        subject: token.to_string(),
        detail: String::new(),
        at_ms,
    }
}

static BY_HASH: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {COLUMNS} FROM tokens WHERE hash = $1"));

pub(crate) async fn by_hash(tx: &mut dyn Tx, hash: &[u8; 32]) -> Result<Option<Token>, Failure> {
    let found = tx.query(Sql::both(&BY_HASH), values![&hash[..]]).await?;
    found.into_iter().next().map(token).transpose()
}

const REVOKE: Sql = Sql::both(
    "UPDATE tokens SET revoked_ms = $3 WHERE tenant = $1 AND id = $2 AND revoked_ms IS NULL \
     RETURNING id",
);

/// Whether there was a live one.
pub(crate) async fn revoke(
    tx: &mut dyn Tx,
    tenant: &Tenant,
    id: Uuid,
    actor: &str,
    at_ms: u64,
) -> Result<bool, Failure> {
    if tx
        .query(REVOKE, values![tenant, id, at_ms])
        .await?
        .is_empty()
    {
        return Ok(false);
    }
    let entry = entry(tenant.clone(), actor, "token.revoked", id, at_ms);
    audit::append(tx, vec![entry]).await?;
    Ok(true)
}

static LIST: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {COLUMNS} FROM tokens WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3")
});

/// A tenant's tokens by id, after one.
pub(crate) async fn list(
    tx: &mut dyn Tx,
    tenant: &Tenant,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Token>, Failure> {
    let values = values![tenant, after.unwrap_or(Uuid::nil()), limit];
    let found = tx.query(Sql::both(&LIST), values).await?;
    found.into_iter().map(token).collect()
}

fn token(row: Row) -> Result<Token, Failure> {
    let mut c = row.columns();
    Ok(Token {
        id: c.uuid()?,
        tenant: c.tenant()?,
        name: c.text()?,
        prefix: c.text()?,
        hash: c.hash()?,
        scopes: c.text()?,
        created_ms: c.u64()?,
        expires_ms: c.opt_u64()?,
        revoked_ms: c.opt_u64()?,
    })
}
