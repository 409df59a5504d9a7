//! The keys signatures are verified with: the two kinds that cosign and skopeo make, told apart by the exact bytes their
//! encodings begin with (RFC 5480, RFC 8410), so that no ASN.1 is interpreted here.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};

use crate::images::documents::digest_of;

/// Largest file of a public key, bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// Bits of a file's mode by which others than its owner could change it.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// `SubjectPublicKeyInfo` of a P-256 key up to the point, which is uncompressed.
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P256_POINT_BYTES: usize = 65;
/// `SubjectPublicKeyInfo` of an Ed25519 key up to the key.
const ED25519_PREFIX: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const ED25519_BYTES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    EcdsaP256Sha256,
    Ed25519,
}

/// A public key of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::images) struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
    /// `sha256:…` of its encoding.
    fingerprint: String,
}

impl PublicKey {
    /// The key in a PEM file.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
        let file = File::open(path).map_err(unreadable)?;
        let meta = file.metadata().map_err(unreadable)?;
        // Whoever may replace it decides what runs.
        if meta.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(format!(
                "can be changed by others than its owner (mode {:04o}): chmod 0644",
                meta.mode() & 0o7777
            ));
        }
        let mut pem = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut pem)
            .map_err(unreadable)?;
        if pem.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("has more than {FILE_BYTES_MAX} bytes"));
        }
        Self::parse(&pem)
    }

    /// # Errors
    /// As [`Self::read`].
    pub(super) fn parse(pem: &[u8]) -> Result<Self, String> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| {
            "holds no PEM block PUBLIC KEY: give the .pub file of `cosign generate-key-pair`"
                .to_owned()
        })?;
        let kinds = [
            (Algorithm::EcdsaP256Sha256, P256, P256_POINT_BYTES),
            (Algorithm::Ed25519, ED25519_PREFIX, ED25519_BYTES),
        ];
        let found = kinds.into_iter().find_map(|(algorithm, prefix, bytes)| {
            let key = spki.strip_prefix(prefix)?;
            (key.len() == bytes).then_some((algorithm, key))
        });
        let (algorithm, bytes) = found.ok_or_else(|| {
            "is a key of another kind than davit verifies with: ECDSA P-256 (cosign's own) or Ed25519"
                .to_owned()
        })?;
        Ok(Self {
            algorithm,
            bytes: bytes.to_vec(),
            fingerprint: digest_of(Sha256::digest(&spki).as_slice()),
        })
    }

    /// Who it is, for verdicts: the same for the same key, whatever its file is called.
    pub(in crate::images) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether it made `signature` over `message`.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::EcdsaP256Sha256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.bytes)
                    .verify(message, signature)
                    .is_ok()
            }
            Algorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.bytes)
                .verify(message, signature)
                .is_ok(),
        }
    }
}
