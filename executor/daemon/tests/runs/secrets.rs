//! Secrets of runs: the job has them, and nothing else on the host does.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use davit_rpc::local::{EnvVar, Run, SecretFile, SubmitRequest};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::Code;

use super::support::{BUSYBOX, Executor, output, refusal};
use super::warm::{is_warm, wait_ready};

/// What is looked for everywhere; made anew for each test, so that none finds another's.
struct Canaries {
    env: String,
    file: String,
}

impl Canaries {
    fn new() -> Self {
        let fresh = || uuid::Uuid::new_v4().simple().to_string();
        Self {
            env: format!("env-{}", fresh()),
            file: format!("file-{}", fresh()),
        }
    }

    fn request(&self, command: &str) -> SubmitRequest {
        SubmitRequest {
            image: BUSYBOX.into(),
            command: Some(command.into()),
            secret_env: vec![EnvVar {
                key: "TOKEN".into(),
                value: self.env.clone(),
            }],
            ..SubmitRequest::default()
        }
    }

    fn with_file(&self, command: &str) -> SubmitRequest {
        SubmitRequest {
            secret_files: vec![SecretFile {
                name: "key.pem".into(),
                // By line, as a log is, and what is short is shown.
                value: format!("{}\nab\n", self.file).into_bytes(),
            }],
            ..self.request(command)
        }
    }

    /// Fails if a file below `dirs` has one of them.
    fn are_not_below(&self, dirs: &[&Path]) {
        let mut grep = Command::new("grep")
            .args(["-rlaF", "--devices=skip", "--file=-"])
            .args(dirs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let looked_for = format!("{}\n{}\n", self.env, self.file);
        let mut told = grep.stdin.take().unwrap();
        told.write_all(looked_for.as_bytes()).unwrap();
        drop(told);
        let output = grep.wait_with_output().unwrap();
        let found = String::from_utf8_lossy(&output.stdout);
        assert_eq!(found, "", "found in {dirs:?}");
    }

    /// Fails if anything has one of them: state of the executor and its log, records and logs of runs, all that
    /// containerd, shims and runtimes keep on disk and in /run, and what the kernel tells of davit's processes.
    fn are_nowhere(&self, executor: &Executor) {
        let state = executor.settings().state_dir;
        let test = state.parent().unwrap();
        let temporary = std::env::temp_dir();
        let places = ["/run", "/var/lib/containerd", "/dev/shm", "/var/log"].map(Path::new);
        let there = places.into_iter().filter(|place| place.exists());
        let dirs: Vec<&Path> = there.chain([test, temporary.as_path()]).collect();
        self.are_not_below(&dirs);
        for process in davits(executor) {
            for told in ["cmdline", "environ"] {
                let text = fs::read(process.join(told)).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let found = text.contains(&self.env) || text.contains(&self.file);
                assert!(!found, "found in {} of {}", told, process.display());
            }
        }
    }
}

/// `/proc/PID` of the executor, its zygote and all shims.
fn davits(executor: &Executor) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from(format!("/proc/{}", executor.pid()))];
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if program.ends_with("containerd-shim-davit-v1") {
            found.push(entry.path());
        }
    }
    found
}

