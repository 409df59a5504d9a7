-- Version 1. Instants are Unix milliseconds, money is millionths of the currency unit, UUIDs are 16
-- bytes, documents are JSON text that the store does not read. Tables end in STRICT: a value of another
-- type is refused.

CREATE TABLE runs (
    run BLOB PRIMARY KEY,
    tenant TEXT NOT NULL,
    runner BLOB,
    region TEXT NOT NULL,
    instance_type TEXT NOT NULL,
    price_second_micros INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    spec TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_tenant ON runs (tenant, run);
CREATE INDEX runs_by_runner ON runs (runner, run) WHERE runner IS NOT NULL;

-- The hot table: live runs only, small rows.
CREATE TABLE active_runs (
    run BLOB PRIMARY KEY,
    tenant TEXT NOT NULL,
    runner BLOB,
    region TEXT NOT NULL,
    instance_type TEXT NOT NULL,
    price_second_micros INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    state INTEGER NOT NULL,
    not_before_ms INTEGER NOT NULL,
    replica BLOB,
    host BLOB,
    boot_id TEXT,
    attempt INTEGER NOT NULL,
    step INTEGER NOT NULL,
    assigned_ms INTEGER,
    started_ms INTEGER,
    paused_at_ms INTEGER,
    ledger_sequence INTEGER NOT NULL,
    ledger_ms INTEGER NOT NULL,
    log_last_id INTEGER NOT NULL,
    active_ms INTEGER NOT NULL,
    ever_started INTEGER NOT NULL,
    image_digest TEXT,
    desired TEXT NOT NULL,
    desired_revision INTEGER NOT NULL,
    heeded_revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX active_pending ON active_runs (region, tenant, priority DESC, run) WHERE state = 0;
CREATE INDEX active_claimed ON active_runs (replica) WHERE state = 1;
CREATE INDEX active_by_host ON active_runs (host) WHERE host IS NOT NULL;
CREATE INDEX active_by_runner ON active_runs (runner) WHERE runner IS NOT NULL AND state > 0;
CREATE INDEX active_orders ON active_runs (host) WHERE heeded_revision < desired_revision;

CREATE TABLE ended_runs (
    run BLOB PRIMARY KEY,
    tenant TEXT NOT NULL,
    runner BLOB,
    status TEXT NOT NULL,
    end_reason TEXT NOT NULL,
    exit_code INTEGER,
    message TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    host BLOB,
    image_digest TEXT,
    started_ms INTEGER,
    ended_ms INTEGER NOT NULL,
    active_ms INTEGER NOT NULL,
    billed_seconds INTEGER NOT NULL,
    cost_micros INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ended_by_time ON ended_runs (ended_ms);

CREATE TABLE attempts (
    run BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    host BLOB,
    assigned_ms INTEGER,
    started_ms INTEGER,
    ended_ms INTEGER NOT NULL,
    end_reason TEXT NOT NULL,
    exit_code INTEGER,
    message TEXT NOT NULL,
    usage TEXT NOT NULL,
    wall_ms INTEGER NOT NULL,
    log_last_id INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    PRIMARY KEY (run, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    run BLOB NOT NULL,
    answer TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_time ON idempotency (created_ms);

-- Append-only. The writer is one, so row numbers are in commit order; AUTOINCREMENT never reuses one.
CREATE TABLE usage_segments (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    run BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    begin_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    runner BLOB,
    region TEXT NOT NULL,
    instance_type TEXT NOT NULL,
    price_second_micros INTEGER NOT NULL,
    host BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    txid INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX usage_by_run ON usage_segments (run, attempt, sequence);

CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    txid INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX audit_by_time ON audit (at_ms);

CREATE TABLE log_chunks (
    run BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    object TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (run, attempt, first_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX log_chunks_by_time ON log_chunks (at_ms);

CREATE TABLE tenants (
    tenant TEXT PRIMARY KEY,
    open INTEGER NOT NULL,
    spend_cap_micros INTEGER,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant_totals (
    tenant TEXT NOT NULL,
    shard INTEGER NOT NULL,
    active_ms INTEGER NOT NULL,
    cost_micros INTEGER NOT NULL,
    PRIMARY KEY (tenant, shard)
) STRICT, WITHOUT ROWID;

-- The operator's own entries have the empty tenant.
CREATE TABLE catalog (
    id BLOB PRIMARY KEY,
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    runs_max INTEGER,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX catalog_by_name ON catalog (kind, tenant, name);
CREATE INDEX catalog_in_order ON catalog (kind, tenant, id);
CREATE INDEX catalog_capped ON catalog (id) WHERE runs_max IS NOT NULL;

CREATE TABLE tokens (
    id BLOB PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_tenant ON tokens (tenant, id);

CREATE TABLE secrets (
    tenant TEXT NOT NULL,
    owner BLOB NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    wrapped_key BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    PRIMARY KEY (tenant, owner, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_by_owner ON secrets (owner);
CREATE INDEX secrets_by_key ON secrets (key_id);

CREATE TABLE hosts (
    host BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    region TEXT NOT NULL,
    state INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE host_sessions (
    host BLOB PRIMARY KEY,
    epoch INTEGER NOT NULL,
    replica BLOB,
    boot_id TEXT NOT NULL,
    heard_ms INTEGER NOT NULL,
    beat TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX host_sessions_by_replica ON host_sessions (replica) WHERE replica IS NOT NULL;

CREATE TABLE join_tokens (
    hash BLOB PRIMARY KEY,
    region TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    host BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE replicas (
    replica BLOB PRIMARY KEY,
    heard_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
