//! Both ends of a console: a client that speaks WebSocket as Kubernetes' do, and a host that dials for it.

use std::net::SocketAddr;
use std::time::Duration;

use davit_rpc::console::console_input::Input;
use davit_rpc::console::console_output::Output;
use davit_rpc::console::{ConsoleOutput, Ended, Open, Opened};
use davit_rpc::link::console_from_host::Message as Said;
use davit_rpc::link::scheduler_message::Message as Heard;
use davit_rpc::link::*;
use davit_scheduler::service::access::Scope;
use davit_scheduler::service::tokens::{self, NewToken};
use davit_types::RunId;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

use crate::host::{Host, Line};
use crate::world::{Replica, Tweak, WAIT_MS_MAX, World, plan};

pub(crate) const V5: &str = "v5.channel.k8s.io";
pub(crate) const V4: &str = "v4.channel.k8s.io";

/// Something that must come.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = timeout(Duration::from_millis(WAIT_MS_MAX), work).await;
    done.unwrap_or_else(|_| panic!("{what} did not come in time"))
}

/// A run that executes on a host of a replica.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) replica: Replica,
    pub(crate) line: Line,
    pub(crate) key: AttemptKey,
    pub(crate) run: RunId,
    pub(crate) token: String,
}

impl Stage {
    pub(crate) async fn set(tweak: Tweak) -> Self {
        let world = World::sqlite().await;
        let replica = world.replica(tweak).await;
        let host = Host::join(&world, &replica, "host-1", 8).await;
        let mut line = host.connect(&replica, vec![]).await;
        let run = world.submit(&plan()).await;
        let key = line.start().await;
        let (token, _) = token(&replica, "acme", &[Scope::RunsExec]).await;
        Self {
            world,
            replica,
            line,
            key,
            run,
            token,
        }
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v1/runs/{}/{rest}", self.run)
    }

    pub(crate) fn dial(&self, rest: &str) -> impl Future<Output = Result<Client, Refused>> + use<> {
        let (rest, token, path) = (self.replica.rest, self.token.clone(), self.path(rest));
        async move { dial(rest, &token, &path, V5).await }
    }

    /// A console, both ends of it, and what was asked for.
    pub(crate) async fn open(&mut self, rest: &str, tty: bool) -> (Client, Call, Open) {
        let dialled = self.dial(rest);
        self.both(dialled, tty).await
    }

    /// Both ends of what is dialled.
    pub(crate) async fn both(
        &mut self,
        dialled: impl Future<Output = Result<Client, Refused>> + Send + 'static,
        tty: bool,
    ) -> (Client, Call, Open) {
        let dialled = tokio::spawn(dialled);
        let order = self.line.ordered().await;
        assert_eq!(order.key.as_ref(), Some(&self.key));
        let mut call = self.line.call(&order.console_id).await.unwrap();
        let open = call.asked().await;
        call.say(Output::Opened(Opened { tty })).await;
        let client = soon("the console", dialled).await.unwrap().unwrap();
        (client, call, open)
    }
}

/// An API token, and its id.
pub(crate) async fn token(replica: &Replica, tenant: &str, scopes: &[Scope]) -> (String, Uuid) {
    let new = NewToken {
        name: "test".to_owned(),
        scopes: scopes.iter().copied().collect(),
        expires_in_seconds: None,
    };
    let tenant = tenant.parse().unwrap();
    let minted = tokens::bootstrap(&replica.service, "operator", &tenant, new);
    let minted = minted.await.unwrap();
    (minted.text, minted.token.id)
}

/// A console that was not opened.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    /// The kind of the problem.
    pub(crate) kind: String,
    pub(crate) detail: String,
    pub(crate) retry_after: Option<String>,
}

pub(crate) async fn dial(
    address: SocketAddr,
    token: &str,
    path: &str,
    protocols: &str,
) -> Result<Client, Refused> {
    dial_with(address, token, path, protocols, &[]).await
}

