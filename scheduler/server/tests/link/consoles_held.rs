//! Consoles whose one side does not take what the other sends: that side is held up, nothing grows, nothing is lost, and
//! nobody else notices.

use std::time::Duration;

use davit_rpc::console::console_input::Input;
use davit_rpc::console::console_output::Output;
use davit_rpc::link::Heartbeat;
use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::scheduler_message::Message as Heard;
use futures::{SinkExt, StreamExt};
use tokio::time::timeout;

use crate::console::{Stage, message, noise, soon};
use crate::world::Tweak;

/// What is tried to be sent: more than sockets and windows hold.
const TRIED_BYTES: usize = 64 << 20;
/// What may be on its way: both sockets' buffers, most of all.
const HELD_BYTES_MAX: usize = 24 << 20;
const PIECE_BYTES: usize = 64 << 10;
/// Without progress for so long, somebody is held up.
const STILL_MS: u64 = 1_500;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_up_its_host() {
    let mut stage = Stage::set(Tweak::default()).await;
    let (mut client, mut call, _) = stage.open("attach", false).await;
    let all = noise(3, TRIED_BYTES);
    let mut pieces = all.chunks(PIECE_BYTES);
    let mut sent = 0;
    let mut held = None;
    for piece in pieces.by_ref() {
        let say = call.say(Output::Stdout(piece.to_vec()));
        match timeout(Duration::from_millis(STILL_MS), say).await {
            Ok(taken) => assert!(taken),
            Err(_) => {
                held = Some(piece);
                break;
            }
        }
        sent += piece.len();
    }
    let held = held.expect("all of it was taken");
    assert!(sent < HELD_BYTES_MAX, "{sent} bytes are on their way");
    let last = [held].into_iter().chain(pieces).map(<[u8]>::to_vec);
    let last: Vec<Vec<u8>> = last.collect();
    let host = tokio::spawn(async move {
        for piece in last {
            assert!(call.say(Output::Stdout(piece)).await);
        }
        call.end(0).await;
        // Whoever hangs up at once takes back what was not sent yet.
        assert_eq!(call.next().await, None);
    });
    let (out, _, status) = client.rest().await;
    assert!(out == all, "{} bytes of {} came", out.len(), all.len());
    assert_eq!(status["status"], "Success");
    host.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_read_holds_up_its_client() {
    let beats = Tweak {
        rest_heartbeat_ms: 50,
        ..Tweak::default()
    };
    let mut stage = Stage::set(beats).await;
    let all = noise(4, TRIED_BYTES);
    let (client, mut call, _) = stage.open("exec?command=cat&stdin=true", false).await;
    let (mut sink, mut stream) = client.socket.split();
    let listening = tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} });
    let mut pieces = all.chunks(PIECE_BYTES);
    let mut sent = 0;
    let mut held = None;
    for piece in pieces.by_ref() {
        let said = sink.send(message(0, piece));
        match timeout(Duration::from_millis(STILL_MS), said).await {
            Ok(taken) => taken.unwrap(),
            Err(_) => {
                held = Some(piece);
                break;
            }
        }
        sent += piece.len();
    }
    held.expect("all of it was taken");
    assert!(sent < HELD_BYTES_MAX, "{sent} bytes are on their way");
    // What is held up was queued by the client before it gave up waiting. So long without a heard pong, the console stands.
    let writing = tokio::spawn({
        let last: Vec<Vec<u8>> = pieces.map(<[u8]>::to_vec).collect();
        async move {
            for piece in last {
                sink.send(message(0, &piece)).await.unwrap();
            }
            sink.send(message(255, &[0])).await.unwrap();
            sink
        }
    });
    let mut got = Vec::new();
    loop {
        match call.next().await.unwrap() {
            Input::Stdin(bytes) => got.extend(bytes),
            Input::StdinEnd(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(got == all, "{} bytes of {} came", got.len(), all.len());
    call.end(0).await;
    soon("the client's end", listening).await.unwrap();
    drop(writing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn consoles_that_are_held_up_do_not_hold_up_their_hosts_session() {
    let mut stage = Stage::set(Tweak::default()).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let (client, call, _) = stage.open("attach", false).await;
        let to = call.to.clone();
        let flood = tokio::spawn(async move {
            let call = crate::console::Call {
                to,
                from: call.from,
            };
            while call.say(Output::Stdout(vec![7; PIECE_BYTES])).await {}
        });
        open.push((client, flood));
    }
    // Until each of them is held up.
    tokio::time::sleep(Duration::from_millis(3_000)).await;
    let beat = Heartbeat {
        number: 17,
        ..Heartbeat::default()
    };
    assert!(stage.line.say(Said::Heartbeat(beat)).await);
    let answered = |message| match message {
        Heard::HeartbeatAck(ack) if ack.number == 17 => Some(()),
        _ => None,
    };
    stage
        .line
        .until("the answer to a heartbeat", answered)
        .await;
    assert_eq!(stage.replica.consoles.count(), 8);
    drop(open);
}
