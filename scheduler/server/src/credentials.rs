//! What opens the API and the link: tokens that are looked up, and signed ones that are not.

use std::path::Path;
use std::time::Duration;

/// What a token opens; a word of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// The REST API, for one tenant.
    Api,
    /// Registering a host, once.
    Join,
    /// A host's client secret.
    Host,
    /// A principal's client secret.
    Client,
}

/// A new token. Its text is shown once and stored nowhere.
pub struct MintedToken {
    /// `davit_<kind>_<secret><checksum>`.
    pub text: String,
    /// SHA-256 of the text: what is stored.
    pub hash: [u8; 32],
}

/// Makes a token.
///
/// # Errors
/// The system has no randomness.
pub fn mint(kind: CredentialKind) -> Result<MintedToken, CredentialError> {
    unimplemented!("{kind:?}")
}

/// The SHA-256 of a token that is spelled like one of this kind: nothing is looked up for any other text.
///
/// # Errors
/// Another kind, wrong letters, length or checksum.
pub fn check(kind: CredentialKind, text: &str) -> Result<[u8; 32], CredentialError> {
    unimplemented!("{kind:?} {text}")
}

/// What a signed token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who.
    pub subject: String,
    /// For whom.
    pub audience: String,
    /// What for.
    pub scopes: Vec<String>,
    /// Unix seconds.
    pub issued_s: u64,
    /// Unix seconds; not valid from then on.
    pub expires_s: u64,
}

/// Signs and verifies access tokens (JWT, Ed25519).
pub struct Signer;

impl Signer {
    /// Reads the keys below a directory (0700, files 0600); the newest signs. Makes the first one if there is none.
    ///
    /// # Errors
    /// They cannot be read, or others may read them.
    pub fn open(directory: &Path) -> Result<Self, CredentialError> {
        unimplemented!("{}", directory.display())
    }

    /// A token for `subject`, valid for `ttl` from `now_ms` on.
    ///
    /// # Errors
    /// A time to live of more than an hour.
    pub fn issue(
        &self,
        subject: &str,
        audience: &str,
        scopes: &[String],
        ttl: Duration,
        now_ms: u64,
    ) -> Result<String, CredentialError> {
        unimplemented!("{subject} {audience} {scopes:?} {ttl:?} {now_ms}")
    }

    /// What a token says, if one of our keys signed it, for this audience, and it is not over.
    ///
    /// # Errors
    /// Anything else.
    pub fn verify(
        &self,
        token: &str,
        audience: &str,
        now_ms: u64,
    ) -> Result<Claims, CredentialError> {
        unimplemented!("{token} {audience} {now_ms}")
    }

    /// The public keys: body of `/.well-known/jwks.json` (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> String {
        unimplemented!()
    }
}

/// Why a credential opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A text that is no token.
    #[error("this is no {wanted} token")]
    Malformed {
        /// The kind asked for.
        wanted: &'static str,
    },
}
