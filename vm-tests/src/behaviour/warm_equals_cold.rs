//! A job cannot tell whether its container was made for it or waited for it.
//!
//! Both kinds of run look at all they can see of themselves; the two accounts are compared value by value.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Test;
use super::story::Run;
use super::warm_story::prime;
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![
    a_given_container_is_in_no_way_another => 300,
    the_same_holds_for_a_user_without_privileges_and_a_read_only_root,
];

/// Prints all that a job can see of itself as JSON, numbers that differ from run to run left out; then stays.
const PROBE: &str = r#"
import ctypes, json, os, re, signal, sys

libc = ctypes.CDLL(None, use_errno=True)

def text(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace")
    except OSError as error:
        return "errno %d" % error.errno

def flat(path, *changing):
    lines = [line.split(":", 1) for line in text(path).splitlines() if ":" in line]
    return {key: value.strip() for key, value in lines if not key.startswith(changing)}

def masked(value):
    return re.sub(r"[0-9]+", "N", value)

def mount(line):
    # Ids of the host's, which are each container's own, have ten digits.
    words, rest = re.sub(r"[0-9]{10}", "ID", line).split(" ")[3:], []
    at = words.index("-")
    # What is shared with whom is told by numbers; the root's layers are named by numbers.
    rest = words[:3] + [masked(word) for word in words[3:at]] + words[at:]
    return " ".join(masked(word) if "lowerdir" in word else word for word in rest)

def descriptor(name):
    info = flat("/proc/self/fdinfo/" + name, "pos", "mnt_id", "ino")
    return [masked(os.readlink("/proc/self/fd/" + name)), info]

def node(path):
    found = os.lstat(path)
    target = masked(os.readlink(path)) if os.path.islink(path) else ""
    return [oct(found.st_mode), found.st_uid, found.st_gid, found.st_rdev, target]

def nodes(directory):
    return {name: node(os.path.join(directory, name)) for name in sorted(os.listdir(directory))}

def space(path):
    found = os.statvfs(path)
    return [found.f_bsize, found.f_blocks, found.f_files, found.f_flag]

def prctl(option):
    out = ctypes.c_int(-1)
    pointed = option in (2, 37)
    result = libc.prctl(option, ctypes.byref(out) if pointed else 0, 0, 0, 0)
    return [result, out.value if pointed else None]

# With arguments that no call can make anything of, in a child: one that ends it is told as that.
def answers(numbers):
    told, rest = {}, list(numbers)
    while rest:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            for number in rest:
                signal.alarm(2)
                ctypes.set_errno(0)
                libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
                os.write(writer, b"%d\n" % ctypes.get_errno())
            os._exit(0)
        os.close(writer)
        with open(reader) as lines:
            errors = lines.read().split()
        ended = os.waitpid(child, 0)[1]
        told.update(zip(rest, errors))
        rest = rest[len(errors):]
        if rest:
            told[rest.pop(0)] = "ended the process: %d" % ended
    return told

FORK, VFORK, SYNC = 57, 58, 162
calls = [n for n in range(470) if n not in (FORK, VFORK, SYNC)] if sys.argv[1] == "calls" else []
stat = text("/proc/self/stat").rsplit(")", 1)[1].split()
found = {
    "status": flat("/proc/self/status", "Vm", "Rss", "Hugetlb", "voluntary", "nonvoluntary", "SigQ"),
    "limits": text("/proc/self/limits"),
    "mounts": [mount(line) for line in text("/proc/self/mountinfo").splitlines()],
    "descriptors": {name: descriptor(name) for name in sorted(os.listdir("/proc/self/fd"))
                    if os.path.exists("/proc/self/fd/" + name)},
    "namespaces": {name: os.readlink("/proc/self/ns/" + name)
                   for name in sorted(os.listdir("/proc/self/ns"))},
    "environment": text("/proc/self/environ"),
    "arguments": text("/proc/self/cmdline").split("\0")[:2],
    "program": [os.readlink("/proc/self/" + name) for name in ("exe", "cwd", "root")],
    "ids": [os.getpid(), os.getppid(), os.getsid(0), os.getpgid(0), os.getgroups()],
    "stat": {"tty": stat[4], "tpgid": stat[5], "priority": stat[15:17], "policy": stat[38]},
    "scores": {name: text("/proc/self/" + name) for name in
               ("oom_score_adj", "coredump_filter", "loginuid", "sessionid", "timerslack_ns", "comm",
                "personality", "setgroups", "attr/current", "cgroup")},
    # Which of the host's ids they are is each container's own.
    "maps": {name: [line.split()[::2] for line in text("/proc/self/" + name).splitlines()]
             for name in ("uid_map", "gid_map")},
    "prctl": {str(option): prctl(option) for option in (2, 3, 7, 21, 23, 27, 30, 37, 39, 42)},
    "names": {name: text("/proc/sys/kernel/" + name) for name in ("hostname", "domainname")},
    "sysctl": {name: text("/proc/sys/" + name) for name in
               ("net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range", "net/ipv4/ip_forward",
                "kernel/shmmax", "kernel/msgmax", "kernel/sem", "fs/mqueue/msg_max")},
    "network": {name: text("/proc/net/" + name) for name in ("route", "if_inet6")},
    "interfaces": {name: text("/sys/class/net/%s/flags" % name) for name in os.listdir("/sys/class/net")},
    "files": {name: text("/etc/" + name) for name in ("hosts", "hostname", "resolv.conf", "mtab")},
    "space": {path: space(path) for path in ("/tmp", "/dev", "/dev/shm")},
    "root": nodes("/"), "dev": nodes("/dev"), "tmp": nodes("/tmp"), "proc": nodes("/proc/self/task"),
    "calls": answers(calls),
}
print(json.dumps(found), flush=True)
signal.pause()
"#;

/// What the two kinds of run are asked for alike.
const SAME: &[&str] =
    &["--hostname", "same", "-e", "GREETING=hello", "--memory", "128MiB", "--cpu", "1.5"];

fn a_given_container_is_in_no_way_another(host: &mut Host) -> TestResult {
    compare(host, &[], "calls")
}

fn the_same_holds_for_a_user_without_privileges_and_a_read_only_root(
    host: &mut Host,
) -> TestResult {
    compare(host, &["--user", "job", "--workdir", "/tmp", "--read-only"], "no calls")
}

fn compare(host: &mut Host, options: &[&str], calls: &str) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings.clone().value("warm.slots_max", "0"))?;
    let options = [SAME, options].concat();
    let cold = Account::of(host, &options, calls, false)?;
    host.stop_executor()?;
    host.start_executor(&settings)?;
    prime(host, &options, &host.image("python"), &["true"])?;
    let warm = Account::of(host, &options, calls, true)?;

    let mut differences = Vec::new();
    collect_differences("", &cold.seen, &warm.seen, &mut differences);
    let limits = |account: &Account| serde_json::to_value(&account.limits);
    collect_differences("cgroup", &limits(&cold)?, &limits(&warm)?, &mut differences);
    ensure!(differences.is_empty(), "cold and warm differ:\n{}", differences.join("\n"));
    for (name, namespace) in &cold.namespaces {
        let shared = cold.is_of_host(name)?;
        ensure!(shared == warm.is_of_host(name)?, "one shares the host's {name} namespace");
        let same = warm.namespaces.get(name) == Some(namespace);
        ensure!(shared == same, "the two share a {name} namespace of their own: {namespace}");
    }
    ensure!(cold.limits.len() > 5, "hardly any file of the cgroup was compared: {:?}", cold.limits);
    for account in [&cold, &warm] {
        account.run.davit(host, "cancel", &[])?.success()?;
    }
    Ok(())
}

