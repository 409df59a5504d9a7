//! Uploads: begun, added to at their end, made whole, forgotten when nobody needs them any more.
//!
//! All instants are the store's own, so replicas agree on what has expired. What expired is used by no further run, so that
//! it may be deleted a while later without asking again who uses it.

use std::sync::LazyLock;

use davit_types::Tenant;
use uuid::Uuid;

use super::super::error::Failure;
use super::super::limits::{UPLOAD_PARTS_MAX, UPLOADS_OPEN_MAX};
use super::super::model::{NewUpload, Refusal, Upload, UploadPart};
use super::super::tx::{Bulk, Kind, Row, Sql, Tx, values};

/// Those that come from hosts are not the tenant's to count: its runs are bounded.
const OPEN: Sql = Sql::both(
    "SELECT u.upload FROM uploads u WHERE u.tenant = $1 AND u.expires_ms > $2 AND u.sha256 IS NULL \
     AND NOT EXISTS (SELECT 1 FROM run_extracts e WHERE e.upload = u.upload) LIMIT $3",
);

const INSERT: Sql = Sql::both(
    "INSERT INTO uploads (upload, tenant, created_ms, expires_ms, bytes, parts) \
     VALUES ($1, $2, $3, $4, 0, 0) ON CONFLICT (upload) DO NOTHING RETURNING upload",
);

const FIND: Sql = Sql::both(
    "SELECT upload, tenant, created_ms, expires_ms, bytes, parts, sha256 FROM uploads \
     WHERE upload = $1 AND tenant = $2 AND expires_ms > $3",
);

/// One that still takes bytes, or that is whole: then it does not matter that it expired.
const STANDING: Sql = Sql::both(
    "SELECT upload, tenant, created_ms, expires_ms, bytes, parts, sha256 FROM uploads \
     WHERE upload = $1 AND (sha256 IS NOT NULL OR expires_ms > $2)",
);

/// As `FIND`, for one who changes it.
const FIND_TO_CHANGE: Sql = Sql {
    sqlite: FIND.sqlite,
    postgres: "SELECT upload, tenant, created_ms, expires_ms, bytes, parts, sha256 FROM uploads \
               WHERE upload = $1 AND tenant = $2 AND expires_ms > $3 FOR UPDATE",
};

const OBJECT: Sql = Sql::both("SELECT object FROM upload_parts WHERE upload = $1 AND begins = $2");

const INSERT_PART: Sql = Sql::both(
    "INSERT INTO upload_parts (upload, begins, bytes, object) VALUES ($1, $2, $3, $4) RETURNING begins",
);

const GROW: Sql = Sql::both(
    "UPDATE uploads SET bytes = $2, parts = parts + 1 WHERE upload = $1 RETURNING upload",
);

/// What all of a tenant's have, those that come from hosts too.
const KEPT: Sql = Sql {
    sqlite: "SELECT COALESCE(SUM(bytes), 0) FROM uploads WHERE tenant = $1",
    postgres: "SELECT COALESCE(SUM(bytes), 0)::bigint FROM uploads WHERE tenant = $1",
};

const COMPLETE: Sql =
    Sql::both("UPDATE uploads SET sha256 = $2 WHERE upload = $1 RETURNING upload");

const PARTS: Sql = Sql::both(
    "SELECT begins, bytes, object FROM upload_parts WHERE upload = $1 AND begins + bytes > $2 \
     ORDER BY begins LIMIT $3",
);

const EXPIRED: Sql = Sql::both(
    "SELECT u.upload FROM uploads u WHERE u.expires_ms < $1 \
     AND NOT EXISTS (SELECT 1 FROM upload_uses x WHERE x.upload = u.upload) \
     AND NOT EXISTS (SELECT 1 FROM run_extracts e WHERE e.upload = u.upload) \
     ORDER BY u.expires_ms LIMIT $2",
);

static FORGET: LazyLock<[Bulk; 2]> = LazyLock::new(|| {
    ["upload_parts", "uploads"].map(|table| {
        Bulk::new(
            &[Kind::Uuid],
            &format!("DELETE FROM {table} WHERE upload = $1"),
            &format!("DELETE FROM {table} WHERE upload = ANY($1::uuid[])"),
        )
    })
});

/// Which run came with which upload.
pub(super) static INSERT_USES: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = [("run", Kind::Uuid), ("upload", Kind::Uuid)];
    Bulk::insert("upload_uses", &columns, "")
});

pub(super) type Answer = Result<Upload, Refusal>;

fn upload(row: Row) -> Result<Upload, Failure> {
    let mut c = row.columns();
    Ok(Upload {
        upload: c.uuid()?,
        tenant: c.tenant()?,
        created_ms: c.u64()?,
        expires_ms: c.u64()?,
        bytes: c.u64()?,
        parts: c.number()?,
        sha256: c.opt_text()?,
    })
}

async fn look(
    tx: &mut dyn Tx,
    sql: Sql,
    tenant: &Tenant,
    id: Uuid,
) -> Result<Option<Upload>, Failure> {
    let now_ms = tx.now_ms().await?;
    let found = tx.query(sql, values![id, tenant, now_ms]).await?;
    found.into_iter().next().map(upload).transpose()
}

pub(crate) async fn begin(tx: &mut dyn Tx, new: &NewUpload) -> Result<Answer, Failure> {
    let name = format!("uploads/{}", new.tenant.as_str());
    tx.hold(vec![name]).await?;
    if let Some(made) = look(tx, FIND, &new.tenant, new.upload).await? {
        return Ok(Ok(made));
    }
    let now_ms = tx.now_ms().await?;
    let open = values![&new.tenant, now_ms, UPLOADS_OPEN_MAX];
    if tx.query(OPEN, open).await?.len() >= UPLOADS_OPEN_MAX as usize {
        let open_max = UPLOADS_OPEN_MAX;
        return Ok(Err(Refusal::UploadsOpen { open_max }));
    }
    insert(tx, new.upload, &new.tenant, new.life_ms).await
}

