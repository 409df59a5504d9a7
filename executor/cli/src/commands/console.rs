//! `exec`, `run -i`, `run -t` and `attach -i` on this host: consoles over the socket. What is done with them is in
//! [`crate::beside`].

use davit_rpc::console::{
    Attach, ConsoleInput, ConsoleOutput, Exec, Open, console_input::Input, console_output::Output,
    open::With,
};
use davit_rpc::local::{Run, RunRef};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::follow::{Following, follow, is_gone};
use super::{Context, Signals};
use crate::args::{AttachArgs, ExecArgs};
use crate::beside::{
    self, Attended, Dial, Line, MESSAGES_WAITING_MAX, Place, Refusal, Shown, attended,
};
use crate::client::Client;
use crate::error::CliError;
use crate::terminal;

/// Between two looks at a run that cannot be attached to yet.
const LOOK_MS: u64 = 100;

/// `davit exec`.
pub(super) async fn exec(args: &ExecArgs, context: &Context) -> Result<u8, CliError> {
    let signals = Signals::catch()?;
    let exec: Exec = args.process()?;
    let mut dial = Socket::new(context);
    beside::exec(&mut dial, &args.run, exec, signals).await
}

/// How `attach -i` is at its job's side: with the line open, unless the run is over.
pub(super) async fn of_attach(
    args: &AttachArgs,
    context: &Context,
) -> Result<Option<Attended>, CliError> {
    let run = &args.run;
    let mut dial = Socket::new(context);
    loop {
        let open = Open {
            run: run.to_owned(),
            with: Some(With::Attach(Attach { stdin: true })),
            window_size: terminal::size(),
        };
        let refused = match dial.dial(open).await {
            Ok(line) => {
                let place = match line.tty {
                    true => Place::Terminal,
                    false => Place::Log,
                };
                args.check(place, context.format)?;
                return Ok(Some(Attended {
                    run: run.to_owned(),
                    stdin: true,
                    place,
                    keys: args.keys().clone(),
                    first: Some(line),
                    later: true,
                }));
            }
            Err(Refusal::NotNow(error)) => error,
            Err(refused) => return Err(refused.into_error()),
        };
        let shown = RunRef {
            run: run.to_owned(),
        };
        let shown = context.client.runs().get(shown).await?.into_inner();
        match shown.status.as_str() {
            "pending" => {}
            // It executes, and is not to be typed at.
            "running" if shown.started_at_ns.is_some() => return Err(refused),
            "running" => {}
            _ => return Ok(None),
        }
        tokio::time::sleep(std::time::Duration::from_millis(LOOK_MS)).await;
    }
}

/// Follows a run to its end, at its job's side meanwhile where that is wanted.
pub(super) async fn followed(
    following: Following,
    beside: Option<Attended>,
    context: &Context,
) -> Result<Run, CliError> {
    let Some(beside) = beside else {
        return follow(&context.client, following).await;
    };
    let mut dial = Socket::new(context);
    // Shown beside the log: of the log there is the end, unless the terminal missed that.
    let is_shown = beside.place == Place::Terminal;
    let ending = Following {
        after_id: match is_shown {
            true => u64::MAX,
            false => following.after_id,
        },
        ..following.clone()
    };
    let ended = follow(&context.client, ending);
    let (run, shown) = attended(ended, &mut dial, beside).await?;
    match shown {
        Shown::Whole => Ok(run),
        // The job was over before anybody could be at its side.
        Shown::Nothing => follow(&context.client, following).await,
        Shown::Holes => {
            beside::tell_holes(&run.id);
            Ok(run)
        }
    }
}

/// The executor's socket.
pub(super) struct Socket(Client);

impl Socket {
    pub(super) fn new(context: &Context) -> Self {
        Self(context.client.clone())
    }

    fn refused(&self, status: Status) -> Refusal {
        let gone = is_gone(&status);
        match status.code() {
            _ if gone => Refusal::Away(status.into()),
            Code::FailedPrecondition => Refusal::NotNow(status.into()),
            _ => Refusal::Never(status.into()),
        }
    }

    async fn opened(&self, open: Open) -> Result<Line, Status> {
        let (input, inputs) = mpsc::channel(MESSAGES_WAITING_MAX);
        let said = |input| ConsoleInput { input: Some(input) };
        let first = tokio_stream::once(said(Input::Open(open)));
        let messages = first.chain(ReceiverStream::new(inputs).map(said));
        let mut service = self.0.consoles();
        let mut messages = service.open(messages).await?.into_inner();
        let first = messages.message().await?.and_then(|said| said.output);
        let Some(Output::Opened(opened)) = first else {
            return Err(Status::internal("the executor did not say that it is open"));
        };
        let (sender, output) = mpsc::channel(MESSAGES_WAITING_MAX);
        tokio::spawn(heard(messages, sender));
        Ok(Line {
            tty: opened.tty,
            input,
            output,
            signals: true,
        })
    }
}

impl Dial for Socket {
    async fn dial(&mut self, open: Open) -> Result<Line, Refusal> {
        let refused = match self.opened(open).await {
            Ok(line) => return Ok(line),
            Err(status) => self.refused(status),
        };
        // Another executor, if that one was replaced.
        if let Refusal::Away(_) = refused
            && let Ok(again) = Client::connect(self.0.socket()).await
        {
            self.0 = again;
        }
        Err(refused)
    }
}

/// Passes on what the executor says, until either side is gone.
async fn heard(
    mut messages: Streaming<ConsoleOutput>,
    output: mpsc::Sender<Result<Output, CliError>>,
) {
    loop {
        let said = tokio::select! {
            said = messages.message() => said,
            () = output.closed() => return,
        };
        let said = match said {
            Ok(Some(ConsoleOutput { output: Some(said) })) => Ok(said),
            // Of a later version of the messages.
            Ok(Some(ConsoleOutput { output: None })) => continue,
            Ok(None) => return,
            Err(status) => Err(status.into()),
        };
        let is_last = said.is_err();
        if output.send(said).await.is_err() || is_last {
            return;
        }
    }
}
