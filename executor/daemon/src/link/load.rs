//! What this host has, and how busy it is.

use std::fs;

use davit_rpc::link;
use davit_types::limits;

use crate::images::ImageInfo;
use crate::runs::{Host, Runs, offload};

/// Images told of.
const IMAGES_MAX: usize = 256;
/// Pids left to the host itself.
const HOST_PIDS: u64 = 4_096;

/// What runs may have of this host, all together: as the operator says, else as the kernel does.
pub(super) fn capacity(host: &Host) -> link::Capacity {
    let settings = &host.settings.link;
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let pids_max = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let pids_max: u64 = pids_max.trim().parse().unwrap_or(32_768);
    let memory = memory();
    let disk = disk(host);
    link::Capacity {
        cpu_millis: settings.cpu.map_or(cpus * 1_000, u64::from),
        memory_bytes: settings.memory.map_or(memory.total_bytes, |bytes| bytes.0),
        pids: settings.pids.unwrap_or(pids_max.saturating_sub(HOST_PIDS)),
        disk_bytes: settings.disk.map_or(disk.total_bytes, |bytes| bytes.0),
        runtimes: host
            .runtimes
            .keys()
            .map(|runtime| runtime.binary().to_owned())
            .collect(),
    }
}

/// How busy the host is, for its heartbeat of this number.
pub(super) async fn heartbeat(runs: &Runs, number: u64) -> link::Heartbeat {
    let host = std::sync::Arc::clone(runs.host());
    let images = host.images.list().await.unwrap_or_default();
    let live_runs = runs
        .live_states()
        .into_iter()
        .filter(|s| !s.is_over())
        .count();
    offload(move || {
        let some =
            |what: &str| pressure(&fs::read_to_string(format!("/proc/pressure/{what}")).ok()?);
        link::Heartbeat {
            images: recent(images),
            live_runs: u32::try_from(live_runs).unwrap_or(u32::MAX),
            cpu_some_avg10_centi: some("cpu"),
            memory_some_avg10_centi: some("memory"),
            io_some_avg10_centi: some("io"),
            memory_available_bytes: memory().available_bytes,
            disk_available_bytes: disk(&host).available_bytes,
            number,
        }
    })
    .await
}

/// Names, most recently used first.
fn recent(mut images: Vec<ImageInfo>) -> Vec<String> {
    images.sort_by_key(|image| std::cmp::Reverse(image.last_used));
    let names = images.into_iter().map(|image| image.name);
    let fit = names.filter(|name| name.chars().count() <= limits::IMAGE_CHARS_MAX);
    fit.take(IMAGES_MAX).collect()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Space {
    total_bytes: u64,
    available_bytes: u64,
}

fn memory() -> Space {
    meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn meminfo(text: &str) -> Space {
    let bytes = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1_024)
    };
    Space {
        total_bytes: bytes("MemTotal:").unwrap_or(0),
        available_bytes: bytes("MemAvailable:").unwrap_or(0),
    }
}

fn disk(host: &Host) -> Space {
    let Ok(found) = rustix::fs::statvfs(&host.settings.state_dir) else {
        return Space::default();
    };
    Space {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        available_bytes: found.f_bavail.saturating_mul(found.f_frsize),
    }
}

/// Hundredths of a percent of the last ten seconds in which some task waited (Documentation/accounting/psi.rst).
fn pressure(text: &str) -> Option<u32> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some
        .split_whitespace()
        .find_map(|part| part.strip_prefix("avg10="))?;
    let (whole, hundredths) = average.split_once('.')?;
    let whole: u32 = whole.parse().ok()?;
    let hundredths: u32 = hundredths.parse().ok().filter(|part| *part < 100)?;
    whole.checked_mul(100)?.checked_add(hundredths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_kernels_words_become_numbers() {
        let text = "some avg10=12.07 avg60=0.00 avg300=0.00 total=1\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure(text), Some(1_207));
        assert_eq!(pressure("full avg10=3.00"), None);
        assert_eq!(pressure("some avg10=much"), None);
        let space = meminfo("MemTotal:  2000 kB\nMemFree: 1 kB\nMemAvailable:  1500 kB\n");
        assert_eq!(
            (space.total_bytes, space.available_bytes),
            (2_048_000, 1_536_000)
        );
    }

    #[test]
    fn the_most_recent_images_are_told() {
        let image = |name: &str, seconds| ImageInfo {
            name: name.into(),
            digest: String::new(),
            size_bytes: 0,
            last_used: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            in_use: false,
        };
        let many = (0..300)
            .map(|at| image(&format!("image-{at}"), at))
            .collect();
        let names = recent(many);
        assert_eq!(names.len(), IMAGES_MAX);
        assert_eq!((&names[0][..], &names[255][..]), ("image-299", "image-44"));
    }
}
