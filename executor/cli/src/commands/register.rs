//! `davit executor register`: this host becomes a scheduler's.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use davit_executor::link::{self, RegisteredHost, Registration};
use davit_executor::settings::check_server;
use davit_types::{FieldError, limits};
use serde::Serialize;
use tokio::runtime::Builder;

use super::{executor, host};
use crate::args::{Format, RegisterArgs};
use crate::error::CliError;
use crate::output::{note, print_json, print_text};

/// Longest join token, bytes.
const TOKEN_BYTES_MAX: u64 = 4_096;
/// Where Linux has the host's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

#[derive(Debug, Serialize)]
struct RegisteredJson<'a> {
    host_id: String,
    region: &'a str,
    credentials_file: &'a Path,
    was_registered: bool,
}

/// Registers, and says what to do next.
pub(super) fn register(
    args: &RegisterArgs,
    socket: Option<PathBuf>,
    format: Format,
) -> Result<u8, CliError> {
    if let Err(problem) = check_server(&args.server) {
        return Err(CliError::field(FieldError::new(
            "--server",
            &args.server,
            problem,
        )));
    }
    let loaded = executor::load(&args.settings, socket)?;
    let settings = loaded.settings.link;
    let registration = Registration {
        server: args.server.trim_end_matches('/').to_owned(),
        join_token: join_token(&args.join_token_file)?,
        name: name(args.name.as_deref())?,
        labels: settings.label_pairs(),
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::io("start the event loop"))?;
    let server = registration.server.clone();
    let registered = runtime
        .block_on(link::register(registration, &settings))
        .inspect_err(|_| {
            if server.starts_with("http:") {
                note("if that port speaks TLS, its address begins with https://");
            }
        })?;
    match format {
        Format::Json => print_json(&RegisteredJson {
            host_id: registered.host_id.to_string(),
            region: &registered.region,
            credentials_file: &registered.credentials_file,
            was_registered: registered.was_registered,
        })?,
        Format::Table => print_text(&next_steps(&registered, &server))?,
    }
    Ok(0)
}

fn join_token(path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(CliError::io(format!(
        "read the join token from {}",
        path.display()
    )))?;
    let token = text.trim();
    if token.is_empty() {
        let shown = path.display();
        let error = FieldError::new("--join-token-file", shown, "holds no token");
        return Err(CliError::field(error));
    }
    Ok(token.to_owned())
}

fn name(given: Option<&str>) -> Result<String, CliError> {
    let name = match given {
        Some(name) => name.to_owned(),
        None => {
            let read = std::fs::read_to_string(HOST_NAME);
            let text = read.map_err(CliError::io(format!("read {HOST_NAME}")))?;
            text.trim().to_owned()
        }
    };
    if name.is_empty() || name.chars().count() > limits::NAME_CHARS_MAX {
        let problem = format!("must have 1 to {} characters", limits::NAME_CHARS_MAX);
        return Err(CliError::field(FieldError::new("--name", name, problem)));
    }
    Ok(name)
}

fn next_steps(registered: &RegisteredHost, server: &str) -> String {
    let RegisteredHost {
        host_id,
        region,
        credentials_file,
        was_registered,
    } = registered;
    let word = if *was_registered {
        "was registered before"
    } else {
        "is registered"
    };
    let file = credentials_file.display();
    let (unit, unit_file) = (host::unit(), host::UNIT_FILE);
    format!(
        "This host {word}: {host_id}, region {region}. Its credentials are in {file}.\n\
         \n\
         Settings and service, once, as root:\n\
         \n\
         davit executor configure --server {server} --set link.credentials_file={file}\n\
         cat >{unit_file} <<'UNIT'\n\
         {unit}\
         UNIT\n\
         systemctl daemon-reload && systemctl enable davit-executor\n\
         davit executor start\n\
         \n\
         davit executor status tells whether the scheduler is reached."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_without_its_newline_and_must_be_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "davit_join_abc\n").unwrap();
        assert_eq!(join_token(file.path()).unwrap(), "davit_join_abc");
        std::fs::write(file.path(), "\n").unwrap();
        assert!(matches!(join_token(file.path()), Err(CliError::Fields(_))));
        let missing = join_token(Path::new("/does/not/exist")).unwrap_err();
        assert!(missing.to_string().contains("/does/not/exist"));
    }

    #[test]
    fn what_comes_next_names_server_file_and_unit() {
        let registered = RegisteredHost {
            host_id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
            region: "north".into(),
            credentials_file: "/etc/davit/host.json".into(),
            was_registered: false,
        };
        let text = next_steps(&registered, "https://davit.example.com");
        for part in [
            "region north",
            "configure --server https://davit.example.com --set link.credentials_file=/etc/davit/host.json",
            " executor serve",
            "KillMode=process",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
