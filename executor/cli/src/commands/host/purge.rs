//! `davit executor purge`: removes what davit made on this host.
//!
//! ```text
//!  told, asked ─► service stopped ─► an executor in this process, without a scheduler
//!                                       ├─ live runs: refused, the service begins again │ --force: canceled
//!                                       └─ runs, images, leftovers in containerd gone
//!                                    ─► unit, state_dir, credentials, settings, cgroups gone
//! ```
//!
//! Invariants:
//! - without `--force` a live run keeps everything where it is;
//! - what is removed has davit's own names, below davit's own directories and containerd namespace; directories go only
//!   when they are empty then.
//!
//! Absent on purpose: containerd itself, davit's programs, and the host's entry at the scheduler (an operator removes it).

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use davit_executor::settings::{DEFAULT_FILE, Settings};
use davit_rpc::local::{Empty, ImageRef, ListRequest, ReapRequest, Run, RunRef};
use tokio::sync::watch;
use tonic::Code;

use super::{UNIT_FILE, service};
use crate::args::PurgeArgs;
use crate::client::Client;
use crate::commands::executor;
use crate::error::CliError;
use crate::output::{note, print_bytes, print_line, print_text};

/// How long the executor may take until it answers, milliseconds.
const ANSWER_MS_MAX: u64 = 60_000;
/// How long canceled runs may take until nothing is left of them, milliseconds.
const EMPTY_MS_MAX: u64 = 120_000;
/// Between two looks, milliseconds.
const LOOK_MS: u64 = 100;
/// What an executor makes in its `state_dir`.
const STATE_DIRS: &[&str] = &["runs", "slots", "shims"];
const STATE_FILES: &[&str] = &[
    "bridge-resolv.conf",
    "bridge-resolv.tmp",
    "executor.lock",
    "forwarding-ipv4",
    "forwarding-ipv6",
    "hosts",
    "hosts.tmp",
    "link-contact.json",
    "link-contact.json.tmp",
];
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Asks, and removes.
pub(super) fn purge(args: &PurgeArgs, socket: Option<PathBuf>) -> Result<u8, CliError> {
    let mut settings = executor::load(&args.settings, socket)?.settings;
    let file = args.settings.config.clone().unwrap_or(DEFAULT_FILE.into());
    let runtime = service::runtime()?;
    let server = runtime.block_on(serving_pid(&settings.socket))?;
    let service_pid = service::main_pid();
    if let Some(pid) = server.filter(|pid| Some(*pid) != service_pid) {
        return Err(CliError::ForeignExecutor { pid });
    }
    print_text(&plan(&settings, &file))?;
    if !args.yes && !confirmed()? {
        return Err(CliError::NotConfirmed);
    }
    if service_pid.is_some() {
        service::stop()?;
    }
    // Nobody gives this host runs any more.
    settings.link.server = None;
    if let Err(error) = emptied(&settings, args.force, &runtime) {
        if service_pid.is_some() {
            service::begin("start", &settings.socket)?;
        }
        return Err(error);
    }
    let unruled = runtime.block_on(davit_executor::remove_rules(&settings));
    unruled.map_err(|problem| {
        CliError::io("remove the rules of bridges")(io::Error::other(problem))
    })?;
    remove_files(&settings, &file)?;
    print_line(
        "removed; davit's programs and containerd are left, and the host's entry at a scheduler",
    )?;
    Ok(0)
}

fn plan(settings: &Settings, file: &Path) -> String {
    format!(
        "This removes from this host:\n  \
         all runs and images of davit (containerd namespace {})\n  \
         {} and {}\n  {} and {}\n  cgroup {}",
        settings.containerd.namespace,
        settings.state_dir.display(),
        settings.link.credentials_file.display(),
        file.display(),
        UNIT_FILE,
        settings.cgroup_parent,
    )
}

fn confirmed() -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut answer = String::new();
    print_bytes(b"Type yes to remove it: ")?;
    io::stdin()
        .read_line(&mut answer)
        .map_err(CliError::io("ask on the terminal"))?;
    Ok(answer.trim() == "yes")
}

/// Who answers on the socket, if anybody does.
async fn serving_pid(socket: &Path) -> Result<Option<i32>, CliError> {
    let Ok(stream) = tokio::net::UnixStream::connect(socket).await else {
        return Ok(None);
    };
    let peer = stream.peer_cred();
    let peer = peer.map_err(CliError::io(format!("ask who serves {}", socket.display())))?;
    Ok(Some(peer.pid().unwrap_or_default()))
}

/// An executor of our own ends and forgets all that is davit's in containerd.
fn emptied(
    settings: &Settings,
    force: bool,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), CliError> {
    let (stop, stopped) = watch::channel(false);
    let own = settings.clone();
    let serving = thread::spawn(move || davit_executor::serve_until(&own, stopped));
    let emptied = runtime.block_on(async {
        let client = answer(&settings.socket, &serving).await?;
        empty(&client, force).await
    });
    stop.send_replace(true);
    let served = match serving.join() {
        Ok(served) => served,
        Err(panicked) => std::panic::resume_unwind(panicked),
    };
    // Why it does not serve says more than that it does not answer.
    served?;
    emptied
}

