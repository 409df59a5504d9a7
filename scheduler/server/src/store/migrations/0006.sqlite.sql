-- Version 6. Files that runs come with: uploads, in parts whose bytes are objects, and which runs use them.

CREATE TABLE uploads (
    upload BLOB NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    sha256 TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX uploads_by_expiry ON uploads (expires_ms);
CREATE INDEX uploads_by_tenant ON uploads (tenant, expires_ms);
CREATE TABLE upload_parts (
    upload BLOB NOT NULL,
    begins INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    object TEXT NOT NULL,
    PRIMARY KEY (upload, begins)
) STRICT, WITHOUT ROWID;
CREATE TABLE upload_uses (
    run BLOB NOT NULL PRIMARY KEY,
    upload BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_uses_by_upload ON upload_uses (upload);
