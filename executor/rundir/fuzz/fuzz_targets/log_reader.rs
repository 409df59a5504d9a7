//! Feeds arbitrary files to the log reader; the promises it checks are in `log::fuzzing`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // One directory a process: libFuzzer's jobs are processes.
    let scratch = std::env::temp_dir().join(format!("davit-fuzz-{}", std::process::id()));
    davit_rundir::log::fuzzing::read_any(&scratch, data).expect("the scratch directory is writable");
});
