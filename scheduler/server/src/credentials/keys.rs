//! The key pairs that sign, from PKCS #8 PEM files (`openssl genpkey -algorithm ed25519` makes one, too).

use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::CredentialError;
use crate::key_files::{self, KeyFile, KeyFileError};

/// Suffix of the files.
const KIND: &str = "jwt.pem";
/// Characters of a line in PEM (RFC 7468).
const PEM_LINE_BYTES: usize = 64;

/// A key pair and its name.
pub(super) struct SigningKey {
    /// Its thumbprint (RFC 7638): the same wherever the key is.
    pub(super) kid: String,
    pub(super) pair: Ed25519KeyPair,
}

impl SigningKey {
    /// The public key as in a JWK.
    pub(super) fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref())
    }
}

/// All keys, the newest last; makes the first one.
pub(super) fn open(directory: &Path) -> Result<Vec<SigningKey>, CredentialError> {
    let mut files = key_files::read(directory, KIND)?;
    if files.is_empty() {
        add(directory, 1)?;
        files = key_files::read(directory, KIND)?;
    }
    files.iter().map(parse).collect()
}

/// Adds a key that is newer than all there are.
pub(super) fn rotate(directory: &Path) -> Result<(), CredentialError> {
    let newest = key_files::read(directory, KIND)?;
    add(directory, newest.last().map_or(1, |key| key.number + 1))
}

fn add(directory: &Path, number: u32) -> Result<(), CredentialError> {
    let failed = |_| CredentialError::Crypto {
        operation: "make a signing key",
    };
    let pair = Ed25519KeyPair::generate().map_err(failed)?;
    let document = pair.to_pkcs8v1().map_err(failed)?;
    let body = Zeroizing::new(STANDARD.encode(document.as_ref()));
    let mut pem = Zeroizing::new(String::with_capacity(256));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in body.as_bytes().chunks(PEM_LINE_BYTES) {
        pem.extend(line.iter().map(|&byte| char::from(byte)));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Ok(key_files::add(directory, KIND, number, pem.as_bytes())?)
}

fn parse(file: &KeyFile) -> Result<SigningKey, CredentialError> {
    let no_key = || KeyFileError::Content {
        path: file.path.clone(),
        wanted: "an Ed25519 private key in PEM (PKCS #8)",
    };
    let der = PrivatePkcs8KeyDer::from_pem_slice(&file.bytes).map_err(|_| no_key())?;
    let pair =
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| no_key())?;
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    // The members in this order and nothing else: RFC 7638 and RFC 8037.
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let thumbprint = digest::digest(&digest::SHA256, canonical.as_bytes());
    Ok(SigningKey {
        kid: URL_SAFE_NO_PAD.encode(thumbprint.as_ref()),
        pair,
    })
}
