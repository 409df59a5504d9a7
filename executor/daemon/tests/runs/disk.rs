//! What a run may write to its root file system: how far it comes, what it is told then, and what is left of its bound.

use davit_rpc::local::{Empty, HostInfo, Run, SubmitRequest, host_client::HostClient};
use tonic::Code;

use super::serving::DISK_QUOTA;
use super::support::{BUSYBOX, Executor, refusal};

const MIB: u64 = 1 << 20;

fn shell(disk_mib: u64, command: &str) -> SubmitRequest {
    SubmitRequest {
        image: BUSYBOX.into(),
        command: Some(command.into()),
        disk_bytes_max: Some(disk_mib * MIB),
        ..SubmitRequest::default()
    }
}

async fn info(executor: &Executor) -> HostInfo {
    let mut host = HostClient::new(executor.channel());
    host.info(Empty {}).await.unwrap().into_inner()
}

fn message(run: &Run) -> &str {
    run.message.as_deref().unwrap_or_default()
}

/// The layers here are on a file system without quotas.
mod without_project_quotas {
    use super::*;

    #[tokio::test]
    #[ignore = "needs a real host: scripts/test runs it"]
    async fn the_host_and_each_run_with_a_bound_say_that_nothing_holds_it() {
        let mut executor = Executor::start_cold().await;
        let told = info(&executor).await;
        let why = told.no_disk_quotas.unwrap();
        assert!(why.contains("prjquota"), "{why}");
        let warned = |warning: &String| warning.contains("prjquota");
        assert!(told.warnings.iter().any(warned), "{:?}", told.warnings);

        let run = executor
            .submit(shell(
                1,
                "dd if=/dev/zero of=/big bs=1M count=4 2>/dev/null",
            ))
            .await
            .unwrap();
        let ended = executor.wait(&run).await;
        assert_eq!(ended.exit_code, Some(0), "{ended:?}");
        let security = executor.get(&run).await.security.unwrap();
        assert_eq!(security.no_disk_quota, Some(why));
        assert_eq!(ended.usage.unwrap().disk_used_bytes, None);
        executor.finish().await;
    }

    #[tokio::test]
    #[ignore = "needs a real host: scripts/test runs it"]
    async fn who_requires_quotas_is_refused_and_who_wants_none_is_not_warned() {
        let mut executor = Executor::start_cold().await;
        executor.restart_with(DISK_QUOTA, "off 1GiB").await;
        let told = info(&executor).await;
        let why = told.no_disk_quotas.unwrap();
        assert!(why.contains("off"), "{why}");
        let warned = |warning: &String| warning.contains("disk");
        assert!(!told.warnings.iter().any(warned), "{:?}", told.warnings);

        executor.terminate();
        std::fs::write(executor.dir().join(DISK_QUOTA), "required 1GiB").unwrap();
        let said = executor.refused_second();
        assert!(
            said.contains("disk_quota.mode") && said.contains("prjquota"),
            "{said}"
        );
        std::fs::write(executor.dir().join(DISK_QUOTA), "auto 1GiB").unwrap();
        executor.restart().await;
        executor.finish().await;
    }

    #[tokio::test]
    #[ignore = "needs a real host: scripts/test runs it"]
    async fn more_than_the_operator_allows_is_refused_by_name() {
        let mut executor = Executor::start_cold().await;
        executor.restart_with(DISK_QUOTA, "auto 20GiB").await;
        let (code, said) = refusal(executor.submit(shell(20 << 10 | 1, "true")).await);
        assert_eq!(code, Code::InvalidArgument, "{said}");
        assert!(
            said.contains("disk_bytes_max") && said.contains("20GiB"),
            "{said}"
        );
        let run = executor.submit(shell(20 << 10, "true")).await.unwrap();
        assert_eq!(executor.wait(&run).await.exit_code, Some(0));
        executor.finish().await;
    }
}

/// They are on one that was mounted with `prjquota`.
mod with_project_quotas {
    use std::fs::File;
    use std::time::{Duration, Instant};

    use davit_quota::{Limits, ProjectId, Usage};

    use super::*;
    use crate::files_in::{Tar, with};
    use crate::ids::own_layer;
    use crate::support::{WAIT, output};
    use crate::warm::{is_warm, wait_ready};

    const SNAPSHOTS: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
    /// Where davit's projects begin, and end.
    const FIRST: u32 = 0x6000_0000;
    const END: u32 = 0x7000_0000;
    const DISK_MIB: u64 = 32;
    /// Writes until it is refused, and fails of it.
    const FILL: &str = "dd if=/dev/zero of=/big bs=64k; code=$?; stat -c %s /big; exit $code";

    fn layers() -> File {
        File::open(SNAPSHOTS).unwrap()
    }

