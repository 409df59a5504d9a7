-- Version 7. Files that come out of runs: where each one's bytes are, which are an upload's, and what became of it.

CREATE TABLE run_extracts (
    run BLOB NOT NULL,
    number INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    upload BLOB NOT NULL,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_extracts_by_upload ON run_extracts (upload);
ALTER TABLE attempts ADD COLUMN extracts TEXT;
