//! What is recorded of how a job is locked in is what the job finds itself in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use davit_rpc::local::{ExtractPath, Run, SecurityProfile, SubmitRequest};

use super::support::{BUSYBOX, Executor, output, refusal};

/// One `name=value` line a question, but for mounts: `mount PATH OPTIONS`.
const LOOK: &str = "for n in cgroup ipc mnt net pid user uts; do echo $n=$(readlink /proc/self/ns/$n); done; \
    sed -n 's/^\\(Cap...\\|NoNewPrivs\\|Seccomp\\|Uid\\|Gid\\|Groups\\):\\s*/\\1=/p' /proc/self/status; \
    while read what path kind options rest; do echo mount $path $options; done </proc/self/mounts";

/// What every container has, whether it is told of it or not.
const DEVICES: &[&str] = &[
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

/// Those that the tests give, with their numbers (linux/capability.h).
const CAPABILITIES: &[(u32, &str)] = &[
    (0, "CAP_CHOWN"),
    (10, "CAP_NET_BIND_SERVICE"),
    (18, "CAP_SYS_CHROOT"),
];

struct Found(String);

impl Found {
    fn answer(&self, name: &str) -> &str {
        let mut lines = self.0.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found
            .unwrap_or_else(|| panic!("no {name} in {}", self.0))
            .trim()
    }

    /// Where, and with which options; of several on one place the last, which hides the others.
    fn mounts(&self) -> BTreeMap<&str, Vec<&str>> {
        let lines = self.0.lines();
        let mounts = lines.filter_map(|line| line.strip_prefix("mount ")?.split_once(' '));
        mounts
            .map(|(path, options)| (path, options.split(',').collect()))
            .collect()
    }

    /// Namespaces that are not the test's, which the executor and its containerd are in.
    fn own_namespaces(&self) -> BTreeSet<String> {
        let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
        let own = kinds.into_iter().filter(|kind| {
            let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            ours.to_str() != Some(self.answer(kind))
        });
        own.map(|kind| match kind {
            "mnt" => "mount".to_owned(),
            "net" => "network".to_owned(),
            other => other.to_owned(),
        })
        .collect()
    }
}

async fn looked(executor: &mut Executor, request: SubmitRequest) -> (Found, Run, SecurityProfile) {
    let run = executor
        .submit(SubmitRequest {
            image: BUSYBOX.into(),
            command: Some(LOOK.into()),
            ..request
        })
        .await
        .unwrap();
    let (records, ended) = executor.follow(&run, 0).await;
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
    assert_eq!(ended.security, None, "only who asks for one run is told");
    let found = String::from_utf8(output(&records, "stdout")).unwrap();
    let told = executor.get(&ended).await;
    let profile = told.security.clone().unwrap();
    (Found(found), told, profile)
}

fn assert_true(found: &Found, profile: &SecurityProfile) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let bits = u64::from_str_radix(found.answer(set), 16).unwrap();
        let names = CAPABILITIES
            .iter()
            .filter(|(bit, _)| bits & (1 << bit) != 0);
        let names: Vec<&str> = names.map(|(_, name)| *name).collect();
        assert_eq!(profile.capabilities, names, "{set}: {bits:x}");
        assert_eq!(bits.count_ones() as usize, names.len(), "{set}: {bits:x}");
    }
    assert_eq!(found.answer("NoNewPrivs"), "1");
    assert!(profile.no_new_privileges);
    assert_eq!(found.answer("Seccomp"), "2", "a filter");
    let digest = profile.seccomp_digest.as_deref().unwrap();
    assert_eq!(digest.strip_prefix("sha256:").unwrap().len(), 64);
    let ids = |name| {
        found
            .answer(name)
            .split_whitespace()
            .map(|id| id.parse::<u32>().unwrap())
    };
    assert!(ids("Uid").all(|id| id == profile.uid));
    assert!(ids("Gid").all(|id| id == profile.gid));
    let groups: BTreeSet<u32> = ids("Groups").collect();
    assert_eq!(groups, profile.additional_gids.iter().copied().collect());
    let namespaces: BTreeSet<String> = profile.namespaces.iter().cloned().collect();
    assert_eq!(found.own_namespaces(), namespaces);
    assert_eq!(profile.devices, [""; 0]);
    assert_eq!(
        (&profile.apparmor_profile, &profile.selinux_label),
        (&None, &None)
    );

    // Every mount is told of, and is read-only where that is told.
    let mounts = found.mounts();
    for (path, options) in &mounts {
        let read_only = if *path == "/" {
            profile.read_only_root
        } else if let Some(told) = profile.mounts.iter().find(|told| told.destination == *path) {
            told.options.iter().any(|option| option == "ro")
        } else if profile.read_only_paths.iter().any(|told| told == path) {
            true
        } else if DEVICES.contains(path) {
            // In a user namespace nobody makes devices: the host's are mounted.
            assert!(profile.ids.is_some(), "{path}");
            false
        } else {
            // What hides a directory is a file system of its own, read-only; what hides a file is /dev/null.
            assert!(
                profile.masked_paths.iter().any(|told| told == path),
                "{path} is not told of"
            );
            continue;
        };
        assert_eq!(options.contains(&"ro"), read_only, "{path} {options:?}");
    }
    for told in &profile.mounts {
        let seen = mounts.contains_key(told.destination.as_str());
        assert!(seen, "{} is not there", told.destination);
    }
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_run_is_locked_in_as_is_told_of_it() {
    let mut executor = Executor::start_with_host_network().await;
    let (found, run, usual) = looked(&mut executor, SubmitRequest::default()).await;
    assert_true(&found, &usual);
    assert_eq!(
        (usual.runtime.as_str(), usual.network.as_str()),
        ("crun", "none")
    );
    assert_eq!(run.network, "none");

    let (found, _, user) = looked(
        &mut executor,
        SubmitRequest {
            user: Some("100:101".into()),
            read_only_root: true,
            ..SubmitRequest::default()
        },
    )
    .await;
    assert_true(&found, &user);
    assert_eq!((user.uid, user.gid, user.read_only_root), (100, 101, true));

    let (found, _, open) = looked(
        &mut executor,
        SubmitRequest {
            network: "host".into(),
            ..SubmitRequest::default()
        },
    )
    .await;
    assert_true(&found, &open);
    assert!(!open.namespaces.contains(&"network".to_owned()));
    let resolver = open
        .mounts
        .iter()
        .find(|mount| mount.destination == "/etc/resolv.conf");
    assert_eq!(
        resolver.unwrap().host_path.as_deref(),
        Some("/etc/resolv.conf")
    );

    // The record outlives the executor.
    executor.kill_and_restart().await;
    assert_eq!(executor.get(&run).await.security, Some(usual));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_a_warm_slot_locks_in_is_told_like_the_rest() {
    let mut executor = Executor::start().await;
    let (_, _, cold) = looked(&mut executor, SubmitRequest::default()).await;
    super::warm::wait_ready(&executor, 1).await;
    let (found, run, warm) = looked(&mut executor, SubmitRequest::default()).await;
    assert!(run.timings.unwrap().warm);
    assert_true(&found, &warm);
    let (its, others) = (warm.ids.unwrap(), cold.ids.unwrap());
    assert_ne!(its.first, others.first);
    let but_for_ids = |profile| SecurityProfile {
        ids: None,
        ..profile
    };
    assert_eq!(but_for_ids(warm), but_for_ids(cold));
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_job_has_the_capabilities_it_asks_for_of_those_that_are_allowed() {
    let mut executor = Executor::start_with_capabilities("CAP_CHOWN CAP_SYS_CHROOT").await;
    let asking = |names: &[&str], user: &str| SubmitRequest {
        capabilities: names.iter().map(|name| (*name).to_owned()).collect(),
        user: Some(user.into()),
        ..SubmitRequest::default()
    };
    // Whoever it is: root by execve's rules for root, others by the ambient set.
    let mut digests = BTreeSet::new();
    for user in ["0", "100:101"] {
        for (names, told) in [
            (&[][..], &[][..]),
            (&["CAP_CHOWN"], &["CAP_CHOWN"]),
            (&["sys_chroot", "chown"], &["CAP_CHOWN", "CAP_SYS_CHROOT"]),
        ] {
            let (found, _, profile) = looked(&mut executor, asking(names, user)).await;
            assert_true(&found, &profile);
            assert_eq!(profile.capabilities, told);
            digests.insert(profile.seccomp_digest);

            let doing = "touch /tmp/a; chown 7:8 /tmp/a 2>/dev/null && echo owner; \
                 chroot / /bin/echo root 2>/dev/null; mount -t tmpfs none /mnt 2>/dev/null && echo mounted; true";
            let run = SubmitRequest {
                image: BUSYBOX.into(),
                command: Some(doing.into()),
                ..asking(names, user)
            };
            let run = executor.submit(run).await.unwrap();
            let (records, ended) = executor.follow(&run, 0).await;
            assert_eq!(ended.exit_code, Some(0), "{ended:?}");
            let did = String::from_utf8(output(&records, "stdout")).unwrap();
            assert_eq!(did, ["", "owner\n", "owner\nroot\n"][names.len()], "{user}");
        }
    }
    assert_eq!(digests.len(), 2, "only chroot has a filter of its own");

    for (names, problem) in [
        (&["CAP_CHOWN", "CAP_NET_RAW"][..], "capabilities_allowed"),
        (&["CAP_SYS_ADMIN"], "no capability that a run can be given"),
    ] {
        let run = SubmitRequest {
            image: BUSYBOX.into(),
            ..asking(names, "0")
        };
        let status = executor.submit(run).await.unwrap_err();
        let errors = davit_rpc::field_errors(&status).unwrap().0;
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].field.starts_with("capabilities"), "{errors:?}");
        assert!(errors[0].problem.contains(problem), "{errors:?}");
    }
    executor.finish().await;
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn what_gvisor_cannot_do_is_refused_with_the_field_and_the_reason() {
    let mut executor = Executor::start_cold().await;
    let all = SubmitRequest {
        image: BUSYBOX.into(),
        command: Some("true".into()),
        runtime: "runsc".into(),
        network: "bridge".into(),
        pids_max: Some(63),
        memory_bytes_max: Some((64 << 20) - 1),
        extracts: vec![ExtractPath {
            from: "/tmp".into(),
            to: "out".into(),
        }],
        ..SubmitRequest::default()
    };
    let (_, message) = refusal(executor.submit(all).await);
    for part in [
        "is not for runsc, which must find its network made",
        "pids_max = `63`: is too few for runsc",
        "is too little for runsc, whose sandbox counts with the job: 64MiB at least",
        "cannot be collected with runsc",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}
