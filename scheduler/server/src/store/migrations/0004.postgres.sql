-- Version 4. Runs whose hosts have not heeded what is wanted. A column of its own, because PostgreSQL knows how rare its
-- values are: of a comparison of two columns it guesses that a third of all rows fit, and reads the table instead of the index.

DROP INDEX active_orders;
ALTER TABLE active_runs ADD COLUMN unheeded BOOLEAN
    GENERATED ALWAYS AS (heeded_revision < desired_revision) STORED;
CREATE INDEX active_orders ON active_runs (run) WHERE unheeded;
