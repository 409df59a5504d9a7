//! Values that only the job may see, encrypted at rest (envelope encryption).
//!
//! ```text
//!  value ── AES-256-GCM under its own random key ──► ciphertext
//!                                    │  wrapped: AES-256-GCM under the newest key of the ring
//!                                    └──────────────────────────► wrapped_key, key_id
//!  both bound to tenant, owner, name and version: a row that is moved or replayed does not open
//! ```
//!
//! Invariants:
//!
//! - Without the key files the database is worth nothing; they are never in it.
//! - A rotation wraps value keys anew and touches no ciphertext; a value that was set meanwhile wins.
//! - Plaintext and keys are erased when dropped, and no `Debug` or error shows them.
//!
//! Absent on purpose: who may read a secret (the service's), and where it is used (the link's).

mod error;
mod keyring;
mod rewrap;
mod sealing;
#[cfg(test)]
mod tests;

use std::fmt;

use zeroize::Zeroizing;

pub use error::SecretError;
pub use keyring::Keyring;
pub use rewrap::rewrap_all;

use crate::store::limits::SECRET_BYTES_MAX;

/// The longest value: what is stored has a version, a nonce and a tag beside it.
pub const VALUE_BYTES_MAX: usize = SECRET_BYTES_MAX - sealing::OVERHEAD_BYTES;

/// A decrypted value: never shown, erased when dropped.
#[derive(Clone)]
pub struct SecretValue(Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes a value.
    #[must_use]
    pub fn new(value: Vec<u8>) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}
