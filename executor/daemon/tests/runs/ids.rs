//! User namespaces: whom a job is to itself, to the host and to the next run, and who has which ids when.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use davit_executor::containerd::{ContainerName, Containerd};
use davit_rpc::local::{
    Empty, IdRange, Run, SecurityProfile, SubmitRequest, host_client::HostClient,
};

use super::support::{BUSYBOX, CONTAINERD, Executor, output};
use super::warm::wait_ready;

const IDS: u32 = 65_536;

fn shell(command: &str) -> SubmitRequest {
    SubmitRequest {
        image: BUSYBOX.into(),
        command: Some(command.into()),
        ..SubmitRequest::default()
    }
}

async fn profile(executor: &mut Executor, run: &Run) -> SecurityProfile {
    executor.get(run).await.security.unwrap()
}

async fn ids(executor: &mut Executor, run: &Run) -> IdRange {
    profile(executor, run).await.ids.unwrap()
}

/// Its container's name: whichever of davit's cgroups its process is in.
fn container_of(executor: &Executor, run: &Run) -> String {
    let parent = format!("/sys/fs/cgroup{}", executor.settings().cgroup_parent);
    let key = format!("{}.{}", run.id, run.attempt);
    if Path::new(&parent).join(&key).exists() {
        return key;
    }
    let runs = executor.settings().state_dir.join("runs");
    let launch = fs::read(runs.join(&key).join("launch.json")).unwrap();
    let launch: serde_json::Value = serde_json::from_slice(&launch).unwrap();
    launch["slot"].as_str().expect("a slot").to_owned()
}

/// What the kernel says of the container's first process: its mapping, and its four user ids.
fn kernel_says(executor: &Executor, run: &Run) -> (Vec<u32>, Vec<u32>) {
    let pid = executor.init_of(&container_of(executor, run));
    let numbers = |text: &str| {
        text.split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect()
    };
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    let groups = fs::read_to_string(format!("/proc/{pid}/gid_map")).unwrap();
    assert_eq!(map, groups);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let users = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .unwrap();
    (numbers(&map), numbers(users))
}

/// A directory of the run's own layer, as the host sees it.
pub async fn own_layer(executor: &Executor, run: &Run) -> PathBuf {
    let namespace = executor.settings().containerd.namespace;
    let containerd = Containerd::connect(Path::new(CONTAINERD), &namespace, "overlayfs")
        .await
        .unwrap();
    let name: ContainerName = container_of(executor, run).parse().unwrap();
    let mounts = containerd.snapshot_mounts(&name).await.unwrap();
    let upper = mounts[0]
        .options
        .iter()
        .find_map(|option| option.strip_prefix("upperdir="));
    upper.expect("an overlay").into()
}

