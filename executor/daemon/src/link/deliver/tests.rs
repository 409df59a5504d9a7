//! Sending to a server of the link that breaks off, refuses, or never answers.

use std::sync::{Arc, Mutex};

use davit_rpc::link::link_server::{Link, LinkServer};
use davit_rpc::link::{
    AuthenticateReply, AuthenticateRequest, ConsoleFromHost, ConsoleToHost, FilesPiece,
    FilesRequest, HostMessage, JoinReply, JoinRequest, SchedulerMessage,
};
use davit_types::{Attempt, ExtractKind, RunId};
use futures::stream::BoxStream;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Response, Status};
use uuid::Uuid;

use super::super::identity::{Identity, Registered};
use super::*;
use crate::settings::Settings;

/// As long as anything may take.
const LONGEST: Duration = Duration::from_secs(30);
/// What the first call takes before it breaks off.
const BREAKS_AT_BYTES: usize = 700_000;

/// What a scheduler does with the extract of this number.
const BREAKS_OFF: u32 = 0;
const REFUSES: u32 = 1;
const NEVER_ANSWERS: u32 = 2;

#[derive(Clone, Default)]
struct Scheduler {
    stored: Arc<Mutex<Vec<u8>>>,
    /// Where each call went on.
    offsets: Arc<Mutex<Vec<u64>>>,
}

impl Scheduler {
    async fn take(
        self,
        begin: ExtractBegin,
        mut sent: Streaming<ExtractFromHost>,
        places: mpsc::Sender<Result<ExtractPlace, Status>>,
    ) {
        let offset = self.stored.lock().unwrap().len() as u64;
        let calls = {
            let mut offsets = self.offsets.lock().unwrap();
            offsets.push(offset);
            offsets.len()
        };
        let stored = false;
        drop(places.send(Ok(ExtractPlace { offset, stored })).await);
        while let Ok(Some(message)) = sent.message().await {
            let Some(Message::Data(data)) = message.message else {
                panic!("a piece is wanted")
            };
            let mut stored = self.stored.lock().unwrap();
            stored.extend(data);
            if calls == 1 && stored.len() >= BREAKS_AT_BYTES {
                return;
            }
        }
        if begin.number == NEVER_ANSWERS {
            std::future::pending::<()>().await;
        }
        let stored = self.stored.lock().unwrap().clone();
        let offset = stored.len() as u64;
        assert_eq!(begin.sha256, hex(Sha256::new_with_prefix(&stored)));
        let stored = begin.bytes == offset;
        drop(places.send(Ok(ExtractPlace { offset, stored })).await);
    }
}

#[tonic::async_trait]
impl Link for Scheduler {
    type SessionStream = BoxStream<'static, Result<SchedulerMessage, Status>>;
    type ConsoleStream = BoxStream<'static, Result<ConsoleToHost, Status>>;
    type FetchFilesStream = BoxStream<'static, Result<FilesPiece, Status>>;
    type SendExtractStream = ReceiverStream<Result<ExtractPlace, Status>>;

    async fn send_extract(
        &self,
        request: Request<Streaming<ExtractFromHost>>,
    ) -> Result<Response<Self::SendExtractStream>, Status> {
        let bearer = request.metadata().get("authorization").unwrap();
        assert_eq!(bearer, "Bearer token");
        let mut sent = request.into_inner();
        let first = sent.message().await?.and_then(|message| message.message);
        let Some(Message::Begin(begin)) = first else {
            panic!("a beginning is wanted: {first:?}")
        };
        if begin.number == REFUSES {
            return Err(Status::out_of_range("it is too large"));
        }
        let (places, told) = mpsc::channel(2);
        tokio::spawn(self.clone().take(begin, sent, places));
        Ok(Response::new(ReceiverStream::new(told)))
    }

