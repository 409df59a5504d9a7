//! `davit` as a client of the world's server.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use davit_scheduler::service::access::Scope;
use serde_json::Value;
use uuid::Uuid;

use crate::world::World;

/// A token and the server it is for, as the world makes them.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, token: Option<String>, _: Option<Uuid>) -> Self {
        Self { address, token }
    }

    /// The same through another address.
    pub(crate) fn through(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// `davit` with server and token in its environment, and nothing else there.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = davit(Path::new("/nowhere"));
        command
            .env("DAVIT_SERVER", format!("http://{}", self.address))
            .args(arguments);
        if let Some(token) = &self.token {
            command.env("DAVIT_TOKEN", token);
        }
        command
    }

    /// Runs it to its end, beside the world.
    pub(crate) async fn davit(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    /// What it prints, if it ends well.
    pub(crate) async fn said(&self, arguments: &[&str]) -> String {
        let output = self.davit(arguments).await;
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        text(&output.stdout)
    }

    /// The same as JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["-o", "json"]].concat();
        let said = self.said(&arguments).await;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// What it says on standard error, if it fails as davit's own failures do.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.davit(arguments).await;
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {stderr}");
        stderr
    }

    /// Starts it, and lets it run.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }
}

/// The end of a process that was started.
pub(crate) async fn finished(child: Child) -> Output {
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap()
}

/// `davit` with no environment but a directory for its files.
pub(crate) fn davit(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_davit"));
    command.env_clear().env("XDG_CONFIG_HOME", home);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl World {
    /// A client of `acme` that may do everything.
    pub(crate) async fn operator(&self) -> Client {
        self.client("acme", &Scope::ALL, None).await
    }
}
