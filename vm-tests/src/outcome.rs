//! What became of a test, as it is told to people and written to `results.json`.
//!
//! Invariant: a skipped test says why; a failed one carries the whole chain of causes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a behaviour returns. `Err` fails the test, except for [`Skipped`].
pub(crate) type TestResult = anyhow::Result<()>;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The behaviour held and nothing was left behind.
    Passed,
    /// It did not, for this reason.
    Failed {
        /// The chain of causes, one line or more.
        reason: String,
    },
    /// This host cannot show the behaviour, for this reason.
    Skipped {
        /// What the host lacks.
        reason: String,
    },
}

/// One line of `results.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TestReport {
    /// `file::function`.
    pub(crate) name: String,
    /// How it ended.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    /// Wall-clock time.
    pub(crate) duration_ms: u64,
}

/// The reason why a test cannot run here, returned as an error by [`skip`].
#[derive(Debug)]
pub(crate) struct Skipped(pub(crate) String);

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "skipped: {}", self.0)
    }
}

impl std::error::Error for Skipped {}

/// Ends a test as skipped: `return skip("the host has no cgroup io controller")`.
pub(crate) fn skip<T>(reason: impl Into<String>) -> anyhow::Result<T> {
    Err(Skipped(reason.into()).into())
}

impl From<TestResult> for Outcome {
    fn from(result: TestResult) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(error) => match error.downcast_ref::<Skipped>() {
                Some(skipped) => Self::Skipped {
                    reason: skipped.0.clone(),
                },
                None => Self::Failed {
                    reason: format!("{error:#}"),
                },
            },
        }
    }
}

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: usize,
    /// Tests that failed.
    pub(crate) failed: usize,
    /// Tests that were skipped.
    pub(crate) skipped: usize,
}

impl Tally {
    /// Counts reports.
    pub(crate) fn of<'a>(reports: impl IntoIterator<Item = &'a TestReport>) -> Self {
        let mut tally = Self::default();
        for report in reports {
            match report.outcome {
                Outcome::Passed => tally.passed += 1,
                Outcome::Failed { .. } => tally.failed += 1,
                Outcome::Skipped { .. } => tally.skipped += 1,
            }
        }
        tally
    }

    /// Did the tests show what they should: none failed, and not every one was skipped?
    pub(crate) fn is_success(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

/// The closing line, in the form that test harnesses read.
impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(
            formatter,
            "{passed} passed, {failed} failed, {skipped} skipped"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn errors_become_failures_with_their_causes_and_skips_keep_their_reason() {
        let failed: TestResult = Err(anyhow::anyhow!("inner")).context("outer");
        assert_eq!(
            Outcome::from(failed),
            Outcome::Failed {
                reason: "outer: inner".into()
            }
        );
        let skipped: TestResult = skip("no io controller");
        assert_eq!(
            Outcome::from(skipped),
            Outcome::Skipped {
                reason: "no io controller".into()
            }
        );
        assert_eq!(Outcome::from(Ok(())), Outcome::Passed);
    }

    #[test]
    fn nothing_but_skips_is_no_success() {
        let skipped = Outcome::Skipped {
            reason: String::new(),
        };
        let report = TestReport {
            name: "a".into(),
            outcome: skipped,
            duration_ms: 1,
        };
        assert!(!Tally::of([&report]).is_success());
        let tally = Tally {
            passed: 3,
            failed: 0,
            skipped: 1,
        };
        assert!(tally.is_success());
        assert_eq!(tally.to_string(), "3 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn reports_survive_json() {
        let outcome = Outcome::Failed {
            reason: "because".into(),
        };
        let report = TestReport {
            name: "a::b".into(),
            outcome,
            duration_ms: 12,
        };
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            text,
            r#"{"name":"a::b","outcome":"failed","reason":"because","duration_ms":12}"#
        );
        let back: TestReport = serde_json::from_str(&text).unwrap();
        assert_eq!(back.outcome, report.outcome);
    }
}
