//! Where a command goes: to the executor of this host, or to a scheduler.
//!
//! The first of these that is there: `--server` or `--profile`; `--socket` or `DAVIT_SOCKET` (this host); `DAVIT_SERVER`
//! or `DAVIT_PROFILE`; the profile in use; this host.

use std::env;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use davit_executor::settings::check_server;
use davit_types::FieldError;
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::error::ServerError;
use super::profiles::{Profile, Profiles};
use crate::args::PlaceArgs;
use crate::error::CliError;

/// Longest token read, bytes.
const TOKEN_BYTES_MAX: u64 = 4_096;
/// Bits of a file's mode that let others than its owner at it.
const OTHERS: u32 = 0o077;

/// Whom a command asks.
#[derive(Debug)]
pub(crate) enum Place {
    /// The executor behind this socket, or behind the usual one.
    Host(Option<PathBuf>),
    /// A scheduler.
    Server(Box<Access>),
}

/// A scheduler and the way in.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(super) server: Url,
    /// Marked as sensitive: it is never shown.
    pub(super) authorization: HeaderValue,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) region: Option<String>,
    pub(super) instance_type: Option<String>,
}

/// Decides.
pub(crate) fn choose(args: &PlaceArgs, socket: Option<PathBuf>) -> Result<Place, CliError> {
    if let Some(server) = &args.server {
        return access(args, Profile::of_server(server));
    }
    if let Some(name) = &args.profile {
        return access(args, Profiles::load()?.named(name)?);
    }
    if socket.is_some() {
        return Ok(Place::Host(socket));
    }
    match (variable("DAVIT_SERVER"), variable("DAVIT_PROFILE")) {
        (Some(server), _) => access(args, Profile::of_server(&server)),
        (None, Some(name)) => access(args, Profiles::load()?.named(&name)?),
        (None, None) => match Profiles::load()?.in_use()? {
            Some(profile) => access(args, profile),
            None => Ok(Place::Host(None)),
        },
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn access(args: &PlaceArgs, profile: Profile) -> Result<Place, CliError> {
    let token_file = args.token_file.clone().or(profile.token_file);
    let text = match token_file {
        Some(path) => token_of_file(&path)?,
        None => match (variable("DAVIT_TOKEN_FILE"), variable("DAVIT_TOKEN")) {
            (Some(path), _) => token_of_file(Path::new(&path))?,
            (None, Some(token)) => checked(token, || "in DAVIT_TOKEN".to_owned())?,
            (None, None) => {
                return Err(ServerError::Token {
                    place: format!("for {}", profile.server),
                    problem: "is not given: name its file with --token-file, or set DAVIT_TOKEN",
                }
                .into());
            }
        },
    };
    let unfit = |problem| CliError::field(FieldError::new("--server", &profile.server, problem));
    check_server(&profile.server).map_err(unfit)?;
    let server = Url::parse(&profile.server).map_err(|_| unfit("is no address"))?;
    let bearer = HeaderValue::from_str(&format!("Bearer {text}"));
    let mut authorization = bearer.map_err(|_| unfit("has a token that is none"))?;
    authorization.set_sensitive(true);
    Ok(Place::Server(Box::new(Access {
        server,
        authorization,
        ca_file: args.ca_file.clone().or(profile.ca_file),
        region: profile.region,
        instance_type: profile.instance_type,
    })))
}

/// The token in a file that nobody else may read.
fn token_of_file(path: &Path) -> Result<String, CliError> {
    let reading = || CliError::io(format!("read the token from {}", path.display()));
    let place = || format!("in {}", path.display());
    let file = File::open(path).map_err(reading())?;
    let mode = file.metadata().map_err(reading())?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(ServerError::Token {
            place: place(),
            problem: "may be read by others: chmod 600 it",
        }
        .into());
    }
    checked(read_bounded(file).map_err(reading())?, place)
}

/// What a token can be read from, but no more than a token has.
pub(super) fn read_bounded(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A token without the line break after it; it is not shown when it is none.
pub(super) fn checked(text: String, place: impl Fn() -> String) -> Result<String, CliError> {
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ServerError::Token {
            place: place(),
            problem: "is empty, or holds what no token has",
        }
        .into());
    }
    Ok(token.to_owned())
}
