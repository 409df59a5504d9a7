//! One session: Hello, Welcome, then whatever both sides have to say, until the connection breaks.
//!
//! ```text
//!  Hello ─► Welcome ─► reconcile ─► an attempt task each ──┐
//!                                                          ├─► outgoing (bounded) ─► the stream
//!  heartbeat, renewed token, warm-up, declined, lost ──────┘
//!  consoles ─► calls of their own, with the session's token; they end with it
//!  the stream ─► route: acknowledgements and wants are states of their attempts, so that reading never waits
//!             └─► answered heartbeats ─► contact
//! ```

mod attempts;
mod warmth;

use std::time::Duration;

use davit_rpc::link::host_message::Message as Ours;
use davit_rpc::link::link_client::LinkClient;
use davit_rpc::link::scheduler_message::Message as Theirs;
use davit_rpc::link::{self, HostMessage, SchedulerMessage};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use self::attempts::Attempts;
use self::warmth::Warmth;
use super::console::{Bearer, Calls, Local};
use super::contact::{Contact, Heartbeats};
use super::dial::{self, LinkError};
use super::identity::Identity;
use super::ship::Pace;
use super::status::Status;
use super::{load, words};
use crate::runs::{Runs, sentence};

/// What this host does beyond what every host ever did: files into runs, and out of them.
const FEATURES: [&str; 2] = ["files", "extracts"];
/// Messages waiting for the stream.
const OUTGOING_MAX: usize = 64;
/// Longest wait for Welcome, milliseconds.
const WELCOME_MS_MAX: u64 = 30_000;
/// What a scheduler may ask for: periods in milliseconds, lines.
const HEARTBEAT_MS: std::ops::RangeInclusive<u64> = 100..=300_000;
const METER_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;
const LOG_PERIOD_MS_MAX: u64 = 600_000;
const LOG_LINES: std::ops::RangeInclusive<usize> = 1..=4_096;
/// A token is renewed after this part of its life: two thirds.
const RENEW_AFTER: (u32, u32) = (2, 3);
/// Pause before a token that could not be renewed is asked for again, milliseconds.
const RENEW_AGAIN_MS: u64 = 5_000;

/// What a session is made from.
pub(super) struct Session<'a> {
    pub(super) runs: &'a Runs,
    pub(super) identity: &'a Identity,
    pub(super) contact: &'a Contact,
    pub(super) status: &'a Status,
}

/// How a session ended.
pub(super) struct Over {
    pub(super) why: LinkError,
    /// Whether the scheduler had welcomed this host.
    pub(super) was_welcome: bool,
    /// When it wants to be dialled again.
    pub(super) dial_after: Option<Duration>,
}

impl Over {
    /// It did not come to a session.
    pub(super) const fn before(why: LinkError) -> Self {
        Self {
            why,
            was_welcome: false,
            dial_after: None,
        }
    }
}

/// What the scheduler asks of all attempts.
#[derive(Clone, Copy, Debug)]
struct Terms {
    heartbeat: Duration,
    meter_ms: u64,
    pace: Pace,
}

