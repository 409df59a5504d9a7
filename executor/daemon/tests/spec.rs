//! The OCI spec: one whole spec written down, and what no input can change.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "spec/any.rs"]
mod any;
#[path = "spec/late.rs"]
mod late;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use davit_executor::images::ImageConfig;
use davit_executor::oci::{
    Arch, Controllers, HostFacts, ResolvedUser, SpecContext, SpecError, build, security, user_text,
};
use davit_types::{
    Attempt, Bytes, Capability, Command, EnvVar, InstanceType, NetworkMode, OciRuntime, PullPolicy,
    Resources, RunSpec, Tenant,
};
use oci_spec::runtime::{LinuxNamespaceType, LinuxSeccompAction, Spec};
use proptest::prelude::*;

use any::{any_image, any_run};

fn run() -> RunSpec {
    RunSpec {
        run_id: "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0001".parse().unwrap(),
        attempt: Attempt::FIRST,
        tenant: Tenant::local(),
        name: None,
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        image: "localhost:5000/app:1".into(),
        pull_policy: PullPolicy::Missing,
        command: Command::Image,
        entrypoint: None,
        env: Vec::new(),
        workdir: None,
        user: None,
        hostname: None,
        instance_type: InstanceType {
            slug: "small".into(),
            name: "Small".into(),
            resources: Resources {
                cpu_millis: 1500,
                memory_bytes_max: Bytes::mib(256),
                pids_max: 128,
            },
            price_second_micros: 3,
            disk_bytes_max: None,
        },
        timeout_seconds: 60,
        max_pause_seconds: 60,
        log_bytes_max: Bytes::mib(1),
        network: NetworkMode::None,
        egress: Vec::new(),
        publish: Vec::new(),
        network_bytes_per_second_max: None,
        runtime: OciRuntime::Crun,
        read_only_root: false,
        capabilities: BTreeSet::new(),
        extracts: Vec::new(),
        stdin: false,
        tty: false,
        files_in: false,
        secret_env: Vec::new(),
        secret_files: Vec::new(),
    }
}

fn image() -> ImageConfig {
    ImageConfig {
        user: "app".into(),
        env: vec![
            ("PATH".into(), "/bin".into()),
            ("MODE".into(), "image".into()),
        ],
        entrypoint: vec!["/entry".into()],
        cmd: vec!["default".into()],
        workdir: Some("/work".into()),
        stop_signal: None,
    }
}

fn host() -> HostFacts {
    HostFacts {
        arch: Arch::X86_64,
        hosts_file: Some("/var/lib/davit/hosts".into()),
        resolv_conf: Some("/etc/resolv.conf".into()),
        bridge_resolv_conf: Some("/var/lib/davit/bridge-resolv.conf".into()),
        nofile_max: 65_536,
        memlock_bytes_max: 8 << 20,
        throttle_counters: vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".into()],
    }
}

fn built_with(
    run: &RunSpec,
    image: &ImageConfig,
    controllers: Controllers,
) -> Result<Spec, SpecError> {
    let user = ResolvedUser {
        uid: 1000,
        gid: 1001,
        additional_gids: vec![1001, 44],
        home: Some("/home/app".into()),
    };
    build(
        run,
        image,
        &SpecContext {
            cgroups_path: &format!("/davit/{}", run.key()),
            user: &user,
            user_namespace: true,
            controllers,
            run_dir: Path::new("/var/lib/davit/runs/x"),
            host: &host(),
        },
    )
}

fn built(run: &RunSpec, image: &ImageConfig) -> Spec {
    built_with(run, image, Controllers::ALL).unwrap()
}

fn args(run: &RunSpec) -> Vec<String> {
    built(run, &image())
        .process()
        .as_ref()
        .unwrap()
        .args()
        .clone()
        .unwrap()
}

#[test]
fn the_whole_spec_of_a_plain_run() {
    // Through a Value: its maps are sorted, those of the spec are not.
    let value: serde_json::Value = serde_json::to_value(built(&run(), &image())).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn what_a_plain_run_is_locked_in_with() {
    let profile = security(
        &built(&run(), &image()),
        OciRuntime::Crun,
        NetworkMode::None,
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&profile).unwrap());
}

