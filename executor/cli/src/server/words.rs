//! What things are called: references to ids, and the commands that have no meaning for a scheduler.

use davit_types::RunId;

use super::Session;
use super::client::{Call, Client};
use super::error::ServerError;
use crate::args::{Command, ImageCommand};
use crate::error::CliError;
use crate::output::print_json;
use crate::output::tree::{Column, Tree, table};
use crate::output::{print_line, print_text};

/// Newest things among which the beginning of an id or a name is looked for.
const NAMED_ROWS_MAX: usize = 10_000;
/// Newest runs among which the beginning of an id is looked for.
const NAMED_RUNS_MAX: usize = 1_000;

/// A list of the API.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    /// For errors.
    pub(super) what: &'static str,
    /// Below `/v1`.
    pub(super) path: &'static str,
    /// The field of an answer that holds the rows.
    pub(super) rows: &'static str,
}

pub(super) const RUNS: List = List {
    what: "run",
    path: "runs",
    rows: "runs",
};

impl List {
    /// The id that somebody means: a whole one, the beginning of one, or a name.
    pub(super) async fn id(self, client: &Client, given: &str) -> Result<String, CliError> {
        if given.parse::<RunId>().is_ok() {
            return Ok(given.to_owned());
        }
        let rows_max = match self.what {
            "run" => NAMED_RUNS_MAX,
            _ => NAMED_ROWS_MAX,
        };
        let call = Call::get(&[self.path]);
        let (rows, _) = client.rows(&call, self.rows, rows_max).await?;
        Ok(self.only(&rows, given)?)
    }

    fn only(self, rows: &[Tree], given: &str) -> Result<String, ServerError> {
        let id = |row: &Tree| row.text("id").map(str::to_owned);
        let (what, owned) = (self.what, given.to_owned());
        let mut named = rows.iter().filter(|row| row.text("name") == Some(given));
        if let Some(first) = named.next()
            && named.next().is_none()
        {
            return id(first).ok_or(ServerError::Unknown { what, given: owned });
        }
        let begins = |row: &&Tree| {
            !given.is_empty() && row.text("id").is_some_and(|id| id.starts_with(given))
        };
        let mut found = rows.iter().filter(begins).filter_map(id);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(ServerError::Ambiguous { what, given: owned }),
            _ => Err(ServerError::Unknown { what, given: owned }),
        }
    }

    /// Prints all rows.
    pub(super) async fn print(self, columns: &[Column], session: &Session) -> Result<(), CliError> {
        let call = Call::get(&[self.path]);
        let (rows, _) = session.client.rows(&call, self.rows, usize::MAX).await?;
        print_rows(columns, &rows, session)
    }
}

/// Prints rows as they are wanted.
pub(super) fn print_rows(
    columns: &[Column],
    rows: &[Tree],
    session: &Session,
) -> Result<(), CliError> {
    match session.is_json() {
        true => print_json(rows),
        false => print_text(&table(columns, rows)),
    }
}

impl Session {
    pub(super) fn is_json(&self) -> bool {
        self.format == crate::args::Format::Json
    }

    /// Prints one thing: whole for programs; its id or name for people, who asked for no more.
    pub(super) fn print_done(&self, made: &Tree, name: &str) -> Result<(), CliError> {
        match self.is_json() {
            true => print_json(made),
            false => print_line(made.text(name).unwrap_or_default()),
        }
    }

    /// Prints all of one thing.
    pub(super) fn print_whole(&self, shown: &Tree) -> Result<(), CliError> {
        match self.is_json() {
            true => print_json(shown),
            false => print_text(&shown.details()),
        }
    }
}

/// The refusal of a command that only the executor of a host carries out.
pub(crate) fn has_place_only_on_a_host(command: &Command) -> Option<ServerError> {
    let images = "its hosts fetch images as they need them, and evict them; `davit runner warmup` fetches ahead";
    let (what, instead) = match command {
        Command::Images => ("davit images", images),
        Command::Image(ImageCommand::Rm { .. }) => ("davit image rm", images),
        Command::Pull { .. } => ("davit pull", images),
        Command::Rm { .. } => (
            "davit rm",
            "it keeps ended runs for their books, and drops them by its settings of retention",
        ),
        Command::Reap { .. } => ("davit reap", "run it on the host, with --socket"),
        Command::Info => (
            "davit info",
            "`davit executor list` shows its hosts, `davit instance-type list` its sizes",
        ),
        Command::Metrics => ("davit metrics", "its /metrics is there for collectors"),
        Command::Run(args) if args.rm => (
            "--rm",
            "it keeps ended runs for their books, and drops them by its settings of retention",
        ),
        Command::Run(args) if args.credentials.registry_user.is_some() => (
            "--registry-user",
            "keep the registry with `davit registry add`, and name it with --registry",
        ),
        _ => return None,
    };
    Some(ServerError::HostOnly {
        what: what.to_owned(),
        instead,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_before_the_beginning_of_an_id() {
        let rows: Vec<Tree> = serde_json::from_str(
            r#"[{"id":"aa1","name":"x"},{"id":"aa2","name":"aa1"},{"id":"b3","name":"twice"},{"id":"b4","name":"twice"}]"#,
        )
        .unwrap();
        let only = |given: &str| RUNS.only(&rows, given).map_err(|error| error.to_string());
        assert_eq!(only("x").as_deref(), Ok("aa1"));
        assert_eq!(only("aa1").as_deref(), Ok("aa2"));
        assert_eq!(only("b3").as_deref(), Ok("b3"));
        assert!(only("aa").unwrap_err().contains("more than one run"));
        for unknown in ["", "c", "twice"] {
            assert!(only(unknown).unwrap_err().contains("there is no run"));
        }
    }
}
