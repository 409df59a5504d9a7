//! Hostile runs beside a well-behaved one: it is hardly slowed.
//!
//! ```text
//!  fork bomb ─┐
//!  memory hog ┤  0.15 CPU each      well-behaved run: a piece of work every 60 ms,
//!  disk filler┤  ◄── beside ──►     how long each took, alone and beside the others
//!  flood ─────┘
//! ```
//!
//! Invariants: the shares of all runs together are less than the host has, as placement sees to; both times are of the same
//! program in the same limits; what the hostile ones did is looked at afterwards; the VM's CPUs wait for nothing else on the
//! machine that emulates it (`super::TIMED`), nor for its own disk and network, which real ones would not take from them.

use anyhow::{Context as _, ensure};

use super::Test;
use super::story::Run;
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![hostile_runs_hardly_slow_another => 420];

/// How much longer the slowest of a hundred pieces of work may take beside hostile runs.
const SLOWER_MAX: f64 = 2.0;
/// Rounds alone and beside, in turns: the machine has slow moments of its own, which come to both.
const ROUNDS: usize = 3;
/// Pieces of work that a round counts.
const PIECES: usize = 400;

/// 400 pieces of work, some seven milliseconds each where instructions are emulated: computing, fresh memory, files. Shorter ones
/// would tell of the kernel's tick alone (4 ms), until which whoever wakes up may have to wait. Prints the milliseconds of each.
const WELL_BEHAVED: &str = r#"
import hashlib, json, time

def piece():
    for path in "/tmp/one", "/tmp/other":
        digest = hashlib.sha256(bytes(131072)).hexdigest()
        fresh = bytearray(262144)
        for at in range(0, len(fresh), 4096):
            fresh[at] = 1
        with open(path, "wb") as file:
            file.write(digest.encode() * 64)
        with open(path, "rb") as file:
            assert len(file.read()) == 4096

took_ms, due = [], time.monotonic()
for number in range(420):
    due += 0.06
    time.sleep(max(0, due - time.monotonic()))
    began = time.monotonic()
    piece()
    if number >= 20:
        took_ms.append((time.monotonic() - began) * 1000)
print(json.dumps(took_ms))
"#;

/// Doubles until it may not, and goes on trying; every other child ends at once and makes room for the next.
const FORK_BOMB: &str = r#"
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("going", flush=True)
turn = 0
while True:
    turn += 1
    try:
        if os.fork() == 0 and turn % 2:
            os._exit(0)
    except OSError:
        pass
"#;

/// Walks over what it holds, close to its limit, and gives parts of it back and takes them again.
const MEMORY_HOG: &str = r#"
import mmap
held = [mmap.mmap(-1, 8 << 20) for _ in range(10)]
print("going", flush=True)
turn = 0
while True:
    held[turn % 10].close()
    held[turn % 10] = mmap.mmap(-1, 8 << 20)
    for part in held:
        for at in range(0, len(part), 4096):
            part[at] = 1
    turn += 1
"#;

/// More at a time than its memory holds, so that all of it has to go to the disk.
const DISK_FILLER: &str =
    "echo going; while :; do dd if=/dev/zero of=/filled bs=64k count=4096 2>/dev/null; done";

/// Small packets to where nobody may go: every one comes as far as the host's rules.
const PACKET_FLOOD: &str = r#"
import socket
flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("going", flush=True)
while True:
    try:
        flood.sendto(b"x" * 64, ("192.0.2.1", 9))
    except OSError:
        pass
"#;

/// A hostile job: its image, its command line, and what of its usage shows that it was at it, and how much.
struct Hostile {
    image: &'static str,
    argv: [&'static str; 3],
    usage: &'static str,
    usage_min: u64,
}

const HOSTILE: [Hostile; 4] = [
    Hostile {
        image: "python",
        argv: ["python3", "-c", FORK_BOMB],
        usage: "/usage/pids_refused",
        usage_min: 100,
    },
    Hostile {
        image: "python",
        argv: ["python3", "-c", MEMORY_HOG],
        usage: "/usage/memory_peak_bytes",
        usage_min: 80 << 20,
    },
    Hostile {
        image: "busybox",
        argv: ["sh", "-c", DISK_FILLER],
        usage: "/usage/io_write_bytes",
        usage_min: 64 << 20,
    },
    Hostile {
        image: "python",
        argv: ["python3", "-c", PACKET_FLOOD],
        usage: "/usage/network_sent_bytes",
        usage_min: 1 << 20,
    },
];

fn hostile_runs_hardly_slow_another(host: &mut Host) -> TestResult {
    host.needs_controllers(&["cpu", "memory", "pids", "io"])?;
    let settings = host.settings();
    host.start_executor(&settings)?;
    let (mut alone_ms, mut beside_ms) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone_ms.extend(work(host)?);
        let hostile = begin_hostile(host)?;
        beside_ms.extend(work(host)?);
        end_hostile(host, &hostile)?;
    }
    let (alone_ms, beside_ms) = (slowest_hundredth(alone_ms), slowest_hundredth(beside_ms));
    println!("p99 alone {alone_ms:.1} ms, beside {beside_ms:.1} ms");
    ensure!(
        beside_ms <= alone_ms * SLOWER_MAX,
        "more than {SLOWER_MAX} times slower: p99 {beside_ms:.1} ms beside hostile runs, {alone_ms:.1} ms alone"
    );
    Ok(())
}

/// One run of the well-behaved job: how long each piece of its work took, milliseconds.
fn work(host: &Host) -> anyhow::Result<Vec<f64>> {
    let options = ["--cpu", "1", "--memory", "64MiB", "--network", "bridge"];
    let argv = ["python3", "-c", WELL_BEHAVED];
    let run = Run::submit_argv(host, &options, &host.image("python"), &argv)?;
    run.wait_ended(host, 0)?;
    let said = run.stdout(host)?;
    let took_ms: Vec<f64> = serde_json::from_slice(&said)
        .with_context(|| format!("it printed {}", String::from_utf8_lossy(&said)))?;
    ensure!(took_ms.len() == PIECES, "{} pieces of work", took_ms.len());
    println!("p99 of this round: {:.1} ms", slowest_hundredth(took_ms.clone()));
    Ok(took_ms)
}

/// The 99th percentile.
fn slowest_hundredth(mut took_ms: Vec<f64>) -> f64 {
    took_ms.sort_by(f64::total_cmp);
    took_ms[took_ms.len() * 99 / 100]
}

fn begin_hostile(host: &Host) -> anyhow::Result<Vec<Run>> {
    let limits = ["--cpu", "0.15", "--memory", "96MiB", "--pids", "64", "--network", "bridge"];
    let begin = |job: &Hostile| {
        let run = Run::submit_argv(host, &limits, &host.image(job.image), &job.argv)?;
        run.wait_printed(host, "going")?;
        Ok(run)
    };
    HOSTILE.iter().map(begin).collect()
}

fn end_hostile(host: &Host, runs: &[Run]) -> TestResult {
    for (run, job) in runs.iter().zip(&HOSTILE) {
        run.davit(host, "cancel", &[])?.success()?;
        let record = run.inspect(host)?;
        record.expect("/end_reason", "canceled")?;
        let used = record.number(job.usage)?;
        println!("{} {used}, cpu_us {}", job.usage, record.number("/usage/cpu_us")?);
        ensure!(used >= job.usage_min, "it was hardly hostile: {record}");
    }
    Ok(())
}
