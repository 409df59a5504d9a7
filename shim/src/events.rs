//! Telling containerd what happened: task events over its ttrpc socket.
//!
//! ```text
//!  handlers ──publish (never waits)──► queue ≤ 256 ──one task, in order──► containerd (reconnects as needed)
//! ```
//!
//! Invariants: publishing never delays a task; order is kept: an event is retried until it is taken or given
//! up, and only then comes the next; the queue, a try and all tries of one event are bounded.
//!
//! Events are hints (containerd asks for the state when it comes back), so loss is logged, not fatal.

use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use davit_rundir::Stamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Events waiting for containerd; more are dropped and logged.
const QUEUE_EVENTS_MAX: usize = 256;

/// One try to hand over an event.
const TRY_SECONDS_MAX: u64 = 5;

/// All tries of one event: long enough for a restart of containerd.
const GIVE_UP_SECONDS: u64 = 60;

/// Pause between tries, doubled each time up to the maximum.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 2_000;

/// How long the end of the shim waits for events still queued.
const FLUSH_SECONDS_MAX: u64 = 2;

enum Item {
    Event(Box<Envelope>),
    Flush(oneshot::Sender<()>),
}

/// Cheap handle of the one publisher task.
#[derive(Clone)]
pub(crate) struct Publisher {
    queue: mpsc::Sender<Item>,
    namespace: Arc<str>,
}

impl Publisher {
    /// Starts the task; `address` is containerd's ttrpc socket (a path). Without an address events go nowhere.
    pub(crate) fn start(namespace: &str, address: Option<String>) -> Self {
        let (queue, receiver) = mpsc::channel(QUEUE_EVENTS_MAX);
        let namespace: Arc<str> = namespace.into();
        let link = Link {
            address: address.map(|path| {
                if path.contains("://") {
                    path
                } else {
                    format!("unix://{path}")
                }
            }),
            namespace: namespace.to_string(),
            client: None,
        };
        tokio::spawn(link.run(receiver));
        Self { queue, namespace }
    }

    /// Queues one event. Never waits.
    pub(crate) fn publish<M: Message>(&self, message: &M) {
        let Some(topic) = topic(M::NAME) else {
            log::warn!("no topic for {}", M::NAME);
            return;
        };
        let value = match message.write_to_bytes() {
            Ok(value) => value,
            Err(error) => {
                log::warn!("cannot encode event {topic}: {error}");
                return;
            }
        };
        let envelope = Envelope {
            timestamp: MessageField::some(timestamp(Stamp::now().unix_ns)),
            namespace: self.namespace.to_string(),
            topic: topic.to_owned(),
            event: MessageField::some(Any {
                type_url: format!("{PACKAGE}.{}", M::NAME),
                value,
                ..Any::default()
            }),
            ..Envelope::default()
        };
        if self
            .queue
            .try_send(Item::Event(Box::new(envelope)))
            .is_err()
        {
            log::warn!("event {topic} dropped: {QUEUE_EVENTS_MAX} are waiting already");
        }
    }

    /// Waits, within bounds, until everything published so far has been handed over.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        let bound = Duration::from_secs(FLUSH_SECONDS_MAX);
        let flushed = tokio::time::timeout(bound, async {
            if self.queue.send(Item::Flush(done)).await.is_ok() {
                return wait.await.is_ok();
            }
            false
        });
        if !matches!(flushed.await, Ok(true)) {
            log::warn!("events were not handed over within {FLUSH_SECONDS_MAX} s");
        }
    }
}

/// Protobuf's form of a time.
pub(crate) fn timestamp(unix_ns: u64) -> Timestamp {
    const SECOND: u64 = 1_000_000_000;
    Timestamp {
        seconds: i64::try_from(unix_ns / SECOND).unwrap_or(i64::MAX),
        nanos: i32::try_from(unix_ns % SECOND).unwrap_or(0),
        ..Timestamp::default()
    }
}

/// Protobuf package of all task events. Written out, because asking the message for its full name builds
/// descriptors of the whole API on the heap.
const PACKAGE: &str = "containerd.events";

