//! A host that executes nothing and reports a whole life: from its records alone, like a real one, after any break.
//!
//! ```text
//!  Assign ─► record (once a key) ─► Accepted, Started, lines, Ended ─► acknowledged ─► forgotten
//!                                        └─ badly behaved: twice, out of order, from the beginning, line broken
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::report::Event;
use davit_rpc::link::scheduler_message::Message;
use davit_rpc::link::*;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::host::{Host, Line, ended, report, started};

/// Lines of every run.
pub(crate) const LINES: u64 = 5;
/// What every run takes, milliseconds.
pub(crate) const WALL_MS: u64 = 1_500;

/// What was begun, over all hosts of a test.
#[derive(Clone, Default)]
pub(crate) struct Executions(Arc<Mutex<Begun>>);

#[derive(Default)]
struct Begun {
    /// How often each attempt was.
    times: HashMap<(String, u32), u32>,
    /// When each host began something last.
    last: HashMap<Uuid, Instant>,
}

impl Executions {
    fn begin(&self, host: Uuid, key: &AttemptKey) {
        let mut all = self.0.lock().unwrap();
        let key = (key.run_id.clone(), key.attempt);
        *all.times.entry(key).or_insert(0) += 1;
        all.last.insert(host, Instant::now());
    }

    /// Attempts that were begun, having checked that none was begun twice.
    pub(crate) fn count(&self) -> usize {
        let all = self.0.lock().unwrap();
        for (key, times) in &all.times {
            assert_eq!(*times, 1, "{key:?} was executed {times} times");
        }
        all.times.len()
    }

    /// When a host began something last.
    #[allow(dead_code, reason = "not every test that has robots asks")]
    pub(crate) fn last_of(&self, host: Uuid) -> Option<Instant> {
        self.0.lock().unwrap().last.get(&host).copied()
    }
}

/// What a host has on its disk of an attempt.
struct Record {
    reports: Vec<Report>,
    lines: Vec<LogRecord>,
    acked: u32,
    lines_acked: u64,
}

/// A running robot. Dropped, it is gone like a host without power.
pub(crate) struct Robot {
    task: JoinHandle<()>,
}

impl Drop for Robot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Robot {
    /// Lets a host execute whatever it is given, dialling whatever address is told last. A seed makes it badly behaved.
    pub(crate) fn start(
        host: Host,
        address: watch::Receiver<SocketAddr>,
        executions: Executions,
        seed: Option<u64>,
    ) -> Self {
        let body = Body {
            host,
            address,
            executions,
            records: HashMap::new(),
            chance: seed,
        };
        Self {
            task: tokio::spawn(body.run()),
        }
    }
}

struct Body {
    host: Host,
    address: watch::Receiver<SocketAddr>,
    executions: Executions,
    records: HashMap<AttemptKey, Record>,
    /// State of a small generator.
    chance: Option<u64>,
}

impl Body {
    async fn run(mut self) {
        loop {
            let address = *self.address.borrow_and_update();
            let held = self.records.keys().cloned().collect();
            if let Ok(line) = self.host.dial(address, held).await {
                self.talk(line).await;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// One in `n`, for the badly behaved.
    fn happens(&mut self, n: u64) -> bool {
        let Some(state) = &mut self.chance else {
            return false;
        };
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (*state >> 33) % n == 0
    }

    async fn talk(&mut self, mut line: Line) {
        for place in std::mem::take(&mut line.welcome.places) {
            let key = place.key.unwrap();
            match place.standing.unwrap() {
                place::Standing::Gone(_) => drop(self.records.remove(&key)),
                place::Standing::Live(live) => {
                    if let Some(assign) = &live.assign {
                        self.begin(assign);
                    }
                    self.go_on(&line, &key, &live).await;
                }
            }
        }
        let mut beats = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                message = line.next() => match message {
                    Some(Message::Goodbye(_)) | None => return,
                    Some(message) => self.hear(&line, message).await,
                },
                _ = beats.tick() => {
                    line.say(Said::Heartbeat(Heartbeat::default())).await;
                }
                moved = self.address.changed() => if moved.is_ok() {
                    return;
                } else {
                    std::future::pending::<()>().await;
                }
            }
            if self.happens(40) {
                return;
            }
        }
    }

    async fn hear(&mut self, line: &Line, message: Message) {
        match message {
            Message::Assign(assign) => {
                let key = assign.key.clone().unwrap();
                self.begin(&assign);
                self.send(line, &key).await;
            }
            Message::ReportAck(ack) => {
                let key = ack.key.unwrap();
                if let Some(refused) = ack.refused {
                    let place = refused.place.unwrap();
                    if let Some(place::Standing::Live(live)) = place.standing {
                        self.go_on(line, &key, &live).await;
                    }
                } else if let Some(record) = self.records.get_mut(&key) {
                    record.acked = record.acked.max(ack.step);
                    if record.acked as usize == record.reports.len() && !self.happens(3) {
                        self.records.remove(&key);
                    }
                }
            }
            Message::LogAck(ack) => {
                if let Some(record) = self.records.get_mut(&ack.key.unwrap()) {
                    record.lines_acked = record.lines_acked.max(ack.last_id);
                }
            }
            Message::Forget(forget) => drop(self.records.remove(&forget.key.unwrap())),
            _ => {}
        }
    }

    /// Takes an attempt in, unless it is on disk already.
    fn begin(&mut self, assign: &Assign) {
        let key = assign.key.clone().unwrap();
        if self.records.contains_key(&key) {
            return;
        }
        self.executions.begin(self.host.id, &key);
        let line = |id| LogRecord {
            id,
            unix_ns: id,
            stream: "stdout".to_owned(),
            line: format!("line {id}").into_bytes(),
            newline: true,
            ..LogRecord::default()
        };
        let record = Record {
            reports: vec![
                report(&key, 1, Event::Accepted(Accepted {}), vec![]),
                report(&key, 2, started(), vec![]),
                ended(&key, 3, WALL_MS, LINES),
            ],
            lines: (1..=LINES).map(line).collect(),
            acked: 0,
            lines_acked: 0,
        };
        self.records.insert(key, record);
    }

    /// Goes on from what the scheduler has.
    async fn go_on(&mut self, line: &Line, key: &AttemptKey, live: &Live) {
        if let Some(record) = self.records.get_mut(key) {
            record.acked = live.step;
            record.lines_acked = live.log_last_id;
            self.send(line, key).await;
        }
    }

    /// Sends what is not acknowledged.
    async fn send(&mut self, line: &Line, key: &AttemptKey) {
        let Some(record) = self.records.get(key) else {
            return;
        };
        let lines = record.lines.iter();
        let lines = lines.filter(|line| line.id > record.lines_acked);
        let batch = LogBatch {
            key: Some(key.clone()),
            records: lines.cloned().collect(),
        };
        let reports = record.reports.iter();
        let reports = reports.filter(|report| report.step > record.acked);
        let mut said: Vec<Said> = reports.cloned().map(Said::Report).collect();
        if !batch.records.is_empty() {
            said.insert(said.len().saturating_sub(1), Said::Log(batch));
        }
        if said.len() > 1 && self.happens(4) {
            said.swap(0, 1);
        }
        if self.happens(4) {
            let first = self.records[key].reports[0].clone();
            said.push(Said::Report(first));
        }
        for one in said {
            let again = self.happens(3).then(|| one.clone());
            if !line.say(one).await {
                return;
            }
            if let Some(again) = again {
                line.say(again).await;
            }
        }
    }
}