async fn says(executor: &mut Executor, request: SubmitRequest) -> (String, Run) {
    let run = executor.submit(request).await.unwrap();
    let (records, ended) = executor.follow(&run, 0).await;
    let text = [output(&records, "stdout"), output(&records, "stderr")].concat();
    (String::from_utf8(text).unwrap(), ended)
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_runs_ids_are_its_own() {
    let mut executor = Executor::start().await;
    let cold = executor.sh("sleep 60").await;
    executor.wait_running(&cold).await;
    wait_ready(&executor, 1).await;
    let warm = executor.sh("sleep 60").await;
    executor.wait_running(&warm).await;
    let other = executor
        .submit(SubmitRequest {
            user: Some("7:8".into()),
            ..shell("sleep 60")
        })
        .await
        .unwrap();
    executor.wait_running(&other).await;

    let mut firsts = BTreeSet::new();
    for (run, user) in [(&cold, 0), (&warm, 0), (&other, 7)] {
        let told = profile(&mut executor, run).await;
        let range = told.ids.unwrap();
        let (map, users) = kernel_says(&executor, run);
        assert_eq!(map, [0, range.first, IDS]);
        assert_eq!(users, [range.first + user; 4]);
        assert_eq!((range.count, range.first % IDS), (IDS, 0));
        assert!(told.namespaces.contains(&"user".to_owned()), "{told:?}");
        assert_eq!((told.uid, told.no_user_namespace), (user, None));
        firsts.insert(range.first);
    }
    assert_eq!(firsts.len(), 3, "each has its own");
    assert!(executor.get(&warm).await.timings.unwrap().warm);
    for run in [&cold, &warm, &other] {
        executor.stop(run, 0).await;
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_image_is_its_own_to_a_job_and_nothing_on_disk_bears_its_ids() {
    let mut executor = Executor::start_cold().await;
    let job = "set -e; id -u; stat -c %u:%g / /bin/busybox /etc/passwd; \
        mkdir /d; echo of root >/d/f; echo more >>/etc/passwd; rm /bin/true; ln /bin/busybox /bin/false2; \
        stat -c %u:%g /d /d/f; echo over >/dev/stdout; echo under >/dev/stderr; \
        touch /tmp/x /dev/shm/y; stat -c %u /tmp/x /proc/1; \
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start; sleep 60";
    let run = executor.sh(job).await;
    executor.wait_logged(&run, 11).await;
    let upper = own_layer(&executor, &run).await;
    let owner = |path: &str| {
        let meta = fs::symlink_metadata(upper.join(path)).unwrap();
        (meta.uid(), meta.gid())
    };
    assert_eq!(owner("d"), (0, 0), "on disk it is the image's root");
    assert_eq!(owner("d/f"), (0, 0));
    assert_eq!(owner("etc/passwd"), (0, 0));
    executor.stop(&run, 0).await;
    let (records, _) = executor.follow(&run, 0).await;
    let text = String::from_utf8(output(&records, "stdout")).unwrap();
    let expected = "0\n0:0\n0:0\n0:0\n0:0\n0:0\nover\n0\n0\n0\n";
    assert_eq!(text, expected, "{records:?}");
    assert_eq!(output(&records, "stderr"), b"under\n");

    // The layers are as they were.
    let (text, ended) = says(
        &mut executor,
        shell("ls /bin/true && ! grep more /etc/passwd && ! ls /d /bin/false2 2>/dev/null"),
    )
    .await;
    assert_eq!((ended.exit_code, text.as_str()), (Some(0), "/bin/true\n"));

    let closed = SubmitRequest {
        read_only_root: true,
        ..shell("! touch /x 2>/dev/null && touch /tmp/x && id -u")
    };
    let (text, ended) = says(&mut executor, closed).await;
    assert_eq!((ended.exit_code, text.as_str()), (Some(0), "0\n"));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_job_writes_to_its_own_streams_whoever_it_is() {
    let mut executor = Executor::start().await;
    for user in ["0", "100:101"] {
        let request = SubmitRequest {
            user: Some(user.into()),
            ..shell("echo out >/dev/stdout; echo err >/proc/self/fd/2")
        };
        for _ in 0..2 {
            let (text, ended) = says(&mut executor, request.clone()).await;
            assert_eq!(
                (ended.exit_code, text.as_str()),
                (Some(0), "out\nerr\n"),
                "{user}: {ended:?}"
            );
            wait_ready(&executor, 1).await;
        }
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_hosts_network_needs_no_ids_of_the_hosts() {
    let mut executor = Executor::start_with_host_network().await;
    let request = SubmitRequest {
        network: "host".into(),
        ..shell(
            "set -e; ls /sys/class/net | grep -x lo; cat /etc/resolv.conf >/dev/null; ! touch /sys/x 2>/dev/null; id -u",
        )
    };
    let (text, ended) = says(&mut executor, request).await;
    assert_eq!(
        (ended.exit_code, text.as_str()),
        (Some(0), "lo\n0\n"),
        "{ended:?}"
    );
    assert!(profile(&mut executor, &ended).await.ids.is_some());
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn ranges_outlive_the_executor_and_come_back_with_their_runs_end() {
    let mut executor = Executor::start_with_ids("required 2").await;
    let info = HostClient::new(executor.channel()).info(Empty {}).await;
    let warnings = info.unwrap().into_inner().warnings;
    let few = "user_namespaces.ranges = 2 is less than";
    assert!(warnings.iter().any(|w| w.starts_with(few)), "{warnings:?}");
    let live = executor.sh("sleep 60").await;
    executor.wait_running(&live).await;
    let its = ids(&mut executor, &live).await;
    executor.kill_and_restart().await;

    // A new executor begins with the first range, which is taken: only the containers say so.
    let second = executor.sh("sleep 60").await;
    executor.wait_running(&second).await;
    assert_ne!(ids(&mut executor, &second).await.first, its.first);
    assert_eq!(ids(&mut executor, &live).await, its);

    let third = executor.sh("true").await;
    let third = executor.wait(&third).await;
    let message = third.message.as_deref().unwrap_or_default();
    assert!(message.contains("all 2 ranges"), "{third:?}");
    assert_eq!((third.status.as_str(), third.exit_code), ("failed", None));

    executor.stop(&second, 0).await;
    for _ in 0..3 {
        executor.wait_alone(&live).await;
        let (text, ended) = says(&mut executor, shell("id -u")).await;
        assert_eq!(
            (ended.exit_code, text.as_str()),
            (Some(0), "0\n"),
            "{ended:?}"
        );
        assert_ne!(ids(&mut executor, &ended).await.first, its.first);
    }
    executor.stop(&live, 0).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_operator_may_turn_them_off_and_everybody_is_told() {
    let mut executor = Executor::start_with_ids("off 1").await;
    let run = executor.sh("sleep 60").await;
    executor.wait_running(&run).await;
    let told = profile(&mut executor, &run).await;
    assert_eq!(told.ids, None);
    assert!(told.no_user_namespace.unwrap().contains("off"));
    assert!(!told.namespaces.contains(&"user".to_owned()));
    let (map, users) = kernel_says(&executor, &run);
    assert_eq!((map, users), (vec![0, 0, u32::MAX], vec![0; 4]));
    let info = HostClient::new(executor.channel())
        .info(Empty {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        info.no_user_namespaces.as_deref(),
        Some("user_namespaces.mode is off")
    );
    assert!(
        !info
            .warnings
            .iter()
            .any(|warning| warning.contains("user namespaces")),
        "{info:?}"
    );
    executor.stop(&run, 0).await;
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn whom_no_range_has_cannot_run_and_the_sentence_says_so() {
    let mut executor = Executor::start_cold().await;
    for (user, what) in [("65536", "user 65536"), ("1:70000", "group 70000")] {
        let request = SubmitRequest {
            user: Some(user.into()),
            ..shell("id")
        };
        let run = executor.submit(request).await.unwrap();
        let ended = executor.wait(&run).await;
        let message = ended.message.as_deref().unwrap_or_default();
        assert!(
            message.contains(what) && message.contains("65535"),
            "{ended:?}"
        );
        assert_eq!(ended.exit_code, None);
    }
    let last = SubmitRequest {
        user: Some("65535:65535".into()),
        ..shell("id -u; id -g")
    };
    let (text, _) = says(&mut executor, last).await;
    assert_eq!(text, "65535\n65535\n");
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn no_job_comes_to_own_a_device_of_the_hosts() {
    use std::os::unix::fs::MetadataExt;
    let owners = || {
        ["null", "zero", "full", "random", "urandom", "tty"].map(|name| {
            let device = fs::metadata(format!("/dev/{name}")).unwrap();
            (name, device.uid(), device.mode())
        })
    };
    let before = owners();
    // Runtimes make the job's user the owner of its streams, and an empty stdin is a device.
    for mode in ["required 8", "off 8"] {
        let mut executor = Executor::start_with_ids(mode).await;
        for user in ["0", "7:8"] {
            let request = SubmitRequest {
                user: Some(user.into()),
                ..shell("test -c /dev/stdin && cat && chmod 777 /dev/stdin 2>/dev/null; echo end")
            };
            let (text, _) = says(&mut executor, request).await;
            assert_eq!(text, "end\n");
            assert_eq!(owners(), before, "{mode}, {user}");
        }
        executor.finish().await;
    }
}