/// Makes one, without a bound of the tenant's.
pub(super) async fn insert(
    tx: &mut dyn Tx,
    upload: Uuid,
    tenant: &Tenant,
    life_ms: u64,
) -> Result<Answer, Failure> {
    let now_ms = tx.now_ms().await?;
    let expires_ms = now_ms.saturating_add(life_ms);
    let row = values![upload, tenant, now_ms, expires_ms];
    tx.query(INSERT, row).await?;
    let made = look(tx, FIND, tenant, upload).await?;
    Ok(made.ok_or(Refusal::UnknownUpload { upload }))
}

/// One that takes bytes or is whole, whoever's it is.
pub(super) async fn standing(tx: &mut dyn Tx, id: Uuid) -> Result<Option<Upload>, Failure> {
    let now_ms = tx.now_ms().await?;
    let found = tx.query(STANDING, values![id, now_ms]).await?;
    found.into_iter().next().map(upload).transpose()
}

pub(crate) async fn find(
    tx: &mut dyn Tx,
    tenant: &Tenant,
    id: Uuid,
) -> Result<Option<Upload>, Failure> {
    look(tx, FIND, tenant, id).await
}

pub(crate) async fn add(
    tx: &mut dyn Tx,
    tenant: &Tenant,
    part: &UploadPart,
    tenant_bytes_max: u64,
) -> Result<Answer, Failure> {
    let Some(mut whole) = look(tx, FIND_TO_CHANGE, tenant, part.upload).await? else {
        let upload = part.upload;
        return Ok(Err(Refusal::UnknownUpload { upload }));
    };
    let stored = tx.query(OBJECT, values![part.upload, part.begins]).await?;
    if let Some(row) = stored.into_iter().next()
        && row.columns().text()? == part.object
    {
        // The same call again.
        return Ok(Ok(whole));
    }
    if let Some(sha256) = whole.sha256 {
        return Ok(Err(Refusal::UploadComplete { sha256 }));
    }
    if whole.bytes != part.begins || part.bytes == 0 {
        let expected = whole.bytes;
        return Ok(Err(Refusal::UploadOffset { expected }));
    }
    if whole.parts >= UPLOAD_PARTS_MAX {
        let parts_max = UPLOAD_PARTS_MAX;
        return Ok(Err(Refusal::UploadParts { parts_max }));
    }
    if kept(tx, tenant).await?.saturating_add(part.bytes) > tenant_bytes_max {
        let bytes_max = tenant_bytes_max;
        return Ok(Err(Refusal::FilesFull { bytes_max }));
    }
    let row = values![part.upload, part.begins, part.bytes, &part.object];
    tx.query(INSERT_PART, row).await?;
    whole.bytes = whole.bytes.saturating_add(part.bytes);
    whole.parts += 1;
    tx.query(GROW, values![part.upload, whole.bytes]).await?;
    Ok(Ok(whole))
}

async fn kept(tx: &mut dyn Tx, tenant: &Tenant) -> Result<u64, Failure> {
    let found = tx.query(KEPT, values![tenant]).await?;
    let sum = found.into_iter().next().map(|row| row.columns().u64());
    sum.transpose().map(Option::unwrap_or_default)
}

pub(crate) async fn complete(
    tx: &mut dyn Tx,
    tenant: &Tenant,
    id: Uuid,
    bytes: u64,
    sha256: &str,
) -> Result<Answer, Failure> {
    let Some(mut whole) = look(tx, FIND_TO_CHANGE, tenant, id).await? else {
        return Ok(Err(Refusal::UnknownUpload { upload: id }));
    };
    if whole.bytes != bytes {
        let expected = whole.bytes;
        return Ok(Err(Refusal::UploadOffset { expected }));
    }
    match &whole.sha256 {
        Some(known) if known == sha256 => {}
        Some(known) => {
            let sha256 = known.clone();
            return Ok(Err(Refusal::UploadComplete { sha256 }));
        }
        None => {
            tx.query(COMPLETE, values![id, sha256]).await?;
            whole.sha256 = Some(sha256.to_owned());
        }
    }
    Ok(Ok(whole))
}

pub(crate) async fn parts(
    tx: &mut dyn Tx,
    id: Uuid,
    after: u64,
    limit: usize,
) -> Result<Vec<UploadPart>, Failure> {
    let found = tx.query(PARTS, values![id, after, limit]).await?;
    let part = |row: Row| {
        let mut c = row.columns();
        Ok(UploadPart {
            upload: id,
            begins: c.u64()?,
            bytes: c.u64()?,
            object: c.text()?,
        })
    };
    found.into_iter().map(part).collect()
}

pub(crate) async fn expired(
    tx: &mut dyn Tx,
    grace_ms: u64,
    limit: usize,
) -> Result<Vec<Uuid>, Failure> {
    let before_ms = tx.now_ms().await?.saturating_sub(grace_ms);
    let found = tx.query(EXPIRED, values![before_ms, limit]).await?;
    found.into_iter().map(|row| row.columns().uuid()).collect()
}

pub(crate) async fn forget(tx: &mut dyn Tx, uploads: &[Uuid]) -> Result<(), Failure> {
    let rows: Vec<_> = uploads.iter().map(|id| values![*id]).collect();
    let writes = FORGET.iter().map(|bulk| (bulk, rows.clone()));
    tx.write_all(writes.collect()).await
}