/// The same with values of variables beside the address, a header each.
pub(crate) async fn dial_with(
    address: SocketAddr,
    token: &str,
    path: &str,
    protocols: &str,
    env: &[&str],
) -> Result<Client, Refused> {
    let mut request = format!("ws://{address}{path}")
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers.insert("sec-websocket-protocol", protocols.parse().unwrap());
    for values in env {
        headers.append("davit-env", values.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    match client_async(request, stream).await {
        Ok((socket, response)) => Ok(Client {
            protocol: response.headers()["sec-websocket-protocol"]
                .to_str()
                .unwrap()
                .to_owned(),
            socket,
        }),
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            let problem: Value = serde_json::from_slice(&body).unwrap();
            let text = |field: &str| problem[field].as_str().unwrap().to_owned();
            let retry_after = response.headers().get("retry-after");
            Err(Refused {
                status: response.status().as_u16(),
                kind: text("type").replace("urn:davit:problem:", ""),
                detail: text("detail"),
                retry_after: retry_after.map(|its| its.to_str().unwrap().to_owned()),
            })
        }
        Err(other) => panic!("{other}"),
    }
}

/// A client's end.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) protocol: String,
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub(crate) async fn say(&mut self, channel: u8, bytes: &[u8]) {
        self.socket.send(message(channel, bytes)).await.unwrap();
    }

    /// The next message: its channel, and what it carries; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            match soon("a message of the console", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => return Some((bytes[0], bytes[1..].to_vec())),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return None,
                Some(other) => panic!("{other:?}"),
            }
        }
    }

    /// All that comes up to the end: output, errors, status.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, Vec<u8>, Value) {
        let (mut out, mut err, mut status) = (Vec::new(), Vec::new(), Value::Null);
        while let Some((channel, bytes)) = self.next().await {
            assert!(status.is_null(), "channel {channel} after the status");
            match channel {
                1 => out.extend(bytes),
                2 => err.extend(bytes),
                3 => status = serde_json::from_slice(&bytes).unwrap(),
                other => panic!("channel {other}"),
            }
        }
        (out, err, status)
    }
}

pub(crate) fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut message = vec![channel];
    message.extend_from_slice(bytes);
    Message::Binary(message.into())
}

/// A host's end.
pub(crate) struct Call {
    pub(crate) to: mpsc::Sender<ConsoleFromHost>,
    pub(crate) from: Streaming<ConsoleToHost>,
}

impl Line {
    pub(crate) async fn ordered(&mut self) -> OpenConsole {
        let pick = |message| match message {
            Heard::OpenConsole(order) => Some(order),
            _ => None,
        };
        self.until("an order to open a console", pick).await
    }

    /// Dials for a console, on the session's connection.
    pub(crate) async fn call(&self, id: &str) -> Result<Call, Status> {
        let (to, queue) = mpsc::channel(1);
        let first = ConsoleFromHost {
            message: Some(Said::ConsoleId(id.to_owned())),
        };
        to.send(first).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(queue));
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let from = self.client.clone().console(request).await?.into_inner();
        Ok(Call { to, from })
    }
}

impl Call {
    /// The first message.
    pub(crate) async fn asked(&mut self) -> Open {
        match self.next().await {
            Some(Input::Open(open)) => open,
            other => panic!("{other:?}"),
        }
    }

    /// What comes next; `None`: the console is over.
    pub(crate) async fn next(&mut self) -> Option<Input> {
        let next = soon("a message to the host", self.from.message()).await;
        next.ok()??.input?.input
    }

    pub(crate) async fn say(&self, output: Output) -> bool {
        let output = ConsoleOutput {
            output: Some(output),
        };
        let message = Some(Said::Output(output));
        self.to.send(ConsoleFromHost { message }).await.is_ok()
    }

    pub(crate) async fn refuse(&self, code: tonic::Code, why: &str) {
        let refused = ConsoleRefused {
            code: code as u32,
            message: why.to_owned(),
        };
        let message = Some(Said::Refused(refused));
        self.to.send(ConsoleFromHost { message }).await.unwrap();
    }

    pub(crate) async fn end(&self, exit_code: u32) {
        let ended = Ended {
            exit_code: Some(exit_code),
            reason: "exited".to_owned(),
            ..Ended::default()
        };
        assert!(self.say(Output::Ended(ended)).await);
    }
}

/// Bytes that tell where they belong.
pub(crate) fn noise(mut state: u64, bytes: usize) -> Vec<u8> {
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}
