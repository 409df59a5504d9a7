-- Version 2. Until when a draining host has its runs, and whether they are stopped then.

ALTER TABLE hosts ADD COLUMN drain_deadline_ms INTEGER;
ALTER TABLE hosts ADD COLUMN drain_stops INTEGER NOT NULL DEFAULT 0;