/// Its process.
fn shim_of(run: &Run) -> u32 {
    let state = fs::read(Path::new(&run.run_dir).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    state["shim_pid"].as_u64().unwrap().try_into().unwrap()
}

fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn logged(records: &[davit_rpc::local::LogRecord]) -> String {
    let both = [output(records, "stdout"), output(records, "stderr")].concat();
    String::from_utf8(both).unwrap()
}

/// Shows the variable in every way a job may, and what proves that it has it.
const SHOW_ENV: &str = "echo plain $TOKEN; echo twice $TOKEN$TOKEN >&2; \
    printf 'split %s' ${TOKEN%????????}; sleep 0.6; printf '%s\\n' ${TOKEN#${TOKEN%????????}}; \
    head -c 16370 /dev/zero | tr '\\0' x; echo $TOKEN; printf %s $TOKEN | sha256sum";
/// The same of the file.
const SHOW_FILE: &str = "cat /run/secrets/key.pem; sha256sum </run/secrets/key.pem; \
    stat -c '%u %g %a' /run/secrets/key.pem; ls /run/secrets; \
    for f in new key.pem; do echo x >/run/secrets/$f; done 2>/dev/null; echo wrote $?; \
    grep ' /run/secrets ' /proc/self/mounts";

fn shows_the_variable(log: &str, canaries: &Canaries) {
    for line in [
        "plain [redacted]\n",
        "twice [redacted]\n",
        "split [redacted]\n",
        "xxx[redacted]\n",
    ] {
        assert!(log.contains(line), "no {line:?} in {log}");
    }
    let digest = sha256(&canaries.env);
    assert!(log.contains(&digest), "it did not have it: {log}");
}

fn shows_the_file(log: &str, canaries: &Canaries, owner: &str) {
    assert!(log.contains("\n[redacted]\nab\n"), "{log}");
    let digest = sha256(&format!("{}\nab\n", canaries.file));
    assert!(log.contains(&digest), "it did not have it: {log}");
    assert!(
        log.contains(&format!("\n{owner} 400\nkey.pem\nwrote 1\n")),
        "{log}"
    );
    let mount = log
        .lines()
        .find(|line| line.contains(" /run/secrets tmpfs "));
    let mount = mount.unwrap_or_else(|| panic!("no mount in {log}"));
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(
            mount.split([' ', ',']).any(|word| word == option),
            "{mount}"
        );
    }
}

/// One run with a variable and a file, looked at while it runs and when it is over.
async fn told_by_a_run(executor: &mut Executor, runtime: &str, user: &str) {
    let canaries = Canaries::new();
    let command = format!("{SHOW_ENV}; {SHOW_FILE}; echo here; sleep 60");
    let request = SubmitRequest {
        user: Some(user.into()),
        runtime: runtime.into(),
        ..canaries.with_file(&command)
    };
    let run = executor.submit(request).await.unwrap();
    executor.wait_logged_text(&run, "here").await;
    // While it runs: it alone has them, and its shim in its memory.
    canaries.are_nowhere(executor);
    let told = executor.get(&run).await;
    names_only(&told, &canaries);
    assert!(davits(executor).len() > 1, "no shim was looked at");
    for pid in [executor.pid(), shim_of(&told)] {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let mut lines = limits.lines();
        let cores = lines.find_map(|line| line.strip_prefix("Max core file size"));
        let mut cores = cores.unwrap().split_whitespace();
        // Soft and hard.
        assert_eq!(
            (cores.next(), cores.next()),
            (Some("0"), Some("0")),
            "{pid}"
        );
    }
    executor.stop(&run, 0).await;
    let (records, ended) = executor.follow(&run, 0).await;
    let log = logged(&records);
    shows_the_variable(&log, &canaries);
    shows_the_file(&log, &canaries, &user.replace(':', " "));
    names_only(&ended, &canaries);
    canaries.are_nowhere(executor);
}

