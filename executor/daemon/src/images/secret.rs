//! Credentials that cannot be printed.

use std::fmt;

/// A text no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a registry is told to let us pull, for one pull only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// User name and password (or access token in its place).
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// A bearer token the registry itself accepts.
    Bearer(Secret),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_secret() {
        let basic = Credentials::Basic {
            username: "davit".into(),
            password: Secret::new("hush-hush"),
        };
        let bearer = Credentials::Bearer(Secret::new("hush-hush"));
        assert!(!format!("{basic:?} {bearer:#?}").contains("hush"));
    }
}