#[test]
fn entrypoint_command_and_argv_combine_as_documented() {
    assert_eq!(args(&run()), ["/entry", "default"]);
    let argv = RunSpec {
        command: Command::Argv(vec!["a".into(), "b c".into()]),
        ..run()
    };
    assert_eq!(args(&argv), ["/entry", "a", "b c"]);
    let shell = RunSpec {
        command: Command::Shell("echo $A".into()),
        ..run()
    };
    assert_eq!(args(&shell), ["/bin/sh", "-c", "echo $A"]);
    let own = Some("/tini  -- ".to_owned());
    let entry = RunSpec {
        entrypoint: own.clone(),
        ..run()
    };
    assert_eq!(args(&entry), ["/tini", "--"]);
    assert_eq!(
        args(&RunSpec {
            entrypoint: own.clone(),
            ..argv
        }),
        ["/tini", "--", "a", "b c"]
    );
    let both = RunSpec {
        entrypoint: own,
        ..shell
    };
    assert_eq!(args(&both), ["/tini", "--", "/bin/sh", "-c", "echo $A"]);
    let nothing = build_error(&run(), &ImageConfig::default());
    assert!(
        nothing.to_string().contains("neither ENTRYPOINT nor CMD"),
        "{nothing}"
    );
}

fn build_error(run: &RunSpec, image: &ImageConfig) -> SpecError {
    built_with(run, image, Controllers::ALL).unwrap_err()
}

#[test]
fn the_run_overrides_the_image() {
    let run = RunSpec {
        env: vec![
            EnvVar {
                key: "MODE".into(),
                value: "run".into(),
            },
            EnvVar {
                key: "EXTRA".into(),
                value: "a=b".into(),
            },
        ],
        workdir: Some("/elsewhere".into()),
        user: Some("root".into()),
        hostname: Some("box".into()),
        ..run()
    };
    assert_eq!(user_text(&run, &image()), "root");
    let spec = built(&run, &image());
    assert_eq!(spec.hostname().as_deref(), Some("box"));
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.cwd(), &PathBuf::from("/elsewhere"));
    let env = process.env().clone().unwrap();
    assert_eq!(
        env,
        [
            "PATH=/bin",
            "HOSTNAME=box",
            "HOME=/home/app",
            "MODE=run",
            "EXTRA=a=b"
        ]
    );
}

#[test]
fn a_limit_is_left_out_only_with_its_controller() {
    let limits = |controllers| {
        let spec = built_with(&run(), &image(), controllers).unwrap();
        let resources = spec.linux().as_ref().unwrap().resources().clone().unwrap();
        assert_eq!(
            resources.devices().as_ref().unwrap().len(),
            1,
            "devices are denied always"
        );
        serde_json::to_value(resources).unwrap()
    };
    let all = limits(Controllers::ALL);
    assert_eq!(
        all["cpu"],
        serde_json::json!({"quota": 150_000, "period": 100_000})
    );
    assert_eq!(all["memory"]["limit"], all["memory"]["swap"], "no swap");
    assert_eq!(all["unified"]["cpu.weight"], "150");
    assert_eq!(all["unified"]["memory.oom.group"], "1");
    assert_eq!(all["pids"]["limit"], 128);
    let none = limits(Controllers::NONE);
    for limit in ["cpu", "memory", "pids", "unified"] {
        assert!(none.get(limit).is_none(), "{limit}");
    }
    let no_cpu = limits(Controllers {
        cpu: false,
        ..Controllers::ALL
    });
    assert!(no_cpu.get("cpu").is_none() && no_cpu["unified"].get("cpu.weight").is_none());
    assert_eq!(no_cpu["unified"]["memory.oom.group"], "1");
}

