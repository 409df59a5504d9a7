//! What a job can and cannot do, asked from inside: the built spec run by crun and by runc, under
//! containerd's own shim so that nothing but the spec is tested.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use davit_executor::containerd::{
    ContainerName, ContainerSpec, Containerd, Mount, RuncOptions, TaskStatus,
};
use davit_executor::images::ImageStoreOptions;
use davit_executor::oci::{Controllers, HostFacts, SpecContext, build, resolve_user, user_text};
use davit_types::{
    Command, EnvVar, InstanceType, OciRuntime, PullPolicy, Resources, RunId, RunRequest, RunSpec,
    Tenant,
};

use crate::support::{Host, REGISTRY, ensure};

/// Longest time a job may take.
const WAIT: Duration = Duration::from_secs(120);

/// Prints one `name=value` line a question.
const QUESTIONS: &str = r#"
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def say(name, value): print(f"{name}={value}", flush=True)
def call(name, number, *args):
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in args])
    say(name, ctypes.get_errno() if result < 0 else "allowed")
for line in open("/proc/self/status"):
    name, value = line.split(":", 1)
    if name.startswith("Cap") or name in ("NoNewPrivs", "Seccomp", "Groups"): say(name, value.strip())
say("ids", f"{os.getuid()}:{os.getgid()}")
call("clone3", 435, 0, 0)
call("unshare-user", 272, 0x10000000)
call("io_uring_setup", 425, 1, 0)
call("bpf", 321, 0, 0, 0)
call("keyctl", 250, 0, 0)
call("clone-newuser", 56, 0x10000000 | 17, 0, 0, 0, 0)
for name, family in [("alg", 38), ("vsock", 40), ("vsock-high", 40 + (1 << 32)), ("packet", 17), ("unix", 1), ("inet", 2)]:
    call("socket-" + name, 41, family, 1, 0)
call("personality-ask", 135, 0xffffffff)
say("fork", os.waitstatus_to_exitcode(os.wait()[1]) if os.fork() else os._exit(7))
mounts = {m.split()[1]: m.split() for m in open("/proc/mounts")}
say("tmp", mounts["/tmp"][2] + " " + mounts["/tmp"][3])
say("sys", mounts["/sys"][3].split(",")[0])
say("cgroup", mounts["/sys/fs/cgroup"][3].split(",")[0])
for path in ("/proc/sys/kernel/hostname", "/etc/hosts"):
    try: open(path, "w"); say("write " + path, "allowed")
    except OSError as e: say("write " + path, e.errno)
def bare(path): return os.listdir(path) if os.path.isdir(path) else open(path).read()
say("unmasked", ",".join(p for p in ("/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware") if os.path.exists(p) and bare(p)))
say("devices", ",".join(sorted(n for n in os.listdir("/dev") if n != "core")))
try: os.mknod("/disk", 0o60600, os.makedev(8, 0)); say("mknod", "allowed")
except OSError as e: say("mknod", e.errno)
say("interfaces", ",".join(n for _, n in socket.if_nameindex()))
server = socket.socket(); server.bind(("127.0.0.1", 80)); server.listen()
client = socket.create_connection(("localhost", 80)); say("loopback", "up")
say("cwd", os.getcwd())
say("env", ",".join(f"{k}:{os.environ[k]}" for k in ("HOME", "HOSTNAME", "GREETING", "PATH")))
say("hostname", socket.gethostname())
for limit in ("cpu.max", "cpu.weight", "memory.max", "memory.swap.max", "memory.oom.group", "pids.max"):
    try: say(limit, open("/sys/fs/cgroup/" + limit).read().strip())
    except OSError as e: say(limit, "absent")
say("processes", len([n for n in os.listdir("/proc") if n.isdigit()]))
"#;

fn request(run_id: RunId) -> RunSpec {
    let small = InstanceType {
        slug: "small".into(),
        name: "Small".into(),
        resources: Resources {
            cpu_millis: 500,
            memory_bytes_max: davit_types::Bytes::mib(128),
            pids_max: 64,
        },
        price_second_micros: 1,
        disk_bytes_max: None,
    };
    RunRequest {
        image: format!("{REGISTRY}/davit/python:1"),
        // The job writes its answers where the test finds them: into its own root file system.
        argv: [
            "/bin/sh",
            "-c",
            "exec python3 -c \"$QUESTIONS\" >/answers 2>&1",
        ]
        .map(str::to_owned)
        .to_vec(),
        env: vec![
            EnvVar {
                key: "QUESTIONS".into(),
                value: QUESTIONS.into(),
            },
            EnvVar {
                key: "GREETING".into(),
                value: "hello".into(),
            },
        ],
        workdir: Some("/made/for/it".into()),
        ..RunRequest::default()
    }
    .parse(run_id, Tenant::local(), &[small], OciRuntime::Crun)
    .unwrap()
}

