//! A job has no privilege, no device, no network and no view of the host, unless the operator says so.

use std::fs;

use anyhow::{Context, ensure};

use super::Test;
use super::story::{Record, Run, await_warm_slots, expect_says};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] =
    tests![a_job_is_confined, the_hosts_network_is_the_operators_to_give, the_root_can_be_read_only];

/// Tries what a job must not be able to do and prints what it found as JSON.
const PROBE: &str = r#"
import ctypes, errno, json, os, socket

libc = ctypes.CDLL(None, use_errno=True)

def attempt(what):
    try:
        what()
        return "allowed"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))

def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "syscall")

def mount():
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) < 0:
        raise OSError(ctypes.get_errno(), "mount")

def write(path):
    with open(path, "w") as file:
        file.write("0")

def read(path):
    with open(path, "rb") as file:
        return file.read(1)

status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "pid": os.getpid(),
    "status": {key: status[key].strip() for key in
               ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"]},
    "namespaces": {name: os.readlink("/proc/self/ns/" + name)
                   for name in ["pid", "ipc", "uts", "mnt", "net", "cgroup"]},
    "devices": sorted(os.listdir("/dev")),
    "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
    "cgroup": open("/proc/self/cgroup").read().strip().splitlines()[-1],
    "descriptors": len(os.listdir("/proc/self/fd")) - 1,
    "environment": sorted(os.environ),
    "attempts": {
        "io_uring_setup": attempt(lambda: call(425, 1, None)),
        "vsock": attempt(lambda: socket.socket(40, socket.SOCK_STREAM)),
        "alg": attempt(lambda: socket.socket(38, socket.SOCK_SEQPACKET)),
        "inet": attempt(lambda: socket.socket()),
        "unshare user": attempt(lambda: call(272, 0x10000000)),
        "bpf": attempt(lambda: call(321, 0, None, 0)),
        "keyctl": attempt(lambda: call(250, 0, 0)),
        "mount": attempt(mount),
        "mknod": attempt(lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))),
        "write sysctl": attempt(lambda: write("/proc/sys/kernel/core_pattern")),
        "write sysrq": attempt(lambda: write("/proc/sysrq-trigger")),
        "write sysfs": attempt(lambda: write("/sys/kernel/uevent_seqnum")),
        "make cgroup": attempt(lambda: os.mkdir("/sys/fs/cgroup/own")),
        "set limit": attempt(lambda: write("/sys/fs/cgroup/pids.max")),
        "write root": attempt(lambda: write("/written")),
        "write tmp": attempt(lambda: write("/tmp/written")),
    },
    "kcore": read("/proc/kcore").hex() if attempt(lambda: read("/proc/kcore")) == "allowed" else "",
    "firmware": sorted(os.listdir("/sys/firmware")),
}))
"#;

fn a_job_is_confined(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("python");
    // With a container of its own first, then with one that waited for it.
    for warm in [false, true] {
        let output = host.davit(["run", &image, "--", "python3", "-c", PROBE])?.success()?;
        let launch = Run::newest(host)?.record("launch")?;
        ensure!(launch.is_null("/slot") != warm, "it should be {warm} that it was warm: {launch}");
        expect_confined(&Record::parse("what the job found", &output.stdout)?)?;
        await_warm_slots(host, 1)?;
    }
    Ok(())
}

fn expect_confined(found: &Record) -> TestResult {
    found.expect("/pid", 1)?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        found.expect(&format!("/status/{set}"), "0000000000000000")?;
    }
    found.expect("/status/NoNewPrivs", "1")?.expect("/status/Seccomp", "2")?;
    for name in ["pid", "ipc", "uts", "mnt", "net", "cgroup"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).context("cannot read own ns")?;
        let own = own.to_string_lossy();
        let theirs = found.text(&format!("/namespaces/{name}"))?;
        ensure!(own != theirs, "the job shares the host's {name} namespace {own}");
    }
    found.expect("/cgroup", "0::/")?.expect("/interfaces", vec!["lo"])?;
    found.expect("/kcore", "")?.expect("/firmware", Vec::<String>::new())?;
    found.expect("/descriptors", 3)?;
    expect_only_standard_devices(found)?;
    for allowed in ["inet", "write root", "write tmp"] {
        found.expect(&format!("/attempts/{allowed}"), "allowed")?;
    }
    for denied in [
        "io_uring_setup", "vsock", "alg", "unshare user", "bpf", "keyctl", "mount", "mknod",
        "write sysctl", "write sysrq", "write sysfs", "make cgroup", "set limit",
    ] {
        let how = found.text(&format!("/attempts/{denied}"))?;
        let is_denial = ["EPERM", "EACCES", "ENOENT", "ENOSYS", "EROFS", "EAFNOSUPPORT"].contains(&how);
        ensure!(is_denial, "{denied}: {how}");
    }
    // Nothing of the executor's environment reaches the job.
    let variables = found.at("/environment")?.to_string();
    ensure!(!variables.contains("DAVIT"), "the environment holds {variables}");
    Ok(())
}

fn expect_only_standard_devices(found: &Record) -> TestResult {
    const STANDARD: [&str; 15] = [
        "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm",
        "stderr", "stdin", "stdout", "tty", "urandom",
    ];
    for device in found.list("/devices")? {
        let name = device.text("")?;
        ensure!(STANDARD.contains(&name) || name == "zero", "the job sees /dev/{name}");
    }
    Ok(())
}

fn the_hosts_network_is_the_operators_to_give(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("busybox");
    let run = ["run", "--network", "host", &image, "--", "readlink", "/proc/self/ns/net"];
    let refused = host.davit(run)?.refused()?;
    expect_says(&refused.error_text(), &["network", "host", "allow_host"])?;
    host.stop_executor()?;

    let settings = host.settings().value("network.allow_host", "true");
    host.start_executor(&settings)?;
    let given = host.davit(run)?.success()?.text();
    let own = fs::read_link("/proc/self/ns/net").context("cannot read own namespace")?;
    ensure!(given == own.to_string_lossy(), "the job has {given}, the host {}", own.display());
    Ok(())
}

fn the_root_can_be_read_only(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let script = "echo x >/written || echo kept out; echo x >/tmp/written && echo tmp is free";
    let run = Run::submit(host, &["--read-only"], script)?;
    run.wait_ended(host, 0)?;
    let printed = run.stdout_text(host)?;
    ensure!(printed == "kept out\ntmp is free\n", "it printed {printed:?}");
    Ok(())
}
