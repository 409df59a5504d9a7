//! The words of the API: what comes in and what goes out, as the OpenAPI document tells them.
//!
//! Instants are RFC 3339 with milliseconds, money is a decimal string with its millionths beside it, ids are hyphenated
//! UUIDs. Requests refuse fields they do not know; answers may get new ones.

pub(super) mod accounts;
pub(super) mod catalogue;
pub(super) mod executors;
pub(super) mod extracts;
mod measured;
pub(super) mod principals;
pub(super) mod run;
pub(super) mod run_view;
pub(super) mod runner;
pub(super) mod runner_change;
pub(super) mod runner_view;
pub(super) mod security;
pub(super) mod uploads;
pub(super) mod usage;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::service::usage::decimal;
use crate::store::RULE_CEIL_SECOND;

/// An instant, RFC 3339.
pub(super) fn time(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).ok();
    let instant = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    // Later than the year 9999, which the store refuses.
    instant.map_or_else(String::new, |instant| format!("{instant:.3}"))
}

/// Optional fields of a change: absent leaves it, `null` clears it.
pub(super) fn clearable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    reader: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(reader).map(Some)
}

/// An amount of money.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Money {
    /// Exact decimal number.
    #[schema(example = "0.0042")]
    amount: String,
    /// The same in millionths.
    micros: u64,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: String,
    /// The rule that rounded it.
    #[schema(example = "ceil-second-1")]
    rule: &'static str,
}

impl Money {
    pub(super) fn new(micros: u64, currency: &str) -> Self {
        Self {
            amount: decimal(micros),
            micros,
            currency: currency.to_owned(),
            rule: RULE_CEIL_SECOND,
        }
    }
}

/// An environment variable.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    /// Matches `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub(super) env_key: String,
    /// Any text without NUL.
    pub(super) env_val: String,
    /// Its value is taken out of the log of a run. All values are encrypted at rest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) secret: bool,
}

/// A file in /run/secrets, for the job's user alone. Nothing shows its content, and it is taken out of the log.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretFileBody {
    /// Matches `[a-zA-Z0-9._-]{1,128}`.
    name: String,
    /// Its content, text; at most 127 KiB, 256 KiB together.
    #[schema(write_only)]
    value: String,
}

impl std::fmt::Debug for SecretFileBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretFileBody({})", self.name)
    }
}

impl From<SecretFileBody> for crate::service::secret_files::SecretFile {
    fn from(file: SecretFileBody) -> Self {
        Self {
            name: file.name,
            value: file.value,
        }
    }
}

/// Names of those that are marked as secret.
pub(super) fn secret_names(variables: &[Variable]) -> Vec<String> {
    let secret = variables.iter().filter(|variable| variable.secret);
    secret.map(|variable| variable.env_key.clone()).collect()
}

impl From<Variable> for davit_types::EnvVar {
    fn from(variable: Variable) -> Self {
        Self {
            key: variable.env_key,
            value: variable.env_val,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn instants_have_milliseconds() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(1_800_000_000_120), "2027-01-15T08:00:00.120Z");
    }
}
