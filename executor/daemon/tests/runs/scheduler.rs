//! A scheduler of the tests' own: a real server of the link that stores what hosts say by the rules of
//! `scheduler/server`'s store, and can be told to break connections, to keep quiet and to forget what it hears.

mod stored;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use davit_rpc::link::host_message::Message as Theirs;
use davit_rpc::link::link_server::{Link, LinkServer};
use davit_rpc::link::place::Standing;
use davit_rpc::link::scheduler_message::Message as Ours;
use davit_rpc::link::{self, HostMessage, SchedulerMessage};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

pub use self::stored::Stored;

pub const JOIN_TOKEN: &str = "join";
const CLIENT_SECRET: &str = "client-secret";
const WAIT: Duration = Duration::from_secs(60);

/// What it does with what hosts say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Stores it and says so.
    #[default]
    Well,
    /// Stores it and says nothing.
    Mute,
    /// Does not store it.
    Deaf,
    /// Takes no session.
    Away,
}

#[derive(Default)]
pub struct State {
    pub mood: Mood,
    pub attempts: BTreeMap<(String, u32), Stored>,
    pub hellos: Vec<link::Hello>,
    pub heartbeats: Vec<link::Heartbeat>,
    /// So many came.
    pub log_batches: u32,
    pub warmed: Vec<link::Warmed>,
    pub renewed: u32,
    /// What no host may say.
    pub violations: Vec<String>,
    tokens: u32,
    /// Of the session that is listened to; others are over.
    epoch: u64,
    /// Whether it has missed something in this session.
    missed: bool,
    session: Option<mpsc::Sender<Result<SchedulerMessage, Status>>>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Scheduler {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheduler = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::default(),
        };
        let service = LinkServer::new(scheduler.clone());
        let serve = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(async move { serve.await.unwrap() });
        scheduler
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Gives a run away, for the host to hear of now or when it comes back.
    pub fn assign(&self, assign: link::Assign) {
        let key = assign.key.clone().unwrap();
        let stored = Stored::new(assign.clone());
        self.state()
            .attempts
            .insert((key.run_id, key.attempt), stored);
        self.say(Ours::Assign(assign));
    }

    /// Says something in the session, if there is one.
    pub fn say(&self, message: Ours) {
        let session = self.state().session.clone();
        if let Some(session) = session {
            let message = SchedulerMessage {
                message: Some(message),
            };
            drop(session.try_send(Ok(message)));
        }
    }

    /// What is wanted of an attempt from now on.
    pub fn want(&self, want: link::Want) {
        let key = want.key.clone().unwrap();
        let mut state = self.state();
        let stored = state.attempts.get_mut(&(key.run_id, key.attempt)).unwrap();
        stored.want = Some(want.clone());
        drop(state);
        self.say(Ours::Want(want));
    }

    /// From now on in this mood, with the connection broken.
    pub fn cut(&self, mood: Mood) {
        let mut state = self.state();
        state.mood = mood;
        state.epoch += 1;
        if let Some(session) = state.session.take() {
            drop(session.try_send(Err(Status::unavailable("cut"))));
        }
    }

    /// Waits until `true_of` what is stored of an attempt.
    pub async fn until(&self, key: &link::AttemptKey, true_of: impl Fn(&Stored) -> bool) -> Stored {
        let id = (key.run_id.clone(), key.attempt);
        self.wait(|state| {
            let stored = state.attempts.get(&id)?;
            true_of(stored).then(|| stored.clone())
        })
        .await
    }

    pub async fn wait<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            {
                let state = self.state();
                assert_eq!(state.violations, Vec::<String>::new());
                if let Some(found) = look(&state) {
                    return found;
                }
                assert!(begin.elapsed() < WAIT, "never came: {:#?}", state.attempts);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn talk(self, epoch: u64, mut incoming: Streaming<HostMessage>) {
        while let Ok(Some(message)) = incoming.message().await {
            let mut state = self.state();
            if state.epoch != epoch {
                return;
            }
            if state.mood == Mood::Deaf {
                state.missed = true;
                continue;
            }
            let mute = state.mood == Mood::Mute;
            let (answer, violation) = match message.message.unwrap() {
                Theirs::Hello(_) => (None, Some("a second hello".to_owned())),
                Theirs::Report(report) => state.report(report),
                Theirs::Log(batch) => state.log(batch),
                Theirs::Heartbeat(beat) => {
                    let ack = link::HeartbeatAck {
                        number: beat.number,
                    };
                    state.heartbeats.push(beat);
                    (Some(Ours::HeartbeatAck(ack)), None)
                }
                Theirs::Warmed(warmed) => {
                    state.warmed.push(warmed);
                    (None, None)
                }
                Theirs::Renew(renew) => {
                    state.renewed += 1;
                    let known = renew.access_token == format!("token-{}", state.tokens);
                    (None, (!known).then(|| "an unknown token".to_owned()))
                }
            };
            state.violations.extend(violation);
            drop(state);
            if let (Some(answer), false) = (answer, mute) {
                self.say(answer);
            }
        }
    }
}

impl State {
    fn report(&mut self, report: link::Report) -> (Option<Ours>, Option<String>) {
        let key = report.key.clone().unwrap();
        let step = report.step;
        let Some(stored) = self.attempts.get_mut(&(key.run_id.clone(), key.attempt)) else {
            return (
                None,
                Some(format!("a report of an unknown attempt: {report:?}")),
            );
        };
        match stored.report(report) {
            Ok(()) => {
                let ack = link::ReportAck {
                    key: Some(key),
                    step,
                    refused: None,
                };
                (Some(Ours::ReportAck(ack)), None)
            }
            Err(_) if self.missed => (Some(refused(key, stored)), None),
            Err(problem) => (None, Some(problem)),
        }
    }

