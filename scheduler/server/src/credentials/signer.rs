//! Signed access tokens: JWT (RFC 7519) with Ed25519 (RFC 8037), and nothing else a JWT may be.
//!
//! Written here in a hundred lines rather than taken from a library for every algorithm: there is no choice
//! that a token could make.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::keys::{self, SigningKey};
use super::{CredentialError, JWT_BYTES_MAX, LEEWAY_SECONDS, TTL_SECONDS_MAX};

const ISSUER: &str = "davit";
const ALGORITHM: &str = "EdDSA";

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

/// A field that is not here makes the header unreadable: `crit` must be understood or refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

#[derive(Serialize, Deserialize)]
struct Body {
    iss: String,
    sub: String,
    aud: String,
    scope: String,
    iat: u64,
    exp: u64,
}

/// Signs and verifies access tokens. The newest key signs, every key verifies: give a new one to all
/// replicas, then restart them; a token that a replica does not know yet is refused, and its bearer gets another.
pub struct Signer {
    /// Never empty; the newest last.
    keys: Vec<SigningKey>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kids = self.keys.iter().map(|key| &key.kid);
        f.debug_list().entries(kids).finish()
    }
}

impl Signer {
    /// Reads the keys below a directory (0700, files 0600); makes the first one if there is none.
    ///
    /// # Errors
    /// They cannot be read, or others may read them.
    pub fn open(directory: &Path) -> Result<Self, CredentialError> {
        let keys = keys::open(directory)?;
        Ok(Self { keys })
    }

    /// Adds a key that will sign once the directory is opened again.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn rotate(directory: &Path) -> Result<(), CredentialError> {
        keys::rotate(directory)
    }

    /// A token for `subject`, valid for `ttl` from `now_ms` on.
    ///
    /// # Errors
    /// A time to live above [`TTL_SECONDS_MAX`], a scope that is no word, or a token that would be too long.
    pub fn issue(
        &self,
        subject: &str,
        audience: &str,
        scopes: &[String],
        ttl: Duration,
        now_ms: u64,
    ) -> Result<String, CredentialError> {
        let ttl_s = ttl.as_secs();
        if !(1..=TTL_SECONDS_MAX).contains(&ttl_s) {
            return Err(issue(
                "its life",
                format!("{ttl_s} s"),
                "1 to 3600 s are wanted",
            ));
        }
        let is_word = |scope: &&String| scope.is_empty() || scope.contains(char::is_whitespace);
        if let Some(scope) = scopes.iter().find(is_word) {
            return Err(issue("a scope", format!("{scope:?}"), "a word is wanted"));
        }
        let key = self.newest();
        let header = Header {
            alg: ALGORITHM.to_owned(),
            kid: key.kid.clone(),
            typ: "JWT".to_owned(),
        };
        let now_s = now_ms / 1_000;
        let body = Body {
            iss: ISSUER.to_owned(),
            sub: subject.to_owned(),
            aud: audience.to_owned(),
            scope: scopes.join(" "),
            iat: now_s,
            exp: now_s.saturating_add(ttl_s),
        };
        let mut token = format!("{}.{}", encode(&header)?, encode(&body)?);
        let signature = key.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        if token.len() > JWT_BYTES_MAX {
            return Err(issue(
                "its length",
                token.len().to_string(),
                "at most 4096 bytes",
            ));
        }
        Ok(token)
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
        let wrong = |problem| CredentialError::Jwt { problem };
        if token.len() > JWT_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(wrong("it has no signature"))?;
        let (header, body) = signed.split_once('.').ok_or(wrong("it has no body"))?;
        let header: Header = decode(header).ok_or(wrong("its header cannot be read"))?;
        if header.alg != ALGORITHM {
            return Err(wrong("its algorithm is not EdDSA"));
        }
        let key = self.keys.iter().find(|key| key.kid == header.kid);
        let key = key.ok_or(wrong("its key is not known"))?;
        let forged = || wrong("its signature is not ours");
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| forged())?;
        UnparsedPublicKey::new(&ED25519, key.pair.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| forged())?;
        let body: Body = decode(body).ok_or(wrong("its body cannot be read"))?;
        accept(body, audience, now_ms / 1_000)
    }

    /// The public keys: body of `/.well-known/jwks.json` (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> String {
        let keys = self.keys.iter().map(|key| {
            json!({
                "kty": "OKP", "crv": "Ed25519", "x": key.x(),
                "kid": key.kid, "alg": ALGORITHM, "use": "sig",
            })
        });
        json!({ "keys": keys.collect::<Vec<_>>() }).to_string()
    }

    fn newest(&self) -> &SigningKey {
        self.keys.last().expect("opening made one")
    }
}

fn issue(what: &'static str, given: String, wanted: &'static str) -> CredentialError {
    CredentialError::Issue {
        what,
        given,
        wanted,
    }
}

/// What remains to be asked once the signature is ours.
fn accept(body: Body, audience: &str, now_s: u64) -> Result<Claims, CredentialError> {
    if body.iss != ISSUER || body.aud != audience {
        return Err(CredentialError::Audience {
            wanted: audience.to_owned(),
        });
    }
    let begun = body.iat <= now_s.saturating_add(LEEWAY_SECONDS);
    if !begun || now_s >= body.exp.saturating_add(LEEWAY_SECONDS) {
        return Err(CredentialError::Time {
            issued_s: body.iat,
            expires_s: body.exp,
            now_s,
        });
    }
    Ok(Claims {
        subject: body.sub,
        audience: body.aud,
        scopes: body.scope.split_whitespace().map(str::to_owned).collect(),
        issued_s: body.iat,
        expires_s: body.exp,
    })
}

fn encode(part: &impl Serialize) -> Result<String, CredentialError> {
    let json = serde_json::to_vec(part).map_err(|_| CredentialError::Crypto {
        operation: "write a token as JSON",
    })?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

fn decode<T: for<'a> Deserialize<'a>>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}
