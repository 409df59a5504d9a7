-- Version 5. What attempts are locked in with. A profile is the same for a great many of them: it is named by its content,
-- and stored once a day on which one of them started, so that what is old goes by its day, and no row is written by all.

CREATE TABLE profiles (
    profile UUID NOT NULL,
    day BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (profile, day)
);
CREATE INDEX profiles_by_day ON profiles (day);
ALTER TABLE active_runs ADD COLUMN profile UUID;
ALTER TABLE attempts ADD COLUMN profile UUID;
