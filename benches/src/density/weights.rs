//! Weighing and watching a crowd of shims and the daemons behind them.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{DESCRIPTORS, SHIM_PRIVATE, SHIM_PROPORTIONAL, SHIM_WAKEUPS, THREADS};
use crate::process;
use crate::sample::Sample;

/// containerd's process: there is one beside every measurement.
pub(super) fn containerd() -> anyhow::Result<u32> {
    process::only("containerd")
}

/// Private memory of a process, KiB.
pub(super) fn private_kib(pid: u32) -> anyhow::Result<f64> {
    Ok(process::memory(pid)?.private_kib)
}

/// How much more private memory a process has than it had, KiB for each of `runs`.
pub(super) fn share_kib(pid: u32, before_kib: f64, runs: u32) -> anyhow::Result<f64> {
    Ok((private_kib(pid)? - before_kib) / f64::from(runs))
}

/// Adds the shims' means: memory, threads, descriptors.
pub(super) fn weigh_shims(shims: &[u32], sample: &mut Sample) -> anyhow::Result<()> {
    ensure!(!shims.is_empty(), "there are no shims");
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let count = shims.len() as f64;
    let (mut private, mut proportional, mut threads, mut descriptors) = (0.0, 0.0, 0.0, 0.0);
    for &shim in shims {
        let memory = process::memory(shim)?;
        private += memory.private_kib;
        proportional += memory.proportional_kib;
        threads += process::threads(shim)?;
        descriptors += process::descriptors(shim)?;
    }
    sample.insert(SHIM_PRIVATE, private / count);
    sample.insert(SHIM_PROPORTIONAL, proportional / count);
    sample.insert(THREADS, threads / count);
    sample.insert(DESCRIPTORS, descriptors / count);
    Ok(())
}

/// What a daemon did while it was watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idling {
    pub(super) wakeups_per_second: f64,
    pub(super) cpu_percent: f64,
}

/// Watches everybody for `time`; adds the shims' mean and returns what each daemon did.
pub(super) fn watch<const N: usize>(
    shims: &[u32],
    daemons: [u32; N],
    time: Duration,
    sample: &mut Sample,
) -> anyhow::Result<[Idling; N]> {
    let all: Vec<u32> = daemons.iter().chain(shims).copied().collect();
    let look = || {
        all.iter()
            .map(|&pid| process::activity(pid))
            .collect::<anyhow::Result<Vec<_>>>()
    };
    let begun = Instant::now();
    let before = look()?;
    std::thread::sleep(time);
    let after = look()?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut idling = after.iter().zip(&before).map(|(after, before)| {
        let (wakeups, cpu_ns) = after.since(before);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let per_second = |count: u64| count as f64 / seconds;
        Idling {
            wakeups_per_second: per_second(wakeups),
            cpu_percent: per_second(cpu_ns) / 1e7,
        }
    });
    let of_daemons: Vec<Idling> = idling.by_ref().take(N).collect();
    let of_shims: f64 = idling.map(|idling| idling.wakeups_per_second).sum();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    sample.insert(SHIM_WAKEUPS, of_shims / shims.len().max(1) as f64);
    of_daemons
        .try_into()
        .map_err(|_| anyhow::anyhow!("as many daemons come out as went in"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeping_process_is_weighed_and_does_nothing() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let (shims, mut sample) = ([child.id(), child.id()], Sample::new());
        weigh_shims(&shims, &mut sample).unwrap();
        assert!((sample[&THREADS] - 1.0).abs() < f64::EPSILON);
        let memory = process::memory(child.id()).unwrap();
        assert!((sample[&SHIM_PRIVATE] - memory.private_kib).abs() < f64::EPSILON);
        let time = Duration::from_millis(200);
        let [idle] = watch(&shims, [child.id()], time, &mut sample).unwrap();
        assert_eq!((idle.wakeups_per_second, idle.cpu_percent), (0.0, 0.0));
        assert_eq!(sample[&SHIM_WAKEUPS], 0.0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