async fn answer<T>(socket: &Path, serving: &thread::JoinHandle<T>) -> Result<Client, CliError> {
    let begun = Instant::now();
    loop {
        match Client::connect(socket).await {
            Ok(client) => return Ok(client),
            Err(error) if serving.is_finished() => return Err(error),
            Err(error) if begun.elapsed() > Duration::from_millis(ANSWER_MS_MAX) => {
                return Err(error);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(LOOK_MS)).await,
        }
    }
}

async fn empty(client: &Client, force: bool) -> Result<(), CliError> {
    let live = listed(client, false).await?;
    if !force && !live.is_empty() {
        return Err(CliError::LiveRuns {
            count: live.len(),
            example: live[0].id.clone(),
        });
    }
    for run in live {
        client.runs().cancel(RunRef { run: run.id }).await?;
    }
    let begun = Instant::now();
    while !listed(client, false).await?.is_empty() || leftovers(client).await? > 0 {
        if begun.elapsed() > Duration::from_millis(EMPTY_MS_MAX) {
            return Err(CliError::NotEmptied {
                seconds: EMPTY_MS_MAX / 1_000,
            });
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
    let images = client.images().list(Empty {}).await?.into_inner().images;
    for image in images {
        let image = ImageRef { image: image.name };
        while let Err(refused) = client.images().remove(image.clone()).await {
            // An ended run holds its image until its root file system is removed.
            let is_held = refused.code() == Code::FailedPrecondition;
            if !is_held || begun.elapsed() > Duration::from_millis(EMPTY_MS_MAX) {
                return Err(refused.into());
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    }
    Ok(())
}

async fn listed(client: &Client, all: bool) -> Result<Vec<Run>, CliError> {
    let runs = client.runs().list(ListRequest { all }).await?;
    Ok(runs.into_inner().runs)
}

/// How many things of ended runs had to be swept now.
async fn leftovers(client: &Client) -> Result<u32, CliError> {
    let at_once = ReapRequest {
        age_seconds: Some(0),
    };
    let swept = client.runs().reap(at_once).await?.into_inner();
    Ok(swept.containers + swept.snapshots + swept.cgroups)
}

fn remove_files(settings: &Settings, file: &Path) -> Result<(), CliError> {
    if Path::new(UNIT_FILE).exists() {
        service::disable()?;
        gone(fs::remove_file(UNIT_FILE), Path::new(UNIT_FILE))?;
        service::reload()?;
    }
    let state = &settings.state_dir;
    for name in STATE_DIRS {
        let dir = state.join(name);
        gone(fs::remove_dir_all(&dir), &dir)?;
    }
    for name in STATE_FILES {
        let path = state.join(name);
        gone(fs::remove_file(&path), &path)?;
    }
    for path in [&settings.link.credentials_file, file] {
        gone(fs::remove_file(path), path)?;
    }
    let cgroup = Path::new(CGROUP_ROOT).join(settings.cgroup_parent.trim_start_matches('/'));
    remove_cgroups(&cgroup);
    let parents = [
        Some(state.as_path()),
        settings.socket.parent(),
        file.parent(),
    ];
    for dir in parents.into_iter().flatten() {
        // Not empty: something of somebody else's is in it.
        if let Err(error) = fs::remove_dir(dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            note(&format!("{} stays: {error}", dir.display()));
        }
    }
    Ok(())
}

fn gone(removed: io::Result<()>, path: &Path) -> Result<(), CliError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CliError::io(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Empty cgroups, the deepest first; one with processes stays, and is told of.
fn remove_cgroups(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    if let Err(error) = fs::remove_dir(dir) {
        note(&format!("{} stays: {error}", dir.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_davits_own_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let settings = Settings {
            state_dir: state.clone(),
            socket: dir.path().join("run/executor.sock"),
            cgroup_parent: "/davit-no-such-cgroup".to_owned(),
            link: davit_executor::settings::LinkSettings {
                credentials_file: dir.path().join("host.json"),
                ..Settings::default().link
            },
            ..Settings::default()
        };
        let file = dir.path().join("etc/executor.toml");
        for path in ["state/runs/a.1", "state/slots", "run", "etc"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for path in [
            "state/hosts",
            "state/mine",
            "host.json",
            "etc/executor.toml",
        ] {
            fs::write(dir.path().join(path), "x").unwrap();
        }
        remove_files(&settings, &file).unwrap();
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
        assert!(state.join("mine").exists());
        for path in ["run", "etc", "host.json"] {
            assert!(!dir.path().join(path).exists(), "{path}");
        }
        // Again: nothing is left to do, and that is fine.
        remove_files(&settings, &file).unwrap();
    }
}