fn names_only(run: &Run, canaries: &Canaries) {
    assert_eq!(run.secret_env, ["TOKEN"]);
    assert_eq!(run.secret_files, ["key.pem"]);
    let told = format!("{run:?}");
    assert!(!told.contains(&canaries.env) && !told.contains(&canaries.file));
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn the_job_has_its_secrets_and_nothing_else_does() {
    let mut executor = Executor::start_cold().await;
    told_by_a_run(&mut executor, "crun", "100:101").await;
    told_by_a_run(&mut executor, "crun", "0:0").await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn secrets_are_as_secret_with_runc() {
    let mut executor = Executor::start_cold().await;
    told_by_a_run(&mut executor, "runc", "100:101").await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn secrets_are_as_secret_with_a_shim_that_containerd_executes_and_without_user_namespaces() {
    let mut executor = Executor::start_plain().await;
    told_by_a_run(&mut executor, "crun", "100:101").await;
    drop(executor);
    let mut executor = Executor::start_with_ids("off 8").await;
    told_by_a_run(&mut executor, "crun", "100:101").await;
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_warm_slot_is_given_secret_variables() {
    let canaries = Canaries::new();
    let mut executor = Executor::start().await;
    let run = executor.sh("true").await;
    executor.wait(&run).await;
    wait_ready(&executor, 1).await;
    let command = format!("{SHOW_ENV}; echo here; sleep 60");
    let run = executor.submit(canaries.request(&command)).await.unwrap();
    executor.wait_logged_text(&run, "here").await;
    canaries.are_nowhere(&executor);
    executor.stop(&run, 0).await;
    let (records, ended) = executor.follow(&run, 0).await;
    assert!(is_warm(&ended), "{ended:?}");
    shows_the_variable(&logged(&records), &canaries);
    canaries.are_nowhere(&executor);
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn what_cannot_be_a_secret_is_refused_by_field() {
    let mut executor = Executor::start_cold().await;
    let canaries = Canaries::new();
    let named = |name: &str, bytes: usize| SubmitRequest {
        secret_files: vec![SecretFile {
            name: name.into(),
            value: vec![b'x'; bytes],
        }],
        ..canaries.request("true")
    };
    for (request, field) in [
        (named("../escape", 1), "secret_files[0].name"),
        (named("..", 1), "secret_files[0].name"),
        (named("fine", 256 * 1024 + 1), "secret_files"),
    ] {
        let (code, message) = refusal(executor.submit(request).await);
        assert_eq!(code, Code::InvalidArgument);
        assert!(message.contains(field), "{message}");
        assert!(!message.contains(&canaries.env), "{message}");
    }
    // The largest that is allowed goes all the way.
    let mut request = named("large", 256 * 1024);
    request.command = Some("wc -c </run/secrets/large".into());
    let run = executor.submit(request).await.unwrap();
    let (records, ended) = executor.follow(&run, 0).await;
    assert_eq!(
        (logged(&records).as_str(), ended.exit_code),
        ("262144\n", Some(0))
    );
}

/// A registry that answers once it is let to: the test's own, behind a door.
async fn door() -> (String, watch::Sender<bool>, watch::Receiver<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let image = format!("{}/davit/busybox:1", listener.local_addr().unwrap());
    let (open, opened) = watch::channel(false);
    let (knock, knocked) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            knock.send_modify(|count| *count += 1);
            let mut opened = opened.clone();
            tokio::spawn(async move {
                opened.wait_for(|open| *open).await.unwrap();
                let mut inside = TcpStream::connect("127.0.0.1:5000").await.unwrap();
                // Whichever side goes first.
                drop(tokio::io::copy_bidirectional(&mut outside, &mut inside).await);
            });
        }
    });
    (image, open, knocked)
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn secrets_that_went_with_an_executor_are_not_made_up_for() {
    let mut executor = Executor::start_cold().await;
    let canaries = Canaries::new();
    let (image, open, mut knocked) = door().await;
    let request = SubmitRequest {
        image,
        ..canaries.with_file("echo it ran")
    };
    let run = executor.submit(request).await.unwrap();
    knocked.wait_for(|count| *count > 0).await.unwrap();
    executor.kill_and_restart().await;
    open.send_replace(true);
    let (records, ended) = executor.follow(&run, 0).await;
    assert_eq!(records, [], "it ran without them");
    assert_eq!(
        ended.end_reason.as_deref(),
        Some("start_failed"),
        "{ended:?}"
    );
    let message = ended.message.unwrap();
    assert!(
        message.contains("secrets went with the executor"),
        "{message}"
    );
    assert_eq!(ended.exit_code, None);
}

#[tokio::test]
#[ignore = "needs a real host: scripts/test runs it"]
async fn a_run_keeps_its_secrets_when_its_executor_goes() {
    let mut executor = Executor::start_cold().await;
    let canaries = Canaries::new();
    let command = format!("echo here; sleep 2; {SHOW_ENV}; {SHOW_FILE}");
    let request = SubmitRequest {
        user: Some("100:101".into()),
        ..canaries.with_file(&command)
    };
    let run = executor.submit(request).await.unwrap();
    executor.wait_logged_text(&run, "here").await;
    executor.kill_and_restart().await;
    let (records, ended) = executor.follow(&run, 0).await;
    assert_eq!(ended.end_reason.as_deref(), Some("exited"), "{ended:?}");
    let log = logged(&records);
    shows_the_variable(&log, &canaries);
    shows_the_file(&log, &canaries, "100 101");
    canaries.are_nowhere(&executor);
}