fn topic(name: &str) -> Option<&'static str> {
    Some(match name {
        "TaskCreate" => "/tasks/create",
        "TaskStart" => "/tasks/start",
        "TaskOOM" => "/tasks/oom",
        "TaskExit" => "/tasks/exit",
        "TaskDelete" => "/tasks/delete",
        "TaskExecAdded" => "/tasks/exec-added",
        "TaskExecStarted" => "/tasks/exec-started",
        "TaskPaused" => "/tasks/paused",
        "TaskResumed" => "/tasks/resumed",
        _ => return None,
    })
}

/// The connection to containerd, made when needed and again when broken.
struct Link {
    address: Option<String>,
    namespace: String,
    client: Option<EventsClient>,
}

impl Link {
    async fn run(mut self, mut queue: mpsc::Receiver<Item>) {
        while let Some(item) = queue.recv().await {
            match item {
                Item::Event(envelope) => self.deliver(*envelope).await,
                Item::Flush(done) => {
                    if done.send(()).is_err() {
                        log::debug!("nobody waits for the flush any more");
                    }
                }
            }
        }
    }

    async fn deliver(&mut self, envelope: Envelope) {
        if self.address.is_none() {
            return;
        }
        let topic = envelope.topic.clone();
        let request = ForwardRequest {
            envelope: MessageField::some(envelope),
            ..ForwardRequest::default()
        };
        let give_up = Instant::now() + Duration::from_secs(GIVE_UP_SECONDS);
        let mut pause_ms = PAUSE_MS_MIN;
        loop {
            match self.try_once(&request).await {
                Ok(()) => return,
                Err(error) if Instant::now() < give_up => {
                    log::debug!("event {topic}: {error}; trying again");
                }
                Err(error) => {
                    log::warn!("event {topic} lost after {GIVE_UP_SECONDS} s: {error}");
                    return;
                }
            }
            // The next try makes a new connection: a restarted containerd has a new socket.
            self.client = None;
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        }
    }

    async fn try_once(&mut self, request: &ForwardRequest) -> ttrpc::Result<()> {
        if self.client.is_none() {
            let address = self.address.as_deref().unwrap_or_default();
            self.client = Some(EventsClient::new(Client::connect(address).await?));
        }
        let Some(client) = &self.client else {
            return Ok(());
        };
        let mut context = ttrpc::context::with_duration(Duration::from_secs(TRY_SECONDS_MAX));
        context.add(
            "containerd-namespace-ttrpc".to_owned(),
            self.namespace.clone(),
        );
        client.forward(context, request).await.map(|_empty| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::events::task as event;
    use containerd_shim_protos::protobuf::MessageFull;

    #[test]
    fn every_event_has_its_topic_and_type() {
        fn check<M: MessageFull>(wanted: Option<&str>) {
            assert_eq!(topic(M::NAME), wanted, "{}", M::NAME);
            let full = M::descriptor().full_name().to_owned();
            assert_eq!(full, format!("{PACKAGE}.{}", M::NAME));
        }
        check::<event::TaskCreate>(Some("/tasks/create"));
        check::<event::TaskStart>(Some("/tasks/start"));
        check::<event::TaskOOM>(Some("/tasks/oom"));
        check::<event::TaskExit>(Some("/tasks/exit"));
        check::<event::TaskDelete>(Some("/tasks/delete"));
        check::<event::TaskExecAdded>(Some("/tasks/exec-added"));
        check::<event::TaskExecStarted>(Some("/tasks/exec-started"));
        check::<event::TaskPaused>(Some("/tasks/paused"));
        check::<event::TaskResumed>(Some("/tasks/resumed"));
        check::<event::TaskIO>(None);
    }

    #[test]
    fn times_keep_their_nanoseconds() {
        let time = timestamp(1_763_699_999_123_456_789);
        assert_eq!((time.seconds, time.nanos), (1_763_699_999, 123_456_789));
    }
}
