//! `davit token` and `davit tenant`.

use reqwest::Method;
use serde_json::json;

use super::Session;
use super::client::Call;
use super::words::List;
use crate::args::{TenantCommand, TokenCommand};
use crate::error::CliError;
use crate::output::tree::{Column, Show};

const TOKENS: List = List {
    what: "token",
    path: "tokens",
    rows: "tokens",
};

const TENANTS: List = List {
    what: "tenant",
    path: "tenants",
    rows: "tenants",
};

const TOKEN_COLUMNS: &[Column] = &[
    ("ID", "id", Show::Plain),
    ("NAME", "name", Show::Plain),
    ("PREFIX", "prefix", Show::Plain),
    ("SCOPES", "scopes", Show::Plain),
    ("AGE", "created_at", Show::Age),
    ("EXPIRES", "expires_at", Show::Plain),
    ("REVOKED", "revoked_at", Show::Plain),
];

const TENANT_COLUMNS: &[Column] = &[
    ("NAME", "name", Show::Plain),
    ("OPEN", "open", Show::Plain),
    ("SPEND CAP", "spend_cap", Show::Plain),
    ("AGE", "created_at", Show::Age),
];

pub(super) async fn token(command: TokenCommand, session: &Session) -> Result<(), CliError> {
    match command {
        TokenCommand::Create {
            name,
            scope,
            expires_in,
            tenant,
        } => {
            let path = match &tenant {
                Some(tenant) => vec!["tenants", tenant, "tokens"],
                None => vec!["tokens"],
            };
            let body = json!({"name": name, "scopes": scope, "expires_in_seconds": expires_in});
            let call = Call::make(&path).body(&body)?;
            let made = session.client.send(&call).await?.whole()?;
            session.print_done(&made, "secret")
        }
        TokenCommand::List => TOKENS.print(TOKEN_COLUMNS, session).await,
        TokenCommand::Revoke { tokens } => TOKENS.remove(&tokens, session).await,
    }
}

pub(super) async fn tenant(command: TenantCommand, session: &Session) -> Result<(), CliError> {
    let (call, whole) = match command {
        TenantCommand::List => return TENANTS.print(TENANT_COLUMNS, session).await,
        TenantCommand::Show { tenant: None } => (Call::get(&["tenant"]), true),
        TenantCommand::Show {
            tenant: Some(tenant),
        } => (Call::get(&["tenants", &tenant]), true),
        TenantCommand::Put {
            tenant,
            closed,
            spend_cap,
        } => {
            let body = json!({"open": !closed, "spend_cap": spend_cap});
            let call = Call::new(Method::PUT, &["tenants", &tenant]).body(&body)?;
            (call, false)
        }
    };
    let shown = session.client.send(&call).await?.tree("tenant")?;
    match whole {
        true => session.print_whole(&shown),
        false => session.print_done(&shown, "name"),
    }
}
