//! Users looked up in images, remembered: what is in a layer never changes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::containerd::Mount;
use crate::oci::{ResolvedUser, UserError, resolve_user};

/// Users remembered; a user has at most some 10 KiB.
const USERS_MAX: usize = 1_000;

/// By the image's chain id and the text looked up.
type Known = HashMap<(String, String), ResolvedUser>;

/// What was looked up before.
#[derive(Debug, Default)]
pub(crate) struct Users {
    known: Mutex<Known>,
}

impl Users {
    /// The user, if it was looked up before.
    pub(crate) fn find(&self, chain_id: &str, text: &str) -> Option<ResolvedUser> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(chain_id.to_owned(), text.to_owned())).cloned()
    }

    /// The user, looked up in the root file system that `mounts` describe if need be. Blocking.
    pub(crate) fn resolve(
        &self,
        chain_id: &str,
        text: &str,
        mounts: &[Mount],
    ) -> Result<ResolvedUser, UserError> {
        if let Some(user) = self.find(chain_id, text) {
            return Ok(user);
        }
        let user = resolve_user(mounts, text)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= USERS_MAX {
            // Rare and cheap to find again: two files of an image.
            known.clear();
        }
        known.insert((chain_id.to_owned(), text.to_owned()), user.clone());
        Ok(user)
    }
}
