-- Version 2. Until when a draining host has its runs, and whether they are stopped then.

ALTER TABLE hosts ADD COLUMN drain_deadline_ms BIGINT;
ALTER TABLE hosts ADD COLUMN drain_stops BIGINT NOT NULL DEFAULT 0;
