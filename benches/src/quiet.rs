//! Is the machine quiet? Looked at before every turn, so that a launch is not measured against what
//! another one left behind: a pool being filled, garbage being collected, pages that nobody has written yet
//! and that would reach the disk amid the next one's fsyncs.

use std::fs;
use std::time::Duration;

/// Longer than a few ticks of the kernel's CPU accounting (10 ms), else shares are too coarse.
const LOOK_MS: u64 = 40;
const LOOKS_MAX: u32 = 12;
const IDLE_SHARE_MIN: f64 = 0.75;

/// CPU time of the whole machine so far, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CpuTimes {
    idle: u64,
    all: u64,
}

/// Writes what is unwritten and waits until the CPUs are idle, for half a second at most; whether they are.
pub(crate) fn wait() -> bool {
    rustix::fs::sync();
    let mut before = now();
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(Duration::from_millis(LOOK_MS));
        let after = now();
        if idle_share(before, after) >= IDLE_SHARE_MIN {
            return true;
        }
        before = after;
    }
    false
}

/// CPU time of the whole machine so far, waiting and idling left out, in ticks.
pub(crate) fn busy_ticks() -> Option<u64> {
    now().map(|times| times.all - times.idle)
}

fn now() -> Option<CpuTimes> {
    parse(&fs::read_to_string("/proc/stat").ok()?)
}

/// `cpu user nice system idle iowait irq softirq steal …`: waiting for a disk is idling too.
fn parse(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    Some(CpuTimes {
        idle: ticks.get(3)? + ticks.get(4)?,
        all: ticks.iter().sum(),
    })
}

/// 1 when nothing can be told.
fn idle_share(before: Option<CpuTimes>, after: Option<CpuTimes>) -> f64 {
    let (Some(before), Some(after)) = (before, after) else {
        return 1.0;
    };
    let all = after.all.saturating_sub(before.all);
    let idle = after.idle.saturating_sub(before.idle);
    #[expect(clippy::cast_precision_loss, reason = "a few ticks")]
    let share = idle as f64 / all.max(1) as f64;
    if all == 0 { 1.0 } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_disk_is_idling() {
        let times = parse("cpu  10 0 20 60 10 0 0 0 5 5\ncpu0 1 2 3 4\n").unwrap();
        assert_eq!(times, CpuTimes { idle: 70, all: 100 });
        assert_eq!(parse("intr 5\n"), None);
    }

    #[test]
    fn a_share_is_of_what_passed_between_two_looks() {
        let at = |idle, all| Some(CpuTimes { idle, all });
        assert!((idle_share(at(70, 100), at(75, 110)) - 0.5).abs() < f64::EPSILON);
        assert!((idle_share(at(70, 100), at(70, 100)) - 1.0).abs() < f64::EPSILON);
        assert!((idle_share(None, at(1, 1)) - 1.0).abs() < f64::EPSILON);
    }
}
