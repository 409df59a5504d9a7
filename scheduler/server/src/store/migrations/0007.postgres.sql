-- Version 7. Files that come out of runs: where each one's bytes are, which are an upload's, and what became of it.

CREATE TABLE run_extracts (
    run UUID NOT NULL,
    number BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    upload UUID NOT NULL,
    PRIMARY KEY (run, number)
);
CREATE INDEX run_extracts_by_upload ON run_extracts (upload);
ALTER TABLE attempts ADD COLUMN extracts TEXT;
