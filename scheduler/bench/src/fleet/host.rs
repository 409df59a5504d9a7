//! One simulated host: from registration through any number of sessions.
//!
//! ```text
//!  join ─► dial ─► Hello {held} ─► Welcome {places} ─► Assign ─► reports ─► acknowledged ─► forgotten
//!            ▲                                             │
//!            └── pause, next replica ◄── line broken ──────┘
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::scheduler_message::Message;
use davit_rpc::link::*;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};
use uuid::Uuid;

use super::talk::{Batching, Talk};
use super::tally::Tally;
use super::words::{HELD_STEP, LAST_STEP, client, count, report, said};
use super::{Behaviour, PROOF};

/// As the executor dials: half of this to all of it, doubling,
const REDIAL_FIRST_MS: u64 = 1_000;
/// up to this.
const REDIAL_LONGEST_MS: u64 = 30_000;
/// Messages that wait for the connection.
const OUTGOING_MAX: usize = 1_024;

/// A run on the host's "disk".
struct Held {
    /// Lines that are stored: who writes them waits for it.
    lines: watch::Sender<u64>,
    /// How many there will be.
    lines_max: u64,
    /// At so many a second.
    pace: u64,
    talks: bool,
}

pub(super) struct Host {
    name: String,
    id: Uuid,
    secret: String,
    links: Arc<[SocketAddr]>,
    link: usize,
    runs_each: u64,
    behaviour: Behaviour,
    tally: Arc<Tally>,
    random: u64,
    held: HashMap<AttemptKey, Held>,
}

/// Attempts whose lines all are stored, and how many they are.
type TalksOver = mpsc::Receiver<(AttemptKey, u64)>;

struct Line {
    to: mpsc::Sender<HostMessage>,
    from: Streaming<SchedulerMessage>,
    heartbeat: Duration,
    batching: Batching,
    talked: mpsc::Sender<(AttemptKey, u64)>,
}

impl Line {
    /// A closed line is noticed where it is read.
    async fn report(&self, key: &AttemptKey, step: u32, lines: u64) {
        drop(self.to.send(report(key, step, lines)).await);
    }
}

impl Host {
    pub(super) async fn join(
        number: usize,
        token: &str,
        links: Arc<[SocketAddr]>,
        tally: Arc<Tally>,
        runs_each: u64,
        behaviour: Behaviour,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let (id, name) = (Uuid::now_v7(), format!("host-{number}"));
        let request = JoinRequest {
            join_token: token.to_owned(),
            host_id: id.to_string(),
            name: name.clone(),
            labels: HashMap::new(),
        };
        let link = number % links.len();
        let mut client = client(links[link]).await?;
        let joined = client.join(request).await.context("join")?.into_inner();
        Ok(Self {
            name,
            id,
            secret: joined.client_secret,
            links,
            link,
            runs_each,
            behaviour,
            tally,
            random: seed
                .wrapping_add(number as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                | 1,
            held: HashMap::new(),
        })
    }

    /// Holds a session, for ever.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            if let Ok((line, talks_over, welcome)) = self.dial().await {
                failures = 0;
                self.tally.session_began();
                self.talk(line, talks_over, welcome).await;
                self.tally.session_ended();
            }
            self.link = (self.link + 1) % self.links.len();
            let longest = REDIAL_LONGEST_MS.min(REDIAL_FIRST_MS << failures.min(5));
            failures += 1;
            let pause_ms = longest / 2 + self.next_random() % (longest / 2);
            sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    async fn dial(&mut self) -> anyhow::Result<(Line, TalksOver, Welcome)> {
        let mut client = client(self.links[self.link]).await?;
        let authenticate = AuthenticateRequest {
            host_id: self.id.to_string(),
            client_secret: self.secret.clone(),
        };
        let reply = client.authenticate(authenticate).await?.into_inner();
        let (to, queue) = mpsc::channel(OUTGOING_MAX);
        to.send(said(Said::Hello(self.hello()))).await?;
        let mut request = Request::new(ReceiverStream::new(queue));
        let bearer = format!("Bearer {}", reply.access_token).parse()?;
        request.metadata_mut().insert("authorization", bearer);
        let mut from = client.session(request).await?.into_inner();
        let first = from.message().await?.and_then(|first| first.message);
        let Some(Message::Welcome(welcome)) = first else {
            anyhow::bail!("no welcome: {first:?}");
        };
        let (talked, talks_over) = mpsc::channel(OUTGOING_MAX);
        let line = Line {
            to,
            from,
            heartbeat: Duration::from_millis(u64::from(welcome.heartbeat_ms)),
            batching: Batching {
                period_ms: u64::from(welcome.log_period_ms),
                lines_max: u64::from(welcome.log_batch_lines),
            },
            talked,
        };
        Ok((line, talks_over, welcome))
    }

    fn hello(&self) -> Hello {
        Hello {
            davit_version: "bench".to_owned(),
            boot_id: "boot".to_owned(),
            capacity: Some(Capacity {
                cpu_millis: self.runs_each * 10,
                memory_bytes: self.runs_each << 22,
                pids: self.runs_each * 16,
                disk_bytes: self.runs_each << 30,
                runtimes: vec!["crun".to_owned()],
            }),
            held: self.held.keys().cloned().collect(),
            ..Hello::default()
        }
    }

