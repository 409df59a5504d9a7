//! The scheduler's keys: of secrets, of access tokens, and the one that hosts' client secrets follow from.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{ServeError, place};
use crate::credentials::{CredentialError, Signer};
use crate::key_files::{self, KeyFileError};
use crate::secrets::Keyring;
use crate::settings::Settings;

/// Suffix of the hosts' key file. There is one and it stays: only repeated registrations need it.
const KIND: &str = "hosts.key";

/// All of them.
pub(super) struct Keys {
    pub(super) secrets: Keyring,
    pub(super) access: Signer,
    pub(super) hosts: [u8; 32],
}

pub(super) fn open(settings: &Settings) -> Result<Keys, ServeError> {
    let directory = place::keys(settings);
    Ok(Keys {
        secrets: Keyring::open(&directory)?,
        access: Signer::open(&directory)?,
        hosts: hosts(&directory)?,
    })
}

pub(super) fn rotate(settings: &Settings) -> Result<(), ServeError> {
    let directory = place::keys(settings);
    Keyring::rotate(&directory)?;
    Ok(Signer::rotate(&directory)?)
}

fn hosts(directory: &std::path::Path) -> Result<[u8; 32], ServeError> {
    let mut files = key_files::read(directory, KIND)?;
    if files.is_empty() {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key).map_err(|_| CredentialError::Crypto {
            operation: "draw a random key",
        })?;
        let text = Zeroizing::new(STANDARD.encode(*key) + "\n");
        key_files::add(directory, KIND, 1, text.as_bytes())?;
        files = key_files::read(directory, KIND)?;
    }
    let decoded = files
        .first()
        .and_then(|file| STANDARD.decode(file.bytes.trim_ascii()).ok())
        .map(Zeroizing::new);
    let key = decoded.and_then(|bytes| <[u8; 32]>::try_from(&bytes[..]).ok());
    key.ok_or_else(|| {
        let path = directory.join(format!("1.{KIND}"));
        let wanted = "32 bytes in base64";
        KeyFileError::Content { path, wanted }.into()
    })
}