    /// Everything that the file system knows of davit's projects.
    fn projects() -> Vec<(ProjectId, Usage)> {
        let layers = layers();
        let mut all = Vec::new();
        let mut from = ProjectId(FIRST);
        while let Some((project, usage)) = davit_quota::next(&layers, from).unwrap() {
            if project.0 >= END {
                break;
            }
            all.push((project, usage));
            from = ProjectId(project.0 + 1);
        }
        all
    }

    /// Waits until none is left: containerd removes layers when nobody waits for it.
    async fn wait_forgotten() {
        let begin = Instant::now();
        loop {
            let left = projects();
            if left.is_empty() {
                return;
            }
            assert!(begin.elapsed() < WAIT, "left: {left:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn near(bytes: u64, limit: u64) -> bool {
        bytes <= limit && bytes >= limit - limit / 100
    }

    /// It came as far as its disk, was told so, and no further.
    async fn was_stopped(executor: &mut Executor, run: &Run, warm: bool) {
        let (records, ended) = executor.follow(run, 0).await;
        let said = String::from_utf8(output(&records, "stdout")).unwrap();
        let heard = String::from_utf8(output(&records, "stderr")).unwrap();
        assert_eq!(
            ended.end_reason.as_deref(),
            Some("disk_full"),
            "{ended:?} {heard}"
        );
        assert_eq!(
            (ended.status.as_str(), ended.exit_code),
            ("failed", Some(1))
        );
        assert_eq!(
            message(&ended),
            "exited with code 1, its disk of 32MiB being full"
        );
        assert!(
            heard.contains("quota") || heard.contains("No space"),
            "{heard}"
        );
        let bytes: u64 = said.trim().parse().unwrap();
        assert!(near(bytes, DISK_MIB * MIB), "{bytes}");
        let used = ended.usage.unwrap().disk_used_bytes.unwrap();
        assert!(near(used, DISK_MIB * MIB) && used >= bytes, "{used}");
        assert_eq!(is_warm(&ended), warm);
        let security = executor.get(run).await.security.unwrap();
        assert_eq!(security.no_disk_quota, None);
    }

    #[tokio::test]
    #[ignore = "needs a real host: scripts/test runs it"]
    async fn a_job_comes_as_far_as_its_disk_and_its_neighbour_does_not_notice() {
        let mut executor = Executor::start().await;
        assert_eq!(info(&executor).await.no_disk_quotas, None);
        let cold = executor.submit(shell(DISK_MIB, FILL)).await.unwrap();
        was_stopped(&mut executor, &cold, false).await;

        let neighbour =
            "dd if=/dev/zero of=/a bs=1M count=8 && sleep 9 && dd if=/dev/zero of=/b bs=1M count=8";
        let neighbour = executor.submit(shell(DISK_MIB, neighbour)).await.unwrap();
        executor.wait_running(&neighbour).await;
        wait_ready(&executor, 1).await;
        let warm = executor.submit(shell(DISK_MIB, FILL)).await.unwrap();
        was_stopped(&mut executor, &warm, true).await;
        assert_eq!(executor.get(&neighbour).await.status, "running");
        let ended = executor.wait(&neighbour).await;
        assert_eq!(ended.end_reason.as_deref(), Some("exited"), "{ended:?}");
        assert_eq!(ended.exit_code, Some(0));
        let used = ended.usage.unwrap().disk_used_bytes.unwrap();
        assert!((16 * MIB..17 * MIB).contains(&used), "{used}");
        executor.finish().await;
        wait_forgotten().await;
    }

    #[tokio::test]
    #[ignore = "needs a real host: scripts/test runs it"]
    async fn many_small_files_come_to_an_end_too() {
        let mut executor = Executor::start_cold().await;
        // Of 8 MiB there are 4096: 8 KiB for each were fewer.
        let job = "mkdir /d; cd /d; i=0; while true 2>/dev/null >$i; do i=$((i+1)); done; echo $i; exit 3";
        let run = executor.submit(shell(8, job)).await.unwrap();
        let (records, ended) = executor.follow(&run, 0).await;
        assert_eq!(ended.end_reason.as_deref(), Some("disk_full"), "{ended:?}");
        assert_eq!(ended.exit_code, Some(3));
        let said = String::from_utf8(output(&records, "stdout")).unwrap();
        let files: u64 = said.trim().parse().unwrap();
        assert!((4_055..=4_096).contains(&files), "{files}");
        let usage = ended.usage.unwrap();
        assert_eq!(usage.disk_used_files, Some(4_096));
        assert!(usage.disk_used_bytes.unwrap() < 2 * MIB, "{usage:?}");
        executor.finish().await;
        wait_forgotten().await;
    }

    #[tokio::test]
    #[ignore = "needs a real host: scripts/test runs it"]
    async fn only_who_failed_with_his_disk_full_ended_for_it() {
        let mut executor = Executor::start_cold().await;
        let full = "dd if=/dev/zero of=/big bs=64k 2>/dev/null";
        for (job, reason, code) in [
            (format!("{full}; exit 0"), "exited", 0),
            (format!("{full}; rm /big; exit 4"), "exited", 4),
            (format!("{full}; exit 4"), "disk_full", 4),
            ("exit 4".to_owned(), "exited", 4),
            // The image's own files are nobody's until they are changed; memory is no disk.
            (
                "dd if=/dev/zero of=/dev/shm/x bs=1M count=12 && exit 5".to_owned(),
                "exited",
                5,
            ),
        ] {
            let run = executor.submit(shell(8, &job)).await.unwrap();
            let ended = executor.wait(&run).await;
            let told = (
                ended.end_reason.as_deref().unwrap(),
                ended.exit_code.unwrap(),
            );
            assert_eq!(told, (reason, code), "{job}: {ended:?}");
        }
        executor.finish().await;
    }

    #[tokio::test]
    #[ignore = "needs a real host: scripts/test runs it"]
    async fn an_executor_that_dies_changes_nothing_and_leaves_nothing() {
        let mut executor = Executor::start_cold().await;
        let job = format!("sleep 8; {FILL}");
        let run = executor.submit(shell(DISK_MIB, &job)).await.unwrap();
        executor.wait_running(&run).await;
        let layer = own_layer(&executor, &run).await;
        executor.kill();
        let project = davit_quota::project_of(File::open(&layer).unwrap()).unwrap();
        assert!((FIRST..END).contains(&project.0), "{project:?}");
        // Of a layer that was removed while nobody looked.
        let nobodys = ProjectId(END - 1);
        let limits = Limits {
            bytes_max: MIB,
            inodes_max: 7,
        };
        davit_quota::limit(layers(), nobodys, limits).unwrap();

        let state = executor.settings().state_dir;
        let record = state.join(format!("runs/{}.{}/exit.json", run.id, run.attempt));
        let begin = Instant::now();
        while !record.exists() {
            assert!(begin.elapsed() < WAIT, "the job does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let held = davit_quota::usage(layers(), project).unwrap();
        assert_eq!(held.limits.bytes_max, DISK_MIB * MIB);
        executor.restart().await;
        was_stopped(&mut executor, &run, false).await;
        wait_forgotten().await;
        executor.finish().await;
    }

    #[tokio::test]
    #[ignore = "needs a real host: scripts/test runs it"]
    async fn a_job_cannot_leave_its_quota_if_it_has_a_user_namespace() {
        // busybox says nothing by its code: what counts is how far the job comes.
        let job = "mkdir /out; chattr -p 0 /out; chattr -P /out; \
                   dd if=/dev/zero of=/out/big bs=64k count=640; code=$?; stat -c %s /out/big; exit $code";
        let mut executor = Executor::start_cold().await;
        let run = executor.submit(shell(DISK_MIB, job)).await.unwrap();
        was_stopped(&mut executor, &run, false).await;
        executor.finish().await;

        // Without one it is the host's root: some kernels (7.2) open these ways to it, and the operator is told.
        let executor = Executor::start_with_ids("off 4").await;
        let warnings = info(&executor).await.warnings;
        let warned = |warning: &String| warning.contains("leave its disk quota");
        assert!(warnings.iter().any(warned), "{warnings:?}");
        executor.finish().await;
    }

    #[tokio::test]
    #[ignore = "needs a real host: scripts/test runs it"]
    async fn files_that_a_run_comes_with_are_on_its_disk() {
        let mut executor = Executor::start_cold().await;
        let data = "x".repeat(6 << 20);
        let tar = Tar::default().file("data", 0o644, &data).done();
        let job = "dd if=/dev/zero of=/more bs=64k 2>/dev/null; stat -c %s /more; exit 1";
        let (said, ended) = with(&mut executor, shell(8, job), &tar).await;
        assert_eq!(ended.end_reason.as_deref(), Some("disk_full"), "{ended:?}");
        let more: u64 = said.trim().parse().unwrap();
        assert!((MIB..=2 * MIB).contains(&more), "{more}");

        let (_, ended) = with(&mut executor, shell(4, "true"), &tar).await;
        assert_eq!(
            ended.end_reason.as_deref(),
            Some("start_failed"),
            "{ended:?}"
        );
        assert!(message(&ended).contains("disk"), "{}", message(&ended));
        executor.finish().await;
        wait_forgotten().await;
    }
}
