//! What a container is made of: run directory, launch record, spec, root file system, and the shim that is started.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message;
use davit_rundir::{FORMAT_VERSION, LaunchRecord, RunDir, SlotId};
use davit_types::{Attempt, RunId, RunKey, StopSignal};
use serde_json::{Value, json};

/// The profile of every run, whole: what the executor's own tests hold it to.
const SPEC: &str = include_str!(
    "../../../executor/daemon/tests/snapshots/spec__the_whole_spec_of_a_plain_run.snap"
);

/// What a container's user is.
pub const UID: u32 = 1000;

pub fn new_key() -> RunKey {
    RunKey {
        run: RunId::generate(),
        attempt: Attempt::FIRST,
    }
}

pub fn run_dir(dir: &Path, key: RunKey) -> RunDir {
    let runs = dir.join("runs");
    fs::create_dir_all(&runs).unwrap();
    let run = RunDir::at(&runs, key);
    fs::create_dir(run.path()).unwrap();
    run
}

pub fn cgroup_of(name: &str) -> String {
    format!("/davit-shim-test/{name}")
}

pub fn launch(
    key: RunKey,
    slot: Option<SlotId>,
    cgroup: &str,
    runtime_binary: PathBuf,
) -> LaunchRecord {
    LaunchRecord {
        version: FORMAT_VERSION,
        key,
        boot_id: String::new(),
        image_digest: "sha256:0".to_owned(),
        cgroup: cgroup_of(cgroup),
        runtime_binary,
        timeout_ms: 20_000,
        max_pause_ms: 20_000,
        log_bytes_max: 1 << 20,
        stop_signal: StopSignal::TERM,
        slot,
        security: None,
        network: None,
        stdin: false,
        tty: false,
        workdir: None,
    }
}

/// davit's spec without limits, for container `id`.
pub fn spec(id: &str) -> Value {
    let text = SPEC.split_once("\n{").unwrap().1;
    let mut spec: Value = serde_json::from_str(&format!("{{{text}")).unwrap();
    spec["hostname"] = json!(id);
    spec["linux"]["cgroupsPath"] = json!(cgroup_of(id));
    let devices = spec["linux"]["resources"]["devices"].take();
    spec["linux"]["resources"] = json!({ "devices": devices });
    // Given when a container is made. The ids of this root file system are the host's.
    let ids = json!([{ "containerID": 0, "hostID": 0, "size": 1 << 16 }]);
    spec["linux"]["uidMappings"] = ids.clone();
    spec["linux"]["gidMappings"] = ids;
    spec["process"]["cwd"] = json!("/work");
    // The others are those of a host that this one need not be.
    let limits = spec["process"]["rlimits"].as_array_mut().unwrap();
    limits.retain(|limit| limit["type"] == "RLIMIT_CORE");
    assert_eq!(spec["process"]["user"]["uid"], UID);
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/etc/hosts");
    spec
}

pub fn make_rootfs(rootfs: &Path) {
    for dir in ["bin", "proc", "dev", "sys", "tmp", "etc", "work"] {
        fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for applet in [
        "sh", "id", "ls", "cat", "hostname", "sleep", "env", "readlink",
    ] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    fs::write(rootfs.join("work/text"), "no program").unwrap();
}

/// The shim's binary: two levels above the tests', wherever both were taken to.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let dir = own.parent().unwrap().parent().unwrap();
    dir.join("containerd-shim-davit-v1")
}

/// Runs `start` as containerd ≥ 2.3 does; returns the socket.
pub fn start(bundle: &Path, sockets: &Path, id: &str) -> PathBuf {
    let params = BootstrapParams {
        instance_id: id.to_owned(),
        namespace: "test".to_owned(),
        socket_dir: Some(sockets.to_str().unwrap().to_owned()),
        ..BootstrapParams::default()
    };
    let mut child = Command::new(binary())
        .args(["-namespace", "test", "-id", id, "-address", "/none"])
        .arg("start")
        .current_dir(bundle)
        .env_remove("TTRPC_ADDRESS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = params.write_to_bytes().unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "start failed");
    let answer = BootstrapResult::parse_from_bytes(&output.stdout).unwrap();
    PathBuf::from(answer.address.strip_prefix("unix://").unwrap())
}
