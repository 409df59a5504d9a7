//! `exec`, `run -i`, `run -t` and `attach -i` through a scheduler. What is done with a console is in [`crate::beside`], how one
//! is spoken over in [`super::socket`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use davit_rpc::console::{Exec, Open, open::With};
use davit_types::FieldError;
use url::form_urlencoded;

use super::client::Call;
use super::follow::{Following, follow, print_all};
use super::run::RunView;
use super::words::RUNS;
use super::{ServerError, Session, socket};
use crate::args::{AttachArgs, ExecArgs};
use crate::beside::{self, Attended, Dial, Line, Place, Refusal, Shown, attended};
use crate::commands::Signals;
use crate::error::CliError;
use crate::output::tree::Tree;
use crate::terminal;

/// Tries to come to the replica that has the run's host; the way there chooses anew for each.
const ELSEWHERE_TRIES_MAX: u32 = 50;
const ELSEWHERE_PAUSE_MS: u64 = 100;
/// How long a look at a run may wait for its end.
const LOOK_MS: &str = "20000";
/// Bytes of what is executed, with its variables, as they are sent: the head of a request has 64 KiB with all that proxies add.
const EXEC_BYTES_MAX: usize = 56 << 10;
/// Has the values of variables: in a query they would be in the logs of proxies.
const ENV_HEADER: &str = "davit-env";
/// Between two looks that did not wait, as of a busy replica.
const LOOK_PAUSE_MS: u64 = 250;
/// How long a scheduler that went away is waited for.
const RETURN_SECONDS_MAX: u64 = 120;

/// `davit exec`.
pub(super) async fn exec(args: &ExecArgs, session: &Session) -> Result<u8, CliError> {
    let signals = Signals::catch()?;
    let exec: Exec = args.process()?;
    short_enough(&exec)?;
    let run = RUNS.id(&session.client, &args.run).await?;
    let tty = exec.tty;
    let mut dial = Way { session, tty };
    beside::exec(&mut dial, &run, exec, signals).await
}

/// How `attach -i` is at its job's side, unless the run is over.
pub(super) fn of_attach(
    run: &str,
    args: &AttachArgs,
    shown: &Tree,
    session: &Session,
) -> Result<Option<Attended>, CliError> {
    let view = RunView::of(shown)?;
    if view.has_ended() {
        return Ok(None);
    }
    if !view.stdin {
        let why = "the run was submitted without stdin: attach without --interactive";
        return Err(ServerError::NoConsole(why).into());
    }
    let place = match view.tty {
        true => Place::Terminal,
        false => Place::Log,
    };
    args.check(place, session.format)?;
    if view.tty {
        terminal::required("--interactive")?;
    }
    Ok(Some(Attended {
        run: run.to_owned(),
        stdin: true,
        place,
        keys: args.keys().clone(),
        first: None,
        later: true,
    }))
}

/// Follows a run to its end, at its job's side meanwhile where that is wanted.
pub(super) async fn followed(
    following: Following,
    beside: Option<Attended>,
    session: &Session,
) -> Result<Tree, CliError> {
    let client = &session.client;
    let Some(beside) = beside else {
        return follow(client, following).await;
    };
    let run = following.run.clone();
    // What it is attached for: where it is not typed at, nothing depends on it.
    let tty = beside.place == Place::Terminal;
    let mut dial = Way { session, tty };
    if !tty {
        let ended = follow(client, following);
        return Ok(attended(ended, &mut dial, beside).await?.0);
    }
    // The log comes in batches: who types wants to see it now.
    let (ended, shown) = attended(end_of(&run, session), &mut dial, beside).await?;
    match shown {
        Shown::Whole => {}
        // The job was over before anybody could be at its side.
        Shown::Nothing => {
            let attempts = RunView::of(&ended)?.attempt;
            print_all(client, &following, attempts).await?;
        }
        Shown::Holes => beside::tell_holes(&run),
    }
    Ok(ended)
}

