//! Tokens that are looked up: `davit_<kind>_<secret><checksum>`.
//!
//! The secret is 30 letters of base62, 178 bits; the checksum is the CRC-32 of all before it, six letters. So
//! a scanner can tell such a text from any other, and a mistyped one costs no look-up.

use std::fmt;

use aws_lc_rs::{digest, rand};
use zeroize::Zeroizing;

use super::CredentialError;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 30 × log2 62 = 178 bits.
const SECRET_LETTERS: usize = 30;
/// 62^6 > 2^32.
const CHECKSUM_LETTERS: usize = 6;
/// Letters of the secret that are kept for people to tell tokens apart; 155 bits stay unknown.
const SHOWN_LETTERS: usize = 4;

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

impl CredentialKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Api, Self::Join, Self::Host, Self::Client];

    /// How its tokens begin.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Api => "davit_api_",
            Self::Join => "davit_join_",
            Self::Host => "davit_host_",
            Self::Client => "davit_client_",
        }
    }
}

/// A new token. Its text is shown once and stored nowhere.
pub struct MintedToken {
    /// `davit_<kind>_<secret><checksum>`.
    pub text: String,
    /// SHA-256 of the text: what is stored.
    pub hash: [u8; 32],
}

impl MintedToken {
    /// Its first characters, for people to tell tokens apart: may be stored and shown.
    #[must_use]
    pub fn shown(&self) -> &str {
        let letters = SECRET_LETTERS - SHOWN_LETTERS + CHECKSUM_LETTERS;
        &self.text[..self.text.len() - letters]
    }
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MintedToken({}…)", self.shown())
    }
}

/// Makes a token.
///
/// # Errors
/// The system has no randomness.
pub fn mint(kind: CredentialKind) -> Result<MintedToken, CredentialError> {
    let mut text = kind.prefix().to_owned();
    let secret_end = text.len() + SECRET_LETTERS;
    let mut random = Zeroizing::new([0_u8; 64]);
    while text.len() < secret_end {
        rand::fill(&mut *random).map_err(|_| CredentialError::Crypto {
            operation: "draw random bytes",
        })?;
        // 248 = 4 × 62: every letter is as likely as any other.
        let fair = random.iter().filter(|&&byte| byte < 248);
        let letters = fair.map(|&byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        text.extend(letters.take(secret_end - text.len()));
    }
    let checksum = checksum(text.as_bytes());
    text.extend(checksum.map(char::from));
    let hash = sha256(text.as_bytes());
    Ok(MintedToken { text, hash })
}

/// The SHA-256 of a token that is spelled like one of this kind: nothing is looked up for any other text.
///
/// # Errors
/// Another kind, wrong letters, length or checksum.
pub fn check(kind: CredentialKind, text: &str) -> Result<[u8; 32], CredentialError> {
    let malformed = CredentialError::Malformed {
        wanted: kind.prefix(),
    };
    let Some(rest) = text.strip_prefix(kind.prefix()) else {
        return Err(malformed);
    };
    if rest.len() != SECRET_LETTERS + CHECKSUM_LETTERS
        || !rest.bytes().all(|byte| ALPHABET.contains(&byte))
    {
        return Err(malformed);
    }
    let (signed, given) = text.as_bytes().split_at(text.len() - CHECKSUM_LETTERS);
    if given != checksum(signed) {
        return Err(malformed);
    }
    Ok(sha256(text.as_bytes()))
}

/// CRC-32 as six letters, most significant first.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LETTERS] {
    let mut rest = crc32fast::hash(bytes) as usize;
    let mut letters = [b'0'; CHECKSUM_LETTERS];
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET[rest % ALPHABET.len()];
        rest /= ALPHABET.len();
    }
    letters
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}