#[test]
fn each_network_brings_its_own_resolver() {
    let sources = |network| {
        let spec = built(&RunSpec { network, ..run() }, &image());
        host_paths(&spec)
    };
    let hosts = PathBuf::from("/var/lib/davit/hosts");
    assert_eq!(sources(NetworkMode::None), std::slice::from_ref(&hosts));
    assert_eq!(
        sources(NetworkMode::Host),
        [hosts.clone(), "/etc/resolv.conf".into()]
    );
    assert_eq!(
        sources(NetworkMode::Bridge),
        [hosts, "/var/lib/davit/bridge-resolv.conf".into()]
    );
}

/// Sources of bind mounts.
fn host_paths(spec: &Spec) -> Vec<PathBuf> {
    let mounts = spec.mounts().as_ref().unwrap().iter();
    mounts
        .filter(|m| {
            let options = m.options().clone().unwrap_or_default();
            m.typ().as_deref() == Some("bind") || options.iter().any(|o| o.contains("bind"))
        })
        .map(|m| m.source().clone().unwrap())
        .collect()
}

fn namespaces(spec: &Spec) -> Vec<LinuxNamespaceType> {
    let linux = spec.linux().as_ref().unwrap();
    let namespaces = linux.namespaces().as_ref().unwrap();
    assert!(
        namespaces.iter().all(|n| n.path().is_none()),
        "none is joined"
    );
    namespaces
        .iter()
        .map(oci_spec::runtime::LinuxNamespace::typ)
        .collect()
}

proptest! {
    #[test]
    fn no_input_opens_the_cage(run in any_run(), image in any_image(), controllers: (bool, bool, bool)) {
        let (cpu, memory, pids) = controllers;
        let Ok(spec) = built_with(&run, &image, Controllers { cpu, memory, pids }) else {
            return Ok(());
        };
        let process = spec.process().as_ref().unwrap();
        let capabilities = serde_json::to_value(process.capabilities().as_ref().unwrap()).unwrap();
        for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
            let given: BTreeSet<Capability> = serde_json::from_value(capabilities[set].clone()).unwrap();
            prop_assert_eq!(&given, &run.capabilities, "{}", set);
        }
        prop_assert_eq!(process.no_new_privileges(), Some(true));
        prop_assert!(spec.hooks().is_none());
        let resolver = match run.network {
            NetworkMode::Host => "/etc/resolv.conf",
            _ => "/var/lib/davit/bridge-resolv.conf",
        };
        let allowed = [PathBuf::from("/var/lib/davit/hosts"), resolver.into()];
        prop_assert!(host_paths(&spec).iter().all(|path| allowed.contains(path)));
        let annotations = spec.annotations().as_ref().unwrap();
        let keys: BTreeSet<&str> = annotations.keys().map(String::as_str).collect();
        let linked = run.network == NetworkMode::Bridge;
        let davits = ["davit.network", "davit.run-dir"].into_iter().skip(usize::from(!linked));
        prop_assert_eq!(keys, davits.collect());
        let linux = spec.linux().as_ref().unwrap();
        let seccomp = linux.seccomp().as_ref().unwrap();
        prop_assert_eq!(seccomp.default_action(), LinuxSeccompAction::ScmpActErrno);
        let may_chroot = seccomp.syscalls().iter().flatten().any(|rule| rule.names().contains(&"chroot".to_owned()));
        prop_assert_eq!(may_chroot, run.capabilities.contains(&Capability::SysChroot));
        prop_assert!(linux.devices().as_ref().is_none_or(Vec::is_empty));
        let devices = linux.resources().as_ref().unwrap().devices().as_ref().unwrap();
        prop_assert!(devices.iter().all(|rule| !rule.allow()));
        let namespaces = namespaces(&spec);
        for own in [LinuxNamespaceType::Pid, LinuxNamespaceType::Ipc, LinuxNamespaceType::Uts,
                    LinuxNamespaceType::Mount, LinuxNamespaceType::Cgroup] {
            prop_assert!(namespaces.contains(&own));
        }
        prop_assert_eq!(namespaces.contains(&LinuxNamespaceType::Network), run.network != NetworkMode::Host);
        prop_assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(run.read_only_root));
        prop_assert!(process.args().as_ref().unwrap().first().is_some_and(|program| !program.is_empty()));
    }
}