/// Waits for a run's end, over a scheduler that goes away.
async fn end_of(run: &str, session: &Session) -> Result<Tree, CliError> {
    let look = Call::get(&["runs", run]).query("wait_ms", LOOK_MS);
    let mut heard = Instant::now();
    loop {
        match session.client.send(&look).await {
            Ok(answer) => {
                heard = Instant::now();
                let shown = answer.tree("run")?;
                if RunView::of(&shown)?.has_ended() {
                    return Ok(shown);
                }
            }
            Err(CliError::Server(error)) if error.is_passing() => {
                if heard.elapsed() > Duration::from_secs(RETURN_SECONDS_MAX) {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(LOOK_PAUSE_MS)).await;
    }
}

/// The way to a run's host.
struct Way<'a> {
    session: &'a Session,
    /// What is at the side of has a terminal.
    tty: bool,
}

impl Dial for Way<'_> {
    async fn dial(&mut self, open: Open) -> Result<Line, Refusal> {
        let mut tries = 0;
        loop {
            let call = asked(&open);
            let opened = socket::open(&self.session.client, call, &open, self.tty).await;
            let error = match opened {
                Ok(line) => return Ok(line),
                Err(CliError::Server(error)) => error,
                Err(error) => return Err(Refusal::Never(error)),
            };
            tries += 1;
            if !error.is("elsewhere") || tries == ELSEWHERE_TRIES_MAX {
                return Err(refusal(error));
            }
            tokio::time::sleep(Duration::from_millis(ELSEWHERE_PAUSE_MS)).await;
        }
    }
}

fn refusal(error: ServerError) -> Refusal {
    if error.is("elsewhere") {
        return Refusal::Never(error.into());
    }
    match &error {
        ServerError::Problem(problem) if problem.status == 409 => Refusal::NotNow(error.into()),
        _ if error.is_passing() => Refusal::Away(error.into()),
        _ => Refusal::Never(error.into()),
    }
}

/// Pairs as a query has them: visible ASCII.
fn encoded<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(pairs).finish()
}

/// What is too long comes to no scheduler: it hangs up in the middle of it, without a word that arrives for certain.
fn short_enough(exec: &Exec) -> Result<(), CliError> {
    let command = String::from("command");
    let parts = exec.argv.iter().map(|part| (&command, part));
    // Names are sent twice.
    let names = exec.env.keys().map(|name| (&command, name));
    let bytes = encoded(parts.chain(names).chain(&exec.env)).len();
    if bytes <= EXEC_BYTES_MAX {
        return Ok(());
    }
    let problem = format!(
        "has {bytes} bytes with its variables as they are sent, at most {EXEC_BYTES_MAX} allowed through a scheduler: \
         pass on what is long with --interactive"
    );
    let program = exec.argv.first().map_or("", String::as_str);
    Err(CliError::field(FieldError::new(
        "command", program, problem,
    )))
}

/// The request that opens a console.
fn asked(open: &Open) -> Call {
    let switch = |given: bool| if given { "true" } else { "false" };
    match &open.with {
        Some(With::Exec(exec)) => {
            let mut call = Call::get(&["runs", &open.run, "exec"])
                .query("stdin", switch(exec.stdin))
                .query("tty", switch(exec.tty));
            for part in &exec.argv {
                call = call.query("command", part);
            }
            for (name, value) in [("user", &exec.user), ("workdir", &exec.workdir)] {
                if let Some(value) = value {
                    call = call.query(name, value);
                }
            }
            let env: BTreeMap<&String, &String> = exec.env.iter().collect();
            for &name in env.keys() {
                call = call.query("env", name);
            }
            match env.is_empty() {
                true => call,
                false => call.header(ENV_HEADER, &encoded(env)),
            }
        }
        Some(With::Attach(attach)) => {
            Call::get(&["runs", &open.run, "attach"]).query("stdin", switch(attach.stdin))
        }
        None => Call::get(&["runs", &open.run, "attach"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(env: &[(&str, &str)]) -> Exec {
        let pair = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        Exec {
            argv: vec!["sh".to_owned()],
            env: env.iter().map(pair).collect(),
            ..Exec::default()
        }
    }

    #[test]
    fn the_address_has_names_of_variables_and_no_values() {
        let open = |exec| Open {
            run: "r".to_owned(),
            with: Some(With::Exec(exec)),
            window_size: None,
        };
        let call = format!("{:?}", asked(&open(exec(&[("A", "1&é"), ("B", "")]))));
        assert!(call.contains(r#"("env", "A"), ("env", "B")"#), "{call}");
        assert!(call.contains(r#""davit-env": "A=1%26%C3%A9&B=""#), "{call}");
        let plain = format!("{:?}", asked(&open(exec(&[]))));
        assert!(!plain.contains("env"), "{plain}");
    }

    #[test]
    fn what_is_too_long_for_a_request_is_refused_by_its_size() {
        assert!(short_enough(&exec(&[("A", &"x".repeat(EXEC_BYTES_MAX - 50))])).is_ok());
        let long = exec(&[("A", &"&".repeat(EXEC_BYTES_MAX / 3))]);
        let said = format!("{:?}", short_enough(&long).unwrap_err());
        assert!(said.contains("at most 57344 allowed"), "{said}");
    }
}
