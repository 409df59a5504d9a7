//! The meter against the kernel itself, at native speed: times of exec and exit, and `cpu.stat`.

use davit_rpc::local::{Run, SubmitRequest};

use super::support::{BUSYBOX, Executor, output};
use super::sys::ProcessTimes;

/// How far metered wall time may be from the kernel's, nanoseconds.
const WALL_ERROR_NS_MAX: u64 = 20_000_000;
/// Any process may be woken late once on a busy host: the meter as such is what is judged.
const WALL_TRIES_MAX: usize = 3;

fn init_pid(run: &Run) -> u32 {
    let state = std::fs::read_to_string(format!("{}/state.json", run.run_dir)).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    u32::try_from(state["init_pid"].as_u64().unwrap()).unwrap()
}

/// A sleep's wall time as metered, and from the kernel's record of its exec and its exit, nanoseconds.
async fn slept(executor: &mut Executor, seconds: &str) -> (u64, u64) {
    let times = ProcessTimes::record().unwrap();
    let request = SubmitRequest {
        image: BUSYBOX.into(),
        argv: vec!["sleep".into(), seconds.into()],
        ..SubmitRequest::default()
    };
    let run = executor.submit(request).await.unwrap();
    let run = executor.wait(&run).await;
    assert_eq!(run.status, "succeeded", "{run:?}");
    let usage = run.usage.unwrap();
    assert_eq!((usage.paused_ms, usage.billable_ms), (0, usage.wall_ms));
    let kernel = times
        .of(init_pid(&run))
        .expect("the kernel saw no such process");
    (usage.wall_ms * 1_000_000, kernel.exit_ns - kernel.exec_ns)
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn wall_time_is_the_kernels_to_20_ms() {
    let mut executor = Executor::start().await;
    for (seconds, at_least_ns) in [("1", 1_000_000_000), ("10", 10_000_000_000)] {
        let mut seen = Vec::new();
        loop {
            let (metered_ns, kernel_ns) = slept(&mut executor, seconds).await;
            assert!(kernel_ns >= at_least_ns, "a sleep of {kernel_ns} ns");
            seen.push((metered_ns, kernel_ns));
            if metered_ns.abs_diff(kernel_ns) <= WALL_ERROR_NS_MAX {
                break;
            }
            assert!(
                seen.len() < WALL_TRIES_MAX,
                "metered and seen, ns: {seen:?}"
            );
        }
        eprintln!("sleep {seconds}: metered and seen by the kernel, ns: {seen:?}");
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn cpu_time_is_the_cgroups_to_1_percent() {
    let mut executor = Executor::start().await;
    // The last thing the job does is to read its own meter, without another process.
    let run = executor
        .sh("timeout 2 sh -c 'while :; do :; done'; \
             while read -r line; do echo \"$line\"; done </sys/fs/cgroup/cpu.stat")
        .await;
    let (records, ended) = executor.follow(&run, 0).await;
    let stat = String::from_utf8(output(&records, "stdout")).unwrap();
    let seen_us: u64 = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))
        .unwrap()
        .parse()
        .unwrap();
    let usage = ended.usage.unwrap();
    assert!(seen_us > 500_000, "the job used only {seen_us} µs");
    assert!(
        (seen_us..=seen_us + seen_us / 100).contains(&usage.cpu_us),
        "metered {} µs, the job saw {seen_us} µs",
        usage.cpu_us
    );
    let parts = usage.cpu_user_us + usage.cpu_system_us;
    assert!(
        parts.abs_diff(usage.cpu_us) <= usage.cpu_us / 100,
        "{usage:?}"
    );
    executor.finish().await;
}
