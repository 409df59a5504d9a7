//! Runs that take a container made in advance: no different from others, and none is lost or repeated.

use std::time::{Duration, Instant};

use davit_executor::containerd::{ContainerName, Containerd, TaskStatus};
use davit_rpc::local::{
    Empty, EnvVar, ImageRef, Run, SubmitRequest, host_client::HostClient,
    images_client::ImagesClient,
};
use davit_rundir::{RunDir, SlotDir};

use super::containerd_process::ContainerdProcess;
use super::support::{BUSYBOX, Executor, output};

const WAIT: Duration = Duration::from_secs(30);
/// Long enough for a slot to be made, were one to be.
const SETTLED: Duration = Duration::from_millis(700);

/// Waits until `count` slots or more wait for a run, and none is being made.
pub async fn wait_ready(executor: &Executor, count: usize) {
    let mut host = HostClient::new(executor.channel());
    let begin = Instant::now();
    loop {
        let told = host.metrics(Empty {}).await.unwrap().into_inner();
        let slots = |state| -> usize {
            let name = format!("davit_warm_slots{{state=\"{state}\"}} ");
            let mut lines = told.openmetrics_text.lines();
            let value = lines.find_map(|line| line.strip_prefix(&name));
            value.unwrap().parse().unwrap()
        };
        if slots("ready") >= count && slots("making") == 0 {
            return;
        }
        assert!(
            begin.elapsed() < WAIT,
            "never {count} slots\n{}",
            executor.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn is_warm(run: &Run) -> bool {
    run.timings.as_ref().unwrap().warm
}

/// Runs it to its end.
async fn run(executor: &mut Executor, request: &SubmitRequest) -> (Run, String) {
    let run = executor.submit(request.clone()).await.unwrap();
    let (records, ended) = executor.follow(&run, 0).await;
    let text = String::from_utf8(output(&records, "stdout")).unwrap();
    (ended, text)
}

fn shell(command: &str) -> SubmitRequest {
    SubmitRequest {
        image: BUSYBOX.into(),
        command: Some(command.into()),
        ..SubmitRequest::default()
    }
}

/// What a job can see of its container; ids of the host's, which are each container's own, have ten digits.
const LOOK: &str = "id; hostname; pwd; env | sort; grep -v ' / ' /proc/self/mounts | sed 's/[0-9]\\{10\\}/N/g'; \
    grep -E 'Cap|NoNewPrivs|Seccomp|Groups' /proc/self/status; ls -l /proc/self/fd | wc -l; \
    cat /proc/self/oom_score_adj; ulimit -n; ulimit -c; ls -a /; cat /proc/net/dev | wc -l; \
    cat /proc/1/cgroup; all=$(ps); echo \"$all\" | wc -l; tr '\\0' ' ' </proc/1/cmdline; echo err >&2; exit 7";

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_warm_run_is_like_a_cold_one() {
    let mut executor = Executor::start().await;
    let request = SubmitRequest {
        user: Some("100:101".into()),
        workdir: Some("/tmp/deep".into()),
        hostname: Some("box".into()),
        env: vec![EnvVar {
            key: "GREETING".into(),
            value: "hello world".into(),
        }],
        ..shell(LOOK)
    };
    let (cold, cold_says) = run(&mut executor, &request).await;
    wait_ready(&executor, 1).await;
    let (warm, warm_says) = run(&mut executor, &request).await;
    assert!(!is_warm(&cold) && is_warm(&warm), "{warm:?}");
    assert_eq!(warm_says, cold_says);
    for fact in [
        "uid=100 gid=101",
        "box\n",
        "/tmp/deep\n",
        "GREETING=hello world",
        "HOSTNAME=box",
    ] {
        assert!(warm_says.contains(fact), "{fact}: {warm_says}");
    }
    for ended in [&cold, &warm] {
        assert_eq!(
            (ended.exit_code, ended.status.as_str()),
            (Some(7), "failed")
        );
        let log = ended.log.unwrap();
        assert_eq!(log.dropped_bytes, 0);
        assert!(ended.usage.unwrap().wall_ms < 10_000 && ended.image_digest.is_some());
    }
    assert_eq!(cold.log, warm.log);

    // What a run says of itself is its own, too.
    let own = SubmitRequest {
        hostname: None,
        env: Vec::new(),
        ..request
    };
    wait_ready(&executor, 1).await;
    let (other, says) = run(&mut executor, &own).await;
    assert!(is_warm(&other));
    assert!(
        says.contains(&format!("{}\n", other.id.rsplit('-').next().unwrap())),
        "{says}"
    );
    assert!(!says.contains("GREETING"), "{says}");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_run_never_gets_a_slot_of_another_profile() {
    let mut executor = Executor::start_with_host_network().await;
    run(&mut executor, &shell("true")).await;
    let others = [
        SubmitRequest {
            user: Some("7:7".into()),
            ..shell("true")
        },
        SubmitRequest {
            workdir: Some("/tmp".into()),
            ..shell("true")
        },
        SubmitRequest {
            read_only_root: true,
            ..shell("true")
        },
        SubmitRequest {
            network: "host".into(),
            ..shell("true")
        },
        SubmitRequest {
            runtime: "runc".into(),
            ..shell("true")
        },
        SubmitRequest {
            image: BUSYBOX.replace("busybox", "python"),
            ..shell("true")
        },
        // Half of it is the size of /tmp.
        SubmitRequest {
            memory_bytes_max: Some(64 << 20),
            ..shell("true")
        },
    ];
    wait_ready(&executor, 1).await;
    for request in &others {
        let (ended, _) = run(&mut executor, request).await;
        assert_eq!(ended.exit_code, Some(0), "{ended:?}");
        assert!(!is_warm(&ended), "was given a slot of another: {request:?}");
    }
    // It waits still, for its own.
    let (ended, _) = run(&mut executor, &shell("true")).await;
    assert!(is_warm(&ended));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn without_slots_every_run_is_made() {
    let mut executor = Executor::start_cold().await;
    for _ in 0..3 {
        let (ended, _) = run(&mut executor, &shell("true")).await;
        assert_eq!((ended.exit_code, is_warm(&ended)), (Some(0), false));
        tokio::time::sleep(SETTLED).await;
    }
    assert!(slots(&executor).await.is_empty());
    executor.finish().await;
}

async fn containerd(executor: &Executor) -> Containerd {
    let settings = executor.settings().containerd;
    Containerd::connect(&settings.socket, &settings.namespace, &settings.snapshotter)
        .await
        .unwrap()
}

/// The names of all slots that containerd knows.
async fn slots(executor: &Executor) -> Vec<ContainerName> {
    let inventory = containerd(executor).await.inventory().await.unwrap();
    let names = inventory.containers.into_iter().map(|found| found.name);
    names.filter(|name| name.slot().is_some()).collect()
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_slot_whose_container_dies_is_replaced() {
    let mut executor = Executor::start().await;
    run(&mut executor, &shell("true")).await;
    wait_ready(&executor, 1).await;
    let before = slots(&executor).await;
    let state = containerd(&executor)
        .await
        .task_state(&before[0])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(state.status, TaskStatus::Created);
    let init = i32::try_from(state.pid).unwrap();
    let init = rustix::process::Pid::from_raw(init).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::KILL).unwrap();
    let begin = Instant::now();
    while slots(&executor).await.contains(&before[0]) {
        let (ended, _) = run(&mut executor, &shell("echo x")).await;
        assert_eq!(ended.exit_code, Some(0), "{ended:?}");
        assert!(begin.elapsed() < WAIT, "the dead slot stays");
    }
    let begin = Instant::now();
    loop {
        let (ended, _) = run(&mut executor, &shell("true")).await;
        if is_warm(&ended) {
            break;
        }
        assert!(begin.elapsed() < WAIT, "no slot after one died");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_killed_executor_leaves_no_slot_and_its_runs_go_on() {
    let mut executor = Executor::start().await;
    run(&mut executor, &shell("true")).await;
    wait_ready(&executor, 1).await;
    let live = executor
        .submit(shell("echo up; sleep 0.5; exit 9"))
        .await
        .unwrap();
    executor.wait_logged(&live, 1).await;
    assert!(is_warm(&executor.get(&live).await));
    wait_ready(&executor, 1).await;
    assert_eq!(slots(&executor).await.len(), 2);
    executor.kill_and_restart().await;
    let begin = Instant::now();
    while slots(&executor).await.len() > 1 {
        assert!(begin.elapsed() < WAIT, "an idle slot outlives its executor");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = executor.wait(&live).await;
    assert_eq!((ended.exit_code, is_warm(&ended)), (Some(9), true));
    loop {
        let left = executor.leftovers().await;
        if left.is_empty() {
            break;
        }
        assert!(begin.elapsed() < WAIT, "left: {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // One that ends in its first moments takes them along, too.
    run(&mut executor, &shell("true")).await;
    wait_ready(&executor, 1).await;
    executor.kill_and_restart().await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn killed_at_any_instant_of_a_warm_launch_each_run_happens_once() {
    let mut executor = Executor::start().await;
    for delay_us in (0..16_000).step_by(500) {
        let (first, _) = run(&mut executor, &shell("true")).await;
        assert_eq!(first.exit_code, Some(0));
        wait_ready(&executor, 1).await;
        let mut client = executor.client.clone();
        let submitted = tokio::spawn(async move {
            let request = shell("echo once; sleep 0.05; exit 5");
            client
                .submit(request)
                .await
                .map(tonic::Response::into_inner)
        });
        tokio::time::sleep(Duration::from_micros(delay_us)).await;
        executor.kill_and_restart().await;
        let Ok(submitted) = submitted.await.unwrap() else {
            // Nobody was told that it was accepted; if it was, it ends like any other.
            continue;
        };
        let (records, ended) = executor.follow(&submitted, 0).await;
        assert_eq!(
            ended.exit_code,
            Some(5),
            "killed after {delay_us} µs: {ended:?}"
        );
        assert_eq!(
            output(&records, "stdout"),
            b"once\n",
            "killed after {delay_us} µs"
        );
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_slot_that_its_executor_did_not_start_is_adopted_or_launched_anew() {
    let mut executor = Executor::start().await;
    run(&mut executor, &shell("true")).await;
    wait_ready(&executor, 1).await;
    // Let a run be assigned but not started: as if the executor had died in between.
    let name = slots(&executor).await.remove(0);
    let dir = SlotDir::at(
        &executor.settings().state_dir.join("slots"),
        name.slot().unwrap().clone(),
    );
    assert!(dir.socket_path().exists());
    executor.kill();
    let waiting = executor.settings().state_dir.join("runs");
    let runs = RunDir::list(&waiting).unwrap();
    let old = runs.first().unwrap();
    // A run like the first one, whose launch names the slot but whose slot never heard of it.
    let mut spec = old.read_spec().unwrap().unwrap();
    spec.spec.run_id = davit_types::RunId::generate();
    spec.spec.command = davit_types::Command::Shell("echo anew; exit 4".into());
    let anew = RunDir::create(&waiting, &spec).unwrap();
    let mut launch = old.read_launch().unwrap().unwrap();
    launch.key = anew.key();
    launch.slot = name.slot().cloned();
    launch.cgroup = dir.read_slot().unwrap().unwrap().cgroup;
    anew.write_launch(&launch).unwrap();
    executor.restart().await;
    let run = Run {
        id: spec.spec.run_id.to_string(),
        ..Run::default()
    };
    let (records, ended) = executor.follow(&run, 0).await;
    assert_eq!(ended.exit_code, Some(4), "{ended:?}");
    assert_eq!(output(&records, "stdout"), b"anew\n");
    assert!(!is_warm(&ended));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_image_that_only_slots_use_can_be_removed() {
    let mut executor = Executor::start().await;
    let (ended, _) = run(&mut executor, &shell("true")).await;
    wait_ready(&executor, 1).await;
    executor
        .client
        .remove(super::support::reference(&ended))
        .await
        .unwrap();
    let mut images = ImagesClient::new(executor.channel());
    let listed = images.list(Empty {}).await.unwrap().into_inner().images;
    assert!(listed.iter().all(|image| !image.in_use), "{listed:?}");
    let image = ImageRef {
        image: BUSYBOX.into(),
    };
    images.remove(image.clone()).await.unwrap();
    assert!(slots(&executor).await.is_empty());

    // One that a run needs stays, and so does the run.
    let (_, _) = run(&mut executor, &shell("true")).await;
    wait_ready(&executor, 1).await;
    let live = executor.submit(shell("echo up; sleep 600")).await.unwrap();
    executor.wait_logged(&live, 1).await;
    assert!(is_warm(&executor.get(&live).await));
    let refused = images.remove(image).await.unwrap_err();
    assert!(refused.message().contains("in use"), "{refused:?}");
    assert_eq!(executor.stop(&live, 0).await.status, "canceled");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn containerd_may_restart_while_slots_wait() {
    let mut executor = Executor::start().await;
    let containerd = ContainerdProcess::here();
    run(&mut executor, &shell("true")).await;
    wait_ready(&executor, 1).await;
    containerd.kill();
    // Nothing of a warm launch needs it, but the image's record.
    containerd.start().await;
    for _ in 0..5 {
        let (ended, says) = run(&mut executor, &shell("echo up; exit 3")).await;
        assert_eq!(
            (ended.exit_code, says.as_str()),
            (Some(3), "up\n"),
            "{ended:?}"
        );
    }
    executor.wait_clean().await;
    executor.finish().await;
}
