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
    ctr,
    image_config,
    images,
    isolation,
    limits,
    logs,
    lost,
    many,
    metering,
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

mod old_containerd;
mod registry_double;
pub(crate) mod story;
mod warm_story;

/// All tests in order.
pub(crate) fn all() -> impl Iterator<Item = &'static Test> {
    FILES.iter().copied().flatten()
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
}
