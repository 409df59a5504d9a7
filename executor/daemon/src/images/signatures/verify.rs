//! Asking the registry for signatures, and remembering what came of it.

use std::borrow::Cow;
use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::simple::{self, PAYLOAD_BYTES_MAX};
use super::{PublicKey, SETTING, bundle};
use crate::images::documents::digest_of;
use crate::images::local::Known;
use crate::images::pull::Pull;
use crate::images::registry::Session;
use crate::images::{ImageError, ImageName, Inner};

/// What labels of a signed blob begin with; a key's first hexadecimal digits follow, its fingerprint is the value.
const LABEL: &str = "davit.signed-by.";
/// Digits of a fingerprint in the name of a label.
const LABEL_DIGITS: usize = 16;

#[derive(Clone, Copy)]
enum Format {
    Simple,
    Bundle,
}

/// A signature as the registry has it, and what it is over.
struct Signed {
    content: Vec<u8>,
    signature: Vec<u8>,
    format: Format,
}

impl Signed {
    fn is_by(&self, key: &PublicKey) -> bool {
        let message = match self.format {
            Format::Simple => Cow::Borrowed(self.content.as_slice()),
            Format::Bundle => Cow::Owned(bundle::message_of(&self.content)),
        };
        key.has_signed(&message, &self.signature)
    }

    /// To be asked once it is known by whom it is.
    fn is_about(&self, digest: &str) -> bool {
        match self.format {
            Format::Simple => simple::is_about(&self.content, digest),
            Format::Bundle => bundle::is_about(&self.content, digest),
        }
    }
}

impl Inner {
    /// Whether it is known that `name` is signed as the rules ask, as far as its digest goes.
    pub(in crate::images) async fn is_known_signed(
        &self,
        name: &ImageName,
        digest: &str,
    ) -> Result<bool, ImageError> {
        let is_met = |known: &Known| {
            let mut rules = self.options.signatures.of(name);
            rules.all(|keys| {
                let mut keys = keys.iter();
                keys.any(|key| known.is_signed(digest, key.fingerprint()))
            })
        };
        if is_met(&self.known) {
            return Ok(true);
        }
        let labels = self.containerd.blob_labels(digest).await?;
        for (label, fingerprint) in labels.unwrap_or_default() {
            if label.starts_with(LABEL) {
                self.known.remember_signed(digest, &fingerprint);
            }
        }
        Ok(is_met(&self.known))
    }

    /// Writes down that `digest`, which is stored here, is signed with `keys`.
    pub(in crate::images) async fn note_signed(
        &self,
        digest: &str,
        keys: &[PublicKey],
    ) -> Result<(), ImageError> {
        if keys.is_empty() {
            return Ok(());
        }
        let labels = keys.iter().map(PublicKey::fingerprint).map(|fingerprint| {
            let digits = fingerprint.trim_start_matches("sha256:");
            let digits: String = digits.chars().take(LABEL_DIGITS).collect();
            (format!("{LABEL}{digits}"), fingerprint.to_owned())
        });
        self.containerd.blob_label(digest, labels.collect()).await?;
        for key in keys {
            self.known.remember_signed(digest, key.fingerprint());
        }
        Ok(())
    }
}