    /// No two are the same, as with real hosts.
    fn heartbeat(&mut self, number: u64) -> Heartbeat {
        Heartbeat {
            live_runs: count(self.held.len()),
            cpu_some_avg10_centi: Some((self.next_random() % 10_000) as u32),
            memory_available_bytes: self.next_random() >> 28,
            disk_available_bytes: self.next_random() >> 24,
            number,
            ..Heartbeat::default()
        }
    }

    async fn talk(&mut self, mut line: Line, mut talks_over: TalksOver, welcome: Welcome) {
        for place in welcome.places {
            let (Some(key), Some(standing)) = (place.key, place.standing) else {
                continue;
            };
            match standing {
                place::Standing::Gone(_) => self.forget(&key),
                place::Standing::Live(live) => {
                    if let Some(assign) = &live.assign {
                        self.take(assign);
                    }
                    self.go_on(&line, &key, live.step, live.log_last_id).await;
                }
            }
        }
        // Spread over the period: hosts do not beat together.
        let first = line
            .heartbeat
            .mul_f64((self.next_random() % 1_000) as f64 / 1_000.0);
        let mut beats = interval_at(tokio::time::Instant::now() + first, line.heartbeat);
        let mut number = 0;
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = line.from.message() => match message {
                    Ok(Some(SchedulerMessage { message: Some(message) })) => {
                        if !self.hear(&line, message).await {
                            return;
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return,
                },
                over = talks_over.recv() => if let Some((key, lines)) = over {
                    line.report(&key, LAST_STEP, lines).await;
                },
                _ = beats.tick() => {
                    number += 1;
                    drop(line.to.send(said(Said::Heartbeat(self.heartbeat(number)))).await);
                }
            }
        }
    }

    /// Whether the session goes on.
    async fn hear(&mut self, line: &Line, message: Message) -> bool {
        match message {
            Message::Assign(assign) => {
                if self.take(&assign)
                    && let Some(key) = &assign.key
                {
                    self.go_on(line, key, 0, 0).await;
                }
            }
            Message::ReportAck(ack) => {
                let Some(key) = ack.key else { return true };
                match ack.refused.and_then(|refused| refused.place?.standing) {
                    Some(place::Standing::Live(live)) => {
                        self.tally.refused();
                        self.go_on(line, &key, live.step, live.log_last_id).await;
                    }
                    Some(place::Standing::Gone(_)) => self.forget(&key),
                    None if ack.step == LAST_STEP && self.held.remove(&key).is_some() => {
                        self.tally.ended();
                    }
                    None => {}
                }
            }
            Message::LogAck(ack) => {
                let held = ack.key.and_then(|key| self.held.get(&key));
                if let Some(held) = held {
                    let before = held.lines.send_replace(ack.last_id);
                    self.tally.stored_lines(ack.last_id.saturating_sub(before));
                }
            }
            Message::Forget(forget) => {
                if let Some(key) = forget.key {
                    self.forget(&key);
                }
            }
            Message::Goodbye(_) => return false,
            _ => {}
        }
        true
    }

    fn forget(&mut self, key: &AttemptKey) {
        self.held.remove(key);
        self.tally.refused();
    }

    /// Takes an attempt in, unless it is here already.
    fn take(&mut self, assign: &Assign) -> bool {
        let Some(key) = &assign.key else { return false };
        if self.held.contains_key(key) {
            return false;
        }
        let request: serde_json::Value =
            serde_json::from_str(&assign.request_json).unwrap_or_default();
        let label = |name: &str| request["labels"][name].as_str()?.parse::<u64>().ok();
        let run = Uuid::parse_str(&key.run_id).unwrap_or_default();
        self.tally
            .begun(&self.name, run.as_u128(), label("submitted_ns"));
        if let Some(proof) = request["labels"][PROOF].as_str() {
            let secrets = assign.secret_env.iter();
            let has = |var: &EnvVar| var.key == PROOF && var.value == proof;
            if secrets.filter(|var| has(var)).count() != 1 {
                self.tally.unproven();
            }
        }
        let held = Held {
            lines: watch::Sender::new(0),
            lines_max: label("lines").unwrap_or(0),
            pace: label("lines_per_second").unwrap_or(0),
            talks: false,
        };
        self.held.insert(key.clone(), held);
        true
    }

    /// Says what is missing after a step.
    async fn go_on(&mut self, line: &Line, key: &AttemptKey, stored: u32, lines: u64) {
        let Some(held) = self.held.get_mut(key) else {
            return;
        };
        let last = match self.behaviour {
            Behaviour::End => LAST_STEP,
            Behaviour::Hold | Behaviour::Flood | Behaviour::Talk => HELD_STEP,
        };
        for step in stored + 1..=last {
            line.report(key, step, 0).await;
        }
        if matches!(self.behaviour, Behaviour::Flood | Behaviour::Talk) && !held.talks {
            held.talks = true;
            held.lines.send_replace(lines);
            let (paced, pace, total) =
                (self.behaviour == Behaviour::Talk, held.pace, held.lines_max);
            let talk = Talk {
                key: key.clone(),
                to: line.to.clone(),
                acknowledged: held.lines.subscribe(),
                batching: line.batching,
            };
            let (key, over) = (key.clone(), line.talked.clone());
            tokio::spawn(async move {
                let whole = if paced {
                    talk.at_pace(total, pace).await
                } else {
                    talk.flood(total).await
                };
                if whole {
                    drop(over.send((key, total)).await);
                }
            });
        }
    }
}
