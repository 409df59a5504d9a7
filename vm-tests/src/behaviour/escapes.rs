//! The known ways out of a container, tried by a job: each is refused, and the job goes on.
//!
//! One line a way: what it calls, and what it was once good for. What a job may be refused with is any error but success.

use anyhow::ensure;

use super::Test;
use super::story::{Record, Run};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] =
    tests![known_ways_out_are_closed, a_working_directory_is_never_the_hosts];

/// Tries each way in a process of its own, for some end who tries; prints who was refused with what.
const PROBE: &str = r#"
import ctypes, errno, json, os, signal, socket

libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    ctypes.set_errno(0)
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), "syscall")
    return result

def opened(path, flags=os.O_WRONLY):
    os.close(os.open(path, flags))

def written(path, text="0"):
    with open(path, "w") as file:
        file.write(text)

def as_root_of_own():
    call(272, 0x10000000)

def raw(family, kind, protocol=0):
    socket.socket(family, kind, protocol).close()

def entered(name):
    descriptor = os.open("/proc/1/ns/" + name, os.O_RDONLY)
    call(308, descriptor, 0)

WAYS = {
    # A user namespace of one's own, whose root may ask the kernel for what the host's root may.
    "unshare user": as_root_of_own,
    "clone3": lambda: call(435, ctypes.create_string_buffer(b"\0\0\0\x10" + bytes(84)), 88),
    # Mounts, by the old calls and the new.
    "mount": lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, None),
    "umount": lambda: call(166, b"/proc/kcore", 2),
    "fsopen": lambda: call(430, b"tmpfs", 0),
    "open_tree": lambda: call(428, -100, b"/", 1),
    "move_mount": lambda: call(429, -100, b"/tmp", -100, b"/mnt", 0),
    "mount_setattr": lambda: call(442, -100, b"/proc/sys", 0, bytes(32), 32),
    "pivot_root": lambda: call(155, b"/tmp", b"/tmp"),
    "chroot": lambda: os.chroot("/tmp"),
    "setns": lambda: entered("mnt"),
    # Files by their handle, past every mount (shocker).
    "open_by_handle_at": lambda: call(304, -100, ctypes.create_string_buffer(16), 0),
    # What the kernel executes for us.
    "core_pattern": lambda: written("/proc/sys/kernel/core_pattern", "|/tmp/x"),
    "modprobe": lambda: written("/proc/sys/kernel/modprobe", "/tmp/x"),
    "uevent_helper": lambda: written("/sys/kernel/uevent_helper", "/tmp/x"),
    "binfmt_misc": lambda: written("/proc/sys/fs/binfmt_misc/register", ":a:M::a::/tmp/x:"),
    "release_agent": lambda: written("/sys/fs/cgroup/release_agent", "/tmp/x"),
    "sysrq": lambda: written("/proc/sysrq-trigger", "s"),
    # The kernel's own doors.
    "init_module": lambda: call(175, b"", 0, b""),
    "finit_module": lambda: call(313, 0, b"", 0),
    "kexec_load": lambda: call(246, 0, 0, None, 0),
    "bpf": lambda: call(321, 0, ctypes.create_string_buffer(128), 128),
    "perf_event_open": lambda: call(298, ctypes.create_string_buffer(128), 0, -1, -1, 0),
    "userfaultfd": lambda: call(323, 0),
    "io_uring_setup": lambda: call(425, 8, ctypes.create_string_buffer(256)),
    "add_key": lambda: call(248, b"user", b"a", b"b", 1, -3),
    "request_key": lambda: call(249, b"user", b"a", None, 0),
    "keyctl": lambda: call(250, 0, -3, 0),
    "iopl": lambda: call(172, 3),
    "acct": lambda: call(163, b"/tmp/acct"),
    "swapon": lambda: call(167, b"/tmp/swap", 0),
    "reboot": lambda: call(169, 0xfee1dead, 672274793, 0, None),
    "settime": lambda: call(227, 0, ctypes.create_string_buffer(16)),
    "sethostname": lambda: call(170, b"x", 1),
    "quotactl": lambda: call(179, 0x80000100, None, 0, None),
    "syslog": lambda: call(103, 3, ctypes.create_string_buffer(16), 16),
    # Devices and memory.
    "mknod": lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)),
    "kmsg": lambda: opened("/dev/kmsg", os.O_RDONLY),
    "mem": lambda: opened("/dev/mem", os.O_RDONLY),
    "kcore": lambda: os.pread(os.open("/proc/kcore", os.O_RDONLY), 1, 0)[0],
    "console": lambda: opened("/dev/console", os.O_RDWR),
    # Sockets that reach what is not a network.
    "raw": lambda: raw(socket.AF_INET, socket.SOCK_RAW, 1),
    "raw v6": lambda: raw(socket.AF_INET6, socket.SOCK_RAW, 58),
    "packet": lambda: raw(17, socket.SOCK_RAW),
    "vsock": lambda: raw(40, socket.SOCK_STREAM),
    "alg": lambda: raw(38, socket.SOCK_SEQPACKET),
    "bluetooth": lambda: raw(31, socket.SOCK_RAW, 1),
    # Limits and rights of one's own.
    "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "oom_score": lambda: written("/proc/self/oom_score_adj", "-900"),
    "limits": lambda: written("/sys/fs/cgroup/memory.max", "max"),
    "leave cgroup": lambda: written("/sys/fs/cgroup/../cgroup.procs", "0"),
    "chown": lambda: os.chown("/tmp/own", 1, 1),
    "capset": lambda: call(126, ctypes.create_string_buffer(b"\x22\x05\x08\x20\0\0\0\0"),
                           ctypes.create_string_buffer(b"\xff" * 24)),
}

