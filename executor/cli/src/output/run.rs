//! A run as JSON: the names of the public contract, stable.

use std::collections::HashMap;

use davit_rpc::local::{Extracted, LogTotals, NetworkLink, Run, Timings, Usage};
use jiff::Timestamp;
use serde::Serialize;

use super::security::SecurityJson;

/// RFC 3339 in UTC with nanoseconds, of nanoseconds since 1970.
pub(crate) fn rfc3339(unix_ns: u64) -> String {
    Timestamp::from_nanosecond(i128::from(unix_ns))
        .map(|time| format!("{time:.9}"))
        .unwrap_or_default()
}

/// `davit inspect -o json`.
#[derive(Debug, Serialize)]
pub(crate) struct RunJson<'a> {
    id: &'a str,
    attempt: u32,
    tenant: &'a str,
    name: Option<&'a str>,
    labels: &'a HashMap<String, String>,
    status: &'a str,
    phase: &'a str,
    exit_code: Option<u32>,
    end_reason: Option<&'a str>,
    message: Option<&'a str>,
    image: &'a str,
    image_digest: Option<&'a str>,
    command: Option<&'a str>,
    argv: &'a [String],
    entrypoint: Option<&'a str>,
    env_keys: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    secret_env: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    secret_files: &'a [String],
    workdir: Option<&'a str>,
    user: Option<&'a str>,
    hostname: Option<&'a str>,
    instance_type: &'a str,
    cpu_millis: u32,
    memory_bytes_max: u64,
    pids_max: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes_max: Option<u64>,
    timeout_seconds: u64,
    network: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    egress: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    publish: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    network_bytes_per_second_max: Option<u64>,
    /// `davit inspect` alone asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<LinkJson<'a>>,
    runtime: &'a str,
    created_at: String,
    started_at: Option<String>,
    completed_at: Option<String>,
    paused_at: Option<String>,
    duration_ms: Option<u64>,
    usage: Option<UsageJson>,
    log: Option<LogJson>,
    timings: Option<TimingsJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<SecurityJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extracts: Vec<ExtractedJson<'a>>,
    run_dir: &'a str,
}

impl<'a> From<&'a Run> for RunJson<'a> {
    fn from(run: &'a Run) -> Self {
        Self {
            id: &run.id,
            attempt: run.attempt,
            tenant: &run.tenant,
            name: run.name.as_deref(),
            labels: &run.labels,
            status: &run.status,
            phase: &run.phase,
            exit_code: run.exit_code,
            end_reason: run.end_reason.as_deref(),
            message: run.message.as_deref(),
            image: &run.image,
            image_digest: run.image_digest.as_deref(),
            command: run.command.as_deref(),
            argv: &run.argv,
            entrypoint: run.entrypoint.as_deref(),
            env_keys: &run.env_keys,
            secret_env: &run.secret_env,
            secret_files: &run.secret_files,
            workdir: run.workdir.as_deref(),
            user: run.user.as_deref(),
            hostname: run.hostname.as_deref(),
            instance_type: &run.instance_type,
            cpu_millis: run.cpu_millis,
            memory_bytes_max: run.memory_bytes_max,
            pids_max: run.pids_max,
            disk_bytes_max: run.disk_bytes_max,
            timeout_seconds: run.timeout_seconds,
            network: &run.network,
            egress: &run.egress,
            publish: &run.publish,
            network_bytes_per_second_max: run.network_bytes_per_second_max,
            link: run.link.as_ref().map(LinkJson::from),
            runtime: &run.runtime,
            created_at: rfc3339(run.created_at_ns),
            started_at: run.started_at_ns.map(rfc3339),
            completed_at: run.completed_at_ns.map(rfc3339),
            paused_at: run.paused_at_ns.map(rfc3339),
            duration_ms: run.duration_ms,
            usage: run.usage.as_ref().map(UsageJson::from),
            log: run.log.as_ref().map(LogJson::from),
            timings: run.timings.as_ref().map(TimingsJson::from),
            security: run.security.as_ref().map(SecurityJson::from),
            extracts: run.extracts.iter().map(ExtractedJson::from).collect(),
            run_dir: &run.run_dir,
        }
    }
}

/// Its link to the outside.
#[derive(Debug, Serialize)]
struct LinkJson<'a> {
    interface: &'a str,
    ipv4: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<&'a str>,
}

impl<'a> From<&'a NetworkLink> for LinkJson<'a> {
    fn from(link: &'a NetworkLink) -> Self {
        Self {
            interface: &link.interface,
            ipv4: &link.ipv4,
            ipv6: link.ipv6.as_deref(),
        }
    }
}

/// What became of one `--extract`.
#[derive(Debug, Serialize)]
pub(crate) struct ExtractedJson<'a> {
    from: &'a str,
    to: &'a str,
    status: &'a str,
    kind: Option<&'a str>,
    bytes: u64,
    sha256: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> From<&'a Extracted> for ExtractedJson<'a> {
    fn from(extracted: &'a Extracted) -> Self {
        Self {
            from: &extracted.from,
            to: &extracted.to,
            status: &extracted.status,
            kind: Some(extracted.kind.as_str()).filter(|kind| !kind.is_empty()),
            bytes: extracted.bytes,
            sha256: extracted.sha256.as_deref(),
            message: extracted.message.as_deref(),
        }
    }
}

