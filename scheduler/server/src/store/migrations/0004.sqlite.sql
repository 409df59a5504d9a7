-- Version 4. Runs whose hosts have not heeded what is wanted.

DROP INDEX active_orders;
ALTER TABLE active_runs ADD COLUMN unheeded INTEGER
    GENERATED ALWAYS AS (heeded_revision < desired_revision) VIRTUAL;
CREATE INDEX active_orders ON active_runs (run) WHERE unheeded;
