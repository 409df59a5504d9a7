//! What can go wrong with a call of the service: the caller's fault, a refusal of the rules, or ours.

use davit_types::{FieldError, FieldErrors};

use super::WarmRefused;
use super::access::Scope;
use crate::credentials::CredentialError;
use crate::secrets::SecretError;
use crate::store::{Refusal, StoreError};

/// A call that did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It does not exist, or is another tenant's: nobody is told which.
    #[error("there is no {what} `{id}`")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// As asked for.
        id: String,
    },
    /// Fields that are not right.
    #[error("the request is not valid: {0}")]
    Invalid(FieldErrors),
    /// The credential does not reach so far.
    #[error("the credential lacks the scope `{}`", scope.as_str())]
    Forbidden {
        /// What is missing.
        scope: Scope,
    },
    /// It was made before, and cannot be told again.
    #[error("{what} was made by an earlier request with this idempotency key")]
    MadeBefore {
        /// What.
        what: &'static str,
    },
    /// An extract that cannot be had.
    #[error("extract {number} of the run cannot be had: {problem}")]
    NoExtract {
        /// Which.
        number: u32,
        /// Why.
        problem: String,
    },
    /// Others changed the same thing each time.
    #[error("{what} `{id}` was changed by others {tries} times meanwhile")]
    Contended {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        id: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No host can be warmed.
    #[error(transparent)]
    Warm(#[from] WarmRefused),
    /// A sealed value cannot be made or opened.
    #[error("the value of `{name}` of {owner} cannot be used")]
    Secret {
        /// Variable.
        name: String,
        /// Whose.
        owner: String,
        /// Why.
        #[source]
        source: Box<SecretError>,
    },
    /// A token cannot be made.
    #[error("no token can be made")]
    Credential(#[from] CredentialError),
    /// A stored document that no davit writes.
    #[error("the stored {what} `{id}` cannot be read")]
    Corrupt {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ServiceError {
    /// One wrong field.
    pub(super) fn field(
        field: &str,
        value: impl std::fmt::Display,
        problem: impl Into<String>,
    ) -> Self {
        Self::Invalid(FieldErrors(vec![FieldError::new(field, value, problem)]))
    }

    pub(super) fn not_found(what: &'static str, id: impl std::fmt::Display) -> Self {
        let mut id = id.to_string();
        if let Some((at, _)) = id.char_indices().nth(80) {
            id.truncate(at);
        }
        Self::NotFound { what, id }
    }
}
