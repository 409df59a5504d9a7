//! What people configure: compare-and-set on a revision, names unique within kind and tenant.

use std::sync::LazyLock;

use davit_types::Tenant;
use uuid::Uuid;

use super::super::error::Failure;
use super::super::model::{
    AuditEntry, CatalogEntry, CatalogKey, CatalogKind, CatalogPut, Done, Refusal, Verdict,
};
use super::super::tx::{Row, Sql, Tx, values};
use super::audit;

const COLUMNS: &str = "id, kind, tenant, name, revision, body, runs_max, created_ms, updated_ms";

/// The operator's own entries.
fn owner(tenant: Option<&Tenant>) -> &str {
    tenant.map_or("", Tenant::as_str)
}

fn entry(row: Row) -> Result<CatalogEntry, Failure> {
    let mut c = row.columns();
    let id = c.uuid()?;
    let kind = c.word("a kind of entry", |text| {
        CatalogKind::ALL.into_iter().find(|k| k.as_str() == text)
    })?;
    Ok(CatalogEntry {
        key: CatalogKey {
            kind,
            tenant: c.text()?.parse().ok(),
            id,
        },
        name: c.text()?,
        revision: c.u64()?,
        body: c.text()?,
        runs_max: c.opt_number()?,
        created_ms: c.u64()?,
        updated_ms: c.u64()?,
    })
}

static GET: LazyLock<[String; 2]> = LazyLock::new(|| {
    let get = format!("SELECT {COLUMNS} FROM catalog WHERE kind = $1 AND tenant = $2 AND id = $3");
    let lock = format!("{get} FOR UPDATE");
    [get, lock]
});

pub(crate) async fn get(
    tx: &mut dyn Tx,
    key: &CatalogKey,
) -> Result<Option<CatalogEntry>, Failure> {
    let values = values![key.kind.as_str(), owner(key.tenant.as_ref()), key.id];
    let found = tx.query(Sql::both(&GET[0]), values).await?;
    found.into_iter().next().map(entry).transpose()
}

async fn locked(tx: &mut dyn Tx, key: &CatalogKey) -> Result<Option<CatalogEntry>, Failure> {
    let sql = Sql {
        sqlite: &GET[0],
        postgres: &GET[1],
    };
    let values = values![key.kind.as_str(), owner(key.tenant.as_ref()), key.id];
    let found = tx.query(sql, values).await?;
    found.into_iter().next().map(entry).transpose()
}

const INSERT: Sql = Sql::both(
    "INSERT INTO catalog (id, kind, tenant, name, revision, body, runs_max, created_ms, updated_ms) \
     VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $7) ON CONFLICT DO NOTHING RETURNING id",
);

const UPDATE: Sql = Sql::both(
    "UPDATE catalog SET name = $2, revision = revision + 1, body = $3, runs_max = $4, \
     updated_ms = $5 WHERE id = $1",
);

const NAMESAKE: Sql =
    Sql::both("SELECT id FROM catalog WHERE kind = $1 AND tenant = $2 AND name = $3 AND id <> $4");

pub(crate) async fn put(tx: &mut dyn Tx, put: &CatalogPut) -> Result<Verdict, Failure> {
    let key = &put.key;
    let kept = locked(tx, key).await?;
    let current = kept.as_ref().map_or(0, |kept| kept.revision);
    let same = kept.is_some_and(|kept| {
        kept.name == put.name && kept.body == put.body && kept.runs_max == put.runs_max
    });
    if same && current == put.revision + 1 {
        return Ok(Ok(Done::Duplicate));
    }
    if current != put.revision {
        return Ok(Err(Refusal::Revision {
            given: put.revision,
            current,
        }));
    }
    let taken = Refusal::NameTaken {
        name: put.name.clone(),
    };
    let tenant = owner(key.tenant.as_ref());
    let namesake = values![key.kind.as_str(), tenant, &put.name, key.id];
    if !tx.query(NAMESAKE, namesake).await?.is_empty() {
        return Ok(Err(taken));
    }
    if current == 0 {
        let values = values![
            key.id,
            key.kind.as_str(),
            tenant,
            &put.name,
            &put.body,
            put.runs_max,
            put.at_ms,
        ];
        // Its id or, since the look above, its name belongs to another.
        if tx.query(INSERT, values).await?.is_empty() {
            return Ok(Err(taken));
        }
    } else {
        let values = values![key.id, &put.name, &put.body, put.runs_max, put.at_ms];
        tx.query(UPDATE, values).await?;
    }
    let action = if current == 0 {
        "catalog.created"
    } else {
        "catalog.changed"
    };
    audit::append(tx, vec![changed(key, &put.actor, action, put.at_ms)]).await?;
    Ok(Ok(Done::Applied))
}

fn changed(key: &CatalogKey, actor: &str, action: &'static str, at_ms: u64) -> AuditEntry {
    AuditEntry {
        tenant: key.tenant.clone(),
        actor: actor.to_owned(),
        action,
        subject: format!("{}/{}", key.kind.as_str(), key.id),
        detail: String::new(),
        at_ms,
    }
}

const DELETE: Sql =
    Sql::both("DELETE FROM catalog WHERE kind = $1 AND tenant = $2 AND id = $3 RETURNING id");

/// Whether it was there. Its secrets go with it.
pub(crate) async fn delete(
    tx: &mut dyn Tx,
    key: &CatalogKey,
    actor: &str,
    at_ms: u64,
) -> Result<bool, Failure> {
    let values = values![key.kind.as_str(), owner(key.tenant.as_ref()), key.id];
    if tx.query(DELETE, values).await?.is_empty() {
        return Ok(false);
    }
    let secrets = Sql::both("DELETE FROM secrets WHERE owner = $1");
    tx.query(secrets, values![key.id]).await?;
    audit::append(tx, vec![changed(key, actor, "catalog.deleted", at_ms)]).await?;
    Ok(true)
}

static LIST: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {COLUMNS} FROM catalog WHERE kind = $1 AND tenant = $2 AND id > $3 \
         ORDER BY id LIMIT $4"
    )
});

/// Entries of a kind by id, after one.
pub(crate) async fn list(
    tx: &mut dyn Tx,
    kind: CatalogKind,
    tenant: Option<&Tenant>,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<CatalogEntry>, Failure> {
    let values = values![
        kind.as_str(),
        owner(tenant),
        after.unwrap_or(Uuid::nil()),
        limit,
    ];
    let found = tx.query(Sql::both(&LIST), values).await?;
    found.into_iter().map(entry).collect()
}

static BY_NAME: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {COLUMNS} FROM catalog WHERE kind = $1 AND tenant = $2 AND name = $3")
});

pub(crate) async fn by_name(
    tx: &mut dyn Tx,
    kind: CatalogKind,
    tenant: Option<&Tenant>,
    name: &str,
) -> Result<Option<CatalogEntry>, Failure> {
    let values = values![kind.as_str(), owner(tenant), name];
    let found = tx.query(Sql::both(&BY_NAME), values).await?;
    found.into_iter().next().map(entry).transpose()
}
