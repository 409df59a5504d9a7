//! Bridges: whom a job reaches and whom it does not, who reaches it, what is metered, and what is left.

mod links;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use davit_executor::settings::NetworkSettings;
use davit_rpc::local::{Run, SubmitRequest};
use sha2::{Digest as _, Sha256};
use tonic::Code;

use self::world::{
    HOST_V4, HOST_V6, METADATA, NAMES, PRIVATE, PUBLIC_V4, PUBLIC_V6, SENDS, TELLS, World,
};
use super::support::{BUSYBOX, Executor, WAIT, output, refusal};

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

/// Those of `executor`: others of the host have theirs, a killed one's warm slots too.
fn links(executor: &Executor) -> Vec<String> {
    let state_dir = executor.settings().state_dir;
    let digest = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
    let own = format!("davit{:02x}{:02x}", digest[0], digest[1]);
    let entries = std::fs::read_dir("/sys/class/net").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&own)).collect()
}

async fn wait_no_links(executor: &Executor) {
    let begin = Instant::now();
    loop {
        let left = links(executor);
        if left.is_empty() {
            return;
        }
        assert!(begin.elapsed() < WAIT, "links are left: {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "needs a real host"]
async fn a_job_reaches_what_is_public_and_nothing_else() {
    let _world = World::make();
    let host = std::net::TcpListener::bind(("::", TELLS)).unwrap();
    let mut executor = Executor::start_cold().await;
    let network = executor.settings().network;
    let gateway_v4 = network.ipv4_subnet.replace(".0/24", ".1");
    let gateway_v6 = network.ipv6_subnet.replace("/64", "1");
    let gateway = [gateway_v4.as_str(), gateway_v6.as_str()];
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
    wait_no_links(&executor).await;
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
