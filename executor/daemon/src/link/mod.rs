//! The link to a scheduler: the host dials, and goes on without it while it is away.
//!
//! ```text
//!  keep: identity ─► session ─► over ─► wait (jittered, 1 → 30 s) ─► session … for ever
//!                       │
//!                       ├─ reconcile (pure): places × attempts held ─► go on, begin, end, tell lost
//!                       ├─ console, one task each: dials again, on the same connection
//!                       ├─ attempt, one task each
//!                       │    ├─ reports (pure): place × run directory ─► the next report
//!                       │    ├─ window: how many reports and log batches go without an answer
//!                       │    ├─ ship: log segments ─► batches
//!                       │    ├─ deliver: files that came out, each in a call of its own
//!                       │    └─ heed: what is wanted ─► the run's handle
//!                       └─ contact ─► runs that may not go on without a scheduler are ended
//! ```
//!
//! Invariants:
//! - nothing waits in an outbox: what is to be said follows from the run directory and the scheduler's place, so a
//!   connection may break anywhere;
//! - an end is told after the last line of the log is stored, and after the files that came out of the job are; a directory
//!   goes only after the end is;
//! - a run of the scheduler's is never begun twice: not in another boot, not after it was given up, not when its
//!   directory is lost;
//! - secrets are in memory and in the container's own configuration, nowhere else.
//!
//! Absent on purpose: a listening port, retries of runs (the scheduler's, by attempt), any word about runs that were
//! submitted on the host itself.

mod attempt;
mod console;
mod contact;
mod deliver;
mod dial;
mod facts;
mod fetch;
mod heed;
mod identity;
mod load;
mod place;
mod reconcile;
mod redial;
mod register;
mod reports;
mod session;
mod ship;
mod status;
mod window;
mod words;

use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;

pub use self::dial::LinkError;
pub(crate) use self::fetch::Fetches;
pub use self::identity::IdentityError;
pub use self::register::{RegisteredHost, Registration, moved, register};
pub(crate) use self::status::Status;

use self::contact::Contact;
use self::identity::Identity;
use self::redial::Redial;
use self::session::Session;
use crate::runs::{Runs, offload, sentence};

/// Longest pause that a scheduler may ask for before it is dialled again, milliseconds.
const DIAL_AFTER_MS_MAX: u64 = 300_000;

/// A host's link; it ends when dropped, its runs do not.
#[derive(Debug)]
pub(crate) struct Link {
    status: Option<Status>,
    /// Dialling, and what is to end without a scheduler.
    _tasks: JoinSet<()>,
}

impl Link {
    /// Dials the scheduler of the settings from now on; does nothing where there is none.
    pub(crate) fn start(runs: &Runs) -> Self {
        let mut tasks = JoinSet::new();
        let contact = Contact::default();
        // Also where the setting is gone: what was accepted under one still counts.
        tasks.spawn(contact::keep(runs.clone(), contact.clone()));
        let server = runs.host().settings.link.server.clone();
        let status = server.map(|server| {
            let server = server.trim_end_matches('/').to_owned();
            let status = Status::new(&server);
            tasks.spawn(keep(runs.clone(), server, contact, status.clone()));
            status
        });
        Self {
            status,
            _tasks: tasks,
        }
    }

    /// How it is; `None` where there is no scheduler.
    pub(crate) fn status(&self) -> Option<Status> {
        self.status.clone()
    }
}

async fn keep(runs: Runs, server: String, contact: Contact, status: Status) {
    let mut redial = Redial::default();
    loop {
        let over = once(&runs, &server, &contact, &status).await;
        if over.was_welcome {
            redial.reset();
        }
        let problem = sentence(&over.why);
        // Any bits will do, as long as hosts have others.
        let random = Uuid::new_v4().as_u64_pair().1;
        let jittered = redial.wait(random);
        let asked = over.dial_after.unwrap_or_default();
        let wait = jittered.max(asked.min(Duration::from_millis(DIAL_AFTER_MS_MAX)));
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(problem, wait_ms, "no session with the scheduler");
        status.away(problem);
        tokio::time::sleep(wait).await;
    }
}

async fn once(runs: &Runs, server: &str, contact: &Contact, status: &Status) -> session::Over {
    let path = runs.host().settings.link.credentials_file.clone();
    let known = path.clone();
    let identity = match offload(move || Identity::read(&known)).await {
        Ok(Some(identity)) if identity.registered.is_some() && identity.server == server => {
            identity
        }
        Ok(_) => return session::Over::before(IdentityError::Unregistered { path }.into()),
        Err(error) => return session::Over::before(error.into()),
    };
    let region = identity.registered.as_ref().map_or("", |its| &its.region);
    status.identified(&identity.host_id.to_string(), region);
    let session = Session {
        runs,
        identity: &identity,
        contact,
        status,
    };
    session.run().await
}
