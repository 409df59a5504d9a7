//! Schedulers by name: `$XDG_CONFIG_HOME/davit/profiles.toml`, and tokens beside it that were given on standard input.
//!
//! Written whole and renamed into place, mode 0600. The file is small and for people too: unknown keys are refused.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use davit_executor::settings::check_server;
use davit_types::FieldError;
use serde::{Deserialize, Serialize};

use super::error::ServerError;
use super::place::{checked, read_bounded};
use crate::args::{Format, PlaceArgs, ProfileCommand};
use crate::error::CliError;
use crate::output::tree::{Column, Show, Tree, table};
use crate::output::{print_json, print_line, print_text};

/// Largest file read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const NAME_CHARS_MAX: usize = 64;

/// One scheduler.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) server: String,
    pub(super) token_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    /// Where runs go that name no region.
    pub(super) region: Option<String>,
    /// The size of runs that name none.
    pub(super) instance_type: Option<String>,
}

impl Profile {
    /// One that says nothing but where.
    pub(super) fn of_server(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            ..Self::default()
        }
    }

    fn written(&self, name: &str) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let lines = [
            ("server", Some(self.server.clone())),
            ("token_file", path(&self.token_file)),
            ("ca_file", path(&self.ca_file)),
            ("region", self.region.clone()),
            ("instance_type", self.instance_type.clone()),
        ];
        let lines = lines.into_iter().filter_map(|(key, value)| {
            // TOML's basic strings take what JSON writes.
            value.map(|value| format!("{key} = {}\n", serde_json::Value::from(value)))
        });
        format!("\n[profiles.{name}]\n{}", lines.collect::<String>())
    }
}

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profiles {
    /// The one that commands go to that name none.
    #[serde(rename = "use")]
    used: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
    #[serde(skip)]
    path: PathBuf,
}

/// Where the user's files are; nowhere, without a home.
fn directory() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    Some(config?.join("davit"))
}

impl Profiles {
    /// What is kept; nothing, where there is no file.
    pub(super) fn load() -> Result<Self, CliError> {
        let Some(directory) = directory() else {
            return Ok(Self::default());
        };
        let path = directory.join("profiles.toml");
        let reading = || CliError::io(format!("read {}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    path,
                    ..Self::default()
                });
            }
            Err(error) => return Err(reading()(error)),
        };
        let mut text = String::new();
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(reading())?;
        let read: Result<Self, toml::de::Error> = toml::from_str(&text);
        match read {
            Ok(profiles) => Ok(Self { path, ..profiles }),
            Err(error) => Err(ServerError::Profiles {
                path,
                problem: error.to_string(),
            }
            .into()),
        }
    }

    pub(super) fn named(self, name: &str) -> Result<Profile, CliError> {
        let Self {
            mut profiles, path, ..
        } = self;
        profiles.remove(name).ok_or_else(|| {
            let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
            let problem = format!("there is no profile `{name}` (there: {})", known.join(", "));
            ServerError::Profiles { path, problem }.into()
        })
    }

    /// The one in use, if any is.
    pub(super) fn in_use(self) -> Result<Option<Profile>, CliError> {
        let used = self.used.clone();
        used.map(|name| self.named(&name)).transpose()
    }

    fn save(&self) -> Result<(), CliError> {
        let used = self.used.as_ref();
        let mut text = used.map_or_else(String::new, |name| format!("use = \"{name}\"\n"));
        for (name, profile) in &self.profiles {
            text.push_str(&profile.written(name));
        }
        write_private(&self.path, &text)
    }
}

/// Writes a file that is the user's alone, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = || CliError::io(format!("write {}", path.display()));
    if let Some(directory) = path.parent() {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(directory);
        made.map_err(failed())?;
    }
    let draft = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path));
    written.map_err(failed())
}

