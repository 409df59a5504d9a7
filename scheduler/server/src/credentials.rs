//! What opens the API and the link: tokens that are looked up, and signed ones that are not.
//!
//! ```text
//!  mint ──► text, shown once ── check: kind, length, letters, CRC ──► SHA-256 ──► looked up in the store
//!      └──► SHA-256, stored
//!  Signer: key files ──► issue ──► JWT, minutes ──► verify: our signature, audience, time ──► Claims
//!                   └──► JWKS
//! ```
//!
//! Invariants:
//!
//! - A token's text is stored nowhere; nothing is looked up for a text that `mint` cannot have made.
//! - A signed token names its key; its algorithm is Ed25519 whatever it says, and nothing in it is read
//!   before its signature was verified, but that name.
//! - No error and no `Debug` shows a token or a key.
//!
//! Absent on purpose: scopes' meaning, revocation and tenants (the service's), clocks (instants are passed in).

mod error;
mod keys;
mod signer;
#[cfg(test)]
mod tests;
mod token;

pub use error::CredentialError;
pub use signer::{Claims, Signer};
pub use token::{CredentialKind, MintedToken, check, mint};

/// The longest life of a signed token: it cannot be revoked.
pub const TTL_SECONDS_MAX: u64 = 60 * 60;
/// How far clocks may be apart.
pub const LEEWAY_SECONDS: u64 = 30;
/// A signed token's text.
pub const JWT_BYTES_MAX: usize = 4 * 1024;
