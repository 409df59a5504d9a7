//! `run`, `attach` and `logs` through a scheduler: as on a host, with the scheduler in between.
//! What signals do is in [`Signals`].

use serde::Deserialize;

use super::client::Call;
use super::files;
use super::follow::{Following, follow, print_all};
use super::one_off::{OneOff, Size, refuse_host_only, secrets};
use super::words::RUNS;
use super::{ServerError, Session, console};
use crate::args::{AttachArgs, LogsArgs, RunArgs};
use crate::beside::Attended;
use crate::commands::files::{Fetched, Source};
use crate::commands::{Ending, Signals, tell_unusual_end};
use crate::error::CliError;
use crate::exit;
use crate::output::log::LogFormat;
use crate::output::print_json_line;
use crate::output::tree::Tree;
use davit_types::{ExtractPath, FieldError};

/// What is decided by.
#[derive(Debug, Deserialize)]
pub(super) struct RunView {
    pub(super) status: String,
    #[serde(default)]
    pub(super) attempt: u32,
    pub(super) exit_code: Option<u32>,
    pub(super) end_reason: Option<String>,
    pub(super) end_message: Option<String>,
    pub(super) paused_at: Option<String>,
    #[serde(default)]
    pub(super) stdin: bool,
    #[serde(default)]
    pub(super) tty: bool,
}

impl RunView {
    pub(super) fn of(run: &Tree) -> Result<Self, CliError> {
        run.read().map_err(|source| {
            let asked = "a run".to_owned();
            ServerError::Answer { asked, source }.into()
        })
    }

    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.status.as_str(), "pending" | "running")
    }

    pub(super) fn exit(&self) -> u8 {
        exit::of_end(self.end_reason.as_deref(), self.exit_code)
    }
}

/// `davit run`.
pub(super) async fn run(args: &RunArgs, session: &Session) -> Result<u8, CliError> {
    if !args.detach {
        args.terminal.check(args.interactive, session.format)?;
    }
    let request = args.request()?;
    refuse_host_only(&request)?;
    let secrets = secrets(args.secrets.read(args.readers_of_stdin())?)?;
    // What cannot be sent makes no run.
    let source = args.dir.as_deref().map(Source::open).transpose()?;
    let extracts = request.extracts.clone();
    let region = args.placing.region.clone();
    let size = session.size(region, request.instance_type.clone()).await?;
    let upload = match source {
        Some(source) => Some(files::upload(source, session).await?),
        None => None,
    };
    let body = OneOff::new(request, secrets, &args.placing, size).with_files(upload);
    let call = Call::make(&["runs"]).body(&body)?;
    let beside = |run: &str| Attended::of_run(run, args.interactive, &args.terminal);
    submitted(&call, args.detach, &extracts, beside, session).await
}

/// Submits, and follows the run unless it is to be left alone; then brings `extracts`, which are the run's own.
pub(super) async fn submitted(
    call: &Call,
    detach: bool,
    extracts: &[ExtractPath],
    beside: impl FnOnce(&str) -> Option<Attended>,
    session: &Session,
) -> Result<u8, CliError> {
    // Before the run exists: a signal from now on is the run's.
    let signals = if detach {
        None
    } else {
        Some(Signals::catch()?)
    };
    let run = session.client.send(call).await?.tree("run")?;
    let Some(signals) = signals else {
        session.print_done(&run, "id")?;
        return Ok(0);
    };
    let id = run.text("id").ok_or(CliError::Protocol("the run's id"))?;
    followed_to_the_end(id, signals, extracts, beside(id), session).await
}

impl Session {
    /// Where a run goes and in which size: as given, as the profile has it, or the only region there is.
    pub(super) async fn size(
        &self,
        region: Option<String>,
        instance_type: Option<String>,
    ) -> Result<Size, CliError> {
        let instance_type = instance_type.or_else(|| self.instance_type.clone());
        let instance_type = instance_type.ok_or_else(|| {
            let problem =
                "is wanted by a scheduler: `davit instance-type list` shows what is offered";
            CliError::field(FieldError::new("--instance-type", "", problem))
        })?;
        let region = match region.or_else(|| self.region.clone()) {
            Some(region) => region,
            None => self.only_region().await?,
        };
        Ok(Size {
            region,
            instance_type,
        })
    }

    async fn only_region(&self) -> Result<String, CliError> {
        let answer = self.client.send(&Call::get(&["regions"])).await?;
        let regions = answer.tree("regions")?.into_items();
        let slugs: Vec<&str> = regions.iter().filter_map(|r| r.text("slug")).collect();
        match slugs.as_slice() {
            [only] => Ok((*only).to_owned()),
            several => {
                let problem = format!("is wanted, one of: {}", several.join(", "));
                Err(CliError::field(FieldError::new("--region", "", problem)))
            }
        }
    }
}

/// `davit attach`.
pub(super) async fn attach(args: &AttachArgs, session: &Session) -> Result<u8, CliError> {
    let signals = Signals::catch()?;
    let id = RUNS.id(&session.client, &args.run).await?;
    // What cannot be followed at all is told now, not waited for.
    let shown = session.client.send(&Call::get(&["runs", &id])).await?;
    let beside = match args.interactive {
        true => console::of_attach(&id, args, &shown.tree("run")?, session)?,
        false => None,
    };
    followed_to_the_end(&id, signals, &[], beside, session).await
}

/// `davit logs`.
pub(super) async fn logs(args: &LogsArgs, session: &Session) -> Result<(), CliError> {
    let following = Following {
        run: RUNS.id(&session.client, &args.run).await?,
        after_id: args.after,
        stream: args.stream.clone(),
        format: LogFormat {
            timestamps: args.timestamps,
            json: session.is_json(),
        },
    };
    let shown = Call::get(&["runs", &following.run]);
    let shown = session.client.send(&shown).await?.tree("run")?;
    let run = RunView::of(&shown)?;
    if args.follow {
        follow(&session.client, following).await?;
        return Ok(());
    }
    print_all(&session.client, &following, run.attempt).await
}

async fn followed_to_the_end(
    run: &str,
    signals: Signals,
    extracts: &[ExtractPath],
    beside: Option<Attended>,
    session: &Session,
) -> Result<u8, CliError> {
    let following = Following {
        run: run.to_owned(),
        after_id: 0,
        stream: None,
        format: LogFormat {
            timestamps: false,
            json: session.is_json(),
        },
    };
    let ended = console::followed(following, beside, session);
    let ask = |ending| end_early(run, &ending, session);
    let ended = signals.until(ended, run, ask).await?;
    let view = RunView::of(&ended)?;
    // Before the last line of --output json: who reads it finds the files in their places.
    let fetched = files::fetch(run, &ended, extracts, session).await?;
    if session.is_json() {
        print_json_line(&serde_json::json!({"event": "end", "run": ended}))?;
    }
    tell_unusual_end(view.end_reason.as_deref(), view.end_message.as_deref());
    match view.exit() {
        0 if fetched != Fetched::Whole => Ok(exit::DAVIT_FAILED),
        code => Ok(code),
    }
}

/// Asks in the background: the log goes on meanwhile, and tells of the end.
fn end_early(run: &str, ending: &Ending, session: &Session) -> Result<(), CliError> {
    let call = match ending {
        Ending::Cancel => Call::order(&["runs", run, "cancel"]),
        Ending::Stop(signal) => {
            Call::order(&["runs", run, "stop"]).body(&serde_json::json!({"signal": signal}))?
        }
    };
    let client = session.client.clone();
    tokio::spawn(async move {
        if let Err(error) = client.send(&call).await {
            error.print();
        }
    });
    Ok(())
}
