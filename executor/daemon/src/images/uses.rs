//! Which images are in use: counted by digest, since one image may bear many names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

type Counts = Arc<Mutex<HashMap<String, usize>>>;

/// The counts of all guards.
#[derive(Clone, Debug, Default)]
pub(super) struct Uses {
    counts: Counts,
}

/// One use of an image; clones share it, the last one dropped ends it.
#[derive(Clone, Debug)]
pub(super) struct UseGuard {
    #[expect(dead_code, reason = "held for its Drop")]
    token: Arc<Token>,
}

#[derive(Debug)]
struct Token {
    digest: String,
    counts: Counts,
}

impl Uses {
    /// Notes a use of the image with this digest.
    pub(super) fn begin(&self, digest: &str) -> UseGuard {
        *lock(&self.counts).entry(digest.to_owned()).or_insert(0) += 1;
        UseGuard {
            token: Arc::new(Token {
                digest: digest.to_owned(),
                counts: Arc::clone(&self.counts),
            }),
        }
    }

    /// Whether anybody uses it.
    pub(super) fn is_used(&self, digest: &str) -> bool {
        lock(&self.counts).contains_key(digest)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.digest);
            }
        }
    }
}

/// Nothing panics while holding it, and a count stays true even if something did.
fn lock(counts: &Counts) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_used_until_the_last_guard_is_dropped() {
        let uses = Uses::default();
        let first = uses.begin("sha256:a");
        let second = uses.begin("sha256:a");
        let clone = second.clone();
        drop((first, second));
        assert!(uses.is_used("sha256:a"));
        drop(clone);
        assert!(!uses.is_used("sha256:a"));
    }
}
