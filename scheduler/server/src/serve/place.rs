//! Where things lie, by the settings; and the files that hold what no setting may.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::ServeError;
use crate::files::FilesSettings;
use crate::logs::ObjectSettings;
use crate::settings::{Database, Settings};
use crate::store::{PostgresSettings, StoreSettings, Tls};

/// A file with a URL or options.
const FILE_BYTES_MAX: u64 = 64 * 1024;

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ServeError {
    let path = path.to_owned();
    move |source| ServeError::Path {
        operation,
        path,
        source,
    }
}

/// Makes the directory if it is not there; nobody else may look into it.
pub(super) fn state_dir(path: &Path) -> Result<(), ServeError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(failed("make", path))
}

pub(super) fn keys(settings: &Settings) -> PathBuf {
    let given = settings.keys.directory.clone();
    given.unwrap_or_else(|| settings.state_dir.join("keys"))
}

pub(super) fn store(settings: &Settings) -> Result<StoreSettings, ServeError> {
    let place = &settings.store;
    if let (Database::Postgresql, Some(url_file)) = (place.database, &place.url_file) {
        let tls = match place.ca_file.clone() {
            Some(authorities) => Tls::VerifyFull { authorities },
            None => Tls::Off,
        };
        return Ok(StoreSettings::Postgres(PostgresSettings {
            url: secret_file(url_file)?.trim().to_owned(),
            connections_max: place.connections_max,
            tls,
        }));
    }
    let path = place.path.clone();
    let path = path.unwrap_or_else(|| settings.state_dir.join("scheduler.db"));
    Ok(StoreSettings::Sqlite { path })
}

pub(super) fn files(settings: &Settings) -> FilesSettings {
    FilesSettings {
        upload_bytes_max: settings.files.upload_bytes_max.0,
        tenant_bytes_max: settings.files.tenant_bytes_max.0,
        upload_life_ms: settings.files.upload_hours * 60 * 60 * 1_000,
        ..FilesSettings::default()
    }
}

pub(super) fn objects(settings: &Settings) -> Result<ObjectSettings, ServeError> {
    let place = &settings.objects;
    let Some(url) = place.url.clone() else {
        let path = place.directory.clone();
        let path = path.unwrap_or_else(|| settings.state_dir.join("objects"));
        return Ok(ObjectSettings::Directory { path });
    };
    let mut options = Vec::new();
    if let Some(path) = &place.options_file {
        let text = secret_file(path)?;
        let lines = (1..).zip(text.lines().map(str::trim));
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let Some((name, value)) = line.split_once('=') else {
                // Not the line itself: it may be a key.
                return Err(ServeError::Content {
                    path: path.clone(),
                    problem: format!("line {number} is not name=value"),
                });
            };
            options.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    Ok(ObjectSettings::Url { url, options })
}

/// A file that nobody else may read.
pub(super) fn secret_file(path: &Path) -> Result<String, ServeError> {
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    let content = |problem: String| ServeError::Content {
        path: path.to_owned(),
        problem,
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(content(format!(
            "has mode {mode:o}, others may read it: 600 is wanted"
        )));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(content(format!("has more than {FILE_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path).map_err(failed("read", path))
}
