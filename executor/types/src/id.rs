//! Names of runs. `(run id, attempt)` names one execution: invariant 3 hangs on it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A run, from submission to its end, over all its attempts. Time-ordered (UUIDv7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// A new id, ordered by creation time.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id that a record holds as `uuid`.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The id as a UUID, for deriving others from it.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for RunId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only the canonical form: ids become directory, cgroup and container names.
        match Uuid::try_parse(text) {
            Ok(id) if id.as_hyphenated().to_string() == text => Ok(Self(id)),
            _ => Err(ParseIdError {
                text: text.to_owned(),
                wanted: "a lower-case hyphenated UUID",
            }),
        }
    }
}

/// The how-manieth execution of a run, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(u32);

impl Attempt {
    /// The first attempt.
    pub const FIRST: Self = Self(1);
    /// The last that can be named.
    pub const LAST: Self = Self(u32::MAX);

    /// Attempt `n`, unless it is 0.
    #[must_use]
    pub const fn new(n: u32) -> Option<Self> {
        if n == 0 { None } else { Some(Self(n)) }
    }

    /// The number, from 1.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One execution: `<run id>.<attempt>`. Names the run directory, the container, the snapshot, the
/// lease and the cgroup alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunKey {
    /// The run.
    pub run: RunId,
    /// Which of its executions.
    pub attempt: Attempt,
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.attempt)
    }
}

impl FromStr for RunKey {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseIdError {
            text: text.to_owned(),
            wanted: "<run id>.<attempt>, attempt from 1",
        };
        let (run, attempt) = text.rsplit_once('.').ok_or_else(wrong)?;
        let number: u32 = attempt.parse().map_err(|_| wrong())?;
        let attempt_ = Attempt::new(number)
            .filter(|a| a.to_string() == attempt)
            .ok_or_else(wrong)?;
        Ok(Self {
            run: run.parse().map_err(|_| wrong())?,
            attempt: attempt_,
        })
    }
}

impl TryFrom<String> for RunKey {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RunKey> for String {
    fn from(key: RunKey) -> Self {
        key.to_string()
    }
}

/// Who a run belongs to. Locally always [`Tenant::local`]; the scheduler sets it from a credential.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenant(String);

impl Tenant {
    /// The tenant of runs submitted on the host itself.
    #[must_use]
    pub fn local() -> Self {
        Self("local".to_owned())
    }

    /// The tenant's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseIdError {
                text: text.to_owned(),
                wanted: "1–64 of [A-Za-z0-9-_.]",
            })
        }
    }
}

/// A text that is no id of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct ParseIdError {
    /// What was given.
    pub text: String,
    /// What an id of this kind looks like.
    pub wanted: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_survives_text() {
        let key = RunKey {
            run: RunId::generate(),
            attempt: Attempt::FIRST,
        };
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn only_the_canonical_spelling_is_a_key() {
        let run = RunId::generate();
        for text in [
            format!("{run}.0"),
            format!("{run}.01"),
            format!("{run}.+1"),
            format!("{run}"),
            format!("{}.1", run.to_string().to_uppercase()),
            "../etc.1".to_owned(),
            String::new(),
        ] {
            assert!(
                text.parse::<RunKey>().is_err(),
                "{text} was taken for a key"
            );
        }
    }
}
