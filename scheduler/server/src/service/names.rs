//! Names of executors by id: they never change, so one look at the store is enough for each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::store::{Store, Stored};

/// Names that are kept; when there are more, all are forgotten and looked up anew.
const NAMES_MAX: usize = 65_536;

/// What was looked up so far.
#[derive(Default)]
pub struct ExecutorNames {
    known: Mutex<HashMap<Uuid, String>>,
}

impl ExecutorNames {
    /// The name of a host. `None`: it was never registered.
    ///
    /// # Errors
    /// The store's.
    pub async fn name(&self, store: &dyn Store, host: Uuid) -> Stored<Option<String>> {
        if let Some(name) = self.lock().get(&host) {
            return Ok(Some(name.clone()));
        }
        // Pages of hosts begin after an id: this one's is the first after its predecessor.
        let before = host.as_u128().checked_sub(1).map(Uuid::from_u128);
        let found = store.hosts(before, 1).await?;
        let Some(found) = found.into_iter().find(|found| found.host == host) else {
            return Ok(None);
        };
        let mut known = self.lock();
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(host, found.name.clone());
        Ok(Some(found.name))
    }

    /// The map is whole after every step, so a panic elsewhere spoils nothing.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
