//! The host's images: fetched, verified, unpacked, kept while used, evicted when the cache is full.
//!
//! ```text
//!  ensure(reference, policy) ──► parse ──► allow-list ──► local copy, signed? ──yes──► ResolvedImage + guard
//!                                                            │ no, or policy `always`
//!                                                            ▼
//!                         flights: same reference, policy and credentials = one pull, many waiters
//!                                                            │
//!   registry ──manifest, config, layers──► content store ──unpack──► snapshots ──► image record
//!            bounded, verified, watched            all held by one lease, dropped at the end
//! ```
//!
//! Invariants:
//! - one request for an image is one resolution: the digest in [`ResolvedImage`] is what runs;
//! - nothing a registry or an image sends is read without a bound, and every byte kept was verified
//!   against the digest that announced it;
//! - a pull that fails, or that nobody waits for any more, leaves nothing behind;
//! - an image is not evicted while a [`ResolvedImage`] of it is held or a container was made from it,
//!   unless the container is a warm slot that waits: those go first;
//! - credentials live as long as the pull; no label, error or log line holds them.
//!
//! Absent on purpose: pushing, foreign layers, schema 1 manifests, and containerd's own resolver, which differs between 1.7 and 2.x.

mod cache;
mod config;
mod documents;
mod download;
mod error;
mod flights;
mod local;
mod manifest;
mod options;
mod progress;
mod pull;
mod reference;
mod registry;
mod secret;
mod signatures;
mod unpack;
mod uses;

use std::sync::{Arc, OnceLock};

use davit_types::PullPolicy;
use tokio::sync::{RwLock, Semaphore, watch};

use crate::containerd::Containerd;
use crate::metrics::PullMeter;
use crate::warm::Pool;

pub use self::cache::ImageInfo;
pub use self::config::ImageConfig;
pub use self::error::ImageError;
pub use self::options::{ImageStoreOptions, PullLimits};
pub use self::progress::{PullProgress, PullStep};
pub use self::reference::{AllowList, ImageName};
pub use self::secret::{Credentials, Secret};
pub use self::signatures::SignatureRules;

use self::flights::{FlightKey, Flights};
use self::local::{Known, Local};
use self::registry::Registries;
use self::uses::{UseGuard, Uses};

/// Pulls under way at a time; more wait for their turn, within their own deadline.
const PULLS_AT_ONCE_MAX: usize = 4;

/// The host's images. Cheap to clone.
#[derive(Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

struct Inner {
    containerd: Containerd,
    options: ImageStoreOptions,
    registries: Registries,
    flights: Flights,
    uses: Uses,
    known: Known,
    turns: Semaphore,
    /// Held for reading from finding an image to guarding it, for writing while one is removed:
    /// so an eviction never takes what was just found (nor what is just being recorded).
    removal: RwLock<()>,
    evicting: tokio::sync::Mutex<()>,
    /// What holds images for no run's sake, and gives them up for their removal.
    slots: OnceLock<Pool>,
    pulls: PullMeter,
}

/// An image that is here, unpacked, and stays while this value or a clone of it is held.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// Normalised reference.
    pub name: String,
    /// Digest the reference stands for: of the index, if there is one, else of the manifest.
    pub digest: String,
    /// The unpacked layers: parent for the run's snapshot.
    pub chain_id: String,
    /// What the image says about how to run it.
    pub config: Arc<ImageConfig>,
    /// Keeps it from being evicted.
    #[expect(dead_code, reason = "held for its Drop")]
    guard: UseGuard,
}

impl ImageStore {
    /// The images in `containerd`'s namespace. Leases of pulls that an earlier process left behind
    /// are dropped, and with them what they held.
    ///
    /// # Errors
    /// When containerd fails, or a registry setting is unusable.
    pub async fn open(
        containerd: Containerd,
        options: ImageStoreOptions,
    ) -> Result<Self, ImageError> {
        let stale = if containerd.is_known() {
            containerd.pull_leases_sweep().await?
        } else {
            0
        };
        if stale > 0 {
            tracing::info!(stale, "dropped what unfinished pulls had left behind");
        }
        Ok(Self {
            inner: Arc::new(Inner {
                registries: Registries::new(&options.plain_http),
                containerd,
                options,
                flights: Flights::default(),
                uses: Uses::default(),
                known: Known::default(),
                turns: Semaphore::new(PULLS_AT_ONCE_MAX),
                removal: RwLock::new(()),
                evicting: tokio::sync::Mutex::new(()),
                slots: OnceLock::new(),
                pulls: PullMeter::default(),
            }),
        })
    }

    /// Counts its pulls.
    pub(crate) fn pulls(&self) -> &PullMeter {
        &self.inner.pulls
    }

    /// An image found here turned out not to be: look again before saying so the next time.
    pub(crate) fn look_again(&self) {
        self.inner.known.forget_unpacked();
    }

    /// From now on the slots of `pool` go before an image does.
    pub(crate) fn yield_by(&self, pool: Pool) {
        // One store has one pool, set at start.
        self.inner.slots.set(pool).unwrap_or_default();
    }

    /// Makes sure the image is here and unpacked, pulling it as `policy` says. `progress` follows the
    /// pull; a local copy goes straight to done. Dropping the returned future gives up waiting; the
    /// pull itself ends when nobody waits for it any more.
    ///
    /// # Errors
    /// A sentence that says what to do. [`ImageError::Reference`] is the caller's mistake.
    pub async fn ensure(
        &self,
        reference: &str,
        policy: PullPolicy,
        credentials: Option<Credentials>,
        progress: watch::Sender<PullProgress>,
    ) -> Result<ResolvedImage, ImageError> {
        let name = ImageName::parse(reference).map_err(ImageError::Reference)?;
        let allowed = &self.inner.options.allowed;
        if !allowed.allows_name(&name) && !allowed.has_digests() {
            return Err(ImageError::NotAllowed {
                image: name.to_string(),
                digest: "(not resolved)".to_owned(),
            });
        }
        let local = match policy {
            PullPolicy::Always => Local::Absent,
            PullPolicy::Missing | PullPolicy::Never => self.inner.find_local(&name).await?,
        };
        match (local, policy) {
            (Local::Ready(image), _) => {
                progress.send_replace(PullProgress {
                    step: PullStep::Done,
                    ..PullProgress::default()
                });
                Ok(image)
            }
            (Local::Absent, PullPolicy::Never) => Err(ImageError::NoLocalCopy {
                image: name.to_string(),
            }),
            (Local::Absent | Local::Packed, _) => {
                let key = FlightKey {
                    name,
                    policy,
                    credentials,
                };
                self.inner.flights.join(&self.inner, key, &progress).await
            }
        }
    }

    /// Pulls as [`Self::ensure`] with policy `always` does, for its own sake.
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub async fn pull_only(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
        progress: watch::Sender<PullProgress>,
    ) -> Result<ImageInfo, ImageError> {
        let image = self
            .ensure(reference, PullPolicy::Always, credentials, progress)
            .await?;
        self.inner.info(&image.name).await
    }
}

impl std::fmt::Debug for ImageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageStore")
            .field("containerd", &self.inner.containerd)
            .finish_non_exhaustive()
    }
}
