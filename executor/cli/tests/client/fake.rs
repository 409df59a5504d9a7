//! A scripted executor: it speaks the local API and remembers what it was asked.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use davit_rpc::local::host_server::{Host, HostServer};
use davit_rpc::local::runs_server::{Runs, RunsServer};
use davit_rpc::local::{
    Empty, ExtendRequest, FollowEvent, FollowRequest, HostInfo, HostMetrics, ListReply,
    ListRequest, LogRecord, ReapReply, ReapRequest, Run, RunRef, StopRequest, SubmitRequest,
    follow_event::Event,
};
use davit_types::{FieldError, FieldErrors};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

pub(crate) const RUN_ID: &str = "01890000-0000-7000-8000-000000000001";

/// How long a test waits for anything.
const WAIT: Duration = Duration::from_secs(20);

/// What the executor will say.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) log: Vec<LogRecord>,
    /// How the run ends.
    pub(crate) ended: Run,
    /// The run lives until a cancel, or until a stop if this is `Some(true)`.
    pub(crate) lives_until_stop: Option<bool>,
    /// The connection breaks once after so many records.
    pub(crate) breaks_after: Option<usize>,
    /// Submitting is refused.
    pub(crate) refuses: Option<FieldError>,
}

struct Fake {
    script: Script,
    asked: Arc<Mutex<Vec<String>>>,
    broke: Mutex<bool>,
    over: watch::Sender<bool>,
}

impl Fake {
    fn note(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }

    fn ended(&self) -> Run {
        Run {
            id: RUN_ID.into(),
            ..self.script.ended.clone()
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Runs for Fake {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<FollowEvent, Status>> + Send>>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Answer<Run> {
        let request = request.into_inner();
        self.note(format!("submit {}", request.image));
        for (at, argument) in request.argv.iter().enumerate() {
            self.note(format!("argv[{at}] {argument}"));
        }
        for variable in &request.env {
            self.note(format!("env {}={}", variable.key, variable.value));
        }
        if let Some(given) = &request.credentials {
            self.note(format!("credentials {}:{}", given.username, given.password));
        }
        if let Some(error) = &self.script.refuses {
            return Err(davit_rpc::invalid(&FieldErrors(vec![error.clone()])));
        }
        let accepted = Run {
            id: RUN_ID.into(),
            status: "pending".into(),
            ..Run::default()
        };
        Ok(Response::new(accepted))
    }

    async fn follow(&self, request: Request<FollowRequest>) -> Answer<Self::FollowStream> {
        let request = request.into_inner();
        self.note(format!("follow after {}", request.after_id));
        let records = self.script.log.clone().into_iter();
        let wanted: Vec<_> = records
            .filter(|record| record.id > request.after_id)
            .collect();
        let mut broke = self.broke.lock().unwrap();
        let breaks = self.script.breaks_after.filter(|_| !*broke);
        *broke = true;
        let logs = wanted.into_iter().take(breaks.unwrap_or(usize::MAX));
        let logs = tokio_stream::iter(logs.map(|record| Ok(event(Event::Log(record)))));
        let (over, ended) = (self.over.subscribe(), self.ended());
        let lives = self.script.lives_until_stop.is_some();
        let last = tokio_stream::iter([()]).then(move |()| {
            let (mut over, ended) = (over.clone(), ended.clone());
            async move {
                if breaks.is_some() {
                    return Err(Status::unavailable("going down"));
                }
                if lives {
                    over.wait_for(|over| *over).await.expect("the fake lives");
                }
                Ok(event(Event::State(ended)))
            }
        });
        Ok(Response::new(Box::pin(logs.chain(last))))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Answer<Run> {
        self.note(format!("stop {:?}", request.into_inner().signal));
        if self.script.lives_until_stop == Some(true) {
            self.over.send_replace(true);
        }
        self.over
            .subscribe()
            .wait_for(|over| *over)
            .await
            .expect("the fake lives");
        Ok(Response::new(self.ended()))
    }

    async fn cancel(&self, _: Request<RunRef>) -> Answer<Run> {
        self.note("cancel");
        self.over.send_replace(true);
        Ok(Response::new(self.ended()))
    }

    async fn get(&self, request: Request<RunRef>) -> Answer<Run> {
        let run = request.into_inner().run;
        if run == "nobody" {
            return Err(Status::not_found("there is no run `nobody`"));
        }
        Ok(Response::new(self.ended()))
    }

    async fn list(&self, request: Request<ListRequest>) -> Answer<ListReply> {
        self.note(format!("list all={}", request.into_inner().all));
        let runs = vec![self.ended()];
        Ok(Response::new(ListReply { runs }))
    }

    async fn wait(&self, _: Request<RunRef>) -> Answer<Run> {
        Ok(Response::new(self.ended()))
    }

    async fn remove(&self, _: Request<RunRef>) -> Answer<Empty> {
        self.note("remove");
        Ok(Response::new(Empty {}))
    }

    async fn pause(&self, _: Request<RunRef>) -> Answer<Run> {
        Err(Status::failed_precondition(
            "cannot pause: the run has ended",
        ))
    }

    async fn resume(&self, _: Request<RunRef>) -> Answer<Run> {
        Ok(Response::new(self.ended()))
    }

    async fn extend(&self, request: Request<ExtendRequest>) -> Answer<Run> {
        self.note(format!("extend {}", request.into_inner().timeout_seconds));
        Ok(Response::new(self.ended()))
    }

    async fn reap(&self, _: Request<ReapRequest>) -> Answer<ReapReply> {
        Ok(Response::new(ReapReply::default()))
    }
}

/// What the fake counted.
pub(crate) const METRICS: &str = "# TYPE davit_runs_live gauge\n# EOF\n";

struct FakeHost;

#[tonic::async_trait]
impl Host for FakeHost {
    async fn info(&self, _: Request<Empty>) -> Answer<HostInfo> {
        Ok(Response::new(HostInfo::default()))
    }

    async fn metrics(&self, _: Request<Empty>) -> Answer<HostMetrics> {
        Ok(Response::new(HostMetrics {
            openmetrics_text: METRICS.into(),
        }))
    }
}

fn event(event: Event) -> FollowEvent {
    FollowEvent { event: Some(event) }
}

/// A running fake; it ends with the test's process.
pub(crate) struct Executor {
    directory: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Executor {
    pub(crate) fn start(script: Script) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let asked = Arc::default();
        let fake = Fake {
            script,
            asked: Arc::clone(&asked),
            broke: Mutex::new(false),
            over: watch::Sender::new(false),
        };
        let listener = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let incoming = UnixListenerStream::new(UnixListener::from_std(listener).unwrap());
                let server = tonic::transport::Server::builder()
                    .add_service(RunsServer::new(fake))
                    .add_service(HostServer::new(FakeHost));
                server.serve_with_incoming(incoming).await.unwrap();
            });
        });
        Self { directory, asked }
    }

    /// `davit ARGUMENTS…` for this executor.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = davit(&self.directory.path().join("s"));
        command.args(arguments);
        command
    }

    pub(crate) fn davit(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until it was asked this.
    pub(crate) fn wait_asked(&self, what: &str) {
        let since = Instant::now();
        while !self.asked().iter().any(|asked| asked == what) {
            assert!(
                since.elapsed() < WAIT,
                "never asked `{what}`, but {:?}",
                self.asked()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// `davit` with no environment but the socket.
pub(crate) fn davit(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command.env_clear().env("DAVIT_SOCKET", socket);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A run that ended so.
pub(crate) fn ended(status: &str, reason: &str, code: Option<u32>, message: &str) -> Run {
    Run {
        status: status.into(),
        phase: "ended".into(),
        end_reason: Some(reason.into()),
        exit_code: code,
        message: Some(message.into()),
        ..Run::default()
    }
}
