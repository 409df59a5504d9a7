//! A host that is spoken by hand: it joins, authenticates, and holds one session at a time.

use std::net::SocketAddr;
use std::time::Duration;

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::link_client::LinkClient;
use davit_rpc::link::report::Event;
use davit_rpc::link::scheduler_message::Message;
use davit_rpc::link::*;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use uuid::Uuid;

use crate::world::{Replica, WAIT_MS_MAX, World, unix_ms};

/// A registered host.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) id: Uuid,
    pub(crate) secret: String,
    pub(crate) boot_id: String,
    pub(crate) cpu_millis: u64,
    pub(crate) features: Vec<String>,
}

pub(crate) async fn client(address: SocketAddr) -> LinkClient<Channel> {
    LinkClient::connect(format!("http://{address}"))
        .await
        .unwrap()
}

impl Host {
    /// Joins by a replica, with room for `runs` runs of the usual plan.
    pub(crate) async fn join(world: &World, replica: &Replica, name: &str, runs: u64) -> Self {
        let id = Uuid::now_v7();
        let request = JoinRequest {
            join_token: world.join_token().await,
            host_id: id.to_string(),
            name: name.to_owned(),
            labels: [("name".to_owned(), name.to_owned())].into(),
        };
        let joined = client(replica.address).await.join(request).await.unwrap();
        Self {
            id,
            secret: joined.into_inner().client_secret,
            boot_id: "boot 1".to_owned(),
            cpu_millis: runs * 500,
            features: ["files", "extracts"].map(str::to_owned).into(),
        }
    }

    pub(crate) async fn token(&self, address: SocketAddr) -> Result<String, Status> {
        let request = AuthenticateRequest {
            host_id: self.id.to_string(),
            client_secret: self.secret.clone(),
        };
        let reply = LinkClient::connect(format!("http://{address}"))
            .await
            .map_err(|error| Status::new(Code::Unavailable, error.to_string()))?
            .authenticate(request)
            .await?;
        Ok(reply.into_inner().access_token)
    }

    pub(crate) fn hello(&self, held: Vec<AttemptKey>) -> Hello {
        Hello {
            davit_version: "test".to_owned(),
            boot_id: self.boot_id.clone(),
            labels: Default::default(),
            capacity: Some(Capacity {
                cpu_millis: self.cpu_millis,
                memory_bytes: 1 << 40,
                pids: 1 << 20,
                disk_bytes: 1 << 40,
                runtimes: vec!["crun".to_owned()],
            }),
            held,
            state: Some(Heartbeat::default()),
            features: self.features.clone(),
        }
    }

    /// Begins a session.
    pub(crate) async fn connect(&self, replica: &Replica, held: Vec<AttemptKey>) -> Line {
        self.dial(replica.address, held).await.unwrap()
    }

    /// The same, for hosts that must live with failure.
    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        held: Vec<AttemptKey>,
    ) -> Result<Line, Status> {
        let token = self.token(address).await?;
        self.dial_with(address, &token, held).await
    }

    pub(crate) async fn dial_with(
        &self,
        address: SocketAddr,
        token: &str,
        held: Vec<AttemptKey>,
    ) -> Result<Line, Status> {
        let (to, queue) = mpsc::channel(1_024);
        let hello = HostMessage {
            message: Some(Said::Hello(self.hello(held))),
        };
        assert!(to.send(hello).await.is_ok());
        let mut request = Request::new(ReceiverStream::new(queue));
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let mut client = LinkClient::connect(format!("http://{address}"))
            .await
            .map_err(|error| Status::new(Code::Unavailable, error.to_string()))?;
        let mut from = client.session(request).await?.into_inner();
        match from.message().await?.and_then(|message| message.message) {
            Some(Message::Welcome(welcome)) => Ok(Line {
                to,
                from,
                welcome,
                client,
                token: token.to_owned(),
            }),
            other => Err(Status::new(Code::Internal, format!("{other:?}"))),
        }
    }
}

