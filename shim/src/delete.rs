//! `delete`: containerd's last resort when the daemon is gone. Idempotent, quick, and it invents nothing: where a
//! run's exit.json exists, that is the answer; else containerd gets the 137 it expects, which davit's executor
//! never reads.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::{self, Message, MessageField};
use davit_rundir::{RunDir, SlotDir, Stamp};

use crate::args::Args;
use crate::bundle::{self, Config, ShimRecord};
use crate::cgroup::ContainerCgroup;
use crate::error::chain;
use crate::events::timestamp;
use crate::{mounts, start};

/// How long killed processes may take to go; containerd allows the whole command 5 s.
const EMPTY_MS_MAX: u64 = 2_000;

/// What containerd's own shim answers when it does not know.
const KILLED_STATUS: u32 = 137;

/// Why nothing could be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteError {
    #[error("cannot find the bundle")]
    NoBundle(#[source] io::Error),
    #[error("cannot encode the answer")]
    Answer(#[source] protobuf::Error),
}

/// Cleans up; returns the answer to print. Warnings go to stderr, which containerd logs.
pub(crate) fn run(args: &Args) -> Result<Vec<u8>, DeleteError> {
    let bundle = match &args.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().map_err(DeleteError::NoBundle)?,
    };
    let record = ShimRecord::read(&bundle).unwrap_or_else(|error| {
        warn(&chain(&error));
        None
    });
    if let Some(record) = &record {
        force_delete(record, &bundle, &args.id);
        if let Some(cgroup) = &record.cgroup {
            end_cgroup(cgroup);
        }
        if let Some(slot) = record.slot_dir.as_deref().and_then(SlotDir::from_path) {
            remove(&slot.socket_path());
        }
    }
    let run_dir = record.as_ref().and_then(|record| record.run_dir.as_deref());
    if let Err(error) = mounts::unmount_bundle(&bundle) {
        warn(&chain(&error));
    }
    remove_own_socket(args, &bundle);
    let exit = run_dir.and_then(recorded_exit);
    let (exit_status, ended) = exit.unwrap_or((KILLED_STATUS, Stamp::now()));
    let pid = bundle::read_pid(&bundle.join("init.pid")).unwrap_or(0);
    DeleteResponse {
        pid: pid.cast_unsigned(),
        exit_status,
        exited_at: MessageField::some(timestamp(ended.unix_ns)),
        ..DeleteResponse::default()
    }
    .write_to_bytes()
    .map_err(DeleteError::Answer)
}

fn recorded_exit(dir: &Path) -> Option<(u32, Stamp)> {
    let record = RunDir::from_path(dir)?.read_exit();
    match record {
        Ok(record) => record.map(|exit| (exit.status.shell_code().into(), exit.ended)),
        Err(error) => {
            warn(&chain(&error));
            None
        }
    }
}

/// Whatever is left of the processes of a run or a slot goes, and their cgroup; a run's records stay.
fn end_cgroup(path: &str) {
    let ended = ContainerCgroup::open(path).and_then(|cgroup| {
        cgroup.kill()?;
        cgroup
            .inner()
            .wait_empty(Duration::from_millis(EMPTY_MS_MAX))?;
        cgroup.inner().remove()
    });
    match ended {
        Err(error) if !error.is_gone() => warn(&chain(&error)),
        _ => {}
    }
}

fn force_delete(record: &ShimRecord, bundle: &Path, id: &str) {
    let mut command = Command::new(&record.runtime);
    command
        .arg("--root")
        .arg(&record.root)
        .arg("--log")
        .arg(bundle.join("log.json"))
        .args(["--log-format", "json"])
        .args(record.systemd_cgroup.then_some("--systemd-cgroup"))
        .args(["delete", "--force", id])
        .current_dir(bundle)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => {}
        // Mostly: it never was, or is gone already.
        Ok(status) => warn(&format!("OCI runtime delete: {status}")),
        Err(error) => warn(&format!(
            "cannot execute {}: {error}",
            record.runtime.display()
        )),
    }
}

/// A daemon that was killed has left its socket. One that lives (a pod's) keeps it.
fn remove_own_socket(args: &Args, bundle: &Path) {
    let recorded = std::fs::read_to_string(bundle.join("address")).ok();
    let socket = match recorded.as_deref().map(str::trim) {
        Some(address) => PathBuf::from(address.trim_start_matches("unix://")),
        None => {
            let config = Config::read(bundle).unwrap_or_default();
            start::default_socket_path(args, config.group(&args.id))
        }
    };
    if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
        return;
    }
    remove(&socket);
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn(&format!("cannot remove {}: {error}", path.display()));
        }
        _ => {}
    }
}

fn warn(message: &str) {
    use std::io::Write;
    // Without a reader there is nobody to warn.
    let _written = writeln!(io::stderr(), "{}: {message}", env!("CARGO_PKG_NAME"));
}
