//! The words of the link in the store's words, and back. The only other module that reads proto messages is
//! [`facts`](super::facts).
//!
//! Invariants: what cannot be read is refused with its field and value; no unknown word becomes a default.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use davit_rpc::link as proto;
use davit_types::{Attempt, EndReason, RunId, RunKey, SecurityProfile, UsageSegment, segment_id};

use super::error::LinkError;
use super::extracts;
use super::facts::bounded;
use crate::logs::{LogRecord, LogStream};
use crate::starts::Phases;
use crate::store::limits::SEGMENTS_PER_UPDATE_MAX;
use crate::store::{AttemptEnd, AttemptUpdate, Desired, Event, Profile, Sender};

/// Attempts that a host may say it holds.
pub(super) const HELD_MAX: usize = 20_000;
/// Bytes of the lines of one batch.
pub(super) const LOG_BATCH_BYTES_MAX: usize = 1 << 20;
/// Records of one batch.
pub(super) const LOG_BATCH_RECORDS_MAX: usize = 16_384;
/// A part of a start that took longer is not believed.
const PHASE_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Bytes of a message for people, and of the totals of an attempt.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// The name of an attempt.
pub(crate) fn key(told: Option<&proto::AttemptKey>) -> Result<RunKey, LinkError> {
    let told = told.ok_or_else(|| LinkError::malformed("key", "", "an attempt"))?;
    let run: Result<RunId, _> = told.run_id.parse();
    let attempt = Attempt::new(told.attempt);
    match (run, attempt) {
        (Ok(run), Some(attempt)) => Ok(RunKey { run, attempt }),
        (Err(_), _) => Err(LinkError::malformed(
            "key.run_id",
            &told.run_id,
            "a run's id",
        )),
        (_, None) => Err(LinkError::malformed("key.attempt", "0", "at least 1")),
    }
}

/// The same, as it is sent.
pub(crate) fn told_key(key: RunKey) -> proto::AttemptKey {
    proto::AttemptKey {
        run_id: key.run.to_string(),
        attempt: key.attempt.number(),
    }
}

/// The attempts a host holds.
pub(super) fn held(told: &[proto::AttemptKey]) -> Result<BTreeSet<RunKey>, LinkError> {
    bounded("held attempts", told.len(), HELD_MAX)?;
    told.iter().map(|told| key(Some(told))).collect()
}

/// What a host reports of an attempt. Whether it is tried again is decided elsewhere.
pub(super) fn report(told: proto::Report, from: Sender) -> Result<AttemptUpdate, LinkError> {
    use proto::report::Event as Told;
    let key = key(told.key.as_ref())?;
    bounded("segments", told.segments.len(), SEGMENTS_PER_UPDATE_MAX)?;
    let segment = |told: &proto::Segment| UsageSegment {
        id: segment_id(key, told.sequence),
        key,
        sequence: told.sequence,
        begin_ms: told.begin_ms,
        end_ms: told.end_ms,
        paused: told.paused,
    };
    let wrong = || LinkError::malformed("report.event", "", "an event");
    let event = match told.event.ok_or_else(wrong)? {
        Told::Accepted(_) => Event::Accepted,
        Told::Declined(declined) => Event::Declined {
            message: text("declined.message", declined.message)?,
        },
        Told::Started(started) => Event::Started {
            image_digest: text("started.image_digest", started.image_digest)?,
            profile: started.security_json.and_then(|told| profile(key, told)),
        },
        Told::Paused(_) => Event::Paused,
        Told::Resumed(_) => Event::Resumed,
        Told::Metered(_) => Event::Metered,
        Told::Heeded(heeded) => Event::Heeded {
            revision: heeded.revision,
        },
        Told::Ended(ended) => Event::Ended(end(ended)?),
    };
    Ok(AttemptUpdate {
        key,
        from,
        step: told.step,
        event,
        segments: told.segments.iter().map(segment).collect(),
        at_ms: told.at_unix_ms,
    })
}

