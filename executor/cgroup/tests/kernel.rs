//! The kernel's side of the contract, on a real cgroup v2 file system.
//!
//! They make cgroups, and so are ignored but where `scripts/test` runs them: natively, where there are no
//! controllers, and those in `with_controllers` in a VM.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use davit_cgroup::{Cgroup, CgroupError, CgroupPath, Controllers, Hierarchy, Limits, Stats};
use davit_types::{Bytes, Resources};

const LIMIT: Duration = Duration::from_secs(10);
const BLINK: Duration = Duration::from_millis(50);

/// A cgroup of this test's own, removed with all its processes in the end.
struct Fixture {
    hierarchy: Hierarchy,
    path: CgroupPath,
    cgroup: Cgroup,
}

impl Fixture {
    fn new(name: &str) -> Self {
        assert!(
            std::env::var_os("DAVIT_TEST_REAL_HOST").is_some(),
            "it makes cgroups: run it inside scripts/native, with scripts/lib/host-tests"
        );
        let hierarchy = Hierarchy::find().unwrap();
        let path = CgroupPath::root()
            .child(&format!("davit-test-{name}-{}", std::process::id()))
            .unwrap();
        let cgroup = Cgroup::create(&hierarchy, &path).unwrap();
        Self {
            hierarchy,
            path,
            cgroup,
        }
    }

    /// A shell in the cgroup that runs `script` once it is in there.
    fn run(&self, script: &str) -> Child {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.cgroup.add_process(child.id()).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child
    }

    /// A process in the cgroup that uses CPU time until it is killed.
    fn spin(&self, cgroup: &Cgroup) -> Child {
        let child = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        cgroup.add_process(child.id()).unwrap();
        child
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // On the way out of a failed test nothing better can be done than to try.
        let _tried = self.cgroup.kill().is_ok()
            && self.cgroup.wait_empty(LIMIT).is_ok()
            && self.cgroup.remove().is_ok();
    }
}