impl Session<'_> {
    /// Connects and talks until it is over.
    pub(super) async fn run(self) -> Over {
        let mut over = Over::before(deaf());
        if let Err(why) = self.talk(&mut over).await {
            over.why = why;
        }
        over
    }

    async fn talk(&self, over: &mut Over) -> Result<(), LinkError> {
        let settings = &self.runs.host().settings.link;
        let mut client = dial::connect(&self.identity.server, settings).await?;
        let (token, lasts) = dial::authenticate(&mut client, self.identity).await?;
        let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
        let heartbeats = Heartbeats::new(self.contact.clone());
        // Nobody else sends yet: there is room.
        drop(out.send(words::host(Ours::Hello(self.hello().await))).await);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        let bearer = bearer(&token)?;
        request
            .metadata_mut()
            .insert("authorization", bearer.clone());
        let (bearer, bearers) = watch::channel(bearer);
        let limit_ms = WELCOME_MS_MAX;
        let opened = async {
            let opened = client.clone().session(request).await;
            let mut incoming = opened
                .map_err(LinkError::call("open a session"))?
                .into_inner();
            let first = next(&mut incoming).await?;
            Ok::<_, LinkError>((incoming, first))
        };
        let (incoming, first) = tokio::time::timeout(Duration::from_millis(limit_ms), opened)
            .await
            .map_err(|_| LinkError::Silent { limit_ms })??;
        let welcome = match first {
            Theirs::Welcome(welcome) => welcome,
            Theirs::Goodbye(goodbye) => return Err(farewell(goodbye, over)),
            _ => return Err(protocol("its first message is no Welcome")),
        };
        heartbeats.welcomed();
        self.status.connected(welcome.epoch);
        over.was_welcome = true;
        let terms = terms(&welcome);
        let mut attempts = Attempts::new(self.runs, terms, out.clone());
        attempts.reconcile(welcome.places).await;
        let consoles = Calls::new(Local::new(self.runs), client.clone(), bearers);
        let renewing = renew(client, self.identity, lasts, out.clone(), bearer);
        let beating = beat(self.runs, terms.heartbeat, &heartbeats, out.clone());
        let mut ears = Ears {
            attempts: &mut attempts,
            warmth: Warmth::new(self.runs, out),
            consoles,
            heartbeats: &heartbeats,
            over,
        };
        tokio::select! {
            ended = ears.listen(incoming) => ended,
            () = renewing => Err(deaf()),
            () = beating => Err(deaf()),
        }
    }

    async fn hello(&self) -> link::Hello {
        let host = self.runs.host();
        let held = self.runs.unsettled();
        link::Hello {
            davit_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: host.boot_id.clone(),
            labels: host.settings.link.label_pairs().into_iter().collect(),
            capacity: Some(load::capacity(host)),
            held: held.into_iter().map(words::key_word).collect(),
            state: Some(load::heartbeat(self.runs, 0).await),
            features: FEATURES.map(str::to_owned).into(),
        }
    }
}

/// Who hears what the scheduler says.
struct Ears<'a> {
    attempts: &'a mut Attempts,
    warmth: Warmth,
    consoles: Calls<Local>,
    heartbeats: &'a Heartbeats,
    over: &'a mut Over,
}

impl Ears<'_> {
    /// Hears until it is over.
    async fn listen(&mut self, mut incoming: Streaming<SchedulerMessage>) -> Result<(), LinkError> {
        loop {
            let message = tokio::select! {
                message = next(&mut incoming) => message?,
                () = self.attempts.finished() => continue,
                () = self.warmth.finished() => continue,
                () = self.consoles.finished() => continue,
            };
            let attempts = &mut *self.attempts;
            let understood = match message {
                Theirs::Welcome(_) => return Err(protocol("it welcomes twice")),
                Theirs::Goodbye(goodbye) => return Err(farewell(goodbye, self.over)),
                Theirs::HeartbeatAck(ack) => {
                    self.heartbeats.answered(ack.number);
                    Ok(())
                }
                Theirs::Assign(assign) => words::assigned(assign).map(|run| attempts.begin(run)),
                Theirs::Want(want) => words::want(want).map(|(key, want)| attempts.want(key, want)),
                Theirs::ReportAck(ack) => attempts.reports_stored(ack),
                Theirs::LogAck(ack) => {
                    words::key(ack.key.as_ref()).map(|key| attempts.log_stored(key, ack.last_id))
                }
                Theirs::Warm(warm) => {
                    self.warmth.warm(warm);
                    Ok(())
                }
                Theirs::OpenConsole(order) => words::key(order.key.as_ref())
                    .map(|key| self.consoles.dial(order.console_id, key)),
                Theirs::Forget(forget) => {
                    words::key(forget.key.as_ref()).map(|key| attempts.forget(key))
                }
            };
            if let Err(error) = understood {
                // One that makes no sense costs nobody else the session.
                let problem = sentence(&error);
                tracing::error!(problem, "a message of the scheduler's cannot be understood");
            }
        }
    }
}

