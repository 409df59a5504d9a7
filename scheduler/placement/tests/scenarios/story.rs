//! Tells a story to an engine, line by line, until something is not as it says.

use std::collections::BTreeMap;

use davit_placement::{
    Engine, HostName, Outlook, Position, QuarantineRules, Rules, Run, RunnerName,
};
use davit_types::RunKey;

use crate::line::{Line, named, state, time_ms};

type Told = Result<(), String>;

const RULES: &[&str] = &[
    "seed",
    "reserve_after",
    "quarantine",
    "window",
    "probe_after",
];
const HOST: &[&str] = &[
    "region", "cpu", "memory", "pids", "disk", "images", "labels", "state",
];
const RUN: &[&str] = &[
    "tenant",
    "runner",
    "cap",
    "priority",
    "cpu",
    "memory",
    "pids",
    "disk",
    "region",
    "executors",
    "labels",
    "excluded",
    "image",
    "attempt",
];
/// Every command, and the keys it takes.
const COMMANDS: &[(&str, &[&str])] = &[
    ("rules", RULES),
    ("host", HOST),
    ("state", &[]),
    ("remove", &[]),
    ("image", &[]),
    ("warm", &[]),
    ("weight", &[]),
    ("cap", &[]),
    ("run", RUN),
    ("runs", RUN),
    ("adopt", RUN),
    ("at", &[]),
    ("place", &[]),
    ("end", &[]),
    ("started", &[]),
    ("failed", &[]),
    ("expect", &[]),
];

/// Tells the whole story. An error says the line's number and what is not as it says.
pub(crate) fn tell(text: &str) -> Told {
    let mut story = Story::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            story
                .line(line)
                .map_err(|error| format!("{number}: {error}"))?;
        }
    }
    Ok(())
}

struct Story {
    engine: Engine,
    begun: bool,
    now_ms: u64,
    /// Runs by name: the number in their key, and the last attempt's key.
    runs: BTreeMap<String, (u64, RunKey)>,
    epoch: u64,
}

impl Story {
    fn new() -> Self {
        Self {
            engine: Engine::new(Rules::default()),
            begun: false,
            now_ms: 0,
            runs: BTreeMap::new(),
            epoch: 0,
        }
    }

    fn line(&mut self, text: &str) -> Told {
        if let Some(rest) = text.strip_prefix("refused ") {
            let (words, line) = rest
                .split_once(" : ")
                .or(rest.split_once(": "))
                .ok_or("refused WORDS : LINE")?;
            return match self.line(line.trim()) {
                Ok(()) => Err(format!("not refused: {}", line.trim())),
                Err(error) if error.contains(words.trim()) => Ok(()),
                Err(error) => Err(format!("refused, but not for that: {error}")),
            };
        }
        if let Some(rest) = text.strip_prefix("would ") {
            let (words, line) = rest.split_once(" : ").ok_or("would WORDS : LINE")?;
            let line = Line::parse(line.trim(), RUN)?;
            let told = self
                .engine
                .explain_new(&line.run(u64::MAX >> 20, u64::MAX)?);
            let told = told.map_err(|error| error.to_string())?.outlook.to_string();
            return ensure(told.contains(words.trim()), || told);
        }
        let command = text.split_whitespace().next().unwrap_or_default();
        let Some((_, keys)) = COMMANDS.iter().find(|(known, _)| *known == command) else {
            return Err(unknown(command));
        };
        let line = Line::parse(text, keys)?;
        if command == "rules" {
            ensure(!self.begun, || "rules come first".to_owned())?;
            self.engine = Engine::new(rules(&line)?);
        }
        self.begun = true;
        match command {
            "host" | "state" | "remove" | "image" | "warm" | "weight" | "cap" => self.fleet(&line),
            "run" | "runs" | "adopt" => self.submit(&line),
            "expect" => self.expect(&line),
            "at" | "place" | "end" | "started" | "failed" => self.happen(&line),
            _ => Ok(()),
        }
    }

    fn fleet(&mut self, line: &Line<'_>) -> Told {
        let first = line.word(0, "name")?;
        let told = match line.command {
            "host" => {
                self.epoch += 1;
                self.engine.upsert_host(line.host(first, self.epoch)?)
            }
            "state" => self
                .engine
                .set_host_state(&named(first)?, state(line.word(1, "state")?)?),
            "remove" => self.engine.remove_host(&named(first)?),
            "image" => {
                let image = line.word(1, "+image or -image")?;
                let (held, name) = image.split_at(1);
                self.engine
                    .set_image(&named(first)?, named(name)?, held == "+")
            }
            "warm" => self
                .engine
                .warm(&named(first)?, &named(line.word(1, "host")?)?),
            "weight" => self
                .engine
                .set_weight(&named(first)?, number(line.word(1, "weight")?)?),
            _ => {
                let runner: RunnerName = named(first)?;
                let cap = match line.word(1, "cap")? {
                    "none" => None,
                    some => Some(number(some)?),
                };
                self.engine.set_live_max(&runner, cap);
                Ok(())
            }
        };
        told.map_err(|error| error.to_string())
    }

    fn submit(&mut self, line: &Line<'_>) -> Told {
        if line.command != "runs" {
            return self.submit_one(line, line.word(0, "name")?);
        }
        for n in 1..=number(line.word(0, "number of runs")?)? {
            self.submit_one(line, &format!("{}{n}", line.word(1, "name")?))?;
        }
        Ok(())
    }

