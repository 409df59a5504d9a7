//! An executor process of the test's own, a client on its socket, and a look at what is left.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use davit_executor::settings::Settings;
use davit_rpc::local::{
    self, FollowEvent, FollowRequest, LogRecord, Run, RunRef, SubmitRequest, follow_event::Event,
    runs_client::RunsClient,
};
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::serving::{self, settings};

pub const BUSYBOX: &str = "127.0.0.1:5000/davit/busybox:1";
pub const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// Longest wait for something to come true.
pub const WAIT: Duration = Duration::from_secs(30);

/// One executor and its files.
pub struct Executor {
    dir: PathBuf,
    process: Child,
    pub client: RunsClient<Channel>,
}

impl Executor {
    pub(super) fn make_dir() -> PathBuf {
        assert!(
            std::env::var_os("DAVIT_TEST_REAL_HOST").is_some(),
            "it uses this host's containerd: run it inside scripts/native, with scripts/lib/host-tests"
        );
        // Short: a run's socket has its name below it.
        let id = uuid::Uuid::new_v4().simple().to_string();
        let dir = PathBuf::from(format!("/var/lib/dt-{}", &id[..12]));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    pub(super) async fn start_in(dir: PathBuf) -> Self {
        let process = Self::spawn(&dir);
        let client = connect(&settings(&dir).socket).await;
        Self {
            dir,
            process,
            client,
        }
    }

    fn spawn(dir: &Path) -> Child {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(dir.join("executor.log"))
            .unwrap();
        serving::command(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// SIGKILL, then another executor on the same files.
    pub async fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.restart().await;
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM; returns once it has ended well.
    pub fn terminate(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.process.wait().unwrap();
        assert!(
            status.success(),
            "the executor ended with {status}: {}",
            self.log()
        );
    }

    /// SIGTERM, then another executor on the same files, which are one more.
    pub async fn restart_with(&mut self, file: &str, text: &str) {
        self.terminate();
        std::fs::write(self.dir.join(file), text).unwrap();
        self.restart().await;
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What another executor on the same files says before it gives up.
    pub fn refused_second(&self) -> String {
        let output = serving::command(&self.dir).output().unwrap();
        assert!(!output.status.success(), "a second executor serves");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub async fn restart(&mut self) {
        self.process = Self::spawn(&self.dir);
        self.client = connect(&settings(&self.dir).socket).await;
    }

    /// The first process of the container `name` (a run's key or a slot), by the host's number.
    pub fn init_of(&self, name: &str) -> u32 {
        let parent = self.settings().cgroup_parent;
        let path = format!("/sys/fs/cgroup{parent}/{name}/cgroup.procs");
        let pids = std::fs::read_to_string(&path).unwrap();
        pids.lines().map(|pid| pid.parse().unwrap()).min().unwrap()
    }

    /// A connection of its own.
    pub fn channel(&self) -> Channel {
        channel(&self.settings().socket)
    }

    pub fn settings(&self) -> Settings {
        settings(&self.dir)
    }

    /// Runs `sh -c command` in busybox.
    pub async fn sh(&mut self, command: &str) -> Run {
        self.submit(SubmitRequest {
            image: BUSYBOX.into(),
            command: Some(command.into()),
            ..SubmitRequest::default()
        })
        .await
        .unwrap()
    }

    pub async fn submit(&mut self, request: SubmitRequest) -> Result<Run, Status> {
        self.client
            .submit(request)
            .await
            .map(tonic::Response::into_inner)
    }

    pub async fn get(&mut self, run: &Run) -> Run {
        self.client.get(reference(run)).await.unwrap().into_inner()
    }

    pub async fn wait(&mut self, run: &Run) -> Run {
        self.client.wait(reference(run)).await.unwrap().into_inner()
    }

    pub async fn stop(&mut self, run: &Run, grace_ms: u64) -> Run {
        let request = local::StopRequest {
            run: run.id.clone(),
            signal: None,
            grace_ms: Some(grace_ms),
        };
        self.client.stop(request).await.unwrap().into_inner()
    }

    /// All records and the final state.
    pub async fn follow(&mut self, run: &Run, after_id: u64) -> (Vec<LogRecord>, Run) {
        let events = self.follow_events(run, after_id).await;
        let mut records = Vec::new();
        for (at, event) in events.iter().enumerate() {
            match event.event.clone().unwrap() {
                Event::Pull(_) => assert!(records.is_empty(), "progress after the first record"),
                Event::Log(record) => records.push(record),
                Event::State(run) => {
                    assert_eq!(at + 1, events.len(), "something follows the state");
                    return (records, run);
                }
            }
        }
        panic!("the stream ended without a state");
    }

    async fn follow_events(&mut self, run: &Run, after_id: u64) -> Vec<FollowEvent> {
        let request = FollowRequest {
            run: run.id.clone(),
            after_id,
            follow: true,
            stream: String::new(),
        };
        let mut stream = self.client.follow(request).await.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(event) = stream.next().await {
            events.push(event.unwrap());
        }
        events
    }

    /// How many records the log of `run` has now.
    pub async fn logged(&mut self, run: &Run) -> usize {
        let request = FollowRequest {
            run: run.id.clone(),
            ..FollowRequest::default()
        };
        let stream = self.client.follow(request).await.unwrap().into_inner();
        // The last one is the state.
        stream.count().await - 1
    }

    /// Waits until the log of `run` has `count` records.
    pub async fn wait_logged(&mut self, run: &Run, count: usize) {
        let begin = Instant::now();
        loop {
            let logged = self.logged(run).await;
            if logged >= count {
                return;
            }
            assert!(
                begin.elapsed() < WAIT,
                "never logged {count} records, but {logged}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a line of the log of `run` holds `text`.
    pub async fn wait_logged_text(&mut self, run: &Run, text: &str) {
        let mut following = self.client.clone();
        let request = FollowRequest {
            run: run.id.clone(),
            follow: true,
            ..FollowRequest::default()
        };
        let found = async {
            let mut events = following.follow(request).await.unwrap().into_inner();
            while let Some(event) = events.next().await {
                match event.unwrap().event.unwrap() {
                    Event::Log(record) if String::from_utf8_lossy(&record.line).contains(text) => {
                        return;
                    }
                    Event::State(run) => panic!("it ended before it said {text}: {run:?}"),
                    _ => {}
                }
            }
        };
        let found = tokio::time::timeout(WAIT, found).await;
        found.unwrap_or_else(|_| panic!("it never said {text}"));
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until `run` runs.
    pub async fn wait_running(&mut self, run: &Run) {
        let begin = Instant::now();
        loop {
            let now = self.get(run).await;
            if now.status == "running" {
                return;
            }
            assert!(begin.elapsed() < WAIT, "it does not run: {now:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("executor.log")).unwrap_or_default()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("executor's log:\n{}", self.log());
        }
        // Ended already where the test went well.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

pub fn reference(run: &Run) -> RunRef {
    RunRef {
        run: run.id.clone(),
    }
}

/// The status of the call, which must fail.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.expect_err("it must be refused");
    (status.code(), status.message().to_owned())
}

/// stdout or stderr as the job wrote it.
pub fn output(records: &[LogRecord], stream: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records.iter().filter(|record| record.stream == stream) {
        bytes.extend_from_slice(&record.line);
        if record.newline {
            bytes.push(b'\n');
        }
    }
    bytes
}

async fn connect(socket: &Path) -> RunsClient<Channel> {
    let begin = Instant::now();
    while UnixStream::connect(socket).await.is_err() {
        let log = socket
            .parent()
            .and_then(Path::parent)
            .map(|dir| dir.join("executor.log"));
        let log = log.and_then(|log| std::fs::read_to_string(log).ok());
        assert!(
            begin.elapsed() < WAIT,
            "the executor does not serve: {log:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    RunsClient::new(channel(socket))
}

fn channel(socket: &Path) -> Channel {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    Endpoint::from_static("http://executor").connect_with_connector_lazy(connector)
}
