//! What a simulated host says, and the connection it says it on.

use std::net::SocketAddr;
use std::time::Duration;

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::link_client::LinkClient;
use davit_rpc::link::report::Event;
use davit_rpc::link::*;
use tonic::transport::{Channel, Endpoint};

use super::WALL_MS;
use crate::clock::unix_ms;

/// Steps of a run that ends.
pub(super) const LAST_STEP: u32 = 3;
/// Steps of a run that is kept.
pub(super) const HELD_STEP: u32 = 2;
/// What the simulated jobs are locked in with: as long as a real one.
const LOCKED_IN: &str = include_str!("locked_in.json");
const CONNECT_MS_MAX: u64 = 10_000;
/// As the executor looks after its connection.
const PING_AFTER_MS: u64 = 15_000;
const PING_MS_MAX: u64 = 5_000;

pub(super) async fn client(address: SocketAddr) -> anyhow::Result<LinkClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .http2_keep_alive_interval(Duration::from_millis(PING_AFTER_MS))
        .keep_alive_timeout(Duration::from_millis(PING_MS_MAX))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    Ok(LinkClient::new(endpoint.connect().await?))
}

pub(super) fn said(message: Said) -> HostMessage {
    HostMessage {
        message: Some(message),
    }
}

pub(super) fn count(runs: usize) -> u32 {
    u32::try_from(runs).unwrap_or(u32::MAX)
}

/// What a host says of a step of an attempt.
pub(super) fn report(key: &AttemptKey, step: u32, lines: u64) -> HostMessage {
    let (event, segments) = match step {
        1 => (Event::Accepted(Accepted {}), vec![]),
        HELD_STEP => {
            let started = Started {
                image_digest: "sha256:00".to_owned(),
                phases: None,
                security_json: Some(LOCKED_IN.to_owned()),
            };
            (Event::Started(started), vec![])
        }
        _ => ended(lines),
    };
    let report = Report {
        key: Some(key.clone()),
        step,
        at_unix_ms: unix_ms(),
        segments,
        event: Some(event),
    };
    said(Said::Report(report))
}

fn ended(lines: u64) -> (Event, Vec<Segment>) {
    let segment = Segment {
        end_ms: WALL_MS,
        ..Segment::default()
    };
    let end = Ended {
        end_reason: "exited".to_owned(),
        exit_code: Some(0),
        message: String::new(),
        usage_json: "{}".to_owned(),
        wall_ms: WALL_MS,
        extracts: Vec::new(),
        log_last_id: lines,
    };
    (Event::Ended(end), vec![segment])
}