/// The last line of `davit run -o json` and `davit attach -o json`.
#[derive(Debug, Serialize)]
pub(crate) struct EndJson<'a> {
    event: &'static str,
    run: RunJson<'a>,
}

impl<'a> From<&'a Run> for EndJson<'a> {
    fn from(run: &'a Run) -> Self {
        Self {
            event: "end",
            run: run.into(),
        }
    }
}

/// `davit usage -o json`.
#[derive(Debug, Serialize)]
pub(crate) struct UsageOfRun<'a> {
    id: &'a str,
    name: Option<&'a str>,
    tenant: &'a str,
    instance_type: &'a str,
    status: &'a str,
    started_at: Option<String>,
    completed_at: Option<String>,
    usage: Option<UsageJson>,
}

impl<'a> From<&'a Run> for UsageOfRun<'a> {
    fn from(run: &'a Run) -> Self {
        Self {
            id: &run.id,
            name: run.name.as_deref(),
            tenant: &run.tenant,
            instance_type: &run.instance_type,
            status: &run.status,
            started_at: run.started_at_ns.map(rfc3339),
            completed_at: run.completed_at_ns.map(rfc3339),
            usage: run.usage.as_ref().map(UsageJson::from),
        }
    }
}

#[derive(Debug, Serialize)]
struct UsageJson {
    wall_ms: u64,
    paused_ms: u64,
    billable_ms: u64,
    cpu_us: u64,
    cpu_user_us: u64,
    cpu_system_us: u64,
    cpu_throttled_us: u64,
    memory_peak_bytes: Option<u64>,
    io_read_bytes: u64,
    io_write_bytes: u64,
    pids_peak: Option<u64>,
    oom_kills: u64,
    pids_refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_received_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_sent_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_used_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_used_files: Option<u64>,
}

impl From<&Usage> for UsageJson {
    fn from(usage: &Usage) -> Self {
        Self {
            wall_ms: usage.wall_ms,
            paused_ms: usage.paused_ms,
            billable_ms: usage.billable_ms,
            cpu_us: usage.cpu_us,
            cpu_user_us: usage.cpu_user_us,
            cpu_system_us: usage.cpu_system_us,
            cpu_throttled_us: usage.cpu_throttled_us,
            memory_peak_bytes: usage.memory_peak_bytes,
            io_read_bytes: usage.io_read_bytes,
            io_write_bytes: usage.io_write_bytes,
            pids_peak: usage.pids_peak,
            oom_kills: usage.oom_kills,
            pids_refused: usage.pids_refused,
            network_received_bytes: usage.network_received_bytes,
            network_sent_bytes: usage.network_sent_bytes,
            disk_used_bytes: usage.disk_used_bytes,
            disk_used_files: usage.disk_used_files,
        }
    }
}

#[derive(Debug, Serialize)]
struct LogJson {
    records: u64,
    bytes: u64,
    dropped_bytes: u64,
}

impl From<&LogTotals> for LogJson {
    fn from(log: &LogTotals) -> Self {
        Self {
            records: log.records,
            bytes: log.bytes,
            dropped_bytes: log.dropped_bytes,
        }
    }
}

/// Milliseconds, to the microsecond.
#[derive(Debug, Serialize)]
struct TimingsJson {
    /// From accepting the run to letting its job go: the sum of what follows.
    total_ms: Option<f64>,
    queue_ms: Option<f64>,
    pull_ms: Option<f64>,
    prepare_ms: Option<f64>,
    create_ms: Option<f64>,
    start_ms: Option<f64>,
    warm: bool,
}

impl From<&Timings> for TimingsJson {
    fn from(timings: &Timings) -> Self {
        Self {
            total_ms: timings.started_us.map(milliseconds),
            queue_ms: timings.queue_us.map(milliseconds),
            pull_ms: timings.pull_us.map(milliseconds),
            prepare_ms: timings.prepare_us.map(milliseconds),
            create_ms: timings.create_us.map(milliseconds),
            start_ms: timings.start_us.map(milliseconds),
            warm: timings.warm,
        }
    }
}

/// Exact up to 2^53 µs, which is 285 years.
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_all_nanoseconds() {
        assert_eq!(
            rfc3339(1_700_000_000_000_000_001),
            "2023-11-14T22:13:20.000000001Z"
        );
    }

    #[test]
    fn the_names_are_those_of_the_contract() {
        let run = Run {
            usage: Some(Usage::default()),
            ..Run::default()
        };
        let json = serde_json::to_value(RunJson::from(&run)).unwrap();
        for name in [
            "id",
            "status",
            "exit_code",
            "end_reason",
            "image_digest",
            "attempt",
            "started_at",
            "duration_ms",
        ] {
            assert!(json.get(name).is_some(), "{name} is missing");
        }
        assert!(json["usage"].get("billable_ms").is_some());
    }
}