/// One session. Dropped, it breaks.
pub(crate) struct Line {
    pub(crate) to: mpsc::Sender<HostMessage>,
    pub(crate) from: Streaming<SchedulerMessage>,
    pub(crate) welcome: Welcome,
    /// On its connection.
    pub(crate) client: LinkClient<Channel>,
    pub(crate) token: String,
}

impl Line {
    /// Says something; whether the line is there.
    pub(crate) async fn say(&self, said: Said) -> bool {
        let message = HostMessage {
            message: Some(said),
        };
        self.to.send(message).await.is_ok()
    }

    pub(crate) async fn report(&self, key: &AttemptKey, step: u32, event: Event) -> bool {
        self.say(Said::Report(report(key, step, event, vec![])))
            .await
    }

    /// The next message, or `None` when the line is over.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let longest = Duration::from_millis(WAIT_MS_MAX);
        let next = timeout(longest, self.from.message()).await;
        next.expect("a message in time").ok()??.message
    }

    /// The next message for which `pick` gives something; others are passed over.
    pub(crate) async fn until<T>(&mut self, what: &str, pick: impl Fn(Message) -> Option<T>) -> T {
        loop {
            let message = self.next().await;
            let message = message.unwrap_or_else(|| panic!("the line ended before {what}"));
            if let Some(found) = pick(message) {
                return found;
            }
        }
    }

    pub(crate) async fn assigned(&mut self) -> Assign {
        let pick = |message| match message {
            Message::Assign(assign) => Some(assign),
            _ => None,
        };
        self.until("an assignment", pick).await
    }

    pub(crate) async fn acked(&mut self) -> ReportAck {
        let pick = |message| match message {
            Message::ReportAck(ack) => Some(ack),
            _ => None,
        };
        self.until("an acknowledgement", pick).await
    }

    pub(crate) async fn forgotten(&mut self) -> Forget {
        let pick = |message| match message {
            Message::Forget(forget) => Some(forget),
            _ => None,
        };
        self.until("an order to forget", pick).await
    }

    pub(crate) async fn wanted(&mut self) -> Want {
        let pick = |message| match message {
            Message::Want(want) => Some(want),
            _ => None,
        };
        self.until("an order", pick).await
    }

    /// Why the line ended.
    pub(crate) async fn goodbye(&mut self) -> String {
        let pick = |message| match message {
            Message::Goodbye(goodbye) => Some(goodbye.reason),
            _ => None,
        };
        self.until("a goodbye", pick).await
    }

    /// The place of an attempt in the welcome.
    pub(crate) fn place(&self, key: &AttemptKey) -> Option<place::Standing> {
        let places = self.welcome.places.iter();
        let mut its = places.filter(|place| place.key.as_ref() == Some(key));
        its.next()?.standing.clone()
    }

    /// Accepts and starts what it is given.
    pub(crate) async fn start(&mut self) -> AttemptKey {
        let key = self.assigned().await.key.unwrap();
        assert!(self.report(&key, 1, Event::Accepted(Accepted {})).await);
        assert!(self.report(&key, 2, started()).await);
        while self.acked().await.step < 2 {}
        key
    }
}

pub(crate) fn started() -> Event {
    Event::Started(Started {
        image_digest: "sha256:00".to_owned(),
        security_json: None,
        phases: None,
    })
}

/// An end after `wall_ms`, and the segment that covers it.
pub(crate) fn ended(key: &AttemptKey, step: u32, wall_ms: u64, log_last_id: u64) -> Report {
    let segment = Segment {
        sequence: 0,
        begin_ms: 0,
        end_ms: wall_ms,
        paused: false,
    };
    let event = Event::Ended(Ended {
        end_reason: "exited".to_owned(),
        exit_code: Some(0),
        message: "exited with code 0".to_owned(),
        usage_json: "{}".to_owned(),
        wall_ms,
        log_last_id,
        extracts: Vec::new(),
    });
    report(key, step, event, vec![segment])
}

pub(crate) fn report(key: &AttemptKey, step: u32, event: Event, segments: Vec<Segment>) -> Report {
    Report {
        key: Some(key.clone()),
        step,
        at_unix_ms: unix_ms(),
        segments,
        event: Some(event),
    }
}
