//! What is wrong with a field of a request: one type for every border (CLI, RPC, settings, REST).

use std::fmt;

use serde::{Deserialize, Serialize};

/// One wrong field: where, what was given, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Dotted path of the field as the user wrote it, e.g. `argv[3]`.
    pub field: String,
    /// The offending value, shortened to 80 characters; never a secret.
    pub value: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

const SHOWN_VALUE_CHARS: usize = 80;

impl FieldError {
    /// An error for `field`; a long `value` is shortened for display.
    pub fn new(
        field: impl Into<String>,
        value: impl fmt::Display,
        problem: impl Into<String>,
    ) -> Self {
        let full = value.to_string();
        let mut shown: String = full
            .chars()
            .take(SHOWN_VALUE_CHARS)
            .flat_map(char::escape_debug)
            .collect();
        if full.chars().count() > SHOWN_VALUE_CHARS {
            shown.push('…');
        }
        Self {
            field: field.into(),
            value: shown,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = `{}`: {}", self.field, self.value, self.problem)
    }
}

/// All that is wrong with one request, in field order; never empty when returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct FieldErrors(pub Vec<FieldError>);

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}
