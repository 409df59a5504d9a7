//! `run`, `attach` and `logs`: the commands that follow a run's output.
//!
//! What signals do is in [`Signals`].
//!
//! With `-o json` standard output holds one object a line and nothing else: the records of the log, of
//! both streams, and for `run` and `attach` the ended run at last.

use std::io::{self, Read};

use davit_rpc::local::{RegistryCredentials, RunRef, StopRequest};
use davit_types::FieldError;

use super::Context;
use super::console;
use super::files::{self, Ahead, Fetched, Source};
use super::follow::{Following, follow};
use super::{Ending, Signals};
use crate::args::{AttachArgs, Format, LogsArgs, RegistryArgs, RunArgs};
use crate::beside::Attended;
use crate::error::CliError;
use crate::exit;
use crate::output::log::LogFormat;
use crate::output::run::{EndJson, RunJson};
use crate::output::{note, print_json, print_json_line, print_line};

/// Longest password read from standard input, bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// `davit run`.
pub(super) async fn run(args: &RunArgs, context: &Context) -> Result<u8, CliError> {
    // Before the run exists: a signal from now on is the run's.
    let signals = if args.detach {
        None
    } else {
        args.terminal.check(args.interactive, context.format)?;
        Some(Signals::catch()?)
    };
    let secrets = args.secrets.read(args.readers_of_stdin())?;
    // What cannot be sent makes no run.
    let source = args.dir.as_deref().map(Source::open).transpose()?;
    let request = args.request()?;
    let extracts = request.extracts.clone();
    let mut request = davit_rpc::submit_request(request, credentials(&args.credentials)?);
    (request.secret_files, request.secret_env) = (secrets.files, secrets.env);
    let (accepted, upload) = match source {
        None => (
            context.client.runs().submit(request).await?.into_inner(),
            None,
        ),
        Some(source) => {
            let (accepted, upload) = files::submit(&context.client, request, source).await?;
            (accepted, Some(upload))
        }
    };
    let Some(signals) = signals else {
        if let Some(upload) = upload {
            upload.finished().await?;
        }
        match context.format {
            Format::Json => print_json(&RunJson::from(&accepted))?,
            Format::Table => print_line(&accepted.id)?,
        }
        return Ok(0);
    };
    // What is wrong on this side is told at once; what is wrong on the other the run's end tells.
    let uploading = upload.map(|upload| tokio::spawn(upload.told()));
    let beside = Attended::of_run(&accepted.id, args.interactive, &args.terminal);
    let ahead = Ahead::begin(&context.client, &accepted.id, extracts);
    let (code, fetched) =
        followed_to_the_end(&accepted.id, signals, ahead, beside, context).await?;
    if let Some(uploading) = uploading {
        uploading.abort();
    }
    if args.rm && fetched == Fetched::Failed {
        note(&format!(
            "run {id} is kept: `davit extract {id}` tries again",
            id = accepted.id
        ));
    } else if args.rm {
        context
            .client
            .runs()
            .remove(RunRef { run: accepted.id })
            .await?;
    }
    Ok(code)
}

/// `davit attach`.
pub(super) async fn attach(args: &AttachArgs, context: &Context) -> Result<u8, CliError> {
    let signals = Signals::catch()?;
    let beside = match args.interactive {
        true => console::of_attach(args, context).await?,
        false => None,
    };
    let (code, _) = followed_to_the_end(&args.run, signals, None, beside, context).await?;
    Ok(code)
}

/// `davit logs`.
pub(super) async fn logs(args: &LogsArgs, context: &Context) -> Result<(), CliError> {
    let following = Following {
        run: args.run.clone(),
        after_id: args.after,
        follow: args.follow,
        stream: args.stream.clone().unwrap_or_default(),
        show: LogFormat {
            timestamps: args.timestamps,
            json: context.format == Format::Json,
        },
        progress: false,
    };
    follow(&context.client, following).await?;
    Ok(())
}

async fn followed_to_the_end(
    run: &str,
    signals: Signals,
    ahead: Option<Ahead>,
    beside: Option<Attended>,
    context: &Context,
) -> Result<(u8, Fetched), CliError> {
    let following = Following {
        run: run.to_owned(),
        after_id: 0,
        follow: true,
        stream: String::new(),
        show: LogFormat {
            timestamps: false,
            json: context.format == Format::Json,
        },
        progress: true,
    };
    let ended = console::followed(following, beside, context);
    let ask = |ending| {
        end_early(run, ending, context);
        Ok(())
    };
    let ended = signals.until(ended, run, ask).await?;
    // Before the last line of --output json: who reads it finds the files in their places.
    let fetched = match ahead {
        Some(_) => files::fetch(&ended, None, ahead, context).await,
        None => Fetched::Whole,
    };
    if context.format == Format::Json {
        print_json_line(&EndJson::from(&ended))?;
    }
    tell_unusual_end(ended.end_reason.as_deref(), ended.message.as_deref());
    let code = match exit::of_run(&ended) {
        0 if fetched != Fetched::Whole => exit::DAVIT_FAILED,
        code => code,
    };
    Ok((code, fetched))
}

/// Asks in the background: the answer comes only when the run has ended, which the log tells first.
fn end_early(run: &str, ending: Ending, context: &Context) {
    let mut service = context.client.runs();
    let run = run.to_owned();
    tokio::spawn(async move {
        let answer = match ending {
            Ending::Cancel => service.cancel(RunRef { run }).await,
            Ending::Stop(signal) => {
                let stop = StopRequest {
                    run,
                    signal: Some(signal.to_owned()),
                    grace_ms: None,
                };
                service.stop(stop).await
            }
        };
        if let Err(status) = answer {
            CliError::from(status).print();
        }
    });
}

/// Says on standard error how a run ended, unless its program ended by itself.
pub(crate) fn tell_unusual_end(reason: Option<&str>, message: Option<&str>) {
    let reason = reason.unwrap_or("unknown");
    if reason != "exited" {
        let message = message.unwrap_or("no reason was recorded");
        note(&format!("{reason}: {message}"));
    }
}

/// Credentials for one pull, the password from standard input.
pub(super) fn credentials(args: &RegistryArgs) -> Result<Option<RegistryCredentials>, CliError> {
    let Some(username) = args.registry_user.clone() else {
        return Ok(None);
    };
    let password = password()?;
    Ok(Some(RegistryCredentials { username, password }))
}

/// A registry's password, from standard input.
pub(crate) fn password() -> Result<String, CliError> {
    let mut password = String::new();
    let reading = CliError::io("read the registry password from standard input");
    io::stdin()
        .take(PASSWORD_BYTES_MAX + 1)
        .read_to_string(&mut password)
        .map_err(reading)?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() || password.len() as u64 > PASSWORD_BYTES_MAX {
        let problem = format!("must be 1 to {PASSWORD_BYTES_MAX} bytes");
        let length = format!("{} bytes", password.len());
        return Err(CliError::field(FieldError::new(
            "registry password",
            length,
            problem,
        )));
    }
    Ok(password)
}
