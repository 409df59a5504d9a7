//! Wrapping everything anew under the newest key, after a rotation.

use super::{Keyring, SecretError};
use crate::store::{Done, Store, limits};

/// Wraps every secret anew under the newest key; how many were. May be stopped and begun again at any point.
///
/// # Errors
/// The store's, or a secret that cannot be opened: all others of the same batch were wrapped before.
pub async fn rewrap_all(
    keys: &Keyring,
    store: &dyn Store,
    actor: &str,
    now_ms: u64,
) -> Result<usize, SecretError> {
    let mut total = 0;
    loop {
        let old = store
            .secrets_not_under(keys.newest().to_owned(), limits::BATCH_ITEMS_MAX)
            .await?;
        if old.is_empty() {
            return Ok(total);
        }
        let (wrapped, failed): (Vec<_>, Vec<_>) = old
            .iter()
            .map(|secret| keys.rewrap(secret))
            .partition(Result::is_ok);
        let wrapped: Vec<_> = wrapped.into_iter().flatten().collect();
        let verdicts = store
            .rewrap_secrets(wrapped, actor.to_owned(), now_ms)
            .await?;
        // A refused one was set anew or removed meanwhile: the next look tells.
        total += verdicts.iter().filter(|v| **v == Ok(Done::Applied)).count();
        if let Some(failure) = failed.into_iter().find_map(Result::err) {
            return Err(failure);
        }
    }
}
