//! The service: what the scheduler does for its users.
//!
//! ```text
//!  rest ──► access: who calls, for which tenant, with which scopes
//!       ──► runners, catalogue, registries, tokens, tenants, executors ──► store
//!       ──► submit: plan (runner + overrides + type) ─► environment (sealed) ─► one commit; runs: seen, orders
//!       ──► usage: ledger ─► priced rows ─► export, reconciliation
//!       ──► dyn Placing (dispatch): why a run waits, what would become of one, warm-up
//! ```
//!
//! Functions over a [`Service`], which holds no state of its own: everything is in the store, so any replica answers
//! the same.
//!
//! Invariants:
//! - The tenant comes from the [`Caller`](access::Caller), never from a request; what is another tenant's is not found.
//! - Input is checked whole, and refused with every field that is wrong.
//! - A value of an environment variable or a password is sealed before it reaches the store, and is in no error.
//! - Every write is compare-and-set or carries its own id, so any call may be made again.
//!
//! Absent on purpose: HTTP (rest), hosts' connections (link), deciding where a run goes (dispatch), caches of what may
//! change.

pub mod access;
pub mod catalogue;
mod check;
pub mod consoles;
pub mod environment;
mod error;
pub mod executors;
pub(crate) mod extracts;
pub mod instance_types;
mod names;
mod places;
mod placing;
pub mod plan;
pub mod planned;
pub mod principals;
pub mod reconcile;
pub mod registries;
pub mod runner;
pub mod runners;
pub mod runs;
pub mod secret_files;
pub mod submit;
pub mod tenants;
pub mod tokens;
pub mod uploads;
pub mod usage;

use std::sync::Arc;

pub use error::ServiceError;
pub use names::ExecutorNames;
pub use placing::{Candidate, Explained, Placing, QueuePosition, WarmRefused, WarmWish};

pub use crate::clock::unix_ms as now_ms;
use crate::credentials::Signer;
use crate::secrets::Keyring;
use crate::store::Store;

/// What the functions of the service work with. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    /// Everything that lasts.
    pub store: Arc<dyn Store>,
    /// Seals environments and passwords.
    pub keyring: Arc<Keyring>,
    /// Signs principals' access tokens, and knows them again.
    pub signer: Arc<Signer>,
    /// Knows why runs wait.
    pub placing: Arc<dyn Placing>,
    /// Names of hosts by id.
    pub executors: Arc<ExecutorNames>,
    /// ISO 4217 code of the currency whose millionths prices are in.
    pub currency: Arc<str>,
}

impl Service {
    /// A service over a store.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        keyring: Arc<Keyring>,
        signer: Arc<Signer>,
        placing: Arc<dyn Placing>,
        currency: &str,
    ) -> Self {
        Self {
            store,
            keyring,
            signer,
            placing,
            executors: Arc::new(ExecutorNames::default()),
            currency: currency.into(),
        }
    }
}