open("/tmp/own", "w").close()
found = {}
for name, way in WAYS.items():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            way()
            told = "allowed"
        except OSError as error:
            told = errno.errorcode.get(error.errno, str(error.errno))
        except Exception as error:
            told = type(error).__name__
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        said = pipe.read()
    ended = os.waitpid(child, 0)[1]
    found[name] = said or "ended by %d" % ended
print(json.dumps({"ways": found, "alive": os.getpid()}))
"#;

/// Errors that no way in PROBE may be refused with: they say that the probe asked wrongly, not that nobody may ask.
const NO_REFUSAL: &[&str] = &["allowed", "EFAULT", "EBADF", "TypeError", "NameError", "EINVAL"];

fn known_ways_out_are_closed(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("python");
    for options in [&[][..], &["--user", "1000:1000"]] {
        let command = [&["run"], options, &[image.as_str(), "--", "python3", "-c", PROBE]].concat();
        let output = host.davit(command)?.success()?;
        let found = Record::parse("what the job found", &output.stdout)?;
        let ways = found.at("/ways")?;
        let ways = ways.as_object().into_iter().flatten();
        let mut open: Vec<String> = Vec::new();
        let mut tried = 0;
        for (way, how) in ways {
            tried += 1;
            let how = how.as_str().unwrap_or_default();
            if NO_REFUSAL.contains(&how) || how.starts_with("ended") {
                open.push(format!("{way}: {how}"));
            }
        }
        ensure!(tried > 50, "only {tried} ways were tried");
        ensure!(open.is_empty(), "with {options:?}: {}", open.join(", "));
    }
    Ok(())
}

/// The runtime's own descriptors, by way of the working directory (CVE-2024-21626).
fn a_working_directory_is_never_the_hosts(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    // The host has this file, and the image has not.
    let look = "cat /etc/os-release ../../../../../etc/os-release; echo looked";
    for descriptor in 3..20 {
        let workdir = format!("/proc/self/fd/{descriptor}");
        let run = Run::submit(host, &["--workdir", &workdir], look)?;
        run.davit(host, "wait", &[])?;
        let ended = run.inspect(host)?;
        let printed = run.stdout_text(host)?;
        ensure!(!printed.contains("VERSION"), "{workdir} shows the host: {printed}");
        let refused = ended.text("/end_reason")? == "start_failed";
        ensure!(refused || printed == "looked\n", "{workdir}: {ended}, {printed:?}");
    }
    Ok(())
}