/// `davit profile`.
pub(crate) fn command(
    command: &ProfileCommand,
    place: &PlaceArgs,
    format: Format,
) -> Result<u8, CliError> {
    let mut profiles = Profiles::load()?;
    if profiles.path.as_os_str().is_empty() {
        let error = FieldError::new("HOME", "", "names no directory to keep profiles in");
        return Err(CliError::field(error));
    }
    match command {
        ProfileCommand::Add {
            name,
            token_stdin,
            region,
            instance_type,
            use_it,
        } => {
            let mut profile = described(place)?;
            profile.region.clone_from(region);
            profile.instance_type.clone_from(instance_type);
            check_name(name)?;
            if *token_stdin {
                let path = profiles.path.with_file_name(format!("{name}.token"));
                let read = read_bounded(io::stdin());
                let text = read.map_err(CliError::io("read the token from standard input"))?;
                write_private(&path, &checked(text, || "on standard input".to_owned())?)?;
                profile.token_file = Some(path);
            }
            profiles.profiles.insert(name.clone(), profile);
            if *use_it {
                profiles.used = Some(name.clone());
            }
            profiles.save()?;
        }
        ProfileCommand::List => list(&profiles, format)?,
        ProfileCommand::Use { name, none: _ } => {
            if let Some(name) = name {
                known(&profiles, name)?;
            }
            profiles.used.clone_from(name);
            profiles.save()?;
        }
        ProfileCommand::Remove { name } => {
            known(&profiles, name)?;
            profiles.profiles.remove(name);
            profiles.used = profiles.used.filter(|used| used != name);
            profiles.save()?;
        }
    }
    Ok(0)
}

fn described(place: &PlaceArgs) -> Result<Profile, CliError> {
    let server = place.server.clone().unwrap_or_default();
    check_server(&server)
        .map_err(|problem| CliError::field(FieldError::new("--server", &server, problem)))?;
    Ok(Profile {
        server,
        token_file: absolute(place.token_file.as_deref())?,
        ca_file: absolute(place.ca_file.as_deref())?,
        ..Profile::default()
    })
}

/// The same file wherever a later command is called.
fn absolute(path: Option<&Path>) -> Result<Option<PathBuf>, CliError> {
    let made = path.map(std::path::absolute).transpose();
    made.map_err(CliError::io("find the working directory"))
}

fn check_name(name: &str) -> Result<(), CliError> {
    let fit = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(fit) {
        return Ok(());
    }
    let problem = format!("must be 1 to {NAME_CHARS_MAX} letters, digits, - and _");
    Err(CliError::field(FieldError::new("NAME", name, problem)))
}

fn known(profiles: &Profiles, name: &str) -> Result<(), CliError> {
    if profiles.profiles.contains_key(name) {
        return Ok(());
    }
    let (what, given) = ("profile", name.to_owned());
    Err(ServerError::Unknown { what, given }.into())
}

#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    used: bool,
    #[serde(flatten)]
    profile: &'a Profile,
}

fn list(profiles: &Profiles, format: Format) -> Result<(), CliError> {
    let rows = profiles.profiles.iter().map(|(name, profile)| Listed {
        name,
        used: profiles.used.as_ref() == Some(name),
        profile,
    });
    let rows: Vec<Listed<'_>> = rows.collect();
    if format == Format::Json {
        return print_json(&rows);
    }
    if rows.is_empty() {
        return print_line("no profiles: commands go to the executor of this host");
    }
    let columns: &[Column] = &[
        ("NAME", "name", Show::Plain),
        ("USED", "used", Show::Plain),
        ("SERVER", "server", Show::Plain),
        ("TOKEN FILE", "token_file", Show::Plain),
        ("REGION", "region", Show::Plain),
        ("TYPE", "instance_type", Show::Plain),
    ];
    let failed = |error| CliError::io("write the profiles")(io::Error::other(error));
    let text = serde_json::to_string(&rows).map_err(failed)?;
    let trees: Vec<Tree> = serde_json::from_str(&text).map_err(failed)?;
    print_text(&table(columns, &trees))
}
