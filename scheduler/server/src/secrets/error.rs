//! What is wrong with a secret or its keys.

use crate::key_files::KeyFileError;
use crate::store::StoreError;

/// See the module. Names, never values.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The keys themselves.
    #[error("the keys of secrets cannot be used")]
    Keys(#[from] KeyFileError),
    /// It wants a key that is not here.
    #[error("secret `{name}` is wrapped by key `{key_id}`, which is not among the key files")]
    UnknownKey {
        /// The secret's name.
        name: String,
        /// As stored.
        key_id: String,
    },
    /// What is stored is not what was sealed for this place and version.
    #[error("secret `{name}`, version {version}, does not open: it was changed, or is another's")]
    Unreadable {
        /// The secret's name.
        name: String,
        /// As stored.
        version: u64,
    },
    /// A value above the bound.
    #[error("secret `{name}` has {given} bytes, at most {max} are allowed")]
    TooLong {
        /// The secret's name.
        name: String,
        /// Its bytes.
        given: usize,
        /// The bound.
        max: usize,
    },
    /// The system's source of randomness, or the crypto library, failed.
    #[error("cannot {operation}")]
    Crypto {
        /// What was tried.
        operation: &'static str,
    },
    /// The store failed.
    #[error("secrets cannot be read or stored")]
    Store(#[from] StoreError),
}
