//! Waking those who follow logs: one inotify instance for the whole executor.
//!
//! ```text
//!  inotify ─► reader task ─► a tick counter per watched directory ─► any number of followers
//! ```
//!
//! A tick says "look again", never what is there; ticks coalesce, so a slow follower costs nothing.
//! When the kernel's queue overflows everybody is ticked. Where inotify is not to be had (limits of
//! the host) followers look again every [`FALLBACK_MS`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::sync::watch;

/// Bytes of events read at a time.
const EVENT_BYTES: usize = 4_096;
/// How often a follower without inotify looks, milliseconds.
const FALLBACK_MS: u64 = 200;

/// The executor's inotify instance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogWatch {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    watches: Mutex<Watches>,
    watched: Mutex<HashMap<WatchDescriptor, Watched>>,
}

#[derive(Debug)]
struct Watched {
    ticks: watch::Sender<u64>,
    followers: usize,
}

/// A follower's interest in one directory; ends when dropped.
#[derive(Debug)]
pub(crate) struct Interest {
    ticks: Option<watch::Receiver<u64>>,
    held: Option<(Arc<Inner>, WatchDescriptor)>,
}

impl LogWatch {
    /// Opens inotify; without it followers poll.
    #[must_use]
    pub fn open() -> Self {
        let opened = Inotify::init().and_then(|inotify| {
            let watches = inotify.watches();
            let events = inotify.into_event_stream(vec![0; EVENT_BYTES])?;
            Ok((watches, events))
        });
        let (watches, mut events) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%error, "inotify is not to be had: logs are followed by polling");
                return Self { inner: None };
            }
        };
        let inner = Arc::new(Inner {
            watches: Mutex::new(watches),
            watched: Mutex::default(),
        });
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let Some(inner) = weak.upgrade() else {
                    return;
                };
                match event {
                    Ok(event) if event.mask.contains(EventMask::Q_OVERFLOW) => inner.tick(None),
                    Ok(event) => inner.tick(Some(&event.wd)),
                    Err(error) => tracing::warn!(%error, "reading inotify events"),
                }
            }
        });
        Self { inner: Some(inner) }
    }

    /// Ticks from now on when something is written to a log in `dir`.
    pub(crate) fn follow(&self, dir: &Path) -> Interest {
        let Some(inner) = &self.inner else {
            return Interest {
                ticks: None,
                held: None,
            };
        };
        match inner.add(dir) {
            Ok((descriptor, ticks)) => Interest {
                ticks: Some(ticks),
                held: Some((Arc::clone(inner), descriptor)),
            },
            Err(error) => {
                let path: PathBuf = dir.to_owned();
                tracing::warn!(%error, path = %path.display(), "cannot watch a log: polling it");
                Interest {
                    ticks: None,
                    held: None,
                }
            }
        }
    }
}

impl Inner {
    fn watched(&self) -> MutexGuard<'_, HashMap<WatchDescriptor, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, dir: &Path) -> std::io::Result<(WatchDescriptor, watch::Receiver<u64>)> {
        // The table first: a tick between the two calls must find its entry.
        let mut watched = self.watched();
        let mask = WatchMask::MODIFY | WatchMask::CREATE;
        let descriptor = self.watches().add(dir, mask)?;
        let entry = watched
            .entry(descriptor.clone())
            .or_insert_with(|| Watched {
                ticks: watch::channel(0).0,
                followers: 0,
            });
        entry.followers += 1;
        Ok((descriptor, entry.ticks.subscribe()))
    }

    fn leave(&self, descriptor: &WatchDescriptor) {
        let mut watched = self.watched();
        let Some(entry) = watched.get_mut(descriptor) else {
            return;
        };
        entry.followers -= 1;
        if entry.followers == 0 {
            watched.remove(descriptor);
            // Gone already when the directory was removed.
            drop(self.watches().remove(descriptor.clone()));
        }
    }

    fn tick(&self, descriptor: Option<&WatchDescriptor>) {
        let watched = self.watched();
        let bump = |entry: &Watched| {
            entry
                .ticks
                .send_modify(|ticks| *ticks = ticks.wrapping_add(1))
        };
        match descriptor {
            Some(descriptor) => watched.get(descriptor).into_iter().for_each(bump),
            None => watched.values().for_each(bump),
        }
    }
}

impl Interest {
    /// Returns when something was written since the last call, or may have been.
    pub(crate) async fn written(&mut self) {
        if let Some(ticks) = &mut self.ticks
            && ticks.changed().await.is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(FALLBACK_MS)).await;
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        if let Some((inner, descriptor)) = self.held.take() {
            inner.leave(&descriptor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn followers_are_woken_by_writes_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let watch = LogWatch::open();
        let mut first = watch.follow(dir.path());
        let mut second = watch.follow(dir.path());
        std::fs::write(dir.path().join("log.000"), b"x").unwrap();
        tokio::time::timeout(SOON, first.written()).await.unwrap();
        tokio::time::timeout(SOON, second.written()).await.unwrap();
        drop(first);
        std::fs::write(dir.path().join("log.000"), b"y").unwrap();
        tokio::time::timeout(SOON, second.written()).await.unwrap();
        drop(second);
        assert!(watch.inner.unwrap().watched().is_empty());
    }
}
