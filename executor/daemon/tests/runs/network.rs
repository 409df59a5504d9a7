//! Bridges: whom a job reaches and whom it does not, who reaches it, what is metered, and what is left.

mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use davit_executor::settings::NetworkSettings;
use davit_rpc::local::{Run, SubmitRequest};
use davit_types::Bytes;
use tonic::Code;

use self::world::{
    HOST_V4, HOST_V6, METADATA, NAMES, PRIVATE, PUBLIC_V4, PUBLIC_V6, SENDS, SENT_BYTES, TELLS,
    World,
};
use super::support::{BUSYBOX, Executor, WAIT, output, refusal};
use super::warm::wait_ready;

fn bridged(command: &str) -> SubmitRequest {
    SubmitRequest {
        image: BUSYBOX.into(),
        command: Some(command.into()),
        network: "bridge".into(),
        ..SubmitRequest::default()
    }
}

/// Asks each, and says whom it is to them; nothing where nobody answers.
fn asking<'a>(addresses: impl IntoIterator<Item = &'a str>, port: u16) -> String {
    let asks = addresses.into_iter().map(|address| {
        format!("echo \"{address} $(timeout 5 nc -w 2 {address} {port} </dev/null 2>/dev/null)\"\n")
    });
    asks.collect()
}

async fn said(executor: &mut Executor, request: SubmitRequest) -> (Vec<String>, Run) {
    let run = executor.submit(request).await.unwrap();
    let (records, run) = executor.follow(&run, 0).await;
    let text = String::from_utf8(output(&records, "stdout")).unwrap();
    assert_eq!(run.exit_code, Some(0), "{run:?} {text}");
    let lines = text.lines().map(|line| line.trim().to_owned());
    (lines.collect(), run)
}

fn links() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("davit")).collect()
}

