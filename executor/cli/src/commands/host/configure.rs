//! `davit executor configure`: changes the settings file, by flags or by questions on a terminal.
//!
//! ```text
//!  file ─► changes, comments kept ─► FILE.new ─► read as the executor reads it ─► durable ─► renamed over FILE
//! ```
//!
//! Invariant: the file is the old one or a new one that the executor accepts, whatever happens in between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use davit_executor::settings::{self, DEFAULT_FILE, FILE_BYTES_MAX, Settings, Sources};
use davit_settings::{Change, Layered, SettingsError, edit};
use davit_types::FieldError;

use crate::args::ConfigureArgs;
use crate::error::CliError;
use crate::output::{note, print_bytes, print_line};

/// What is asked on a terminal: the settings that nearly every host has of its own.
const QUESTIONS: &[(&str, &str)] = &[
    (
        "link.server",
        "Address of the scheduler, - for a host that works alone",
    ),
    (
        "state_dir",
        "Directory of all that must survive a restart, on a real disk",
    ),
    ("cgroup_parent", "Cgroup below which runs are"),
    (
        "images.cache_bytes_max",
        "Bytes of images kept for later, e.g. 50GiB",
    ),
];
const FILE_MODE: u32 = 0o644;

/// Changes the file, and tells what is to be done.
pub(super) fn configure(args: &ConfigureArgs) -> Result<u8, CliError> {
    let named = args.config.clone().unwrap_or(DEFAULT_FILE.into());
    // What a link points to is changed, not the link.
    let path = fs::canonicalize(&named).unwrap_or(named);
    let old = read(&path)?;
    let mut changes = asked_for(args)?;
    if changes.is_empty() {
        if !io::stdin().is_terminal() {
            let problem = "is missing, as are --server and --unset: say what to change, or run it on a terminal";
            return Err(CliError::field(FieldError::new("--set", "", problem)));
        }
        changes = ask(&path, &mut io::stdin().lock())?;
    }
    let new = edit(Settings::TABLE, &old, &changes)?;
    if new == old {
        print_line(&format!("{} stays as it is", path.display()))?;
        return Ok(0);
    }
    replace(&path, &new)?;
    print_line(&format!(
        "{} is written; `davit executor restart` puts it in force (runs go on)",
        path.display()
    ))?;
    Ok(0)
}

fn read(path: &Path) -> Result<String, CliError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Ok(found) if found.len() > FILE_BYTES_MAX => {
            let path = path.to_owned();
            return Err(SettingsError::TooLarge { path }.into());
        }
        _ => {}
    }
    fs::read_to_string(path).map_err(CliError::io(format!("read {}", path.display())))
}

fn asked_for(args: &ConfigureArgs) -> Result<Vec<Change>, CliError> {
    let mut changes = Vec::new();
    for key in &args.unset {
        changes.push(Change {
            key: key.clone(),
            value: None,
        });
    }
    for setting in &args.set {
        let Some((key, value)) = setting.split_once('=') else {
            let problem = "is not KEY=VALUE";
            return Err(CliError::field(FieldError::new("--set", setting, problem)));
        };
        changes.push(Change {
            key: key.to_owned(),
            value: Some(value.to_owned()),
        });
    }
    if let Some(server) = &args.server {
        changes.push(Change {
            key: "link.server".to_owned(),
            value: Some(server.trim_end_matches('/').to_owned()),
        });
    }
    Ok(changes)
}

/// Asks for each; an empty answer leaves what is, a dash takes it out.
fn ask(path: &Path, answers: &mut impl BufRead) -> Result<Vec<Change>, CliError> {
    let exists = path.exists().then(|| path.to_owned());
    let loaded = settings::load(&Sources {
        file: exists,
        ..Sources::default()
    })?;
    let tree = serde_json::to_value(&loaded.settings).unwrap_or_default();
    let mut changes = Vec::new();
    for (key, question) in QUESTIONS {
        let pointer = format!("/{}", key.replace('.', "/"));
        let now = match tree.pointer(&pointer) {
            None | Some(serde_json::Value::Null) => "not set".to_owned(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        print_bytes(format!("{question}\n{key} [{now}]: ").as_bytes())?;
        let mut answer = String::new();
        answers
            .read_line(&mut answer)
            .map_err(CliError::io("ask on the terminal"))?;
        let value = match answer.trim() {
            "" => continue,
            "-" => None,
            text => Some(text.to_owned()),
        };
        changes.push(Change {
            key: (*key).to_owned(),
            value,
        });
    }
    Ok(changes)
}

/// Puts the text in the file's place, if the executor accepts it.
fn replace(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |operation: &str| CliError::io(format!("{operation} {}", path.display()));
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).map_err(failed("make the directory of"))?;
    let mode = fs::metadata(path).map_or(FILE_MODE, |file| file.permissions().mode() & 0o7777);
    let draft = PathBuf::from(format!("{}.new", path.display()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    let accepted = written.map_err(failed("write")).and_then(|()| {
        let file = Some(draft.clone());
        let sources = Sources {
            file,
            ..Sources::default()
        };
        settings::load(&sources)?;
        Ok(())
    });
    if let Err(error) = accepted {
        if let Err(left) = fs::remove_file(&draft) {
            note(&format!("{} is left: {left}", draft.display()));
        }
        return Err(error);
    }
    fs::rename(&draft, path)
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(failed("replace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(file: &Path, set: &[&str]) -> ConfigureArgs {
        ConfigureArgs {
            config: Some(file.to_owned()),
            server: None,
            set: set.iter().map(|text| (*text).to_owned()).collect(),
            unset: Vec::new(),
        }
    }

    #[test]
    fn a_file_is_made_and_changed_and_keeps_its_comments_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("etc/executor.toml");
        configure(&args(&file, &["state_dir=/srv/davit"])).unwrap();
        assert_eq!(read(&file).unwrap(), "state_dir = \"/srv/davit\"\n");
        fs::write(&file, "# ours\nstate_dir = \"/srv/davit\" # fast disk\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut more = args(&file, &["warm.slots_per_profile=2"]);
        more.server = Some("https://davit.example.com/".into());
        configure(&more).unwrap();
        assert_eq!(
            read(&file).unwrap(),
            "# ours\nstate_dir = \"/srv/davit\" # fast disk\n\n[warm]\nslots_per_profile = 2\n\n\
             [link]\nserver = \"https://davit.example.com\"\n"
        );
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let mut less = args(&file, &[]);
        less.unset = vec!["link.server".into()];
        configure(&less).unwrap();
        assert!(!read(&file).unwrap().contains("server"));
    }

    #[test]
    fn what_the_executor_would_refuse_is_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("executor.toml");
        configure(&args(&file, &["state_dir=/srv/davit"])).unwrap();
        for wrong in [
            "state_dri=/srv/davit",
            "warm.slots_per_profile=many",
            "link.server=http://elsewhere.example.com",
        ] {
            let refused = configure(&args(&file, &[wrong])).unwrap_err();
            assert!(
                matches!(refused, CliError::SettingsFields { .. }),
                "{wrong}"
            );
            assert_eq!(read(&file).unwrap(), "state_dir = \"/srv/davit\"\n");
        }
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn questions_keep_what_is_not_answered() {
        let path = Path::new("/does/not/exist");
        let changes = ask(path, &mut "https://s.example.com\n\n-\n".as_bytes()).unwrap();
        let told: Vec<_> = changes
            .iter()
            .map(|change| (change.key.as_str(), change.value.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("link.server", Some("https://s.example.com")),
                ("cgroup_parent", None)
            ]
        );
    }
}
