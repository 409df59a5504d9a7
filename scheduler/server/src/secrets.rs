//! Values that only the job may see, encrypted at rest.

use std::path::Path;

use crate::store::{Sealed, Secret, SecretKey, Store};

/// A decrypted value: never shown, erased when dropped.
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Takes a value.
    #[must_use]
    pub fn new(value: Vec<u8>) -> Self {
        Self(value)
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// Versioned key-encryption keys.
pub struct Keyring;

impl Keyring {
    /// Reads the keys below a directory (0700, files 0600); the newest seals. Makes the first one if there is none.
    ///
    /// # Errors
    /// They cannot be read, or others may read them.
    pub fn open(directory: &Path) -> Result<Self, SecretError> {
        unimplemented!("{}", directory.display())
    }

    /// Id of the key that seals.
    #[must_use]
    pub fn newest(&self) -> &str {
        unimplemented!()
    }

    /// Encrypts a value for its place and version (the next one: 1 + the stored one).
    ///
    /// # Errors
    /// No randomness, or a value above the bound.
    pub fn seal(
        &self,
        key: &SecretKey,
        version: u64,
        value: &SecretValue,
    ) -> Result<Secret, SecretError> {
        let _: Option<Sealed> = None;
        unimplemented!("{key:?} {version} {:?}", value.expose().len())
    }

    /// Decrypts a stored value.
    ///
    /// # Errors
    /// Its key is not here, or it was sealed for another place.
    pub fn unseal(&self, secret: &Secret) -> Result<SecretValue, SecretError> {
        unimplemented!("{secret:?}")
    }
}

/// Wraps every secret anew under the newest key; how many were.
///
/// # Errors
/// The store's, or one that cannot be opened.
pub async fn rewrap_all(
    keys: &Keyring,
    store: &dyn Store,
    actor: &str,
    now_ms: u64,
) -> Result<usize, SecretError> {
    let _ = (store.hints(), keys.newest());
    unimplemented!("{actor} {now_ms}")
}

/// What is wrong with a secret or its keys.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It wants a key that is not here.
    #[error("there is no key `{key_id}`")]
    UnknownKey {
        /// As stored.
        key_id: String,
    },
}
