//! The link's messages as the rest of this module knows them, and back. Nothing behind this file sees a generated type.

mod ends;

use davit_rpc::link::{self, host_message::Message, report::Event as Word};
use davit_rundir::log::LogRecord;
use davit_rundir::{SecretEnv, SecretFile, Secrets};
use davit_types::{Attempt, ParseIdError, RunKey, StopSignal, limits};

use super::fetch;
use super::heed::Want;
use super::place::{Event, Place, Report, Stage};
use super::reconcile::Said;
use crate::images::{Credentials, Secret};
use crate::runs::{Assigned, Given, StopOrder};

/// Why a message of the scheduler's cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum WordError {
    #[error("it lacks {0}")]
    Lacks(&'static str),
    #[error("{what} {value} is out of range")]
    Range { what: &'static str, value: String },
    #[error(transparent)]
    Id(#[from] ParseIdError),
    #[error("{what} cannot be read")]
    Json {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

/// What the scheduler says of an attempt.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) key: RunKey,
    /// Absent when it wants nothing of it any more.
    pub(super) live: Option<LivePlace>,
}

/// Where an attempt stands there.
#[derive(Debug)]
pub(super) struct LivePlace {
    pub(super) place: Place,
    pub(super) log_last_id: u64,
    pub(super) assign: Option<Assigned>,
    pub(super) want: Option<Want>,
}

impl Placed {
    pub(super) fn said(&self) -> Said {
        self.live.as_ref().map_or(Said::Gone, |live| Said::Live {
            stage: live.place.stage,
            has_assign: live.assign.is_some(),
        })
    }
}

pub(super) fn key(key: Option<&link::AttemptKey>) -> Result<RunKey, WordError> {
    let key = key.ok_or(WordError::Lacks("an attempt's key"))?;
    let attempt = Attempt::new(key.attempt).ok_or_else(|| WordError::Range {
        what: "attempt",
        value: key.attempt.to_string(),
    })?;
    let run = key.run_id.parse()?;
    Ok(RunKey { run, attempt })
}

pub(super) fn placed(place: link::Place) -> Result<Placed, WordError> {
    let key = key(place.key.as_ref())?;
    let live = match place.standing {
        Some(link::place::Standing::Live(live)) => Some(live_place(live)?),
        Some(link::place::Standing::Gone(_)) => None,
        None => return Err(WordError::Lacks("an attempt's standing")),
    };
    Ok(Placed { key, live })
}

fn live_place(live: link::Live) -> Result<LivePlace, WordError> {
    let stage = match live.state.as_str() {
        "assigned" => Stage::Assigned,
        "accepted" => Stage::Accepted,
        "running" => Stage::Running,
        "paused" => Stage::Paused,
        _ => {
            return Err(WordError::Range {
                what: "state",
                value: live.state,
            });
        }
    };
    Ok(LivePlace {
        place: Place {
            stage,
            step: live.step,
            next_segment: live.next_segment,
            ledger_ms: live.next_segment_begin_ms,
            heeded: 0,
        },
        log_last_id: live.log_last_id,
        assign: live.assign.map(assigned).transpose()?,
        want: live.want.map(want).transpose()?.map(|(_, want)| want),
    })
}

pub(super) fn assigned(mut assign: link::Assign) -> Result<Assigned, WordError> {
    let json = |what| move |source| WordError::Json { what, source };
    let on_lost = assign.on_lost.take().unwrap_or_default();
    let stop_after_ms = match on_lost.policy.as_str() {
        "requeue" => Some(on_lost.stop_after_ms),
        "wait" | "fail" | "" => None,
        _ => {
            return Err(WordError::Range {
                what: "on_lost",
                value: on_lost.policy,
            });
        }
    };
    let secrets = secrets(&mut assign);
    let files = assign.files.take().map(fetch::wanted);
    Ok(Assigned {
        key: key(assign.key.as_ref())?,
        tenant: assign.tenant.parse()?,
        request: serde_json::from_str(&assign.request_json).map_err(json("the request"))?,
        instance_type: serde_json::from_str(&assign.instance_type_json)
            .map_err(json("the instance type"))?,
        given: Given {
            secrets,
            credentials: assign.credentials.map(credentials),
        },
        stop_after_ms,
        files,
    })
}

/// The values of `assign`, which has none afterwards.
fn secrets(assign: &mut link::Assign) -> Secrets {
    let env = std::mem::take(&mut assign.secret_env).into_iter();
    let files = std::mem::take(&mut assign.secret_files).into_iter();
    Secrets {
        env: env
            .map(|var| SecretEnv {
                redact: assign.redacted_env.contains(&var.key),
                key: var.key,
                value: var.value.into(),
            })
            .collect(),
        files: files
            .map(|file| SecretFile {
                name: file.name,
                value: file.value.into(),
            })
            .collect(),
    }
}

pub(super) fn credentials(credentials: link::RegistryCredentials) -> Credentials {
    Credentials::Basic {
        username: credentials.username,
        password: Secret::new(credentials.password),
    }
}

pub(super) fn want(want: link::Want) -> Result<(RunKey, Want), WordError> {
    let key = key(want.key.as_ref())?;
    let stop = want.stop.map(stop).transpose()?;
    let seconds = want.timeout_seconds;
    if let Some(seconds) = seconds
        && !(1..=limits::TIMEOUT_SECONDS_MAX).contains(&seconds)
    {
        return Err(WordError::Range {
            what: "timeout_seconds",
            value: seconds.to_string(),
        });
    }
    let want = Want {
        revision: want.revision,
        stop,
        paused: want.paused,
        timeout_ms: seconds.map(|seconds| seconds * 1_000),
    };
    Ok((key, want))
}

fn stop(stop: link::Stop) -> Result<StopOrder, WordError> {
    let signal: Result<StopSignal, String> = stop.signal.to_string().parse();
    let signal = signal.map_err(|_| WordError::Range {
        what: "signal",
        value: stop.signal.to_string(),
    })?;
    Ok(StopOrder {
        signal: Some(signal),
        grace_ms: stop.grace_ms.min(limits::STOP_GRACE_MS_MAX),
    })
}

pub(super) fn key_word(key: RunKey) -> link::AttemptKey {
    link::AttemptKey {
        run_id: key.run.to_string(),
        attempt: key.attempt.number(),
    }
}

pub(super) fn host(message: Message) -> link::HostMessage {
    link::HostMessage {
        message: Some(message),
    }
}

pub(super) fn report(key: RunKey, report: Report) -> link::HostMessage {
    let event = match report.event {
        Event::Accepted => Word::Accepted(link::Accepted {}),
        Event::Declined { message } => Word::Declined(link::Declined { message }),
        Event::Started {
            image_digest,
            timings,
            security,
        } => Word::Started(link::Started {
            image_digest,
            phases: Some((&timings).into()),
            security_json: security,
        }),
        Event::Paused => Word::Paused(link::Paused {}),
        Event::Resumed => Word::Resumed(link::Resumed {}),
        Event::Metered => Word::Metered(link::Metered {}),
        Event::Heeded { revision } => Word::Heeded(link::Heeded { revision }),
        Event::Ended(ended) => Word::Ended(ends::ended(ended)),
    };
    let segments = report.segment.map(|segment| link::Segment {
        sequence: segment.sequence,
        begin_ms: segment.begin_ms,
        end_ms: segment.end_ms,
        paused: segment.paused,
    });
    host(Message::Report(link::Report {
        key: Some(key_word(key)),
        step: report.step,
        at_unix_ms: report.at_unix_ms,
        segments: segments.into_iter().collect(),
        event: Some(event),
    }))
}

pub(super) fn log(key: RunKey, records: Vec<LogRecord>) -> link::HostMessage {
    let record = |record: LogRecord| link::LogRecord {
        id: record.id,
        unix_ns: record.unix_ns,
        stream: record.stream.as_str().to_owned(),
        partial: record.partial,
        truncated: record.truncated,
        line: record.line,
        newline: record.newline,
    };
    host(Message::Log(link::LogBatch {
        key: Some(key_word(key)),
        records: records.into_iter().map(record).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rundir::{Stamp, Timings};

    fn word_key() -> Option<link::AttemptKey> {
        Some(link::AttemptKey {
            run_id: "01890a5d-ac96-774b-bcce-b302099a8057".into(),
            attempt: 2,
        })
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_says_what() {
        let refused = |place: link::Place| placed(place).unwrap_err().to_string();
        let live = |state: &str| link::Place {
            key: word_key(),
            standing: Some(link::place::Standing::Live(link::Live {
                state: state.into(),
                ..link::Live::default()
            })),
        };
        assert_eq!(refused(link::Place::default()), "it lacks an attempt's key");
        assert_eq!(refused(live("pending")), "state pending is out of range");
        assert!(placed(live("paused")).is_ok());
        let zero = link::AttemptKey {
            attempt: 0,
            ..word_key().unwrap()
        };
        assert_eq!(
            key(Some(&zero)).unwrap_err().to_string(),
            "attempt 0 is out of range"
        );
        let stop = |signal| link::Want {
            key: word_key(),
            stop: Some(link::Stop {
                signal,
                grace_ms: u64::MAX,
            }),
            ..link::Want::default()
        };
        assert_eq!(
            want(stop(0)).unwrap_err().to_string(),
            "signal 0 is out of range"
        );
        let order = want(stop(15)).unwrap().1.stop.unwrap();
        assert_eq!(order.grace_ms, limits::STOP_GRACE_MS_MAX);
        let slow = link::Want {
            key: word_key(),
            timeout_seconds: Some(0),
            ..link::Want::default()
        };
        assert!(want(slow).is_err());
    }

    #[test]
    fn a_start_is_told_with_the_parts_that_are_known() {
        let at = |boot_ns| {
            Some(Stamp {
                boot_ns,
                unix_ns: 7,
            })
        };
        let started = Report {
            step: 2,
            at_unix_ms: 7,
            segment: None,
            event: Event::Started {
                image_digest: "sha256:0".into(),
                timings: Timings {
                    begun: at(1_000_000),
                    pulled: at(3_000_000),
                    created: at(8_000_000),
                    started: at(8_400_000),
                    ..Timings::default()
                },
                security: Some("{}".into()),
            },
        };
        let told = report(key(word_key().as_ref()).unwrap(), started);
        let Some(Message::Report(told)) = told.message else {
            panic!("{told:?}")
        };
        let Some(Word::Started(told)) = told.event else {
            panic!("{told:?}")
        };
        let phases = link::StartPhases {
            pull_us: Some(2_000),
            prepare_us: None,
            create_us: None,
            start_us: Some(400),
        };
        assert_eq!(told.phases, Some(phases));
        assert_eq!(told.security_json.as_deref(), Some("{}"));
    }

    #[test]
    fn an_assignment_is_read_whole_and_prints_no_secret() {
        let size = r#"{"slug":"small","name":"Small","resources":{"cpu_millis":500,"memory_bytes_max":1048576,"pids_max":9},"price_second_micros":1}"#;
        let assign = link::Assign {
            key: word_key(),
            tenant: "acme".into(),
            request_json: r#"{"image":"busybox:1"}"#.into(),
            instance_type_json: size.into(),
            secret_env: vec![link::EnvVar {
                key: "TOKEN".into(),
                value: "hush".into(),
            }],
            credentials: Some(link::RegistryCredentials {
                username: "u".into(),
                password: "hush".into(),
            }),
            on_lost: Some(link::OnLost {
                policy: "requeue".into(),
                stop_after_ms: 30_000,
            }),
            secret_files: Vec::new(),
            redacted_env: vec!["TOKEN".into()],
            files: None,
        };
        let read = assigned(assign.clone()).unwrap();
        assert_eq!(read.stop_after_ms, Some(30_000));
        assert!(read.given.secrets.env[0].redact && read.given.secrets.env[0].key == "TOKEN");
        assert!(!format!("{read:?}").contains("hush"));
        let odd = link::Assign {
            request_json: r#"{"image":"busybox:1","imgae":"x"}"#.into(),
            ..assign
        };
        assert_eq!(
            assigned(odd).unwrap_err().to_string(),
            "the request cannot be read"
        );
    }
}
