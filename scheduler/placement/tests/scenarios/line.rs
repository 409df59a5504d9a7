//! One line of a story: words, and `key=value` pairs that are all to be used.

use std::collections::BTreeMap;
use std::str::FromStr;

use davit_placement::{Amounts, HostSpec, HostState, Priority, Run, Runner, Wants};
use davit_types::Bytes;

/// A line taken apart.
pub(crate) struct Line<'a> {
    pub(crate) command: &'a str,
    pub(crate) words: Vec<&'a str>,
    pairs: BTreeMap<&'a str, &'a str>,
}

type Told<T> = Result<T, String>;

impl<'a> Line<'a> {
    /// Takes the line apart, if it says anything. `keys` are those that may have values.
    pub(crate) fn parse(text: &'a str, keys: &[&str]) -> Told<Self> {
        let mut parts = text.split_whitespace();
        let command = parts.next().unwrap_or_default();
        let (mut words, mut pairs) = (Vec::new(), BTreeMap::new());
        for part in parts {
            match part.split_once('=') {
                None => words.push(part),
                Some((key, value)) if keys.contains(&key) => {
                    pairs.insert(key, value);
                }
                Some((key, _)) if keys.is_empty() => {
                    return Err(format!("{command}: takes no keys, not `{key}` either"));
                }
                Some((key, _)) => {
                    return Err(format!(
                        "{command}: no key `{key}`; there are {}",
                        keys.join(", ")
                    ));
                }
            }
        }
        Ok(Self {
            command,
            words,
            pairs,
        })
    }

    /// The word at a place.
    pub(crate) fn word(&self, at: usize, what: &str) -> Told<&'a str> {
        self.words
            .get(at)
            .copied()
            .ok_or_else(|| format!("{}: a {what} is missing", self.command))
    }

    pub(crate) fn text(&self, key: &str) -> Option<&'a str> {
        self.pairs.get(key).copied()
    }

    pub(crate) fn number<T: FromStr>(&self, key: &str, usual: T) -> Told<T> {
        self.text(key).map_or(Ok(usual), |text| {
            text.parse()
                .map_err(|_| format!("{key}={text}: not a number"))
        })
    }

    pub(crate) fn time_ms(&self, key: &str, usual: u64) -> Told<u64> {
        self.text(key).map_or(Ok(usual), |text| {
            time_ms(text).ok_or_else(|| format!("{key}={text}: not a time"))
        })
    }

    fn bytes(&self, key: &str, usual: Bytes) -> Told<u64> {
        let bytes = self.text(key).map_or(Ok(usual), |text| {
            text.parse()
                .map_err(|error| format!("{key}={text}: {error}"))
        });
        bytes.map(|bytes| bytes.0)
    }

    fn list<T: FromStr>(&self, key: &str) -> Told<Vec<T>>
    where
        T::Err: std::fmt::Display,
    {
        let parts = self.text(key).into_iter().flat_map(|text| text.split(','));
        parts
            .map(|part| named(part).map_err(|error| format!("{key}: {error}")))
            .collect()
    }

    fn labels(&self) -> Told<Vec<(String, String)>> {
        let parts = self
            .text("labels")
            .into_iter()
            .flat_map(|text| text.split(','));
        let pair = |part: &str| {
            let (key, value) = part
                .split_once(':')
                .ok_or(format!("labels: `{part}` is no key:value"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        parts.map(pair).collect()
    }

    fn amounts(&self, usual: Amounts) -> Told<Amounts> {
        let cpus: f64 = self.number("cpu", usual.cpu_millis as f64 / 1000.0)?;
        Ok(Amounts {
            cpu_millis: format!("{:.0}", cpus * 1000.0)
                .parse()
                .map_err(|_| format!("cpu={cpus}: not a number"))?,
            memory_bytes: self.bytes("memory", Bytes(usual.memory_bytes))?,
            pids: self.number("pids", usual.pids)?,
            disk_bytes: self.bytes("disk", Bytes(usual.disk_bytes))?,
        })
    }

    pub(crate) fn host(&self, name: &str, epoch: u64) -> Told<HostSpec> {
        Ok(HostSpec {
            name: named(name)?,
            epoch,
            region: named(self.text("region").unwrap_or("here"))?,
            labels: self.labels()?,
            capacity: self.amounts(Amounts {
                cpu_millis: 4_000,
                memory_bytes: Bytes::gib(8).0,
                pids: 1_000,
                disk_bytes: Bytes::gib(100).0,
            })?,
            images: self.list("images")?,
            state: self.text("state").map_or(Ok(HostState::Online), state)?,
        })
    }

    pub(crate) fn run(&self, number: u64, sequence: u64) -> Told<Run> {
        let key = format!(
            "00000000-0000-7000-8000-{number:012x}.{}",
            self.number("attempt", 1u32)?
        );
        let live_max = match self.text("cap") {
            None => None,
            Some(_) => Some(self.number("cap", 0)?),
        };
        let runner = self.text("runner").map(|name| {
            Ok::<_, String>(Runner {
                name: named(name)?,
                live_max,
            })
        });
        Ok(Run {
            key: named(&key)?,
            tenant: named(self.text("tenant").unwrap_or("somebody"))?,
            runner: runner.transpose()?,
            priority: Priority::new(self.number("priority", 50)?).ok_or("priority: 1 to 100")?,
            sequence,
            image: self.text("image").map(named).transpose()?,
            wants: Wants {
                need: self.amounts(Amounts {
                    cpu_millis: 1_000,
                    memory_bytes: Bytes::gib(1).0,
                    pids: 10,
                    disk_bytes: 0,
                })?,
                region: self.text("region").map(named).transpose()?,
                executors: self.list("executors")?,
                labels: self.labels()?,
                excluded: self.list("excluded")?,
            },
        })
    }
}

/// A name or key from its text.
pub(crate) fn named<T: FromStr>(text: &str) -> Told<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

pub(crate) fn state(text: &str) -> Told<HostState> {
    match text {
        "online" => Ok(HostState::Online),
        "draining" => Ok(HostState::Draining),
        "offline" => Ok(HostState::Offline),
        "remote" => Ok(HostState::Remote),
        other => Err(format!(
            "`{other}` is no state; there are online, draining, offline, remote"
        )),
    }
}

/// `1500`, `30s` or `5m`, in milliseconds.
pub(crate) fn time_ms(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1_000),
        b'm' => (&text[..text.len() - 1], 60_000),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