    async fn authenticate(
        &self,
        _: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateReply>, Status> {
        Ok(Response::new(AuthenticateReply {
            access_token: "token".to_owned(),
            expires_in_seconds: 60,
        }))
    }

    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn session(
        &self,
        _: Request<Streaming<HostMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn fetch_files(
        &self,
        _: Request<FilesRequest>,
    ) -> Result<Response<Self::FetchFilesStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn console(
        &self,
        _: Request<Streaming<ConsoleFromHost>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

/// A host with an archive for each of the numbers.
struct World {
    scheduler: Scheduler,
    delivery: Delivery,
    dir: TempDir,
    content: Vec<u8>,
    key: RunKey,
}

impl World {
    async fn begin() -> Self {
        let scheduler = Scheduler::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let service = LinkServer::new(scheduler.clone());
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        let dir = TempDir::new().unwrap();
        let credentials_file = dir.path().join("identity");
        let identity = Identity {
            host_id: Uuid::nil(),
            server,
            registered: Some(Registered {
                region: "here".to_owned(),
                client_secret: "secret".to_owned(),
            }),
        };
        identity.write(&credentials_file).unwrap();
        let link = LinkSettings {
            credentials_file,
            ..Settings::default().link
        };
        let content: Vec<u8> = (0..2_000_000_usize)
            .map(|at| (at * 7 + at / 253).to_le_bytes()[0])
            .collect();
        for number in [BREAKS_OFF, REFUSES, NEVER_ANSWERS] {
            let at = usize::try_from(number).unwrap();
            std::fs::write(kept_path(dir.path(), at), &content).unwrap();
        }
        Self {
            scheduler,
            delivery: Delivery::new(Deliveries::new(&link)),
            dir,
            content,
            key: RunKey {
                run: RunId::generate(),
                attempt: Attempt::FIRST,
            },
        }
    }

    fn go_on(&mut self, collected: &[Extracted], wanted: (u32, bool)) {
        self.delivery
            .go_on(self.key, self.dir.path(), collected, wanted);
    }

    /// What is told of `collected` in the end.
    async fn told(&mut self, collected: &[Extracted]) -> Vec<Extracted> {
        let told = async {
            loop {
                self.go_on(collected, (0, false));
                match self.delivery.told() {
                    Some(told) => return told,
                    None => self.delivery.done().await,
                }
            }
        };
        timeout(LONGEST, told).await.unwrap()
    }
}

fn collected(status: ExtractStatus) -> Extracted {
    let is_ok = status == ExtractStatus::Ok;
    Extracted {
        from: "out".to_owned(),
        to: "out".to_owned(),
        status,
        kind: is_ok.then_some(ExtractKind::Directory),
        bytes: 7,
        sha256: is_ok.then(|| "0".repeat(64)),
        message: None,
    }
}

#[tokio::test]
async fn what_breaks_off_goes_on_where_the_scheduler_says() {
    let mut world = World::begin().await;
    let all = [collected(ExtractStatus::Ok)];
    assert_eq!(world.told(&all).await, all);
    assert!(
        *world.scheduler.stored.lock().unwrap() == world.content,
        "other bytes arrived"
    );
    let offsets = world.scheduler.offsets.lock().unwrap().clone();
    assert_eq!(offsets.len(), 2, "{offsets:?}");
    assert!(
        offsets[0] == 0 && offsets[1] >= BREAKS_AT_BYTES as u64,
        "{offsets:?}"
    );
}

#[tokio::test]
async fn what_the_scheduler_will_not_have_is_an_error_and_holds_up_nothing() {
    let mut world = World::begin().await;
    let missing = collected(ExtractStatus::Missing);
    let ok = collected(ExtractStatus::Ok);
    let told = world.told(&[ok.clone(), ok]).await;
    assert_eq!(told[0].status, ExtractStatus::Ok);
    assert_eq!((told[1].status, told[1].kind), (ExtractStatus::Error, None));
    assert_eq!((told[1].bytes, &told[1].sha256), (0, &None));
    let message = told[1].message.as_ref().unwrap();
    assert!(message.contains("it is too large"), "{message}");
    // Nothing to send is nothing to wait for.
    let mut world = World::begin().await;
    world.go_on(std::slice::from_ref(&missing), (0, false));
    assert_eq!(world.delivery.told(), Some(vec![missing]));
    assert!(world.scheduler.offsets.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_stop_that_comes_meanwhile_gives_it_up_and_an_earlier_one_does_not() {
    let mut world = World::begin().await;
    let missing = collected(ExtractStatus::Missing);
    let all = [missing.clone(), missing, collected(ExtractStatus::Ok)];
    let stopped_before = (3, true);
    world.go_on(&all, stopped_before);
    let begun = async {
        while world.scheduler.offsets.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONGEST, begun).await.unwrap();
    world.go_on(&all, stopped_before);
    assert_eq!(world.delivery.told(), None, "it goes on");
    world.go_on(&all, (4, true));
    let told = world.delivery.told().unwrap();
    assert_eq!(told[2].status, ExtractStatus::Error);
    assert!(told[2].message.as_ref().unwrap().contains("stopped"));
    assert_eq!(told[0].status, ExtractStatus::Missing);
}
