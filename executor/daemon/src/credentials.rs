//! The operator's credentials for a registry, asked for at each pull and kept nowhere.

use crate::images::{Credentials, ImageName, Secret};
use crate::settings::{SecretError, Settings};

/// What the settings say to the registry of `image`; `None` means anonymous.
///
/// # Errors
/// When the password's file or command fails.
pub(crate) async fn configured(
    settings: &Settings,
    image: &str,
) -> Result<Option<Credentials>, SecretError> {
    let Ok(name) = ImageName::parse(image) else {
        // The pull itself says what is wrong with it.
        return Ok(None);
    };
    let Some(registry) = settings.registries.get(name.registry()) else {
        return Ok(None);
    };
    let Some(username) = registry.username.clone() else {
        return Ok(None);
    };
    let password = registry.password().await?;
    Ok(password.map(|password| Credentials::Basic {
        username,
        password: Secret::new(password.expose()),
    }))
}

/// Credentials that came with a request.
pub(crate) fn given(credentials: davit_rpc::local::RegistryCredentials) -> Credentials {
    Credentials::Basic {
        username: credentials.username,
        password: Secret::new(credentials.password),
    }
}
