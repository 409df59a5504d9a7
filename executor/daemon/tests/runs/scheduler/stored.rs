//! What the scheduler stores of one attempt, and its rules.

use davit_rpc::link::place::Standing;
use davit_rpc::link::report::Event;
use davit_rpc::link::{self, AttemptKey};

#[derive(Clone, Debug)]
pub struct Stored {
    pub assign: link::Assign,
    /// assigned | accepted | running | paused | over
    pub state: &'static str,
    pub step: u32,
    pub segments: Vec<link::Segment>,
    pub events: Vec<Event>,
    pub lines: Vec<link::LogRecord>,
    pub want: Option<link::Want>,
    pub heeded: u32,
    pub ended: Option<link::Ended>,
}

impl Stored {
    pub fn new(assign: link::Assign) -> Self {
        Self {
            assign,
            state: "assigned",
            step: 0,
            segments: Vec::new(),
            events: Vec::new(),
            lines: Vec::new(),
            want: None,
            heeded: 0,
            ended: None,
        }
    }

    pub fn key(&self) -> AttemptKey {
        self.assign.key.clone().unwrap()
    }

    pub fn is_live(&self) -> bool {
        self.state != "over"
    }

    fn ledger_ms(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end_ms)
    }

    fn log_last_id(&self) -> u64 {
        self.lines.last().map_or(0, |line| line.id)
    }

    pub fn place(&self) -> link::Place {
        let early = ["assigned", "accepted"].contains(&self.state);
        let open = |want: &link::Want| want.revision > self.heeded;
        link::Place {
            key: Some(self.key()),
            standing: Some(Standing::Live(link::Live {
                state: self.state.to_owned(),
                step: self.step,
                next_segment: u32::try_from(self.segments.len()).unwrap(),
                next_segment_begin_ms: self.ledger_ms(),
                log_last_id: self.log_last_id(),
                assign: early.then(|| self.assign.clone()),
                want: self.want.clone().filter(open),
            })),
        }
    }

    pub fn log(&mut self, records: Vec<link::LogRecord>) -> Result<u64, String> {
        for record in records {
            let last = self.log_last_id();
            if record.id == last + 1 && self.is_live() {
                self.lines.push(record);
            } else if record.id > last {
                return Err(format!(
                    "line {} after {last} of a run that is {}",
                    record.id, self.state
                ));
            }
        }
        Ok(self.log_last_id())
    }

    pub fn report(&mut self, report: link::Report) -> Result<(), String> {
        if report.step <= self.step {
            return Ok(());
        }
        if report.step != self.step + 1 || !self.is_live() {
            return Err(format!("{report:?} after step {}", self.step));
        }
        for segment in &report.segments {
            let sequence = u32::try_from(self.segments.len()).unwrap();
            let follows = segment.sequence == sequence
                && segment.begin_ms == self.ledger_ms()
                && segment.end_ms > segment.begin_ms
                && segment.paused == (self.state == "paused");
            if !follows {
                return Err(format!("{segment:?} after {:?}", self.segments.last()));
            }
            self.segments.push(*segment);
        }
        let event = report.event.clone().unwrap();
        self.state = match (&event, self.state) {
            (Event::Accepted(_), "assigned") => "accepted",
            (Event::Declined(_), "assigned" | "accepted") => "over",
            (Event::Started(_), "assigned" | "accepted") => "running",
            (Event::Paused(_), "running") => "paused",
            (Event::Resumed(_), "paused") => "running",
            (Event::Metered(_), state @ ("running" | "paused")) => state,
            (Event::Heeded(heeded), state) => {
                self.heeded = heeded.revision;
                state
            }
            (Event::Ended(ended), _) => {
                if (ended.wall_ms, ended.log_last_id) != (self.ledger_ms(), self.log_last_id()) {
                    return Err(format!(
                        "{ended:?} at {} ms, line {}",
                        self.ledger_ms(),
                        self.log_last_id()
                    ));
                }
                self.ended = Some(ended.clone());
                "over"
            }
            _ => return Err(format!("{report:?} of a run that is {}", self.state)),
        };
        self.step = report.step;
        self.events.push(event);
        Ok(())
    }

    /// stdout as the job wrote it.
    pub fn stdout(&self) -> String {
        let lines = self.lines.iter().filter(|line| line.stream == "stdout");
        lines.fold(String::new(), |mut text, line| {
            text.push_str(&String::from_utf8_lossy(&line.line));
            if line.newline {
                text.push('\n');
            }
            text
        })
    }
}