impl Pull<'_> {
    /// Verifies that `digest`, what the reference stands for, is signed as the rules ask; returns by whom.
    pub(in crate::images) async fn verify_signed(
        &self,
        session: &Session,
        digest: &str,
    ) -> Result<Vec<PublicKey>, ImageError> {
        if self
            .store
            .options
            .signatures
            .of(&self.name)
            .next()
            .is_none()
        {
            return Ok(Vec::new());
        }
        let mut found = self.simple_signatures(session, digest).await?;
        if let Ok(keys) = self.signers(digest, &found) {
            return Ok(keys);
        }
        found.extend(self.bundles(session, digest).await?);
        self.signers(digest, &found)
    }

    /// Of each rule the key that signed `digest`.
    fn signers(&self, digest: &str, found: &[Signed]) -> Result<Vec<PublicKey>, ImageError> {
        let rules = self.store.options.signatures.of(&self.name);
        rules
            .map(|keys| signer(digest, keys, found))
            .collect::<Result<_, _>>()
            .map_err(|problem| self.unsigned(digest, problem))
    }

    pub(in crate::images) fn unsigned(&self, digest: &str, problem: String) -> ImageError {
        ImageError::Unsigned {
            image: self.name.to_string(),
            digest: digest.to_owned(),
            setting: SETTING,
            problem,
        }
    }

    fn unreadable(&self, digest: &str, problem: &str) -> ImageError {
        let problem = format!("the list of its signatures cannot be read: {problem}");
        self.unsigned(digest, problem)
    }

    /// What is beside the image, none of it verified.
    async fn simple_signatures(
        &self,
        session: &Session,
        digest: &str,
    ) -> Result<Vec<Signed>, ImageError> {
        let Some(manifest) = there(session.manifest(&simple::tag_of(digest)).await)? else {
            return Ok(Vec::new());
        };
        let announced = simple::announced(&manifest.bytes)
            .map_err(|problem| self.unreadable(digest, &problem))?;
        let mut payloads: HashMap<String, Option<Vec<u8>>> = HashMap::new();
        let mut found = Vec::new();
        for one in announced {
            let payload = match payloads.get(&one.payload_digest) {
                Some(payload) => payload.clone(),
                None => {
                    let payload = small_blob(session, &one.payload_digest).await?;
                    payloads.insert(one.payload_digest, payload.clone());
                    payload
                }
            };
            found.extend(payload.map(|content| Signed {
                content,
                signature: one.signature,
                format: Format::Simple,
            }));
        }
        Ok(found)
    }

    /// What refers to the image, none of it verified.
    async fn bundles(&self, session: &Session, digest: &str) -> Result<Vec<Signed>, ImageError> {
        let list = match session.referrers(digest).await? {
            Some(list) => Some(list),
            None => there(session.manifest(&bundle::tag_of(digest)).await)?.map(|list| list.bytes),
        };
        let Some(list) = list else {
            return Ok(Vec::new());
        };
        let listed = bundle::listed(&list).map_err(|problem| self.unreadable(digest, &problem))?;
        let mut found = Vec::new();
        for manifest in listed {
            // That it is what its digest says does not matter: what counts in it is signed.
            let Some(manifest) = there(session.manifest(&manifest).await)? else {
                continue;
            };
            let Some(held) = bundle::held(&manifest.bytes) else {
                continue;
            };
            let held = small_blob(session, &held).await?;
            let opened = held.and_then(|held| bundle::opened(&held));
            found.extend(opened.map(|(content, signature)| Signed {
                content,
                signature,
                format: Format::Bundle,
            }));
        }
        Ok(found)
    }
}

/// The one of `keys` that signed `digest`, or why none did.
fn signer(digest: &str, keys: &[PublicKey], found: &[Signed]) -> Result<PublicKey, String> {
    let mut of_another = 0usize;
    for signed in found {
        match keys.iter().find(|key| signed.is_by(key)) {
            Some(key) if signed.is_about(digest) => return Ok(key.clone()),
            Some(_) => of_another += 1,
            None => {}
        }
    }
    Err(match (found.len(), of_another) {
        (0, _) => "its repository holds no signature of it".to_owned(),
        (all, 0) => format!("none of {all} signatures there is by a key that counts"),
        (all, _) => format!(
            "of {all} signatures there, {of_another} are by a key that counts, but of something else"
        ),
    })
}

/// What is not there is no failure.
fn there<T>(answer: Result<T, ImageError>) -> Result<Option<T>, ImageError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ImageError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A small blob that is what its digest says; `None` where the registry has another one or none.
async fn small_blob(session: &Session, digest: &str) -> Result<Option<Vec<u8>>, ImageError> {
    let bytes = there(session.small_blob(digest, PAYLOAD_BYTES_MAX).await)?;
    Ok(bytes.filter(|bytes| digest_of(Sha256::digest(bytes).as_slice()) == digest))
}