fn bearer(token: &str) -> Result<Bearer, LinkError> {
    let header = MetadataValue::try_from(format!("Bearer {token}"));
    header.map_err(|_| protocol("its token is no header"))
}

fn protocol(problem: &str) -> LinkError {
    LinkError::Protocol {
        problem: problem.to_owned(),
    }
}

fn deaf() -> LinkError {
    LinkError::Goodbye {
        reason: "it does not listen any more".to_owned(),
    }
}

fn farewell(goodbye: link::Goodbye, over: &mut Over) -> LinkError {
    let dial_after_ms = u64::from(goodbye.dial_after_ms);
    over.dial_after = Some(Duration::from_millis(dial_after_ms)).filter(|d| !d.is_zero());
    LinkError::Goodbye {
        reason: goodbye.reason,
    }
}

async fn next(incoming: &mut Streaming<SchedulerMessage>) -> Result<Theirs, LinkError> {
    loop {
        let message = incoming.message().await;
        let message = message.map_err(LinkError::call("go on with the session"))?;
        let Some(message) = message else {
            let reason = "it closed the stream".to_owned();
            return Err(LinkError::Goodbye { reason });
        };
        // A kind of message that this version does not know is not for it.
        if let Some(message) = message.message {
            return Ok(message);
        }
    }
}

fn terms(welcome: &link::Welcome) -> Terms {
    let within = |value: u32, range: std::ops::RangeInclusive<u64>| {
        u64::from(value).clamp(*range.start(), *range.end())
    };
    let lines = usize::try_from(welcome.log_batch_lines).unwrap_or(usize::MAX);
    Terms {
        heartbeat: Duration::from_millis(within(welcome.heartbeat_ms, HEARTBEAT_MS)),
        meter_ms: within(welcome.meter_ms, METER_MS),
        pace: Pace {
            period: Duration::from_millis(within(welcome.log_period_ms, 0..=LOG_PERIOD_MS_MAX)),
            lines: lines.clamp(*LOG_LINES.start(), *LOG_LINES.end()),
        },
    }
}

/// Says that the host is alive; returns when nobody listens.
async fn beat(
    runs: &Runs,
    period: Duration,
    heartbeats: &Heartbeats,
    out: mpsc::Sender<HostMessage>,
) {
    let mut period = tokio::time::interval_at(Instant::now() + period, period);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let number = heartbeats.next();
        let beat = words::host(Ours::Heartbeat(load::heartbeat(runs, number).await));
        if out.send(beat).await.is_err() {
            return;
        }
    }
}

/// Hands in a new token before the old one ends; returns when nobody listens.
async fn renew(
    mut client: LinkClient<Channel>,
    identity: &Identity,
    mut lasts: Duration,
    out: mpsc::Sender<HostMessage>,
    bearers: watch::Sender<Bearer>,
) {
    loop {
        tokio::time::sleep(lasts * RENEW_AFTER.0 / RENEW_AFTER.1).await;
        let access_token = loop {
            match dial::authenticate(&mut client, identity).await {
                Ok((token, new_lasts)) => {
                    lasts = new_lasts.max(Duration::from_millis(RENEW_AGAIN_MS));
                    break token;
                }
                Err(error) => {
                    tracing::warn!(problem = sentence(&error), "cannot renew the access token");
                    tokio::time::sleep(Duration::from_millis(RENEW_AGAIN_MS)).await;
                }
            }
        };
        if let Ok(bearer) = bearer(&access_token) {
            bearers.send_replace(bearer);
        }
        let renew = words::host(Ours::Renew(link::Renew { access_token }));
        if out.send(renew).await.is_err() {
            return;
        }
    }
}
