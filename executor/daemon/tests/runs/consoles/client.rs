//! A client of consoles, as small as the messages allow.

use davit_rpc::console::{
    Attach, ConsoleInput, ConsoleOutput, Ended, Exec, Open, StdinEnd, WindowSize,
    console_input::Input, console_output::Output, open::With,
};
use davit_rpc::local::Run;
use davit_rpc::local::consoles_client::ConsolesClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::support::{Executor, WAIT};

/// Messages under way.
const MESSAGES_MAX: usize = 4;

/// One console.
pub struct Console {
    input: mpsc::Sender<ConsoleInput>,
    output: Streaming<ConsoleOutput>,
    pub tty: bool,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub ended: Option<Ended>,
}

/// `argv` without terminal and input.
pub fn exec(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        ..Exec::default()
    }
}

pub fn sh(line: &str) -> Exec {
    exec(&["sh", "-c", line])
}

pub async fn open(executor: &Executor, run: &Run, with: With) -> Result<Console, Status> {
    open_sized(executor, run, with, None).await
}

pub async fn open_sized(
    executor: &Executor,
    run: &Run,
    with: With,
    size: Option<(u32, u32)>,
) -> Result<Console, Status> {
    let (input, messages) = mpsc::channel(MESSAGES_MAX);
    let open = Open {
        run: run.id.clone(),
        with: Some(with),
        window_size: size.map(|(rows, columns)| WindowSize { rows, columns }),
    };
    let said = |input| ConsoleInput { input: Some(input) };
    input.send(said(Input::Open(open))).await.unwrap();
    let mut client = ConsolesClient::new(executor.channel());
    let output = client.open(ReceiverStream::new(messages)).await?;
    let mut output = output.into_inner();
    let first = output.message().await?.unwrap().output.unwrap();
    let Output::Opened(opened) = first else {
        panic!("the first message is {first:?}");
    };
    Ok(Console {
        input,
        output,
        tty: opened.tty,
        stdout: Vec::new(),
        stderr: Vec::new(),
        ended: None,
    })
}

pub async fn begin(executor: &Executor, run: &Run, exec: Exec) -> Console {
    open(executor, run, With::Exec(exec)).await.unwrap()
}

pub async fn attach(executor: &Executor, run: &Run, stdin: bool) -> Console {
    let with = With::Attach(Attach { stdin });
    open(executor, run, with).await.unwrap()
}

/// Begins `exec` and waits for its end.
pub async fn done(executor: &Executor, run: &Run, exec: Exec) -> Console {
    let mut console = begin(executor, run, exec).await;
    console.until_end().await;
    console
}

impl Console {
    pub async fn send(&self, input: Input) {
        let message = ConsoleInput { input: Some(input) };
        self.input.send(message).await.unwrap();
    }

    pub async fn types(&self, text: &str) {
        self.send(Input::Stdin(text.as_bytes().to_vec())).await;
    }

    pub async fn ends_input(&self) {
        self.send(Input::StdinEnd(StdinEnd {})).await;
    }

    /// What sends, to be moved into a task.
    pub fn sender(&self) -> mpsc::Sender<ConsoleInput> {
        self.input.clone()
    }

    /// Takes one message; false at the end.
    pub async fn next(&mut self) -> bool {
        let message = tokio::time::timeout(WAIT, self.output.message()).await;
        let message = message.expect("nothing is said for long").unwrap();
        match message.map(|message| message.output.unwrap()) {
            None => return false,
            Some(Output::Stdout(bytes)) => self.stdout.extend(bytes),
            Some(Output::Stderr(bytes)) => self.stderr.extend(bytes),
            Some(Output::Ended(ended)) => self.ended = Some(ended),
            Some(Output::Opened(_)) => panic!("it is opened twice"),
        }
        true
    }

    pub async fn until_end(&mut self) -> Ended {
        while self.next().await {}
        self.ended.clone().expect("it ended without saying so")
    }

    /// Until stdout holds `text`.
    pub async fn shows(&mut self, text: &str) {
        while !self.text().contains(text) {
            assert!(
                self.next().await,
                "it ended before {text}: {:?}",
                self.text()
            );
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn code(&self) -> Option<u32> {
        self.ended.as_ref().and_then(|ended| ended.exit_code)
    }

    pub fn reason(&self) -> &str {
        self.ended.as_ref().map_or("", |ended| &ended.reason)
    }
}
