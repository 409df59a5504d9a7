//! The host's end of consoles, against a server of the link on loopback that the test speaks for.

use davit_rpc::console::console_output::Output;
use davit_rpc::console::{Attach, Ended, Opened, StdinEnd, open::With};
use davit_rpc::link::link_server::{Link, LinkServer};
use davit_rpc::link::*;
use davit_types::{Attempt, RunId};
use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Response, Streaming};

use super::*;

/// As long as anything may take.
const LONGEST: Duration = Duration::from_secs(30);
/// Without progress for so long, somebody is held up.
const STILL: Duration = Duration::from_millis(1_000);
const PIECE_BYTES: usize = 64 << 10;

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = timeout(LONGEST, work).await;
    done.unwrap_or_else(|_| panic!("{what} did not come in time"))
}

/// The scheduler's end of a call.
struct Dialled {
    bearer: String,
    id: String,
    from: Streaming<ConsoleFromHost>,
    to: mpsc::Sender<Result<ConsoleToHost, Status>>,
}

impl Dialled {
    async fn say(&self, input: Input) -> bool {
        let input = ConsoleInput { input: Some(input) };
        let message = ConsoleToHost { input: Some(input) };
        self.to.send(Ok(message)).await.is_ok()
    }

    async fn open(&self) {
        let open = Open {
            run: "another".to_owned(),
            with: Some(With::Attach(Attach { stdin: true })),
            window_size: None,
        };
        assert!(self.say(Input::Open(open)).await);
    }

    /// What the host says next; `None` when it has hung up.
    async fn next(&mut self) -> Option<Said> {
        let next = soon("a word of the host's", self.from.message()).await;
        next.ok()??.message
    }