fn upper_directory(mounts: &[Mount]) -> PathBuf {
    let upper = mounts[0]
        .options
        .iter()
        .find_map(|o| o.strip_prefix("upperdir="));
    upper.expect("an overlay").into()
}

/// Runs `run` to its end under `binary`, limited by `controllers`; returns its exit status and what it wrote to
/// `/answers`.
async fn run_to_end(
    host: &Host,
    binary: &str,
    run: &RunSpec,
    controllers: Controllers,
) -> (u32, String) {
    let store = host.store(ImageStoreOptions::default()).await;
    let name = ContainerName::from(run.key());
    let image = ensure(&store, &run.image, PullPolicy::Missing)
        .await
        .unwrap();
    let containerd = &host.containerd;
    let mounts = containerd
        .snapshot_prepare(&name, &image.chain_id)
        .await
        .unwrap();
    let user = resolve_user(&mounts, user_text(run, &image.config)).unwrap();
    let state = tempfile::tempdir().unwrap();
    let facts = HostFacts::read(state.path()).unwrap();
    let context = SpecContext {
        cgroups_path: &format!("/davit-test/{name}"),
        user: &user,
        user_namespace: false,
        controllers,
        run_dir: state.path(),
        host: &facts,
    };
    let spec = build(run, &image.config, &context).unwrap();
    let options = RuncOptions {
        binary_name: binary.into(),
        ..RuncOptions::default()
    };
    let record = ContainerSpec {
        name: &name,
        image: &image.name,
        image_digest: &image.digest,
        spec: &spec,
        runtime: "io.containerd.runc.v2",
        options: Some(options),
        network: None,
        ids: None,
        in_sandbox: false,
    };
    containerd.container_create(record.clone()).await.unwrap();
    let twice = containerd.container_create(record).await.unwrap_err();
    assert!(twice.is_already_exists(), "{twice}");
    let pid = containerd
        .task_create(&name, mounts.clone(), None)
        .await
        .unwrap();
    assert_eq!(containerd.task_start(&name).await.unwrap(), pid);
    let inventory = containerd.inventory().await.unwrap();
    assert_eq!(inventory.containers[0].name, name);
    assert_eq!(inventory.tasks[0].name, name);
    // In use even though no guard is held any more.
    let image_name = image.name.clone();
    drop(image);
    let refused = store.remove(&image_name).await.unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    stopped(containerd, &name).await;
    let upper = upper_directory(&mounts);
    let text = std::fs::read_to_string(upper.join("answers")).unwrap_or_default();
    let exit = containerd.task_delete(&name).await.unwrap().unwrap();
    assert!(containerd.task_delete(&name).await.unwrap().is_none());
    assert!(containerd.task_state(&name).await.unwrap().is_none());
    containerd.task_kill(&name, 9, true).await.unwrap();
    containerd.container_delete(&name).await.unwrap();
    containerd.snapshot_remove(&name).await.unwrap();
    (exit.exit_status, text)
}

