//! Which images must be signed, by which keys, and whether they are.
//!
//! ```text
//!  digest the reference stands for ──► rules whose repositories cover the name ──► none: free to run
//!                                                     │ each
//!            registry: what is signed, and how ──► a key of the rule verifies it ──► it names this digest
//!                                                     │
//!                         label of the blob with that digest: by which key ──► asked from then on
//! ```
//!
//! What is signed is a digest: of the index, where the reference stands for one, else of the manifest. Everything below it is
//! held by digests already, so nothing else of an image is looked at.
//!
//! Invariants:
//! - nothing of an image but its manifests is fetched before its signature was verified;
//! - bytes are parsed after their signature was verified, but for what says where the signature is;
//! - a verdict is remembered by digest and key: with another key, or under another digest, it does not exist;
//! - what cannot be verified does not run: no answer, no verdict and policy `never`, too many signatures.
//!
//! Absent on purpose: transparency log and certificates of an authority (Rekor, Fulcio): a host would have to reach them, or
//! trust what they once said; keys are the operator's files. Annotations, and the name in a signature: an image may be copied to
//! another registry along with its signature. A signature says who made a content, not that it is the newest.

mod bundle;
mod key;
mod simple;
mod verify;

use std::path::Path;

use davit_types::FieldError;

use super::ImageName;
use super::reference::{covers, parse_repository};

pub(super) use self::key::PublicKey;

/// Covers every repository.
const ALL: &str = "*";
/// What a rule is called in errors.
const SETTING: &str = "image_signatures";

/// One entry of the settings: where it counts, and whose signature it asks for.
#[derive(Clone, Debug)]
struct Rule {
    /// `registry/repository` each, and all below; `None` is every one.
    repositories: Vec<Option<String>>,
    /// One of them must have signed.
    keys: Vec<PublicKey>,
}

/// The images that must be signed on this host; by default none.
#[derive(Clone, Debug, Default)]
pub struct SignatureRules(Vec<Rule>);

impl SignatureRules {
    /// Adds the rule that images of `repositories` are signed with a key of `public_key_files`.
    ///
    /// # Errors
    /// A [`FieldError`] for every entry that is no repository and every file that is no key davit verifies with.
    pub fn add<S: AsRef<str>, P: AsRef<Path>>(
        &mut self,
        repositories: &[S],
        public_key_files: &[P],
    ) -> Result<(), Vec<FieldError>> {
        let place = format!("{SETTING}[{}]", self.0.len());
        let mut errors = Vec::new();
        let mut rule = Rule {
            repositories: Vec::new(),
            keys: Vec::new(),
        };
        for (at, entry) in repositories.iter().enumerate() {
            let entry = entry.as_ref();
            if entry == ALL {
                rule.repositories.push(None);
                continue;
            }
            match parse_repository(
                entry,
                "neither registry/repository, registry/repository/* nor *",
            ) {
                Ok(repository) => rule.repositories.push(Some(repository)),
                Err(problem) => {
                    let field = format!("{place}.repositories[{at}]");
                    errors.push(FieldError::new(field, entry, problem));
                }
            }
        }
        for (at, file) in public_key_files.iter().enumerate() {
            let file = file.as_ref();
            match PublicKey::read(file) {
                Ok(key) => rule.keys.push(key),
                Err(problem) => {
                    let field = format!("{place}.public_key_files[{at}]");
                    errors.push(FieldError::new(field, file.display().to_string(), problem));
                }
            }
        }
        // Without either a rule would ask for nothing, or for what nobody can give.
        for (none, field) in [
            (repositories.is_empty(), "repositories"),
            (public_key_files.is_empty(), "public_key_files"),
        ] {
            if none {
                let field = format!("{place}.{field}");
                errors.push(FieldError::new(field, "[]", "must name at least one"));
            }
        }
        if errors.is_empty() {
            self.0.push(rule);
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// What `name` must be signed with: one key of each.
    fn of<'a>(&'a self, name: &'a ImageName) -> impl Iterator<Item = &'a [PublicKey]> {
        let covering = self.0.iter().filter(|rule| {
            let mut repositories = rule.repositories.iter();
            repositories.any(|repository| {
                repository
                    .as_ref()
                    .is_none_or(|repository| covers(repository, name))
            })
        });
        covering.map(|rule| rule.keys.as_slice())
    }
}

#[cfg(test)]
mod tests;