    fn submit_one(&mut self, line: &Line<'_>, name: &str) -> Told {
        let known = self.runs.get(name).map(|(number, _)| *number);
        let retry = line.text("attempt").is_some();
        ensure(known.is_none() || retry, || {
            format!("the name {name} is taken")
        })?;
        let number = known.unwrap_or(self.runs.len() as u64 + 1);
        let run: Run = line.run(number, number)?;
        let key = run.key;
        let told = match line.command {
            "adopt" => self.engine.adopt(run, &named(line.word(1, "host")?)?),
            _ => self.engine.submit(run),
        };
        told.map_err(|error| error.to_string())?;
        self.runs.insert(name.to_owned(), (number, key));
        Ok(())
    }

    fn happen(&mut self, line: &Line<'_>) -> Told {
        match line.command {
            "at" => {
                let text = line.word(0, "time")?;
                let now_ms = time_ms(text).ok_or_else(|| format!("at {text}: not a time"))?;
                let before_ms = std::mem::replace(&mut self.now_ms, now_ms);
                ensure(before_ms <= now_ms, || {
                    format!("time goes back, from {before_ms} ms to {now_ms} ms")
                })
            }
            "place" => {
                let max = line
                    .words
                    .first()
                    .map_or(Ok(usize::MAX), |max| number(max))?;
                self.engine.place(self.now_ms, max);
                Ok(())
            }
            command => {
                line.word(0, "name")?;
                for name in &line.words {
                    let key = self.key(name)?;
                    let told = match command {
                        "end" => self.engine.end(key).map(drop),
                        "started" => self.engine.started(key),
                        _ => self.engine.start_failed(key, self.now_ms).map(drop),
                    };
                    told.map_err(|error| error.to_string())?;
                }
                Ok(())
            }
        }
    }

    fn expect(&self, line: &Line<'_>) -> Told {
        let first = line.word(0, "name")?;
        let verbs = ["on", "waits", "waits:", "is", "stands", "holds", "kept"];
        let Some(at) = line.words.iter().position(|word| verbs.contains(word)) else {
            return Err(format!("expect: none of {} is there", verbs.join(", ")));
        };
        match line.words[at] {
            verb @ ("stands" | "holds" | "kept") => {
                let (wanted, told) = self.of_host(first, verb, line.words.last())?;
                return ensure(wanted, || told);
            }
            "is" => {
                let ahead: usize = number(line.word(at + 1, "number")?)?;
                let told = self.engine.explain(self.key(first)?);
                let position = told.map_err(|error| error.to_string())?.position;
                return ensure(position == Some(Position::Ahead(ahead)), || {
                    format!("{first}: {position:?}")
                });
            }
            _ => {}
        }
        let reason = line.words[at + 1..].join(" ");
        for name in &line.words[..at] {
            let told = self
                .engine
                .explain(self.key(name)?)
                .map_err(|error| error.to_string())?;
            let outlook = told.outlook;
            match (&outlook, line.words[at]) {
                (Outlook::Live(host), "on") if reason.split(',').any(|on| on == host.as_str()) => {}
                (_, "on") => return Err(format!("{name} is not on {reason}: {outlook}")),
                (Outlook::Live(_), _) => return Err(format!("{name} does not wait: {outlook}")),
                _ => ensure(outlook.to_string().contains(&reason), || {
                    format!("{name} waits, but not for that: {outlook}")
                })?,
            }
        }
        Ok(())
    }

    /// Whether it is so, and how it is.
    fn of_host(
        &self,
        name: &str,
        verb: &str,
        wanted: Option<&&str>,
    ) -> Result<(bool, String), String> {
        let wanted = wanted.copied().unwrap_or_default();
        let host: HostName = named(name)?;
        let host = self
            .engine
            .host(&host)
            .ok_or_else(|| format!("no host is called {name}"))?;
        Ok(match verb {
            "stands" => {
                let stands = format!("{:?}", host.standing).to_lowercase();
                (stands == wanted, format!("{name} stands {stands}"))
            }
            "holds" => (
                host.live == number::<usize>(wanted)?,
                format!("{name} holds {}", host.live),
            ),
            _ => {
                let key = if wanted == "nobody" {
                    None
                } else {
                    Some(self.key(wanted)?)
                };
                (
                    host.reserved_for == key,
                    format!("{name} is kept for {:?}", host.reserved_for),
                )
            }
        })
    }

    fn key(&self, name: &str) -> Result<RunKey, String> {
        let known = self
            .runs
            .get(name)
            .ok_or_else(|| format!("no run is called {name}"))?;
        Ok(known.1)
    }
}

fn rules(line: &Line<'_>) -> Result<Rules, String> {
    let usual = Rules::default();
    let quarantine = QuarantineRules {
        failures: line.number("quarantine", usual.quarantine.failures)?,
        window_ms: line.time_ms("window", usual.quarantine.window_ms)?,
        probe_after_ms: line.time_ms("probe_after", usual.quarantine.probe_after_ms)?,
        ..usual.quarantine
    };
    Ok(Rules {
        seed: line.number("seed", 0)?,
        reserve_after_ms: line.time_ms("reserve_after", usual.reserve_after_ms)?,
        quarantine,
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn ensure(so: bool, otherwise: impl FnOnce() -> String) -> Told {
    if so { Ok(()) } else { Err(otherwise()) }
}

/// Names the nearest command: one that has most letters in common.
fn unknown(command: &str) -> String {
    let common = |known: &str| {
        known
            .chars()
            .filter(|letter| command.contains(*letter))
            .count()
    };
    let far = |known: &str| known.len().abs_diff(command.len());
    let nearest = COMMANDS.iter().map(|(known, _)| *known);
    let nearest = nearest.max_by_key(|known| (common(known), usize::MAX - far(known)));
    format!(
        "`{command}` is no command; did you mean `{}`?",
        nearest.unwrap_or_default()
    )
}
