//! Why a credential opens nothing. No variant holds any of its text.

use crate::key_files::KeyFileError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A text that is no token of this kind.
    #[error("this is not a token of the form {wanted}…")]
    Malformed {
        /// How one begins.
        wanted: &'static str,
    },
    /// A text that is no JWT of ours: form, algorithm, key or signature.
    #[error("the access token is not valid: {problem}")]
    Jwt {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It is for somebody else.
    #[error("the access token is not for {wanted}")]
    Audience {
        /// Who looked at it.
        wanted: String,
    },
    /// Its time is over, or has not come.
    #[error("the access token is valid from {issued_s} to {expires_s}, now is {now_s}")]
    Time {
        /// Unix seconds.
        issued_s: u64,
        /// Unix seconds.
        expires_s: u64,
        /// Unix seconds.
        now_s: u64,
    },
    /// A token that may not be issued.
    #[error("a token cannot be issued: {what} is {given}, {wanted}")]
    Issue {
        /// Which part.
        what: &'static str,
        /// What it is.
        given: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The signing keys.
    #[error("the signing keys cannot be used")]
    Keys(#[from] KeyFileError),
    /// The system's source of randomness, or the crypto library, failed.
    #[error("cannot {operation}")]
    Crypto {
        /// What was tried.
        operation: &'static str,
    },
}
