//! Hostile images, against real containerd: each is refused or stays where images are, soon, and in little room.
//!
//! ```text
//!  corpus ── content ──► registry ──pull──► containerd: refused with a sentence, and nothing is left
//!                                                       or pulled, and nothing is outside its snapshots
//! ```

mod archive;
mod corpus;
mod registry;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use davit_executor::images::{ImageStoreOptions, PullLimits};
use davit_types::PullPolicy;

use self::corpus::Fate;
use crate::support::{Host, ensure};

/// What files are called that are to be outside.
const ESCAPED: &str = "davit-escaped";
/// Bounds of a pull here.
const UNPACKED_BYTES_MAX: u64 = 16 << 20;
const FILES_MAX: u64 = 2_000;
/// Longest that one image may take.
const SECONDS_MAX: u64 = 60;
/// Memory that all of them together may cost davit.
const MEMORY_KIB_MAX: u64 = 192 << 10;
/// Images that the corpus is to hold at least.
const IMAGES_MIN: usize = 60;

fn options() -> ImageStoreOptions {
    ImageStoreOptions {
        limits: PullLimits {
            stall_window: Duration::from_secs(3),
            deadline: Duration::from_secs(30),
            unpacked_bytes_max: UNPACKED_BYTES_MAX,
            unpacked_files_max: FILES_MAX,
            ..PullLimits::default()
        },
        ..ImageStoreOptions::default()
    }
}

/// What images must not change.
#[derive(Debug, PartialEq, Eq)]
struct Outside {
    accounts: Vec<u8>,
    hostname: Option<Vec<u8>>,
    devices: usize,
    escaped: Vec<PathBuf>,
}

impl Outside {
    fn look() -> Self {
        let snapshots = Path::new("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs");
        let mut places: Vec<PathBuf> = [
            "/",
            "/etc",
            "/proc/self/root",
            "/tmp",
            "/var/lib/containerd",
        ]
        .map(PathBuf::from)
        .into();
        places.extend([snapshots.to_owned(), snapshots.join("snapshots")]);
        let each = fs::read_dir(snapshots.join("snapshots")).expect("containerd's snapshots");
        places.extend(each.map(|entry| entry.expect("a snapshot").path()));
        let escaped = places.iter().map(|place| place.join(ESCAPED));
        Self {
            accounts: fs::read("/etc/shadow").expect("the host's accounts"),
            hostname: fs::read("/etc/hostname").ok(),
            devices: fs::read_dir("/dev").expect("the host's devices").count(),
            escaped: escaped
                .filter(|path| path.symlink_metadata().is_ok())
                .collect(),
        }
    }
}

/// The most memory this process ever had.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("our status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let text = line.expect("a peak").trim().trim_end_matches(" kB");
    text.parse().expect("a number")
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn hostile_images_are_refused_or_contained() {
    let images = corpus::all();
    assert!(images.len() >= IMAGES_MIN, "{} images", images.len());
    let before = Outside::look();
    assert_eq!(before.escaped, [""; 0].map(PathBuf::from));
    // The images themselves are in our memory already.
    let memory_kib = peak_kib();
    let mut wrong = Vec::new();
    for hostile in images {
        let host = Host::new().await;
        let store = host.store(options()).await;
        let image = registry::serve(hostile.content).await;
        let begin = Instant::now();
        let pulled = tokio::time::timeout(
            Duration::from_secs(SECONDS_MAX),
            ensure(&store, &image, PullPolicy::Missing),
        );
        let pulled = pulled
            .await
            .unwrap_or_else(|_| panic!("{}: never ends", hostile.name));
        println!(
            "{}: {:?}, {:?}",
            hostile.name,
            begin.elapsed(),
            pulled.as_ref().map(drop)
        );
        match (hostile.fate, pulled) {
            (Fate::Refused(words), Err(error)) => {
                let told = error.to_string();
                if !told.contains(words) {
                    wrong.push(format!("{} is refused with: {told}", hostile.name));
                }
                host.wait_empty().await;
            }
            (Fate::Refused(_), Ok(_)) => wrong.push(format!("{} is taken", hostile.name)),
            (Fate::Contained, Err(_)) => host.wait_empty().await,
            (Fate::Contained, Ok(_)) => {}
        }
        assert_eq!(Outside::look(), before, "{}", hostile.name);
    }
    assert_eq!(wrong, [""; 0]);
    let grown_kib = peak_kib().saturating_sub(memory_kib);
    assert!(
        grown_kib <= MEMORY_KIB_MAX,
        "davit took {grown_kib} KiB more"
    );
}