    async fn output(&mut self) -> Output {
        match self.next().await {
            Some(Said::Output(output)) => output.output.unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

struct Scheduler(mpsc::Sender<Dialled>);

#[tonic::async_trait]
impl Link for Scheduler {
    type SessionStream = BoxStream<'static, Result<SchedulerMessage, Status>>;
    type ConsoleStream = ReceiverStream<Result<ConsoleToHost, Status>>;
    type FetchFilesStream = tokio_stream::Empty<Result<FilesPiece, Status>>;

    async fn fetch_files(
        &self,
        _: Request<FilesRequest>,
    ) -> Result<Response<Self::FetchFilesStream>, Status> {
        Err(Status::unimplemented("files"))
    }

    type SendExtractStream = tokio_stream::Empty<Result<ExtractPlace, Status>>;

    async fn send_extract(
        &self,
        _: Request<Streaming<ExtractFromHost>>,
    ) -> Result<Response<Self::SendExtractStream>, Status> {
        Err(Status::unimplemented("extracts"))
    }

    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        Err(Status::unimplemented("join"))
    }

    async fn authenticate(
        &self,
        _: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateReply>, Status> {
        Ok(Response::new(AuthenticateReply::default()))
    }

    async fn session(
        &self,
        _: Request<Streaming<HostMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("session"))
    }

    async fn console(
        &self,
        request: Request<Streaming<ConsoleFromHost>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        let bearer = request
            .metadata()
            .get("authorization")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let mut from = request.into_inner();
        let Some(Said::ConsoleId(id)) = from.message().await?.and_then(|m| m.message) else {
            return Err(Status::invalid_argument("no id"));
        };
        let (to, queue) = mpsc::channel(1);
        let dialled = Dialled {
            bearer,
            id,
            from,
            to,
        };
        drop(self.0.send(dialled).await);
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

/// What a test's process does.
#[derive(Clone, Copy)]
enum Act {
    /// Says what it hears, and ends with its input.
    Echo,
    /// Hears nothing, says nothing, until its client is gone.
    Deaf,
    /// Says more than anybody takes.
    Flood,
    Refuse,
}

#[derive(Clone)]
struct Process {
    act: Act,
    /// What each console was asked for, and then that it is over.
    told: mpsc::Sender<Option<(RunKey, Open)>>,
}

fn output(output: Output) -> ConsoleOutput {
    ConsoleOutput {
        output: Some(output),
    }
}

impl Side for Process {
    async fn open(
        &self,
        key: RunKey,
        open: Open,
        mut input: mpsc::Receiver<ConsoleInput>,
        to: mpsc::Sender<ConsoleOutput>,
    ) -> Result<(), Status> {
        self.told.send(Some((key, open))).await.unwrap();
        if matches!(self.act, Act::Refuse) {
            return Err(Status::failed_precondition("the run is paused"));
        }
        drop(to.send(output(Output::Opened(Opened { tty: true }))).await);
        match self.act {
            Act::Echo => {
                while let Some(Some(Input::Stdin(bytes))) = input.recv().await.map(|m| m.input) {
                    drop(to.send(output(Output::Stdout(bytes))).await);
                }
                let ended = Ended {
                    exit_code: Some(7),
                    ..Ended::default()
                };
                drop(to.send(output(Output::Ended(ended))).await);
            }
            Act::Deaf => to.closed().await,
            Act::Flood => {
                let piece = output(Output::Stdout(vec![1; PIECE_BYTES]));
                while to.send(piece.clone()).await.is_ok() {}
            }
            Act::Refuse => {}
        }
        self.told.send(None).await.unwrap();
        Ok(())
    }
}

/// Both ends.
struct Stage {
    calls: Calls<Process>,
    client: LinkClient<Channel>,
    dialled: mpsc::Receiver<Dialled>,
    told: mpsc::Receiver<Option<(RunKey, Open)>>,
    key: RunKey,
}

impl Stage {
    async fn set(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to, dialled) = mpsc::channel(2 * CONSOLES_MAX);
        let server = Server::builder().add_service(LinkServer::new(Scheduler(to)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let link = crate::settings::Settings::default().link;
        let server = format!("http://{address}");
        let client = super::super::dial::connect(&server, &link).await.unwrap();
        let (tell, told) = mpsc::channel(4 * CONSOLES_MAX);
        let (_, bearer) = watch::channel("Bearer x".parse().unwrap());
        let key = RunKey {
            run: RunId::generate(),
            attempt: Attempt::FIRST,
        };
        Self {
            calls: Calls::new(Process { act, told: tell }, client.clone(), bearer),
            client,
            dialled,
            told,
            key,
        }
    }

    /// The scheduler's end of a call that the host was asked for.
    async fn call(&mut self) -> Dialled {
        self.calls.dial("an id".to_owned(), self.key);
        soon("the call", self.dialled.recv()).await.unwrap()
    }

    /// The same, up to the process.
    async fn opened(&mut self) -> Dialled {
        let mut call = self.call().await;
        call.open().await;
        assert_eq!(call.output().await, Output::Opened(Opened { tty: true }));
        call
    }

    async fn over(&mut self) {
        while soon("the end", self.told.recv()).await.unwrap().is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_said_comes_back_and_the_end_after_it() {
    let mut stage = Stage::set(Act::Echo).await;
    let mut call = stage.opened().await;
    assert_eq!(
        (call.bearer.as_str(), call.id.as_str()),
        ("Bearer x", "an id")
    );
    let (key, open) = stage.told.recv().await.unwrap().unwrap();
    // The order names the run, not what the call begins with.
    assert_eq!((key, open.run), (stage.key, stage.key.run.to_string()));
    assert_eq!(open.with, Some(With::Attach(Attach { stdin: true })));
    let pieces: Vec<Vec<u8>> = (0..160_u8).map(|at| vec![at; PIECE_BYTES]).collect();
    let to = call.to.clone();
    let sent = pieces.clone();
    tokio::spawn(async move {
        let ends = [Input::StdinEnd(StdinEnd {})];
        for input in sent.into_iter().map(Input::Stdin).chain(ends) {
            let input = Some(ConsoleInput { input: Some(input) });
            to.send(Ok(ConsoleToHost { input })).await.unwrap();
        }
        // Held until the end is heard.
        to.closed().await;
    });
    for piece in pieces {
        assert!(call.output().await == Output::Stdout(piece));
    }
    assert!(matches!(
        call.output().await,
        Output::Ended(Ended {
            exit_code: Some(7),
            ..
        })
    ));
    assert_eq!(call.next().await, None);
    stage.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_in_the_hosts_own_words() {
    let mut stage = Stage::set(Act::Refuse).await;
    let mut call = stage.call().await;
    call.open().await;
    let refused = ConsoleRefused {
        code: 9,
        message: "the run is paused".to_owned(),
    };
    assert_eq!(call.next().await, Some(Said::Refused(refused)));
    assert_eq!(call.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_takes_the_console_along_and_so_does_the_session() {
    let mut stage = Stage::set(Act::Deaf).await;
    drop(stage.opened().await);
    stage.over().await;
    let mut call = stage.opened().await;
    stage.calls = Calls::new(
        stage.calls.side.clone(),
        stage.client.clone(),
        stage.calls.bearer.clone(),
    );
    assert_eq!(call.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_not_read_and_holds_up_nobody_else() {
    let mut stage = Stage::set(Act::Deaf).await;
    let mut calls = Vec::new();
    for _ in 0..CONSOLES_MAX {
        let call = stage.opened().await;
        let to = call.to.clone();
        let flood = tokio::spawn(async move {
            let mut taken_bytes = 0;
            loop {
                let input = Some(Input::Stdin(vec![1; PIECE_BYTES]));
                let input = Some(ConsoleInput { input });
                match timeout(STILL, to.send(Ok(ConsoleToHost { input }))).await {
                    Ok(_) => taken_bytes += PIECE_BYTES,
                    Err(_) => return taken_bytes,
                }
            }
        });
        calls.push((call, flood));
    }
    for (_, flood) in &mut calls {
        let taken_bytes = soon("the end of taking", flood).await.unwrap();
        // Windows, queues, and what the server itself holds back.
        assert!((256 << 10..4 << 20).contains(&taken_bytes), "{taken_bytes}");
    }
    // Of the same connection.
    let asked = stage.client.authenticate(AuthenticateRequest::default());
    soon("an answer beside them", asked).await.unwrap();
    // One more than there may be.
    let mut one_more = stage.call().await;
    one_more.open().await;
    match one_more.next().await {
        Some(Said::Refused(refused)) => assert_eq!(refused.code, 8, "{refused:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_output_is_not_read_waits() {
    let mut stage = Stage::set(Act::Flood).await;
    let mut call = stage.opened().await;
    tokio::time::sleep(STILL).await;
    drop(call.to);
    // What was on its way, and then nothing: it was not all that could be said in the time.
    let mut bytes = 0;
    while let Ok(Ok(Some(message))) = timeout(LONGEST, call.from.message()).await {
        if let Some(Said::Output(ConsoleOutput {
            output: Some(Output::Stdout(piece)),
        })) = message.message
        {
            bytes += piece.len();
        }
    }
    assert!((PIECE_BYTES..8 << 20).contains(&bytes), "{bytes}");
    stage.over().await;
}