async fn wait_no_links() {
    let begin = Instant::now();
    while !links().is_empty() {
        assert!(begin.elapsed() < WAIT, "links are left: {:?}", links());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn a_job_reaches_what_is_public_and_nothing_else() {
    let _world = World::make();
    let host = std::net::TcpListener::bind(("::", TELLS)).unwrap();
    let mut executor = Executor::start_cold().await;
    let gateway = ["100.96.0.1", "fd64:6176:6974::1"];
    let denied = [HOST_V4, HOST_V6, METADATA[0], METADATA[1]];
    let all = [PUBLIC_V4, PUBLIC_V6].into_iter().chain(denied);
    let all = all.chain(PRIVATE).chain(gateway);
    let (lines, run) = said(&mut executor, bridged(&asking(all, TELLS))).await;
    // To the world it is the host.
    assert_eq!(lines[0], format!("{PUBLIC_V4} {HOST_V4}"));
    assert_eq!(lines[1], format!("{PUBLIC_V6} {HOST_V6}"));
    let denied = denied.into_iter().chain(PRIVATE).chain(gateway);
    assert_eq!(lines[2..], denied.collect::<Vec<_>>());
    host.set_nonblocking(true).unwrap();
    let came = host.accept();
    assert!(came.is_err(), "the host was reached: {came:?}");
    assert_eq!(run.network, "bridge");
    wait_no_links().await;
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn two_runs_do_not_reach_each_other() {
    let _world = World::make();
    let mut executor = Executor::start().await;
    // It reaches itself, so somebody listens.
    let listening = "nc -ll -p 80 -e echo neighbour & until nc -w 2 127.0.0.1 80 \
                     </dev/null; do sleep 0.1; done; sleep 60";
    let neighbour = executor.submit(bridged(listening)).await.unwrap();
    executor.wait_logged(&neighbour, 1).await;
    let link = executor.get(&neighbour).await.link.unwrap();
    let addresses = [link.ipv4.as_str(), link.ipv6.as_deref().unwrap()];
    let (lines, other) = said(&mut executor, bridged(&asking(addresses, TELLS))).await;
    assert_eq!(lines, addresses);
    assert_ne!(executor.get(&other).await.link.unwrap().ipv4, link.ipv4);
    executor.stop(&neighbour, 0).await;
}

/// Sends a datagram as somebody else between two as itself.
const SPOOF: &str = r"
import socket, struct, sys, time
to, port = sys.argv[1], int(sys.argv[2])
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
own.sendto(b'first', (to, port))
data = struct.pack('!HHHH', 9, port, 8 + 7, 0) + b'spoofed'
for source in ('198.51.100.99', '100.96.0.77', '100.96.0.1'):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(data), 1, 0, 64, 17, 0,
                       socket.inet_aton(source), socket.inet_aton(to))
    raw.sendto(head + data, (to, 0))
time.sleep(0.3)
own.sendto(b'last', (to, port))
";

#[tokio::test]
#[ignore = "needs a real host"]
async fn nobody_sends_under_anothers_address() {
    let _world = World::make();
    let heard = world::hears_datagrams();
    let mut executor = Executor::start_with_capabilities("CAP_NET_RAW").await;
    let request = SubmitRequest {
        image: "127.0.0.1:5000/davit/python:1".into(),
        command: None,
        argv: [
            "python3",
            "-c",
            SPOOF,
            PUBLIC_V4,
            &world::DATAGRAMS.to_string(),
        ]
        .map(str::to_owned)
        .into(),
        capabilities: vec!["CAP_NET_RAW".into()],
        ..bridged("")
    };
    said(&mut executor, request).await;
    let mut all = Vec::new();
    while all.last() != Some(&(HOST_V4.to_owned(), "last".to_owned())) {
        all.push(heard.recv_timeout(WAIT).expect("the last datagram"));
    }
    assert_eq!(
        all,
        ["first", "last"].map(|text| (HOST_V4.to_owned(), text.to_owned()))
    );
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn a_job_with_rules_reaches_what_they_name_and_nothing_else() {
    let _world = World::make();
    let network = NetworkSettings {
        private_allowed: vec!["10.9.0.0/16".into()],
        ..NetworkSettings::default()
    };
    let mut executor = Executor::start_with_network(&network).await;
    let request = |egress: &[&str], command: String| SubmitRequest {
        egress: egress.iter().map(|rule| (*rule).to_owned()).collect(),
        ..bridged(&command)
    };
    let all = [PUBLIC_V4, PRIVATE[0], PUBLIC_V6];
    let command = asking(all, TELLS) + &asking([PRIVATE[0]], SENDS).replace("nc -w", "nc -z -w");
    let rules = ["10.9.9.9,tcp,80", "2001:db8:2::/48,tcp,80-81"];
    let (lines, _) = said(&mut executor, request(&rules, command)).await;
    assert_eq!(
        lines,
        [
            PUBLIC_V4,
            &format!("{} {HOST_V4}", PRIVATE[0]),
            &format!("{PUBLIC_V6} {HOST_V6}"),
            PRIVATE[0],
        ]
    );
    // Everything is everything public: who wants private addresses names them.
    let (lines, _) = said(
        &mut executor,
        request(&["0.0.0.0/0,tcp"], asking(all, TELLS)),
    )
    .await;
    assert_eq!(
        lines,
        [&format!("{PUBLIC_V4} {HOST_V4}"), PRIVATE[0], PUBLIC_V6]
    );
    let metadata = [METADATA[0], METADATA[1]];
    let rules = ["0.0.0.0/0", "::/0", "169.254.169.254/32"];
    let (lines, _) = said(&mut executor, request(&rules, asking(metadata, TELLS))).await;
    assert_eq!(lines, metadata, "no rule reaches what nobody may");
    let refused = refusal(
        executor
            .submit(request(&["192.168.0.0/16"], "true".into()))
            .await,
    );
    assert_eq!(refused.0, Code::InvalidArgument);
    assert!(
        refused.1.contains("egress[0]") && refused.1.contains("private_allowed"),
        "{refused:?}"
    );
}

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
    assert!(!links().is_empty());
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
    wait_no_links().await;
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn names_are_asked_of_the_name_servers_alone() {
    let _world = World::make();
    let network = NetworkSettings {
        name_servers: vec![PRIVATE[0].into(), PRIVATE[2].into()],
        ..NetworkSettings::default()
    };
    let mut executor = Executor::start_with_network(&network).await;
    let servers = [PRIVATE[0], PRIVATE[2], PRIVATE[1]];
    let command = "cat /etc/resolv.conf\n".to_owned()
        + &asking(servers, NAMES)
        + &asking([PRIVATE[0]], TELLS);
    let (lines, _) = said(&mut executor, bridged(&command)).await;
    assert_eq!(
        lines,
        [
            format!("nameserver {}", PRIVATE[0]),
            format!("nameserver {}", PRIVATE[2]),
            format!("{} {HOST_V4}", PRIVATE[0]),
            format!("{} {HOST_V6}", PRIVATE[2]),
            PRIVATE[1].to_owned(),
            PRIVATE[0].to_owned(),
        ]
    );
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
    wait_no_links().await;
    assert!(world.asks(&ports[0]).is_err());
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn what_cannot_be_had_is_refused_with_the_field_and_the_reason() {
    let network = NetworkSettings {
        bridge: false,
        ..NetworkSettings::default()
    };
    let mut executor = Executor::start_with_network(&network).await;
    let refused = refusal(executor.submit(bridged("true")).await);
    assert_eq!(refused.0, Code::InvalidArgument);
    assert!(
        refused
            .1
            .contains("network = `bridge`: cannot be had: network.bridge is off"),
        "{refused:?}"
    );
    let rules = SubmitRequest {
        egress: vec!["192.0.2.0/24".into()],
        network: "none".into(),
        ..bridged("true")
    };
    let refused = refusal(executor.submit(rules).await);
    assert!(
        refused
            .1
            .contains("is for network bridge, and this is none"),
        "{refused:?}"
    );
    drop(executor);
    let mut executor = Executor::start_with_capabilities("CAP_NET_ADMIN").await;
    let admin = SubmitRequest {
        capabilities: vec!["CAP_NET_ADMIN".into()],
        ..bridged("true")
    };
    let refused = refusal(executor.submit(admin).await);
    assert!(refused.1.contains("excludes network bridge"), "{refused:?}");
    assert!(!Path::new("/sys/class/net/davit2").exists());
}
