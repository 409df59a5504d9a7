//! The scheduler's side of `davit executor`: its hosts.

use serde_json::json;

use super::Session;
use super::client::Call;
use super::error::ServerError;
use super::words::List;
use crate::args::FleetCommand;
use crate::error::CliError;
use crate::output::print_line;
use crate::output::tree::{Column, Show};

const EXECUTORS: List = List {
    what: "executor",
    path: "executors",
    rows: "executors",
};

const COLUMNS: &[Column] = &[
    ("ID", "id", Show::Plain),
    ("NAME", "name", Show::Plain),
    ("REGION", "region", Show::Plain),
    ("STATE", "state", Show::Plain),
    ("CONNECTED", "connected", Show::Plain),
    ("HEARD", "heard_at", Show::Age),
];

pub(super) async fn command(command: FleetCommand, session: &Session) -> Result<(), CliError> {
    match command {
        FleetCommand::List => EXECUTORS.print(COLUMNS, session).await,
        FleetCommand::Show { executor } => show(&executor, session).await,
        FleetCommand::Drain { executor } => order(&executor, "drain", session).await,
        FleetCommand::Resume { executor } => order(&executor, "resume", session).await,
        FleetCommand::Remove { executor } => EXECUTORS.remove(&[executor], session).await,
        FleetCommand::JoinToken { region, expires_in } => {
            // Without a key: a repeat would make a second one, so there is none.
            let body = json!({"region": region, "expires_in_seconds": expires_in});
            let call = Call::new(reqwest::Method::POST, &["join-tokens"]).body(&body)?;
            let made = session.client.send(&call).await?.whole()?;
            session.print_done(&made, "secret")
        }
    }
}

async fn order(executor: &str, word: &str, session: &Session) -> Result<(), CliError> {
    let id = EXECUTORS.id(&session.client, executor).await?;
    session
        .client
        .send(&Call::order(&["executors", &id, word]))
        .await?;
    print_line(&id)
}

/// The API lists them only.
async fn show(executor: &str, session: &Session) -> Result<(), CliError> {
    let id = EXECUTORS.id(&session.client, executor).await?;
    let call = Call::get(&["executors"]);
    let (rows, _) = session
        .client
        .rows(&call, EXECUTORS.rows, usize::MAX)
        .await?;
    let found = rows.iter().find(|row| row.text("id") == Some(&id));
    match found {
        Some(found) => session.print_whole(found),
        None => Err(ServerError::Unknown {
            what: EXECUTORS.what,
            given: executor.to_owned(),
        }
        .into()),
    }
}
