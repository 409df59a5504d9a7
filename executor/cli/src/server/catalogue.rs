//! `davit registry`, `davit instance-type` and `davit region`: what is offered, and where from.

use reqwest::Method;
use serde_json::json;

use super::Session;
use super::client::Call;
use super::words::{List, print_rows};
use crate::args::{InstanceTypeCommand, RegionCommand, RegistryCommand};
use crate::commands::password;
use crate::error::CliError;
use crate::output::print_line;
use crate::output::tree::{Column, Show};

const REGISTRIES: List = List {
    what: "registry",
    path: "registries",
    rows: "registries",
};

const REGISTRY_COLUMNS: &[Column] = &[
    ("ID", "id", Show::Plain),
    ("NAME", "name", Show::Plain),
    ("ADDRESS", "server", Show::Plain),
    ("AGE", "created_at", Show::Age),
];

const TYPE_COLUMNS: &[Column] = &[
    ("TYPE", "slug", Show::Plain),
    ("NAME", "name", Show::Plain),
    ("CPU", "cpu", Show::Plain),
    ("MEMORY", "memory_bytes", Show::Bytes),
    ("PIDS", "pids", Show::Plain),
    ("DISK", "disk_bytes", Show::Bytes),
    ("PRICE/SECOND", "price_second", Show::Plain),
    ("PRICE/MONTH", "price_month", Show::Plain),
];

const REGION_COLUMNS: &[Column] = &[
    ("REGION", "slug", Show::Plain),
    ("NAME", "name", Show::Plain),
];

pub(super) async fn registry(command: RegistryCommand, session: &Session) -> Result<(), CliError> {
    match command {
        RegistryCommand::Add {
            name,
            address,
            username,
        } => {
            let body = json!({
                "name": name, "server": address, "username": username, "password": password()?,
            });
            let call = Call::make(&["registries"]).body(&body)?;
            let made = session.client.send(&call).await?.tree("registry")?;
            session.print_done(&made, "id")
        }
        RegistryCommand::List => REGISTRIES.print(REGISTRY_COLUMNS, session).await,
        RegistryCommand::Remove { registries } => REGISTRIES.remove(&registries, session).await,
    }
}

pub(super) async fn instance_type(
    command: InstanceTypeCommand,
    session: &Session,
) -> Result<(), CliError> {
    match command {
        InstanceTypeCommand::List => {
            list("instance-types", "instance_types", TYPE_COLUMNS, session).await
        }
        InstanceTypeCommand::Put {
            slug,
            name,
            cpu,
            memory,
            pids,
            disk,
            price_second,
        } => {
            let body = json!({
                "name": name.unwrap_or_else(|| slug.clone()), "cpu_millis": cpu.millis,
                "memory_bytes": memory.0, "pids": pids, "disk_bytes": disk.map(|disk| disk.0),
                "price_second": price_second,
            });
            let call = Call::new(Method::PUT, &["instance-types", &slug]).body(&body)?;
            let made = session.client.send(&call).await?.tree("instance_type")?;
            session.print_done(&made, "slug")
        }
        InstanceTypeCommand::Remove { slug } => remove("instance-types", &slug, session).await,
    }
}

pub(super) async fn region(command: RegionCommand, session: &Session) -> Result<(), CliError> {
    match command {
        RegionCommand::List => list("regions", "regions", REGION_COLUMNS, session).await,
        RegionCommand::Put { slug, name } => {
            let body = json!({"name": name.unwrap_or_else(|| slug.clone())});
            let call = Call::new(Method::PUT, &["regions", &slug]).body(&body)?;
            let made = session.client.send(&call).await?.whole()?;
            session.print_done(&made, "slug")
        }
        RegionCommand::Remove { slug } => remove("regions", &slug, session).await,
    }
}

/// These lists have no pages.
async fn list(
    path: &str,
    rows: &str,
    columns: &[Column],
    session: &Session,
) -> Result<(), CliError> {
    let answer = session.client.send(&Call::get(&[path])).await?;
    print_rows(columns, &answer.tree(rows)?.into_items(), session)
}

async fn remove(path: &str, slug: &str, session: &Session) -> Result<(), CliError> {
    let call = Call::new(Method::DELETE, &[path, slug]);
    session.client.send(&call).await?;
    print_line(slug)
}