    fn log(&mut self, batch: link::LogBatch) -> (Option<Ours>, Option<String>) {
        let key = batch.key.clone().unwrap();
        self.log_batches += 1;
        let Some(stored) = self.attempts.get_mut(&(key.run_id.clone(), key.attempt)) else {
            return (None, Some("a log of an unknown attempt".to_owned()));
        };
        match stored.log(batch.records) {
            Ok(last_id) => {
                let ack = link::LogAck {
                    key: Some(key),
                    last_id,
                };
                (Some(Ours::LogAck(ack)), None)
            }
            Err(_) if self.missed => (Some(refused(key, stored)), None),
            Err(problem) => (None, Some(problem)),
        }
    }

    /// Every attempt the host holds or should hold.
    fn places(&self, held: &[link::AttemptKey]) -> Vec<link::Place> {
        let live = self.attempts.values().filter(|stored| stored.is_live());
        let mut places: Vec<link::Place> = live.map(Stored::place).collect();
        for key in held {
            let known = self.attempts.get(&(key.run_id.clone(), key.attempt));
            if !known.is_some_and(Stored::is_live) {
                places.push(link::Place {
                    key: Some(key.clone()),
                    standing: Some(Standing::Gone(link::Forget {
                        key: Some(key.clone()),
                        reason: "it is over".into(),
                    })),
                });
            }
        }
        places
    }
}

/// Something before it is missing: the host is to go on from here.
fn refused(key: link::AttemptKey, stored: &Stored) -> Ours {
    Ours::ReportAck(link::ReportAck {
        key: Some(key),
        step: stored.step,
        refused: Some(link::Refused {
            reason: "something is missing".into(),
            place: Some(stored.place()),
        }),
    })
}

#[tonic::async_trait]
impl Link for Scheduler {
    type FetchFilesStream = tokio_stream::Empty<Result<link::FilesPiece, Status>>;

    async fn fetch_files(
        &self,
        _: Request<link::FilesRequest>,
    ) -> Result<Response<Self::FetchFilesStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    type SendExtractStream = tokio_stream::Empty<Result<link::ExtractPlace, Status>>;

    async fn send_extract(
        &self,
        _: Request<Streaming<link::ExtractFromHost>>,
    ) -> Result<Response<Self::SendExtractStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    type SessionStream = ReceiverStream<Result<SchedulerMessage, Status>>;
    type ConsoleStream = ReceiverStream<Result<link::ConsoleToHost, Status>>;

    async fn join(
        &self,
        request: Request<link::JoinRequest>,
    ) -> Result<Response<link::JoinReply>, Status> {
        let request = request.into_inner();
        if request.join_token != JOIN_TOKEN {
            return Err(Status::unauthenticated("the join token is not valid"));
        }
        Ok(Response::new(link::JoinReply {
            host_id: request.host_id,
            region: "here".into(),
            client_secret: CLIENT_SECRET.into(),
        }))
    }

    async fn authenticate(
        &self,
        request: Request<link::AuthenticateRequest>,
    ) -> Result<Response<link::AuthenticateReply>, Status> {
        if request.into_inner().client_secret != CLIENT_SECRET {
            return Err(Status::unauthenticated("not this secret"));
        }
        let mut state = self.state();
        state.tokens += 1;
        Ok(Response::new(link::AuthenticateReply {
            access_token: format!("token-{}", state.tokens),
            expires_in_seconds: 3,
        }))
    }

    async fn console(
        &self,
        _: Request<Streaming<link::ConsoleFromHost>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        Err(Status::unimplemented("not in these tests"))
    }

    async fn session(
        &self,
        request: Request<Streaming<HostMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let expected = format!("Bearer token-{}", self.state().tokens);
        let given = request.metadata().get("authorization");
        if given.and_then(|value| value.to_str().ok()) != Some(&expected) {
            return Err(Status::unauthenticated("no token"));
        }
        if self.state().mood == Mood::Away {
            return Err(Status::unavailable("away"));
        }
        let mut incoming = request.into_inner();
        let Some(Theirs::Hello(hello)) = incoming.message().await?.and_then(|m| m.message) else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (session, outgoing) = mpsc::channel(1_024);
        let mut state = self.state();
        state.epoch += 1;
        state.missed = false;
        let epoch = state.epoch;
        let welcome = link::Welcome {
            epoch,
            heartbeat_ms: 200,
            meter_ms: 400,
            log_period_ms: 50,
            log_batch_lines: 50,
            places: state.places(&hello.held),
        };
        state.hellos.push(hello);
        let message = SchedulerMessage {
            message: Some(Ours::Welcome(welcome)),
        };
        session.try_send(Ok(message)).unwrap();
        state.session = Some(session);
        drop(state);
        tokio::spawn(self.clone().talk(epoch, incoming));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}