/// What an attempt is locked in with. Nothing is decided by it, and no run is held up for it: what cannot be read is not
/// recorded, and the log says so.
fn profile(key: RunKey, told: String) -> Option<Profile> {
    let readable = serde_json::from_str::<SecurityProfile>(&told);
    if told.len() > MESSAGE_BYTES_MAX || readable.is_err() {
        let bytes = told.len();
        tracing::warn!(%key, bytes, "a host tells a security profile that cannot be read: none is recorded");
        return None;
    }
    Some(Profile::new(told))
}

/// How long the parts of a start took, by its host. It is for figures only, so what cannot be is left out and refused to
/// nobody.
pub(super) fn phases(told: &proto::Report) -> Phases {
    let Some(proto::report::Event::Started(proto::Started {
        phases: Some(told), ..
    })) = &told.event
    else {
        return Phases::default();
    };
    let took = |us: Option<u64>| {
        let took = us.map(Duration::from_micros);
        took.filter(|took| *took <= Duration::from_secs(PHASE_SECONDS_MAX))
    };
    Phases {
        pull: took(told.pull_us),
        prepare: took(told.prepare_us),
        create: took(told.create_us),
        start: took(told.start_us),
    }
}

fn end(told: proto::Ended) -> Result<AttemptEnd, LinkError> {
    let reason = EndReason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == told.end_reason)
        .ok_or_else(|| LinkError::malformed("ended.end_reason", &told.end_reason, "an end"))?;
    let code = |code: u32| {
        let wrong = || LinkError::malformed("ended.exit_code", &code.to_string(), "0 to 255");
        u8::try_from(code).map_err(|_| wrong())
    };
    Ok(AttemptEnd {
        reason,
        exit_code: told.exit_code.map(code).transpose()?,
        message: text("ended.message", told.message)?,
        usage: text("ended.usage_json", told.usage_json)?,
        wall_ms: told.wall_ms,
        log_last_id: told.log_last_id,
        extracts: extracts::told(told.extracts),
        retry: None,
    })
}

fn text(field: &'static str, told: String) -> Result<String, LinkError> {
    bounded(field, told.len(), MESSAGE_BYTES_MAX)?;
    Ok(told)
}

/// A piece of a log.
pub(super) fn log_batch(told: proto::LogBatch) -> Result<(RunKey, Vec<LogRecord>), LinkError> {
    let key = key(told.key.as_ref())?;
    bounded("log records", told.records.len(), LOG_BATCH_RECORDS_MAX)?;
    let bytes = told.records.iter().map(|record| record.line.len()).sum();
    bounded("log bytes", bytes, LOG_BATCH_BYTES_MAX)?;
    let record = |told: proto::LogRecord| {
        let stream = match told.stream.as_str() {
            "stdout" => LogStream::Stdout,
            "stderr" => LogStream::Stderr,
            other => {
                let wanted = "stdout or stderr";
                return Err(LinkError::malformed("record.stream", other, wanted));
            }
        };
        Ok(LogRecord {
            id: told.id,
            unix_ns: told.unix_ns,
            stream,
            partial: told.partial,
            truncated: told.truncated,
            newline: told.newline,
            line: Bytes::from(told.line),
        })
    };
    let records: Result<Vec<_>, _> = told.records.into_iter().map(record).collect();
    Ok((key, records?))
}

