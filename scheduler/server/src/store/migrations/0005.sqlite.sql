-- Version 5. What attempts are locked in with. A profile is the same for a great many of them: it is named by its content,
-- and stored once a day on which one of them started, so that what is old goes by its day.

CREATE TABLE profiles (
    profile BLOB NOT NULL,
    day INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (profile, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX profiles_by_day ON profiles (day);
ALTER TABLE active_runs ADD COLUMN profile BLOB;
ALTER TABLE attempts ADD COLUMN profile BLOB;
