//! The behaviours, one file each. Adding one: a file with `TESTS`, and its name below.
//!
//! A test is a function of the [`Host`] fixture that reads as a story. It returns `Ok(())` when the
//! behaviour holds, an error when not, and `skip(reason)` where the host cannot show it.

use std::time::Duration;

use crate::host::Host;
use crate::outcome::TestResult;

const LIMIT_SECONDS_DEFAULT: u64 = 180;

/// One behaviour.
pub(crate) struct Test {
    /// `file::function`.
    pub(crate) name: &'static str,
    /// The story.
    pub(crate) run: fn(&mut Host) -> TestResult,
    /// A test that takes longer has failed and is killed.
    pub(crate) limit: Duration,
}

impl Test {
    /// A test with the default limit; the `tests!` macro calls this.
    pub(crate) const fn new(name: &'static str, run: fn(&mut Host) -> TestResult) -> Self {
        Self {
            name,
            run,
            limit: Duration::from_secs(LIMIT_SECONDS_DEFAULT),
        }
    }
}

/// `tests![a, b => 600]`: the functions of this file that are tests; `=>` sets a limit in seconds.
macro_rules! tests {
    (@limit $test:expr,) => { $test };
    (@limit $test:expr, $seconds:literal) => {
        $crate::behaviour::Test { limit: std::time::Duration::from_secs($seconds), ..$test }
    };
    ($($function:ident $(=> $seconds:literal)?),+ $(,)?) => {
        &[$(tests!(
            @limit $crate::behaviour::Test::new(
                $crate::behaviour::short_name(concat!(module_path!(), "::", stringify!($function))),
                $function,
            ),
            $($seconds)?
        )),+]
    };
}

/// Declares the files of this directory and lists their tests, in this order.
macro_rules! behaviours {
    ($($file:ident),+ $(,)?) => {
        $(mod $file;)+
        /// All tests, file by file.
        const FILES: &[&[Test]] = &[$($file::TESTS),+];
    };
}

behaviours![
    host_controllers,
    registry,
    attach,
    bad_input,
    clock,
    ctr,
    escapes,
    exec,
    gvisor,
    image_config,
    images,
    isolation,
    limits,
    logs,
    lost,
    many,
    metering,
    neighbours,
    pause,
    reconcile,
    runtimes,
    settings_file,
    shim_process,
    signals,
    startup,
    stop,
    survival,
    timeout,
    warm,
    warm_equals_cold,
];

/// What neither containerd's version nor the kernel's has a part in, and what the native tests tell on every suite, by name
/// or file: told once, on the newest suite, where several are tested in a row. Whoever wants it on another names that suite.
const ONCE: &[&str] = &[
    "attach::",
    "bad_input::",
    "clock::",
    "image_config::",
    "images::a_broken_transfer_leaves_nothing_and_can_be_repeated",
    "images::a_registry_that_stalls_is_given_up",
    "images::an_image_that_cannot_be_had_says_why",
    "images::credentials_are_used_and_kept_nowhere",
    "images::only_allowed_images_run",
    "images::the_pull_policy_decides_who_is_asked",
    "isolation::the_hosts_network_is_the_operators_to_give",
    "isolation::the_root_can_be_read_only",
    "logs::every_byte_is_kept",
    "logs::records_are_numbered_and_streams_are_apart",
    "many::",
    "neighbours::",
    "pause::paused_time_does_not_count_to_the_timeout",
    "power_cut::whatever_was_told_in_a_burst_of_runs_still_holds",
    "registry::",
    "settings_file::",
    "signals::",
    "startup::one_executor_per_state_directory",
    "startup::only_root_may_serve",
    "startup::without_containerd_it_does_not_start",
    "stop::",
    "timeout::",
    "warm::a_run_submitted_while_its_image_is_removed_runs_or_says_why",
    "warm::a_run_that_thrashes_at_its_own_limit_costs_no_slot",
    "warm::short_memory_takes_the_slots_and_demand_brings_them_back",
    "warm_equals_cold::the_same_holds_for_a_user_without_privileges_and_a_read_only_root",
];

/// Their verdict is a time of few milliseconds: nothing else may run on the machine meanwhile, nor on the one that emulates it.
const TIMED: &[&str] = &["neighbours::"];

mod old_containerd;
mod registry_double;
pub(crate) mod story;
mod warm_story;

/// All tests in order.
pub(crate) fn all() -> impl Iterator<Item = &'static Test> {
    FILES.iter().copied().flatten()
}

/// Whether a test, of a power cut too, is told once where several suites are tested in a row.
pub(crate) fn is_told_once(name: &str) -> bool {
    ONCE.iter().any(|told| match told.strip_suffix("::") {
        Some(file) => name.split_once("::").is_some_and(|(of, _)| of == file),
        None => *told == name,
    })
}

/// Whether its verdict is a time of few milliseconds.
pub(crate) fn is_timed(name: &str) -> bool {
    TIMED.iter().any(|file| name.starts_with(file))
}

/// `crate::behaviour::file::function` without what all names share.
pub(crate) const fn short_name(path: &'static str) -> &'static str {
    const PREFIX_BYTES: usize = "davit_vm_tests::behaviour::".len();
    path.split_at(PREFIX_BYTES).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_short() {
        let names: Vec<&str> = all().map(|test| test.name).collect();
        assert!(
            names.contains(&"registry::registry_serves_images"),
            "{names:?}"
        );
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn what_is_told_once_exists() {
        let cuts = crate::power_cut::Act::ALL.iter().map(|act| act.test());
        let names: Vec<&str> = all().map(|test| test.name).chain(cuts).collect();
        for told in ONCE.iter().chain(TIMED) {
            assert!(names.iter().any(|name| name.starts_with(told)), "{told}");
        }
        let once = names.iter().filter(|name| is_told_once(name)).count();
        assert!(once > ONCE.len() && once < names.len() * 2 / 3, "{once}");
    }
}