fn cpu_us(cgroup: &Cgroup) -> u64 {
    cgroup.stats().unwrap().cpu_us
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn frozen_processes_use_no_time_until_thawed() {
    let test = Fixture::new("freeze");
    let mut child = test.spin(&test.cgroup);
    assert!(
        !test.cgroup.wait_frozen(BLINK).unwrap(),
        "not frozen by itself"
    );

    test.cgroup.freeze().unwrap();
    assert!(test.cgroup.wait_frozen(LIMIT).unwrap());
    let events = test.cgroup.events().unwrap();
    assert!(events.frozen && events.populated);
    let before = cpu_us(&test.cgroup);
    assert!(!test.cgroup.wait_empty(2 * BLINK).unwrap());
    assert_eq!(cpu_us(&test.cgroup), before);

    test.cgroup.thaw().unwrap();
    let mut watch = test.cgroup.events_fd().unwrap();
    assert!(watch.wait(LIMIT, |events| !events.frozen).unwrap());
    // It runs again: it has used more by the time this wait ends in vain.
    assert!(!test.cgroup.wait_empty(4 * BLINK).unwrap());
    assert!(cpu_us(&test.cgroup) > before);
    test.cgroup.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn kill_reaches_frozen_processes_and_those_below() {
    let test = Fixture::new("kill");
    let below = test.path.child("below").unwrap();
    let below = Cgroup::create(&test.hierarchy, &below).unwrap();
    let mut children = [test.spin(&test.cgroup), test.spin(&below)];
    assert_eq!(test.cgroup.procs().unwrap(), [children[0].id()]);
    assert_eq!(test.cgroup.children().unwrap(), ["below"]);
    test.cgroup.freeze().unwrap();
    assert!(test.cgroup.wait_frozen(LIMIT).unwrap());

    test.cgroup.kill().unwrap();
    assert!(test.cgroup.wait_empty(LIMIT).unwrap());
    for child in &mut children {
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
    }
    let stats = test.cgroup.stats().unwrap();
    assert!(
        stats.cpu_us > 0 && stats.cpu_us >= stats.cpu_user_us,
        "{stats:?}"
    );

    test.cgroup.remove().unwrap();
    assert!(
        Cgroup::open(&test.hierarchy, &test.path)
            .unwrap_err()
            .is_gone()
    );
    test.cgroup.remove().unwrap();
    assert!(
        test.cgroup.wait_empty(BLINK).unwrap(),
        "what is gone is empty"
    );
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn the_event_file_wakes_whoever_polls_it() {
    let test = Fixture::new("events");
    let mut child = test.spin(&test.cgroup);
    let mut watch = test.cgroup.events_fd().unwrap();
    assert!(watch.read().unwrap().populated);
    let waiting = std::thread::spawn(move || watch.wait(LIMIT, |events| !events.populated));
    test.cgroup.kill().unwrap();
    child.wait().unwrap();
    assert!(waiting.join().unwrap().unwrap());
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn an_occupied_cgroup_is_not_removed() {
    let test = Fixture::new("busy");
    let mut child = test.spin(&test.cgroup);
    assert!(!test.cgroup.try_remove().unwrap());
    let error = test.cgroup.remove().unwrap_err();
    assert!(
        matches!(error, CgroupError::Busy { waited_ms: 500, .. }),
        "{error}"
    );
    test.cgroup.kill().unwrap();
    child.wait().unwrap();
    test.cgroup.remove().unwrap();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_used_cgroup_is_not_used_again() {
    let test = Fixture::new("again");
    let error = Cgroup::create(&test.hierarchy, &test.path).unwrap_err();
    assert!(matches!(error, CgroupError::Exists(_)), "{error}");
    Cgroup::open(&test.hierarchy, &test.path).unwrap();
}

#[test]
fn an_ordinary_directory_is_no_hierarchy() {
    let error = Hierarchy::at(std::path::Path::new("/proc")).unwrap_err();
    assert!(matches!(error, CgroupError::NoCgroup2 { .. }), "{error}");
}

/// Where a controller is missing: natively.
mod without_controllers {
    use super::*;

    #[test]
    #[ignore = "needs a real host: scripts/test runs it"]
    fn a_missing_controller_is_named() {
        let test = Fixture::new("missing");
        let available = test.hierarchy.controllers().unwrap();
        let missing = Controllers::FOR_RUNS.without(available);
        assert!(!missing.is_empty(), "this place has all controllers");
        let error = test
            .hierarchy
            .enable_below(&test.path, Controllers::FOR_RUNS)
            .unwrap_err();
        assert!(error.to_string().ends_with(&missing.to_string()), "{error}");

        let limits = Limits {
            pids_max: Some(7),
            ..Limits::default()
        };
        let text = test.cgroup.set_limits(&limits).unwrap_err().to_string();
        assert!(text.contains("pids.max") && text.contains("`7`"), "{text}");
        assert!(test.cgroup.memory_events().unwrap().is_none());
        let usage = test.cgroup.usage().unwrap();
        assert_eq!((usage.memory_peak_bytes, usage.pids_peak), (None, None));
    }
}

/// Where limits can be set: in a VM.
mod with_controllers {
    use super::*;

    fn fixture(name: &str) -> Fixture {
        let test = Fixture::new(name);
        test.hierarchy
            .enable_below(&CgroupPath::root(), Controllers::FOR_RUNS)
            .unwrap();
        test
    }

    #[test]
    #[ignore = "needs a real host: scripts/test runs it"]
    fn out_of_memory_is_announced_and_kills_the_whole_cgroup() {
        let test = fixture("oom");
        let limits = Limits {
            memory_bytes_max: Some(16 << 20),
            swap_bytes_max: Some(0),
            oom_group: Some(true),
            ..Limits::default()
        };
        test.cgroup.set_limits(&limits).unwrap();
        let mut watch = test.cgroup.memory_events_fd().unwrap().unwrap();
        assert_eq!(watch.read().unwrap().oom_kill, 0);
        let mut bystander = test.spin(&test.cgroup);
        let mut hog = test.run("x=$(head -c 64000000 /dev/zero | tr '\\0' x); echo \"$x\" | wc -c");
        assert!(watch.wait(LIMIT * 6, |events| events.oom_kill > 0).unwrap());
        assert!(test.cgroup.wait_empty(LIMIT).unwrap());
        for child in [&mut hog, &mut bystander] {
            let status = child.wait().unwrap();
            assert_eq!(
                std::os::unix::process::ExitStatusExt::signal(&status),
                Some(9)
            );
        }
        let usage = test.cgroup.usage().unwrap();
        assert!(usage.oom_kills >= 2, "{usage:?}");
        let peak = usage.memory_peak_bytes.unwrap();
        assert!((8 << 20..=20 << 20).contains(&peak), "{usage:?}");
    }

    #[test]
    #[ignore = "needs a real host: scripts/test runs it"]
    fn forks_and_time_beyond_the_limit_are_refused_and_counted() {
        let test = fixture("limits");
        let resources = Resources {
            cpu_millis: 100,
            memory_bytes_max: Bytes::mib(64),
            pids_max: 4,
        };
        test.cgroup.set_limits(&Limits::from(&resources)).unwrap();
        let mut child = test.run("for i in 1 2 3 4 5 6; do sleep 100 & done; while :; do :; done");
        let seen = |done: &dyn Fn(&Stats) -> bool| {
            // Nothing announces these figures; the bound is on the number of looks.
            (0..200).any(|_| {
                assert!(
                    !test.cgroup.wait_empty(BLINK).unwrap() || done(&test.cgroup.stats().unwrap())
                );
                done(&test.cgroup.stats().unwrap())
            })
        };
        assert!(seen(&|stats| stats.pids_refused > 0));
        let stats = test.cgroup.stats().unwrap();
        assert_eq!(stats.pids_peak, Some(4));
        assert!(stats.memory_current_bytes.unwrap() > 0);
        test.cgroup.kill().unwrap();
        child.wait().unwrap();

        // A tenth of a CPU: the loop is held back in every period.
        let mut spinning = test.spin(&test.cgroup);
        assert!(seen(&|stats| stats.cpu_throttled_us > 0));
        test.cgroup.kill().unwrap();
        spinning.wait().unwrap();
    }
}
