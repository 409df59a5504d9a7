//! `davit.local.v1` on a unix socket: runs, images, the host; health and reflection beside them.
//!
//! ```text
//!  request ─► davit-rpc: proto → own types ─► runs / images ─► view ─► convert: own types → proto
//!                                                  └─ error ─► status: one exhaustive match an enum
//! ```
//!
//! Invariants:
//! - no proto type goes further than this module;
//! - a caller that hangs up ends nothing but its own wait;
//! - a stream is pulled: what a slow client does not read is not produced.
//!
//! Absent on purpose: authentication (`serve/peer.rs` asks the kernel who calls), paging (one host's runs).

mod consoles;
mod convert;
mod files;
mod host;
mod images;
mod runs;
mod status;

use std::pin::Pin;

use futures::Stream;
use tokio::sync::watch;
use tonic::Status;

pub(crate) use self::consoles::ConsolesService;
pub(crate) use self::files::{CONNECTION_WINDOW_BYTES, FilesService, WINDOW_BYTES};
pub(crate) use self::host::{HostReport, HostService};
pub(crate) use self::images::ImagesService;
pub(crate) use self::runs::RunsService;
pub(crate) use self::status::run as run_status;

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Tells waiting calls that the executor goes down. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(pub(crate) watch::Receiver<bool>);

impl Shutdown {
    /// `call`, unless the executor goes down first.
    async fn or<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let mut going = self.0.clone();
        tokio::select! {
            outcome = call => outcome,
            // An error means that the sender is gone, and with it the executor.
            _ = going.wait_for(|going| *going) => Err(status::run(&crate::runs::RunError::ShuttingDown)),
        }
    }
}
