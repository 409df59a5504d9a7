//! Hosts that end every run as soon as they have it, and say when they read what.

use std::collections::HashMap;
use std::time::Instant;

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::link_client::LinkClient;
use davit_rpc::link::report::Event;
use davit_rpc::link::scheduler_message::Message;
use davit_rpc::link::*;
use davit_types::RunId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use uuid::Uuid;

use crate::scheduler::{Scheduler, unix_ms};

/// The last step of every run.
const LAST_STEP: u32 = 3;
/// What every run takes by its own word, milliseconds.
const WALL_MS: u64 = 1;

/// Something that a host read.
pub(crate) enum Moment {
    Assigned(RunId, Instant),
    Ended(Instant),
}

/// What was read so far.
#[derive(Default)]
pub(crate) struct Moments {
    pub(crate) assigned: HashMap<RunId, Instant>,
    pub(crate) ended: Vec<Instant>,
}

impl Moments {
    /// Reads on until so many runs have ended.
    pub(crate) async fn wait_for_ends(
        &mut self,
        moments: &mut mpsc::UnboundedReceiver<Moment>,
        count: usize,
    ) {
        while self.ended.len() < count {
            match moments.recv().await.expect("hosts live as long as we do") {
                Moment::Assigned(run, at) => drop(self.assigned.insert(run, at)),
                Moment::Ended(at) => self.ended.push(at),
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.assigned.clear();
        self.ended.clear();
    }
}

/// A host with a session.
pub(crate) struct Host {
    to: mpsc::Sender<HostMessage>,
    from: Streaming<SchedulerMessage>,
}

/// Registers a host with room for so many runs and begins its session.
pub(crate) async fn join(scheduler: &Scheduler, name: &str, runs: u64) -> Host {
    let address = format!("http://{}", scheduler.address);
    let mut client: LinkClient<Channel> = LinkClient::connect(address).await.unwrap();
    let host_id = Uuid::now_v7().to_string();
    let join = JoinRequest {
        join_token: scheduler.join_token().await,
        host_id: host_id.clone(),
        name: name.to_owned(),
        labels: HashMap::new(),
    };
    let client_secret = client.join(join).await.unwrap().into_inner().client_secret;
    let authenticate = AuthenticateRequest {
        host_id,
        client_secret,
    };
    let reply = client
        .authenticate(authenticate)
        .await
        .unwrap()
        .into_inner();
    let (to, queue) = mpsc::channel(4_096);
    let hello = Hello {
        davit_version: "bench".to_owned(),
        boot_id: "boot".to_owned(),
        capacity: Some(Capacity {
            cpu_millis: runs * 10,
            memory_bytes: runs << 20,
            pids: runs,
            disk_bytes: runs,
            runtimes: Vec::new(),
        }),
        ..Hello::default()
    };
    let hello = HostMessage {
        message: Some(Said::Hello(hello)),
    };
    to.send(hello).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(queue));
    let bearer = format!("Bearer {}", reply.access_token).parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let mut from = client.session(request).await.unwrap().into_inner();
    let welcome = from.message().await.unwrap().unwrap().message;
    assert!(matches!(welcome, Some(Message::Welcome(_))), "{welcome:?}");
    Host { to, from }
}

/// Lets it end whatever it is given.
pub(crate) async fn serve(mut host: Host, tell: mpsc::UnboundedSender<Moment>) {
    tokio::spawn(async move {
        while let Ok(Some(message)) = host.from.message().await {
            let now = Instant::now();
            match message.message {
                Some(Message::Assign(assign)) => {
                    let key = assign.key.unwrap();
                    let run = key.run_id.parse().unwrap();
                    if tell.send(Moment::Assigned(run, now)).is_err() {
                        return;
                    }
                    for report in life(&key) {
                        let said = HostMessage {
                            message: Some(Said::Report(report)),
                        };
                        if host.to.send(said).await.is_err() {
                            return;
                        }
                    }
                }
                Some(Message::ReportAck(ack)) => {
                    assert!(ack.refused.is_none(), "{ack:?}");
                    if ack.step == LAST_STEP && tell.send(Moment::Ended(now)).is_err() {
                        return;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

fn life(key: &AttemptKey) -> [Report; LAST_STEP as usize] {
    let report = |step, event, segments| Report {
        key: Some(key.clone()),
        step,
        at_unix_ms: unix_ms(),
        segments,
        event: Some(event),
    };
    let segment = Segment {
        sequence: 0,
        begin_ms: 0,
        end_ms: WALL_MS,
        paused: false,
    };
    let end = Ended {
        end_reason: "exited".to_owned(),
        exit_code: Some(0),
        message: String::new(),
        usage_json: "{}".to_owned(),
        wall_ms: WALL_MS,
        log_last_id: 0,
    };
    let started = Started {
        image_digest: "sha256:00".to_owned(),
    };
    [
        report(1, Event::Accepted(Accepted {}), vec![]),
        report(2, Event::Started(started), vec![]),
        report(LAST_STEP, Event::Ended(end), vec![segment]),
    ]
}
