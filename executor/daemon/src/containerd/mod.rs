//! The adapter to containerd: every call davit makes to it, typed, bounded in time and named.
//!
//! ```text
//!  run manager ──► Containerd ──one channel, reconnecting──► /run/containerd/containerd.sock
//!  image store ──►     │
//!                      ├─ leases      what a pull is making may not be collected meanwhile
//!                      ├─ snapshots   the container's root file system
//!                      ├─ containers  the record: spec, runtime, labels
//!                      ├─ tasks       create, start, state, kill, delete
//!                      ├─ inventory   all that davit made here, for reconcile and reap
//!                      └─ content, diff, image records (for the image store only)
//! ```
//!
//! Invariants:
//! - snapshot, record and task of a container bear its [`ContainerName`] and carry the labels
//!   `davit.managed`, and `davit.run-id` and `davit.attempt` or `davit.slot` or all of them, written here and
//!   nowhere else: no label or annotation of an image reaches a record;
//! - removing what is gone succeeds, preparing what exists returns it;
//! - every call has a deadline below; giving up drops the call, which cancels it at containerd;
//! - `NotFound` and `AlreadyExists` are variants of [`ContainerdError`], never texts to search.
//!
//! Absent on purpose: events (they are dropped by containerd after a few retries: re-list and ask
//! State instead), exit codes of runs (containerd invents them when a shim dies: the exit record of
//! the run directory is the truth), and containerd's Transfer service (1.7 and 2.x differ in it).

mod connect;
mod containers;
mod content;
mod error;
mod failures;
mod image_records;
mod inventory;
mod labels;
mod leases;
mod name;
mod plugins;
mod runtime_options;
mod sandboxes;
mod snapshots;
mod tasks;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Request, Response, Status};
use tokio::sync::Mutex;

pub use self::containers::{ContainerSpec, DAVIT_RUNTIME};
pub use self::error::ContainerdError;
pub use self::inventory::{Found, FoundTask, Inventory};
pub use self::labels::NetworkHolder;
pub use self::name::{ContainerName, NoContainerName};
pub use self::runtime_options::RuncOptions;
pub use self::snapshots::SnapshotUsage;
pub use self::tasks::{TaskExit, TaskState, TaskStatus};
pub use containerd_client::types::Mount;

pub(crate) use self::containers::ImageUse;
pub(crate) use self::content::BlobWriter;
pub(crate) use self::failures::CallFailures;
pub(crate) use self::image_records::ImageRecord;
pub(crate) use self::labels::{LAST_USED, MANAGED, SIZE_BYTES};
pub(crate) use self::leases::LeaseName;

/// Deadline of calls that only touch containerd's database, milliseconds.
const METADATA_DEADLINE_MS: u64 = 10_000;
/// Deadline of calls that move files: snapshots, and deletes that collect garbage, milliseconds.
const FILES_DEADLINE_MS: u64 = 60_000;
/// Deadline of creating a task: shim start and OCI runtime, milliseconds.
const TASK_CREATE_DEADLINE_MS: u64 = 60_000;
/// Deadline of the other task calls, milliseconds.
const TASK_DEADLINE_MS: u64 = 15_000;
/// Largest answer accepted, bytes (containerd's own limit for a message is 16 MiB).
const REPLY_BYTES_MAX: usize = 16 << 20;
/// Most items taken from one listing.
const LISTED_ITEMS_MAX: usize = 100_000;

/// A handle on containerd: one connection, one namespace, one snapshotter. Cheap to clone.
#[derive(Clone)]
pub struct Containerd {
    inner: Arc<Inner>,
}

struct Inner {
    channel: Channel,
    socket: PathBuf,
    namespace: MetadataValue<Ascii>,
    snapshotter: String,
    version: String,
    /// Held while a snapshot is made.
    preparing: Mutex<()>,
}

/// What a call does to what: the words of its error.
#[derive(Clone, Copy)]
struct Call<'a> {
    operation: &'static str,
    object: &'a str,
    deadline_ms: u64,
}

impl<'a> Call<'a> {
    const fn metadata(operation: &'static str, object: &'a str) -> Self {
        Self {
            operation,
            object,
            deadline_ms: METADATA_DEADLINE_MS,
        }
    }

    const fn files(operation: &'static str, object: &'a str) -> Self {
        Self {
            operation,
            object,
            deadline_ms: FILES_DEADLINE_MS,
        }
    }

    const fn task(operation: &'static str, object: &'a str, deadline_ms: u64) -> Self {
        Self {
            operation,
            object,
            deadline_ms,
        }
    }

    /// Runs `rpc` within the deadline and turns its status into a typed error.
    async fn bound<T>(
        self,
        rpc: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ContainerdError> {
        let deadline = Duration::from_millis(self.deadline_ms);
        match tokio::time::timeout(deadline, rpc).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(status)),
            Err(_) => Err(self.late()),
        }
    }

    fn failed(self, status: Status) -> ContainerdError {
        let error = ContainerdError::from_status(self.operation, self.object, status);
        CallFailures::note(error)
    }

    fn late(self) -> ContainerdError {
        CallFailures::note(ContainerdError::Deadline {
            operation: self.operation,
            object: self.object.to_owned(),
            deadline_ms: self.deadline_ms,
        })
    }

    fn malformed(self, problem: &'static str) -> ContainerdError {
        CallFailures::note(ContainerdError::Malformed {
            operation: self.operation,
            object: self.object.to_owned(),
            problem,
        })
    }
}

impl Containerd {
    /// containerd's version as it gave it when we connected.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// The socket spoken to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.inner.socket
    }

    /// The snapshotter in use, e.g. `overlayfs`.
    #[must_use]
    pub fn snapshotter(&self) -> &str {
        &self.inner.snapshotter
    }

    fn channel(&self) -> Channel {
        self.inner.channel.clone()
    }

    /// `message` as a request in davit's namespace.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("containerd-namespace", self.inner.namespace.clone());
        request
    }

    /// As [`Self::request`]; what the call makes is held by `lease`.
    fn leased<T>(&self, lease: &LeaseName, message: T) -> Request<T> {
        let mut request = self.request(message);
        request
            .metadata_mut()
            .insert("containerd-lease", lease.header());
        request
    }
}

impl std::fmt::Debug for Containerd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Containerd")
            .field("socket", &self.inner.socket)
            .field("namespace", &self.inner.namespace)
            .field("version", &self.inner.version)
            .finish_non_exhaustive()
    }
}
