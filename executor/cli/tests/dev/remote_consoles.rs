//! Processes beside a job, through the scheduler's API: a WebSocket client at one end, a real container at the other.

use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

use crate::place::{Dev, one_off};
use crate::rest::{WAIT, run_id, texts};

/// Channels of the protocol.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;

/// A console of `run`, or the refusal's status.
fn dial(dev: &Dev, run: &str, rest: &str) -> Result<WebSocket<TcpStream>, u16> {
    let address = dev.client.address;
    let url = format!("ws://{address}/v1/runs/{run}/{rest}");
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    let bearer = format!("Bearer {}", dev.client.token).parse().unwrap();
    headers.insert("authorization", bearer);
    let protocol = "v5.channel.k8s.io".parse().unwrap();
    headers.insert("sec-websocket-protocol", protocol);
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    match client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(refused) => match refused.unwrap_failure() {
            Error::Http(response) => Err(response.status().as_u16()),
            other => panic!("{other}"),
        },
    }
}

trait Failure {
    fn unwrap_failure(self) -> Error;
}

impl<R: tokio_tungstenite::tungstenite::handshake::HandshakeRole> Failure
    for tokio_tungstenite::tungstenite::HandshakeError<R>
{
    fn unwrap_failure(self) -> Error {
        match self {
            Self::Failure(error) => error,
            Self::Interrupted(_) => panic!("the handshake did not come to an end"),
        }
    }
}

fn say(socket: &mut WebSocket<TcpStream>, channel: u8, bytes: &[u8]) {
    let message = [&[channel], bytes].concat();
    socket.send(Message::Binary(message.into())).unwrap();
}

/// Output, errors and status, up to the end.
fn rest(socket: &mut WebSocket<TcpStream>) -> (Vec<u8>, Vec<u8>, Value) {
    let (mut out, mut err, mut status) = (Vec::new(), Vec::new(), Value::Null);
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => match bytes[0] {
                STDOUT => out.extend(&bytes[1..]),
                STDERR => err.extend(&bytes[1..]),
                STATUS => status = serde_json::from_slice(&bytes[1..]).unwrap(),
                other => panic!("channel {other}"),
            },
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => return (out, err, status),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_process_beside_a_scheduled_job_has_its_own_bytes_and_code() {
    let dev = Dev::start();
    let run = dev.sh("echo up; exec sleep 600");
    dev.client.logged(&run, 1);
    let asked = "exec?command=sh&command=-c&command=cat;echo+err+%3E%262;exit+7&stdin=true&stdout=true&stderr=true";
    let mut socket = dial(&dev, &run, asked).unwrap();
    let mut typed = vec![b'x'; 1 << 20];
    typed.extend(b"\0\xff no newline");
    for piece in typed.chunks(16 << 10) {
        say(&mut socket, STDIN, piece);
    }
    say(&mut socket, CLOSE, &[STDIN]);
    let (out, err, status) = rest(&mut socket);
    assert_eq!(out.len(), typed.len());
    assert!(out == typed, "other bytes came back");
    assert_eq!(err, b"err\n");
    assert_eq!(status["reason"], "NonZeroExitCode", "{status:#}");
    assert_eq!(status["details"]["causes"][0]["message"], "7");

    // With a terminal it has the window that is asked for, and none without.
    let asked =
        "exec?command=sh&command=-c&command=stty+size%3B+test+-t+0&stdin=true&stdout=true&tty=true";
    let mut socket = dial(&dev, &run, asked).unwrap();
    let (_, _, status) = rest(&mut socket);
    assert_eq!(status["status"], "Success", "{status:#}");

    assert_eq!(
        dial(&dev, "01a00000-0000-7000-8000-000000000000", asked).unwrap_err(),
        404
    );
    dev.client
        .post(&format!("/v1/runs/{run}/cancel"), &Value::Null);
    dev.client.ended(&run);
    assert_eq!(dial(&dev, &run, asked).unwrap_err(), 409);
    dev.finish();
}

#[test]
#[ignore = "needs a real host: scripts/test runs it"]
fn a_scheduled_job_is_typed_at_by_who_attaches() {
    let dev = Dev::start();
    let mut asked = one_off("echo up; cat; exit 5");
    asked["stdin"] = json!(true);
    let run = run_id(&dev.client.post("/v1/runs", &asked).expect(201));
    dev.client.logged(&run, 1);
    let mut socket = dial(&dev, &run, "attach?stdin=true&stdout=true").unwrap();
    say(&mut socket, STDIN, b"typed\n");
    // What the job has taken is the job's. Who goes away ends nothing; who comes goes on.
    dev.client.logged(&run, 2);
    drop(socket);
    let mut socket = dial(&dev, &run, "attach?stdin=true&stdout=true").unwrap();
    say(&mut socket, STDIN, b"by another\n");
    say(&mut socket, CLOSE, &[STDIN]);
    let (out, _, status) = rest(&mut socket);
    assert_eq!(out, b"by another\n");
    assert_eq!(status["details"]["causes"][0]["message"], "5", "{status:#}");
    let ended = dev.client.ended(&run);
    assert_eq!(
        (&ended["exit_code"], &ended["stdin"]),
        (&json!(5), &json!(true))
    );
    let lines = dev.client.log(&run, 100);
    assert_eq!(texts(&lines), ["up", "typed", "by another"]);

    // One that was submitted without has none to give.
    let run = dev.sh("echo up; exec sleep 600");
    dev.client.logged(&run, 1);
    assert_eq!(
        dial(&dev, &run, "attach?stdin=true&stdout=true").unwrap_err(),
        409
    );
    dev.client
        .post(&format!("/v1/runs/{run}/cancel"), &Value::Null);
    dev.client.ended(&run);
    dev.finish();
}
