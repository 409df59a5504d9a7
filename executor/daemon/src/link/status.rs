//! How the link is, for `davit info`.

use std::sync::{Arc, Mutex, PoisonError};

use davit_rpc::local;
use davit_rundir::Stamp;

/// The link as it is now. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Status(Arc<Mutex<local::LinkState>>);

impl Status {
    pub(super) fn new(server: &str) -> Self {
        Self(Arc::new(Mutex::new(local::LinkState {
            server: server.to_owned(),
            state: "connecting".to_owned(),
            since_unix_ns: Stamp::now().unix_ns,
            ..local::LinkState::default()
        })))
    }

    /// What is told of it.
    pub(crate) fn told(&self) -> local::LinkState {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    pub(super) fn identified(&self, host_id: &str, region: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.host_id = host_id.to_owned();
        state.region = region.to_owned();
    }

    pub(super) fn connected(&self, epoch: u64) {
        self.change("connected", None, Some(epoch));
    }

    /// There is no session, for `problem`.
    pub(super) fn away(&self, problem: String) {
        self.change("waiting", Some(problem), None);
    }

    fn change(&self, word: &str, problem: Option<String>, epoch: Option<u64>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.state != word {
            state.since_unix_ns = Stamp::now().unix_ns;
        }
        state.state = word.to_owned();
        state.problem = problem;
        state.epoch = epoch;
    }
}
