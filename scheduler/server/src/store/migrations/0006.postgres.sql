-- Version 6. Files that runs come with: uploads, in parts whose bytes are objects, and which runs use them.

CREATE TABLE uploads (
    upload UUID NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    parts BIGINT NOT NULL,
    sha256 TEXT
);
CREATE INDEX uploads_by_expiry ON uploads (expires_ms);
CREATE INDEX uploads_by_tenant ON uploads (tenant, expires_ms);
CREATE TABLE upload_parts (
    upload UUID NOT NULL,
    begins BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    object TEXT NOT NULL,
    PRIMARY KEY (upload, begins)
);
CREATE TABLE upload_uses (
    run UUID NOT NULL PRIMARY KEY,
    upload UUID NOT NULL
);
CREATE INDEX upload_uses_by_upload ON upload_uses (upload);
