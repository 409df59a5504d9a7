-- Version 1. Instants are Unix milliseconds, money is millionths of the currency unit, documents are JSON
-- text that the store does not read.

CREATE TABLE runs (
    run UUID PRIMARY KEY,
    tenant TEXT NOT NULL,
    runner UUID,
    region TEXT NOT NULL,
    instance_type TEXT NOT NULL,
    price_second_micros BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    spec TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX runs_by_tenant ON runs (tenant, run);
CREATE INDEX runs_by_runner ON runs (runner, run) WHERE runner IS NOT NULL;

-- The hot table: live runs only, small rows.
CREATE TABLE active_runs (
    run UUID PRIMARY KEY,
    tenant TEXT NOT NULL,
    runner UUID,
    region TEXT NOT NULL,
    instance_type TEXT NOT NULL,
    price_second_micros BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    state BIGINT NOT NULL,
    not_before_ms BIGINT NOT NULL,
    replica UUID,
    host UUID,
    boot_id TEXT,
    attempt BIGINT NOT NULL,
    step BIGINT NOT NULL,
    assigned_ms BIGINT,
    started_ms BIGINT,
    paused_at_ms BIGINT,
    ledger_sequence BIGINT NOT NULL,
    ledger_ms BIGINT NOT NULL,
    log_last_id BIGINT NOT NULL,
    active_ms BIGINT NOT NULL,
    ever_started BIGINT NOT NULL,
    image_digest TEXT,
    desired TEXT NOT NULL,
    desired_revision BIGINT NOT NULL,
    heeded_revision BIGINT NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX active_pending ON active_runs (region, tenant, priority DESC, run) WHERE state = 0;
CREATE INDEX active_claimed ON active_runs (replica) WHERE state = 1;
CREATE INDEX active_by_host ON active_runs (host) WHERE host IS NOT NULL;
CREATE INDEX active_by_runner ON active_runs (runner) WHERE runner IS NOT NULL AND state > 0;
CREATE INDEX active_orders ON active_runs (host) WHERE heeded_revision < desired_revision;

CREATE TABLE ended_runs (
    run UUID PRIMARY KEY,
    tenant TEXT NOT NULL,
    runner UUID,
    status TEXT NOT NULL,
    end_reason TEXT NOT NULL,
    exit_code BIGINT,
    message TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    host UUID,
    image_digest TEXT,
    started_ms BIGINT,
    ended_ms BIGINT NOT NULL,
    active_ms BIGINT NOT NULL,
    billed_seconds BIGINT NOT NULL,
    cost_micros BIGINT NOT NULL
);
CREATE INDEX ended_by_time ON ended_runs (ended_ms);

CREATE TABLE attempts (
    run UUID NOT NULL,
    attempt BIGINT NOT NULL,
    host UUID,
    assigned_ms BIGINT,
    started_ms BIGINT,
    ended_ms BIGINT NOT NULL,
    end_reason TEXT NOT NULL,
    exit_code BIGINT,
    message TEXT NOT NULL,
    usage TEXT NOT NULL,
    wall_ms BIGINT NOT NULL,
    log_last_id BIGINT NOT NULL,
    complete BIGINT NOT NULL,
    PRIMARY KEY (run, attempt)
);

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    run UUID NOT NULL,
    answer TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_by_time ON idempotency (created_ms);

-- Append-only. Numbers are given before the commit, so they alone are no order that a reader may rely
-- on: rows are read in order of (txid, number), and only those of transactions older than all that are
-- under way.
CREATE TABLE usage_segments (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id UUID NOT NULL UNIQUE,
    run UUID NOT NULL,
    attempt BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    begin_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL,
    paused BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    runner UUID,
    region TEXT NOT NULL,
    instance_type TEXT NOT NULL,
    price_second_micros BIGINT NOT NULL,
    host UUID NOT NULL,
    at_ms BIGINT NOT NULL,
    txid BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint)
);
CREATE INDEX usage_in_order ON usage_segments (txid, number);
CREATE INDEX usage_by_run ON usage_segments (run, attempt, sequence);

CREATE TABLE audit (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant TEXT,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    txid BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint)
);
CREATE INDEX audit_in_order ON audit (txid, number);
CREATE INDEX audit_by_time ON audit (at_ms);

CREATE TABLE log_chunks (
    run UUID NOT NULL,
    attempt BIGINT NOT NULL,
    first_id BIGINT NOT NULL,
    last_id BIGINT NOT NULL,
    object TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (run, attempt, first_id)
);
CREATE INDEX log_chunks_by_time ON log_chunks (at_ms);

CREATE TABLE tenants (
    tenant TEXT PRIMARY KEY,
    open BIGINT NOT NULL,
    spend_cap_micros BIGINT,
    created_ms BIGINT NOT NULL
);

CREATE TABLE tenant_totals (
    tenant TEXT NOT NULL,
    shard BIGINT NOT NULL,
    active_ms BIGINT NOT NULL,
    cost_micros BIGINT NOT NULL,
    PRIMARY KEY (tenant, shard)
);

-- The operator's own entries have the empty tenant.
CREATE TABLE catalog (
    id UUID PRIMARY KEY,
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    revision BIGINT NOT NULL,
    body TEXT NOT NULL,
    runs_max BIGINT,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX catalog_by_name ON catalog (kind, tenant, name);
CREATE INDEX catalog_in_order ON catalog (kind, tenant, id);
CREATE INDEX catalog_capped ON catalog (id) WHERE runs_max IS NOT NULL;

CREATE TABLE tokens (
    id UUID PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    revoked_ms BIGINT
);
CREATE INDEX tokens_by_tenant ON tokens (tenant, id);

CREATE TABLE secrets (
    tenant TEXT NOT NULL,
    owner UUID NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    wrapped_key BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    PRIMARY KEY (tenant, owner, name)
);
CREATE INDEX secrets_by_owner ON secrets (owner);
CREATE INDEX secrets_by_key ON secrets (key_id);

CREATE TABLE hosts (
    host UUID PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    region TEXT NOT NULL,
    state BIGINT NOT NULL,
    body TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE host_sessions (
    host UUID PRIMARY KEY,
    epoch BIGINT NOT NULL,
    replica UUID,
    boot_id TEXT NOT NULL,
    heard_ms BIGINT NOT NULL,
    beat TEXT NOT NULL
);
CREATE INDEX host_sessions_by_replica ON host_sessions (replica) WHERE replica IS NOT NULL;

CREATE TABLE join_tokens (
    hash BYTEA PRIMARY KEY,
    region TEXT NOT NULL,
    expires_ms BIGINT NOT NULL,
    host UUID
);

CREATE TABLE replicas (
    replica UUID PRIMARY KEY,
    heard_ms BIGINT NOT NULL
);
