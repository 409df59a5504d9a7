//! `davit-bench-floor`: the least that a container launch can cost here, as a resident process, so that not
//! even a program start is in it.
//!
//! ```text
//!  davit-bench ── one line ──► mkdir cgroup, upper, work ► clone3 into the cgroup, six new namespaces
//!                                                            └► overlay ► pivot_root ► execve payload
//!              ◄─ "STAMP CLEANED" ── wait ► remove the three
//! ```
//!
//! Absent on purpose, and part of what any real launcher adds: /proc, /dev and other mounts, users,
//! capabilities, seccomp, limits, a log that anybody keeps, records, supervision.

mod sys;

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

const CGROUPS: &str = "/sys/fs/cgroup";
/// A cgroup is busy for a moment after its last process was reaped.
const RMDIR_TRIES_MAX: u32 = 10_000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [scratch, lower, payload] = arguments.as_slice() else {
        bail!("usage: davit-bench-floor SCRATCH ROOTFS PAYLOAD");
    };
    for (number, line) in io::stdin().lock().lines().enumerate() {
        line.context("read a request")?;
        let (stamp, cleaned_ns) = launch(number, scratch, lower, payload)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{stamp} {cleaned_ns}").context("answer")?;
    }
    Ok(())
}

/// What the payload printed, and when nothing was left of it.
fn launch(
    number: usize,
    scratch: &Path,
    lower: &Path,
    payload: &Path,
) -> anyhow::Result<(String, u64)> {
    // There may be several of this program.
    let name = format!("davit-bench-floor-{}-{number}", std::process::id());
    let cgroup = Path::new(CGROUPS).join(name);
    let writable = scratch.join(number.to_string());
    let (upper, work, root) = (
        writable.join("upper"),
        writable.join("work"),
        writable.join("root"),
    );
    for directory in [&cgroup, &writable, &upper, &work, &root] {
        fs::create_dir(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let child =
        sys::Child::start(&cgroup, &options, &root, payload).context("start a container")?;
    let printed = child.output().context("read what the payload printed")?;
    let status = child.wait().context("wait for the payload")?;
    ensure!(status == 0, "the container ended with {status}");
    remove_cgroup(&cgroup)?;
    fs::remove_dir_all(&writable).with_context(|| format!("remove {}", writable.display()))?;
    Ok((printed.trim_end().to_owned(), sys::boot_ns()))
}

fn remove_cgroup(cgroup: &Path) -> anyhow::Result<()> {
    for _ in 0..RMDIR_TRIES_MAX {
        match fs::remove_dir(cgroup) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::yield_now();
            }
            done => return done.with_context(|| format!("remove {}", cgroup.display())),
        }
    }
    bail!("{} stays busy", cgroup.display())
}
