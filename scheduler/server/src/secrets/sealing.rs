//! One layer of AES-256-GCM: `1 | nonce | ciphertext and tag`.
//!
//! Every value has a key of its own, and a key that wraps others draws random nonces: 2^32 wraps keep the
//! chance of a repeat below 2^-32 (NIST SP 800-38D, 8.3).

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Version, nonce and tag.
pub(super) const OVERHEAD_BYTES: usize = 1 + NONCE_LEN + 16;
const VERSION: u8 = 1;

/// A key that is erased when dropped.
pub(super) type Key = Zeroizing<[u8; KEY_BYTES]>;

fn aead(key: &Key) -> Option<RandomizedNonceKey> {
    RandomizedNonceKey::new(&AES_256_GCM, &**key).ok()
}

/// Encrypts; `None`: the library or the system's randomness failed.
pub(super) fn seal(key: &Key, bound_to: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
    // Room for all of it, so that no copy of the plaintext is left behind by growing.
    let mut inside = Zeroizing::new(Vec::with_capacity(plaintext.len() + OVERHEAD_BYTES));
    inside.extend_from_slice(plaintext);
    let nonce = aead(key)?
        .seal_in_place_append_tag(Aad::from(bound_to), &mut *inside)
        .ok()?;
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + inside.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(nonce.as_ref());
    sealed.extend_from_slice(&inside);
    Some(sealed)
}

/// Decrypts; `None`: another key, another place, or changed.
pub(super) fn open(key: &Key, bound_to: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (&[VERSION], rest) = sealed.split_first_chunk::<1>()? else {
        return None;
    };
    let (nonce, inside) = rest.split_first_chunk::<NONCE_LEN>()?;
    let mut inside = Zeroizing::new(inside.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = aead(key)?
        .open_in_place(nonce, Aad::from(bound_to), &mut inside)
        .ok()?
        .len();
    inside.truncate(length);
    Some(inside)
}
