//! The link itself: what is metered, how fast it is, when it is made, what becomes of it, and who comes in by it.

use std::time::Instant;

use davit_executor::settings::NetworkSettings;
use davit_rpc::local::SubmitRequest;
use davit_types::Bytes;

use super::super::support::{Executor, WAIT, output, refusal};
use super::super::warm::wait_ready;
use super::world::{
    HOST_V4, HOST_V6, PRIVATE, PUBLIC_V4, PUBLIC_V6, SENDS, SENT_BYTES, TELLS, World,
};
use super::{asking, bridged, links, said, wait_no_links};

#[tokio::test]
#[ignore = "needs a real host"]
async fn what_goes_over_the_link_is_metered_and_nothing_else() {
    let _world = World::make();
    let mut executor = Executor::start().await;
    let command = format!("nc {PUBLIC_V4} {SENDS} </dev/null | wc -c");
    let (lines, run) = said(&mut executor, bridged(&command)).await;
    assert_eq!(lines, [SENT_BYTES.to_string()]);
    let usage = run.usage.unwrap();
    let received = usage.network_received_bytes.unwrap();
    let sent = usage.network_sent_bytes.unwrap();
    let payload = SENT_BYTES as u64;
    assert!(
        (payload..payload * 11 / 10).contains(&received),
        "{usage:?}"
    );
    assert!((100..payload / 10).contains(&sent), "{usage:?}");
    let (_, idle) = said(&mut executor, bridged("sleep 1")).await;
    let usage = idle.usage.unwrap();
    let all = usage.network_received_bytes.unwrap() + usage.network_sent_bytes.unwrap();
    assert!(all < 500, "an idle job is charged for {all} bytes");
    let none = executor.sh("true").await;
    let none = executor.wait(&none).await;
    assert_eq!(none.usage.unwrap().network_sent_bytes, None);
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn the_rate_is_held_in_both_directions() {
    let _world = World::make();
    let network = NetworkSettings {
        bytes_per_second_max: Some(Bytes::mib(64)),
        ..NetworkSettings::default()
    };
    let mut executor = Executor::start_with_network(&network).await;
    let took = async |executor: &mut Executor, rate: Option<u64>| {
        let command = format!("nc {PUBLIC_V4} {SENDS} </dev/null >/dev/null");
        let request = SubmitRequest {
            network_bytes_per_second_max: rate,
            ..bridged(&command)
        };
        let (_, run) = said(executor, request).await;
        run.usage.unwrap().wall_ms
    };
    let fast = took(&mut executor, None).await;
    // A mebibyte, of which a quarter is through at once.
    let slow = took(&mut executor, Some(256 << 10)).await;
    assert!(
        fast < 1_000 && (2_500..6_000).contains(&slow),
        "{fast} {slow}"
    );
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn a_warm_slot_has_its_link_before_its_run() {
    let _world = World::make();
    let mut executor = Executor::start().await;
    let command = asking([PUBLIC_V4], TELLS);
    let (_, first) = said(&mut executor, bridged(&command)).await;
    assert!(!first.timings.unwrap().warm);
    wait_ready(&executor, 1).await;
    assert!(!links(&executor).is_empty());
    let (lines, warm) = said(&mut executor, bridged(&command)).await;
    assert!(warm.timings.unwrap().warm, "{warm:?}");
    assert_eq!(lines, [format!("{PUBLIC_V4} {HOST_V4}")]);
    assert!(warm.usage.unwrap().network_sent_bytes.unwrap() > 0);
    let (lines, none) = said(
        &mut executor,
        SubmitRequest {
            network: String::new(),
            ..bridged(&command)
        },
    )
    .await;
    assert!(
        !none.timings.unwrap().warm,
        "a slot with a link is for runs with one"
    );
    assert_eq!(lines, [PUBLIC_V4]);
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn a_run_keeps_its_link_and_its_rules_when_the_executor_is_killed() {
    let _world = World::make();
    let mut executor = Executor::start_cold().await;
    let command = format!(
        "while :; do {} test -e /tmp/enough && exit 0; sleep 0.2; done",
        asking([PUBLIC_V4, PUBLIC_V6, PRIVATE[0]], TELLS).replace('\n', ";")
    );
    let request = SubmitRequest {
        egress: vec![format!("{PUBLIC_V4}/32,tcp,80")],
        timeout_seconds: Some(60),
        ..bridged(&command)
    };
    let run = executor.submit(request).await.unwrap();
    executor.wait_logged(&run, 3).await;
    executor.kill();
    // As a reboot of the network, or somebody's `nft flush ruleset`, would leave it.
    let flushed = std::process::Command::new("nft")
        .args(["flush", "ruleset"])
        .status();
    assert!(flushed.unwrap().success());
    executor.restart().await;
    let kept = executor.get(&run).await.link.unwrap();
    let (lines, other) = said(&mut executor, bridged(&asking([PUBLIC_V4], TELLS))).await;
    assert_eq!(lines, [format!("{PUBLIC_V4} {HOST_V4}")]);
    assert_ne!(executor.get(&other).await.link.unwrap().ipv4, kept.ipv4);
    let before = executor.logged(&run).await;
    executor.wait_logged(&run, before + 6).await;
    executor.stop(&run, 0).await;
    let (records, _) = executor.follow(&run, 0).await;
    let text = String::from_utf8(output(&records, "stdout")).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let public = format!("{PUBLIC_V4} {HOST_V4}");
    assert!(
        lines[lines.len() - 6..].contains(&public.as_str()),
        "{text}"
    );
    let denied = lines.iter().filter(|line| !line.starts_with(PUBLIC_V4));
    assert!(
        denied
            .clone()
            .all(|line| [PUBLIC_V6, PRIVATE[0]].contains(line)),
        "{text}"
    );
    wait_no_links(&executor).await;
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn a_published_port_leads_to_its_run_while_that_lives() {
    let world = World::make();
    let network = NetworkSettings {
        publish_ports: vec!["8000-8100".into()],
        ..NetworkSettings::default()
    };
    let mut executor = Executor::start_with_network(&network).await;
    let request = |port: &str| SubmitRequest {
        publish: vec![port.to_owned()],
        ..bridged("nc -ll -p 80 -e echo published")
    };
    let run = executor.submit(request("8080:80")).await.unwrap();
    executor.wait_running(&run).await;
    let ports = [format!("{HOST_V4}:8080"), format!("[{HOST_V6}]:8080")];
    for port in &ports {
        let begin = Instant::now();
        while world.asks(port).ok().as_deref() != Some("published\n") {
            assert!(begin.elapsed() < WAIT, "{port}: {:?}", world.asks(port));
        }
    }
    // Whoever wants it as well is told who has it; a port that is not offered is refused.
    let second = executor.submit(request("8080:81")).await.unwrap();
    let second = executor.wait(&second).await;
    assert_eq!(second.end_reason.as_deref(), Some("start_failed"));
    assert!(
        second
            .message
            .unwrap()
            .contains("port 8080/tcp of this host is published by")
    );
    let refused = refusal(executor.submit(request("22:80")).await);
    assert!(
        refused.1.contains("publish[0]") && refused.1.contains("publish_ports"),
        "{refused:?}"
    );
    executor.kill_and_restart().await;
    assert_eq!(world.asks(&ports[0]).unwrap(), "published\n");
    executor.stop(&run, 0).await;
    wait_no_links(&executor).await;
    assert!(world.asks(&ports[0]).is_err());
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn rules_that_somebody_flushes_are_back_at_once() {
    let _world = World::make();
    let host = std::net::TcpListener::bind(("::", TELLS)).unwrap();
    host.set_nonblocking(true).unwrap();
    let mut executor = Executor::start_cold().await;
    let command = format!(
        "echo begun; while ! test -e /tmp/enough; do {} done",
        asking([HOST_V4, PUBLIC_V4], TELLS).replace('\n', ";")
    );
    let run = executor.submit(bridged(&command)).await.unwrap();
    executor.wait_logged(&run, 3).await;
    let flushed = std::process::Command::new("nft")
        .args(["flush", "ruleset"])
        .status();
    assert!(flushed.unwrap().success());
    // While nobody looks: neither a launch nor a restart.
    let begin = Instant::now();
    let rules = || {
        let listed = std::process::Command::new("nft")
            .args(["list", "ruleset"])
            .output();
        String::from_utf8(listed.unwrap().stdout).unwrap()
    };
    while !rules().contains("masquerade") {
        assert!(begin.elapsed() < WAIT, "the rules stay away");
    }
    while host.accept().is_ok() {}
    let before = executor.logged(&run).await;
    executor.wait_logged(&run, before + 4).await;
    executor.stop(&run, 0).await;
    let (records, _) = executor.follow(&run, 0).await;
    let text = String::from_utf8(output(&records, "stdout")).unwrap();
    let last: Vec<&str> = text.lines().map(str::trim).rev().take(2).collect();
    assert!(
        last.contains(&format!("{PUBLIC_V4} {HOST_V4}").as_str()),
        "{text}"
    );
    assert!(host.accept().is_err(), "the host was reached: {text}");
    assert!(executor.log().contains("made anew"));
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn one_run_has_so_many_connections_and_others_have_theirs() {
    let _world = World::make();
    let network = NetworkSettings {
        connections_max: 3,
        ..NetworkSettings::default()
    };
    let mut executor = Executor::start_with_network(&network).await;
    // The world leaves them open as long as nobody reads all that it sends.
    let command = format!(
        "for n in 1 2 3 4 5; do nc -w 2 {PUBLIC_V4} {SENDS} </dev/null | {{ got=$(dd bs=1 count=1 2>/dev/null); \
         echo \"got $got\"; sleep 15; }} & done; wait"
    );
    let greedy = executor.submit(bridged(&command)).await.unwrap();
    executor.wait_logged(&greedy, 5).await;
    let (lines, _) = said(&mut executor, bridged(&asking([PUBLIC_V4], TELLS))).await;
    assert_eq!(
        lines,
        [format!("{PUBLIC_V4} {HOST_V4}")],
        "others have theirs"
    );
    executor.stop(&greedy, 0).await;
    let (records, _) = executor.follow(&greedy, 0).await;
    let text = String::from_utf8(output(&records, "stdout")).unwrap();
    let connected = text.lines().filter(|line| *line == "got x").count();
    assert_eq!(connected, 3, "{text}");
}
