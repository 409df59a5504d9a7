//! Registering this host with a one-time join token. Repeated, it changes nothing; cut off, it is taken up where it
//! was: the host's id is durable before the scheduler hears of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use davit_rpc::link::JoinRequest;
use uuid::Uuid;

use super::dial::{self, LinkError};
use super::identity::{Identity, Registered};
use crate::settings::LinkSettings;

/// What a registration is asked with.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The scheduler's address.
    pub server: String,
    /// The one-time token.
    pub join_token: String,
    /// Name for people.
    pub name: String,
    /// What runs can ask for.
    pub labels: BTreeMap<String, String>,
}

/// A registered host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredHost {
    /// Its id.
    pub host_id: Uuid,
    /// Where it is.
    pub region: String,
    /// Where its identity is kept.
    pub credentials_file: PathBuf,
    /// Whether it was registered before.
    pub was_registered: bool,
}

/// Registers this host, and keeps what it is answered in the credentials file.
///
/// # Errors
/// When the file cannot be used, or the scheduler cannot be reached or refuses.
pub async fn register(
    registration: Registration,
    link: &LinkSettings,
) -> Result<RegisteredHost, LinkError> {
    let path = &link.credentials_file;
    let identity = identity(path, &registration.server)?;
    if let Some(registered) = &identity.registered {
        return Ok(told(&identity, registered, path, true));
    }
    let mut client = dial::connect(&registration.server, link).await?;
    let request = JoinRequest {
        join_token: registration.join_token,
        host_id: identity.host_id.to_string(),
        name: registration.name,
        labels: registration.labels.into_iter().collect(),
    };
    let reply = dial::join(&mut client, request).await?;
    let host_id = reply.host_id.parse().map_err(|_| LinkError::Protocol {
        problem: format!("`{}` is no host's id", reply.host_id),
    })?;
    if reply.client_secret.is_empty() {
        let problem = "it gave no client secret".to_owned();
        return Err(LinkError::Protocol { problem });
    }
    let registered = Registered {
        region: reply.region,
        client_secret: reply.client_secret,
    };
    let identity = Identity {
        host_id,
        registered: Some(registered.clone()),
        ..identity
    };
    identity.write(path)?;
    Ok(told(&identity, &registered, path, false))
}

/// The scheduler that this host is registered at answers at `server` from now on; a host that is not registered has
/// nothing to change.
///
/// # Errors
/// When the credentials file cannot be used.
pub fn moved(server: &str, link: &LinkSettings) -> Result<(), LinkError> {
    let path = &link.credentials_file;
    let Some(known) = Identity::read(path)?.filter(|known| known.server != server) else {
        return Ok(());
    };
    let moved = Identity {
        server: server.to_owned(),
        ..known
    };
    Ok(moved.write(path)?)
}

/// The identity that is kept for `server`, or a new one, kept from now on.
fn identity(path: &Path, server: &str) -> Result<Identity, LinkError> {
    if let Some(identity) = Identity::read(path)?.filter(|known| known.server == server) {
        return Ok(identity);
    }
    let identity = Identity {
        host_id: Uuid::new_v4(),
        server: server.to_owned(),
        registered: None,
    };
    identity.write(path)?;
    Ok(identity)
}

fn told(
    identity: &Identity,
    registered: &Registered,
    path: &Path,
    was_registered: bool,
) -> RegisteredHost {
    RegisteredHost {
        host_id: identity.host_id,
        region: registered.region.clone(),
        credentials_file: path.to_owned(),
        was_registered,
    }
}
