//! What the tests share: a namespace each, the store, and a look at what containerd still holds.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use davit_executor::containerd::Containerd;
use davit_executor::images::{
    Credentials, ImageError, ImageStore, ImageStoreOptions, PullProgress, ResolvedImage,
};
use davit_types::PullPolicy;
use tokio::sync::watch;

const SOCKET: &str = "/run/containerd/containerd.sock";
pub const REGISTRY: &str = "127.0.0.1:5000";
/// Longest wait for something to come true.
const WAIT: Duration = Duration::from_secs(20);

/// A containerd namespace of this test's own.
pub struct Host {
    pub containerd: Containerd,
    namespace: String,
}

impl Host {
    pub async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(
            std::env::var_os("DAVIT_TEST_REAL_HOST").is_some(),
            "it uses this host's containerd: run it inside scripts/native, with scripts/lib/host-tests"
        );
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("davit-test-{}-{number}", std::process::id());
        let containerd = Containerd::connect(Path::new(SOCKET), &namespace, "overlayfs")
            .await
            .expect("containerd answers");
        Self {
            containerd,
            namespace,
        }
    }

    /// The image store with `options`.
    pub async fn store(&self, options: ImageStoreOptions) -> ImageStore {
        ImageStore::open(self.containerd.clone(), options)
            .await
            .expect("the store opens")
    }

    /// Runs `ctr` in the namespace; returns its lines.
    pub fn ctr(&self, arguments: &[&str]) -> Vec<String> {
        let output = Command::new("ctr")
            .args(["-n", &self.namespace])
            .args(arguments)
            .output()
            .expect("ctr runs");
        assert!(output.status.success(), "ctr {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Everything the namespace holds: blobs, unfinished writes, snapshots, leases, images.
    pub fn leftovers(&self) -> Vec<String> {
        let mut all = self.ctr(&["content", "ls", "-q"]);
        all.extend(self.ctr(&["content", "active"]).into_iter().skip(1));
        all.extend(self.ctr(&["snapshots", "ls"]).into_iter().skip(1));
        all.extend(self.ctr(&["leases", "ls"]).into_iter().skip(1));
        all.extend(self.ctr(&["images", "ls", "-q"]));
        all.retain(|line| !line.trim().is_empty());
        all
    }

    /// Waits until nothing is left.
    pub async fn wait_empty(&self) {
        let begin = Instant::now();
        loop {
            let left = self.leftovers();
            if left.is_empty() {
                return;
            }
            assert!(begin.elapsed() < WAIT, "still there: {left:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// `ensure` without credentials, by whom progress does not interest.
pub async fn ensure(
    store: &ImageStore,
    image: &str,
    policy: PullPolicy,
) -> Result<ResolvedImage, ImageError> {
    ensure_with(store, image, policy, None).await
}

/// `ensure` by whom progress does not interest.
pub async fn ensure_with(
    store: &ImageStore,
    image: &str,
    policy: PullPolicy,
    credentials: Option<Credentials>,
) -> Result<ResolvedImage, ImageError> {
    let (progress, _) = watch::channel(PullProgress::default());
    store.ensure(image, policy, credentials, progress).await
}

/// Waits for `condition`.
pub async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < WAIT, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