/// All that is wanted of an attempt.
pub(crate) fn want(key: RunKey, desired: &Desired, revision: u32) -> proto::Want {
    proto::Want {
        key: Some(told_key(key)),
        revision,
        stop: desired.stop.map(|stop| proto::Stop {
            signal: stop.signal,
            grace_ms: stop.grace_ms,
        }),
        paused: desired.paused,
        timeout_seconds: desired.timeout_seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn ended(word: &str, exit_code: Option<u32>) -> proto::Report {
        let key = RunKey {
            run: RunId::generate(),
            attempt: Attempt::FIRST,
        };
        proto::Report {
            key: Some(told_key(key)),
            step: 3,
            at_unix_ms: 7,
            segments: vec![proto::Segment {
                sequence: 0,
                begin_ms: 0,
                end_ms: 5,
                paused: false,
            }],
            event: Some(proto::report::Event::Ended(proto::Ended {
                end_reason: word.to_owned(),
                exit_code,
                wall_ms: 5,
                ..proto::Ended::default()
            })),
        }
    }

    const FROM: Sender = Sender {
        host: Uuid::nil(),
        epoch: 4,
    };

    #[test]
    fn every_end_is_read_and_no_other_word() {
        for reason in EndReason::ALL {
            let update = report(ended(reason.as_str(), Some(255)), FROM).unwrap();
            let Event::Ended(end) = update.event else {
                panic!("{update:?}")
            };
            assert_eq!((end.reason, end.exit_code), (reason, Some(255)));
            assert_eq!(update.segments[0].id, segment_id(update.key, 0));
            assert_eq!((update.step, update.from), (3, FROM));
        }
        assert!(report(ended("vanished", None), FROM).is_err());
        assert!(report(ended("exited", Some(256)), FROM).is_err());
    }

    #[test]
    fn parts_of_a_start_that_are_not_told_or_cannot_be_are_left_out() {
        let started = |phases| proto::Report {
            event: Some(proto::report::Event::Started(proto::Started {
                phases,
                ..proto::Started::default()
            })),
            ..ended("exited", None)
        };
        let told = proto::StartPhases {
            pull_us: Some(1_500_000),
            prepare_us: None,
            create_us: Some(u64::MAX),
            start_us: Some(0),
        };
        let read = Phases {
            pull: Some(Duration::from_millis(1_500)),
            start: Some(Duration::ZERO),
            ..Phases::default()
        };
        assert_eq!(phases(&started(Some(told))), read);
        assert_eq!(phases(&started(None)), Phases::default());
        assert_eq!(phases(&ended("exited", None)), Phases::default());
    }

    #[test]
    fn equal_profiles_are_one_and_what_is_none_is_left_out() {
        let told = |security: &str| {
            let started = proto::Report {
                event: Some(proto::report::Event::Started(proto::Started {
                    security_json: Some(security.to_owned()),
                    ..proto::Started::default()
                })),
                ..ended("exited", None)
            };
            let update = report(started, FROM).unwrap();
            update.event.profile().cloned()
        };
        let crun = told(r#"{"runtime":"crun"}"#).unwrap();
        assert_eq!(told(&crun.body).unwrap(), crun);
        assert_ne!(told(r#"{"runtime":"runc"}"#).unwrap().id, crun.id);
        let long = format!(r#"{{"runtime":"{}"}}"#, "c".repeat(MESSAGE_BYTES_MAX));
        for odd in ["", "crun", r#"{"runtime":7}"#, &long] {
            assert_eq!(told(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_no_attempt_is_refused() {
        assert!(key(None).is_err());
        let zero = proto::AttemptKey {
            run_id: RunId::generate().to_string(),
            attempt: 0,
        };
        assert!(key(Some(&zero)).is_err());
        let nothing = proto::AttemptKey {
            run_id: "x".to_owned(),
            attempt: 1,
        };
        assert!(held(&[nothing]).is_err());
    }

    #[test]
    fn a_batch_of_lines_has_its_bounds_and_streams() {
        let batch = |stream: &str, bytes: usize| proto::LogBatch {
            key: ended("exited", None).key,
            records: vec![proto::LogRecord {
                id: 1,
                stream: stream.to_owned(),
                line: vec![b'x'; bytes],
                ..proto::LogRecord::default()
            }],
        };
        let (_, records) = log_batch(batch("stderr", LOG_BATCH_BYTES_MAX)).unwrap();
        assert_eq!(records[0].stream, LogStream::Stderr);
        assert!(log_batch(batch("stdin", 1)).is_err());
        assert!(log_batch(batch("stdout", LOG_BATCH_BYTES_MAX + 1)).is_err());
    }
}
