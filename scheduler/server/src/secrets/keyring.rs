//! The key-encryption keys, and what is done with them.

use std::fmt;
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::sealing::{self, KEY_BYTES, Key};
use super::{SecretError, SecretValue, VALUE_BYTES_MAX};
use crate::key_files::{self, KeyFile, KeyFileError};
use crate::store::{Sealed, Secret, SecretKey};

/// Suffix of the files: 32 bytes in base64 (`openssl rand -base64 32` makes one, too).
const KIND: &str = "secrets.key";

struct Kek {
    id: String,
    key: Key,
}

/// Versioned key-encryption keys. The newest seals, every key opens.
pub struct Keyring {
    /// Never empty; the newest last.
    keys: Vec<Kek>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|kek| &kek.id))
            .finish()
    }
}

impl Keyring {
    /// Reads the keys below a directory (0700, files 0600); makes the first one if there is none.
    ///
    /// # Errors
    /// They cannot be read, or others may read them.
    pub fn open(directory: &Path) -> Result<Self, SecretError> {
        let mut files = key_files::read(directory, KIND)?;
        if files.is_empty() {
            add(directory, 1)?;
            files = key_files::read(directory, KIND)?;
        }
        let keys = files.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// Adds a key that will seal once the directory is opened again; [`super::rewrap_all`] is next.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn rotate(directory: &Path) -> Result<(), SecretError> {
        let files = key_files::read(directory, KIND)?;
        add(directory, files.last().map_or(1, |key| key.number + 1))
    }

    /// Id of the key that seals.
    #[must_use]
    pub fn newest(&self) -> &str {
        &self.newest_key().id
    }

    fn newest_key(&self) -> &Kek {
        self.keys.last().expect("opening made one")
    }

    /// Encrypts a value for its place and version, which is the stored one's + 1.
    ///
    /// # Errors
    /// A value above the bound, or no randomness.
    pub fn seal(
        &self,
        key: &SecretKey,
        version: u64,
        value: &SecretValue,
    ) -> Result<Secret, SecretError> {
        let value = value.expose();
        if value.len() > VALUE_BYTES_MAX {
            return Err(SecretError::TooLong {
                name: key.name.clone(),
                given: value.len(),
                max: VALUE_BYTES_MAX,
            });
        }
        let own = random_key()?;
        let place = place(key, version);
        let ciphertext = sealing::seal(&own, &bound(b"value", "", &place), value);
        let ciphertext = ciphertext.ok_or(SecretError::Crypto {
            operation: "encrypt a secret",
        })?;
        let sealed = self.wrap(&own, &place, ciphertext)?;
        Ok(Secret {
            key: key.clone(),
            version,
            sealed,
        })
    }

    /// Decrypts a stored value.
    ///
    /// # Errors
    /// Its key is not here, or it was sealed for another place or version.
    pub fn unseal(&self, secret: &Secret) -> Result<SecretValue, SecretError> {
        let own = self.unwrap_key(secret)?;
        let bound = bound(b"value", "", &place(&secret.key, secret.version));
        let value = sealing::open(&own, &bound, &secret.sealed.ciphertext);
        value.map(SecretValue).ok_or_else(|| unreadable(secret))
    }

    /// The same value, its key wrapped by the newest key.
    pub(super) fn rewrap(&self, secret: &Secret) -> Result<Secret, SecretError> {
        let own = self.unwrap_key(secret)?;
        let place = place(&secret.key, secret.version);
        let sealed = self.wrap(&own, &place, secret.sealed.ciphertext.clone())?;
        Ok(Secret {
            key: secret.key.clone(),
            version: secret.version,
            sealed,
        })
    }

    fn wrap(&self, own: &Key, place: &[u8], ciphertext: Vec<u8>) -> Result<Sealed, SecretError> {
        let kek = self.newest_key();
        let wrapped = sealing::seal(&kek.key, &bound(b"key", &kek.id, place), &**own);
        Ok(Sealed {
            key_id: kek.id.clone(),
            wrapped_key: wrapped.ok_or(SecretError::Crypto {
                operation: "wrap a secret's key",
            })?,
            ciphertext,
        })
    }

    fn unwrap_key(&self, secret: &Secret) -> Result<Key, SecretError> {
        let kek = self.keys.iter().find(|kek| kek.id == secret.sealed.key_id);
        let kek = kek.ok_or_else(|| SecretError::UnknownKey {
            name: secret.key.name.clone(),
            key_id: secret.sealed.key_id.clone(),
        })?;
        let bound = bound(b"key", &kek.id, &place(&secret.key, secret.version));
        let opened = sealing::open(&kek.key, &bound, &secret.sealed.wrapped_key);
        opened
            .and_then(|bytes| key_of(&bytes))
            .ok_or_else(|| unreadable(secret))
    }
}

fn unreadable(secret: &Secret) -> SecretError {
    SecretError::Unreadable {
        name: secret.key.name.clone(),
        version: secret.version,
    }
}

/// Tenant, owner, name and version, each with its length: no two places have the same bytes.
fn place(key: &SecretKey, version: u64) -> Vec<u8> {
    let mut place = Vec::new();
    for part in [
        key.tenant.as_str().as_bytes(),
        key.owner.as_bytes(),
        key.name.as_bytes(),
    ] {
        place.extend_from_slice(&(part.len() as u64).to_le_bytes());
        place.extend_from_slice(part);
    }
    place.extend_from_slice(&version.to_le_bytes());
    place
}

/// What a layer is bound to: its role, the key that wraps (not for the value: it outlives rotations), the place.
fn bound(role: &[u8], key_id: &str, place: &[u8]) -> Vec<u8> {
    [
        b"davit secret ",
        role,
        b"\0",
        key_id.as_bytes(),
        b"\0",
        place,
    ]
    .concat()
}

fn random_key() -> Result<Key, SecretError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(&mut *key).map_err(|_| SecretError::Crypto {
        operation: "draw a random key",
    })?;
    Ok(key)
}

fn key_of(bytes: &[u8]) -> Option<Key> {
    bytes.try_into().ok().map(Zeroizing::new)
}

fn add(directory: &Path, number: u32) -> Result<(), SecretError> {
    let key = random_key()?;
    let mut text = Zeroizing::new(STANDARD.encode(*key));
    text.push('\n');
    Ok(key_files::add(directory, KIND, number, text.as_bytes())?)
}

fn parse(file: &KeyFile) -> Result<Kek, SecretError> {
    let decoded = STANDARD.decode(file.bytes.trim_ascii()).map(Zeroizing::new);
    let key = decoded.ok().and_then(|bytes| key_of(&bytes));
    Ok(Kek {
        id: file.number.to_string(),
        key: key.ok_or_else(|| KeyFileError::Content {
            path: file.path.clone(),
            wanted: "32 bytes in base64",
        })?,
    })
}