/// What one run saw of itself, and what its cgroup says. It stays: its namespaces' numbers are not given anew.
struct Account {
    run: Run,
    seen: Value,
    namespaces: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
}

impl Account {
    fn of(host: &Host, options: &[&str], calls: &str, warm: bool) -> anyhow::Result<Self> {
        let argv = ["python3", "-c", PROBE, calls];
        let run = Run::submit_argv(host, options, &host.image("python"), &argv)?;
        run.wait_started()?;
        let launch = run.record("launch")?;
        ensure!(launch.is_null("/slot") != warm, "it should be {warm} that it was warm: {launch}");
        run.wait_printed(host, "}\n")?;
        let mut seen: Value = serde_json::from_slice(&run.stdout(host)?)
            .context("what the job printed is no JSON")?;
        let namespaces = serde_json::from_value(seen["namespaces"].take())
            .context("the job tells no namespaces")?;
        let limits = cgroup_limits(&run)?;
        Ok(Self { run, seen, namespaces, limits })
    }

    fn is_of_host(&self, name: &str) -> anyhow::Result<bool> {
        let own = fs::read_link(format!("/proc/self/ns/{name}"));
        let own = own.with_context(|| format!("cannot read own {name} namespace"))?;
        Ok(self.namespaces.get(name).map(String::as_str) == own.to_str())
    }
}

/// The files of a run's cgroup that set something.
fn cgroup_limits(run: &Run) -> anyhow::Result<BTreeMap<String, String>> {
    const MEASURES: &[&str] = &[
        "current", "peak", "stat", "events", "local", "procs", "threads", "pressure", "kill", "reclaim",
    ];
    let mut limits = BTreeMap::new();
    for entry in fs::read_dir(run.cgroup()?).context("cannot list the run's cgroup")? {
        let name = entry.context("cannot list the run's cgroup")?.file_name();
        let name = name.to_string_lossy().into_owned();
        let last = name.rsplit(['.', '_']).next().unwrap_or_default();
        if !MEASURES.contains(&last) {
            limits.insert(name.clone(), run.cgroup_file(&name)?);
        }
    }
    Ok(limits)
}

fn collect_differences(at: &str, cold: &Value, warm: &Value, into: &mut Vec<String>) {
    match (cold, warm) {
        (Value::Object(cold), Value::Object(warm)) => {
            let keys: std::collections::BTreeSet<&String> = cold.keys().chain(warm.keys()).collect();
            for key in keys {
                let (cold, warm) = (&cold.get(key), &warm.get(key));
                let null = &Value::Null;
                let at = format!("{at}/{key}");
                collect_differences(&at, cold.unwrap_or(null), warm.unwrap_or(null), into);
            }
        }
        (cold, warm) if cold != warm => into.push(format!("{at}: cold {cold}, warm {warm}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_differs_is_named_with_its_place() {
        let mut found = Vec::new();
        let value = |text: &str| serde_json::from_str(text).unwrap();
        let cold: Value = value(r#"{"a": 1, "b": {"c": [1]}, "d": 2}"#);
        collect_differences("", &cold, &cold, &mut found);
        assert_eq!(found, [""; 0]);
        let warm = value(r#"{"a": 1, "b": {"c": [2]}, "e": 2}"#);
        collect_differences("", &cold, &warm, &mut found);
        let places: Vec<&str> = found.iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(places, ["/b/c", "/d", "/e"]);
    }
}