async fn stopped(containerd: &Containerd, name: &ContainerName) {
    let begin = Instant::now();
    while containerd.task_state(name).await.unwrap().unwrap().status != TaskStatus::Stopped {
        assert!(begin.elapsed() < WAIT, "the job hangs");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a job was answered.
struct Answers(Vec<(String, String)>);

impl Answers {
    /// Runs the questions under `binary`.
    async fn ask(host: &Host, binary: &str, controllers: Controllers) -> Self {
        let run = request(RunId::generate());
        let (status, text) = run_to_end(host, binary, &run, controllers).await;
        assert_eq!(status, 0, "{binary}: {text}");
        let answers = text.lines().filter_map(|line| line.split_once('='));
        Self(
            answers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn to(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or_else(
            || panic!("no answer to {name}: {:#?}", self.0),
            |(_, value)| value.as_str(),
        )
    }
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_read_only_root_leaves_tmp_writable() {
    let host = Host::new().await;
    for binary in ["crun", "runc"] {
        let script = "touch /forbidden 2>/dev/null && exit 3; echo x >/tmp/fine || exit 4; \
                      read -r line </etc/hosts; case $line in *localhost) ;; *) exit 5; esac";
        let run = RunSpec {
            command: Command::Shell(script.into()),
            read_only_root: true,
            workdir: None,
            ..request(RunId::generate())
        };
        assert_eq!(
            run_to_end(&host, binary, &run, Controllers::NONE).await.0,
            0,
            "{binary}"
        );
    }
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn an_images_own_entrypoint_user_and_directory_count() {
    let host = Host::new().await;
    for binary in ["crun", "runc"] {
        let run = RunSpec {
            image: format!("{REGISTRY}/davit/entry:1"),
            command: Command::Argv(vec!["own argument".into()]),
            env: Vec::new(),
            workdir: None,
            ..request(RunId::generate())
        };
        assert_eq!(
            run_to_end(&host, binary, &run, Controllers::NONE).await.0,
            0,
            "{binary}"
        );
    }
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_job_sees_a_cage_with_crun() {
    check_cage("crun").await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_job_sees_a_cage_with_runc() {
    check_cage("runc").await;
}

async fn check_cage(binary: &str) {
    let host = Host::new().await;
    let answers = Answers::ask(&host, binary, Controllers::NONE).await;
    let get = |name: &str| answers.to(name);
    check_privileges(&answers);
    assert_eq!(get("fork"), "7");
    assert!(
        get("tmp").starts_with("tmpfs") && get("tmp").contains("size=65536k"),
        "{}",
        get("tmp")
    );
    assert_eq!((get("sys"), get("cgroup")), ("ro", "ro"));
    assert_eq!(get("write /proc/sys/kernel/hostname"), "30", "read-only");
    assert_eq!(get("write /etc/hosts"), "30", "read-only");
    assert_eq!(get("unmasked"), "");
    let devices = "fd,full,mqueue,null,ptmx,pts,random,shm,stderr,stdin,stdout,tty,urandom,zero";
    assert_eq!(get("devices"), devices);
    assert_eq!((get("interfaces"), get("loopback")), ("lo", "up"));
    assert_eq!(get("cwd"), "/made/for/it");
    let hostname = get("hostname");
    assert_eq!(
        get("env"),
        format!("HOME:/root,HOSTNAME:{hostname},GREETING:hello,PATH:/usr/local/bin:/usr/bin:/bin")
    );
    assert_eq!(hostname.len(), 12);
    assert!(
        get("processes").parse::<u32>().unwrap() <= 2,
        "its own pid namespace"
    );
}

/// Capabilities, system calls and sockets.
fn check_privileges(answers: &Answers) {
    let get = |name: &str| answers.to(name);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(get(set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (get("NoNewPrivs"), get("Seccomp"), get("ids")),
        ("1", "2", "0:0")
    );
    assert_eq!(get("clone3"), "38");
    for refused in [
        "unshare-user",
        "io_uring_setup",
        "bpf",
        "keyctl",
        "clone-newuser",
        "socket-alg",
        "socket-vsock",
        "socket-vsock-high",
        "socket-packet",
        "mknod",
    ] {
        assert_eq!(get(refused), "1", "{refused} is refused with EPERM");
    }
    for allowed in ["socket-unix", "socket-inet", "personality-ask"] {
        assert_eq!(get(allowed), "allowed", "{allowed}");
    }
}

/// Where limits can be set: in a VM.
mod with_controllers {
    use super::*;

    #[tokio::test]
    #[ignore = "needs a real host: scripts/test runs it"]
    async fn a_job_sees_its_limits() {
        let host = Host::new().await;
        for binary in ["crun", "runc"] {
            let answers = Answers::ask(&host, binary, Controllers::ALL).await;
            check_limits(&answers);
        }
    }
}

fn check_limits(answers: &Answers) {
    for (limit, value) in [
        ("cpu.max", "50000 100000"),
        ("cpu.weight", "50"),
        ("memory.max", "134217728"),
        ("memory.swap.max", "0"),
        ("memory.oom.group", "1"),
        ("pids.max", "64"),
    ] {
        assert_eq!(answers.to(limit), value, "{limit}");
    }
}
