//! Checkpoint, and Start of a container created from one. Works where the OCI runtime has it (CRIU).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::oci::{CheckpointOptions, Options};

use super::Shim;
use super::start::begin_input;
use crate::bundle;
use crate::container::Container;
use crate::error::TaskError;
use crate::io::{ConsoleSocket, Streams};
use crate::process::Phase;
use crate::runtime::Stdio3;

impl Shim {
    pub(super) async fn checkpoint(
        &self,
        request: api::CheckpointTaskRequest,
    ) -> Result<(), TaskError> {
        let container = self.container(&request.id)?;
        if container.init.phase() != Phase::Running || container.is_davits() {
            return Err(TaskError::Refused {
                action: "checkpoint the container",
                why: "it is not running, or is a run of davit",
            });
        }
        let options = match request.options.as_ref() {
            Some(any) => CheckpointOptions::parse_from_bytes(&any.value).map_err(|error| {
                TaskError::Field {
                    field: "options",
                    problem: error.to_string(),
                }
            })?,
            None => CheckpointOptions::default(),
        };
        let own_work = options.work_path.is_empty();
        let work = if own_work {
            container.bundle.join("criu-work")
        } else {
            PathBuf::from(&options.work_path)
        };
        let arguments = arguments(&request.path, &work.to_string_lossy(), &options);
        let made = container
            .runtime
            .other(
                &self.0.reaper,
                "checkpoint",
                &arguments,
                &container.id,
                Stdio3::null(),
            )
            .await;
        if own_work && made.is_ok() {
            match std::fs::remove_dir_all(&work) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    log::warn!("cannot remove {}: {error}", work.display());
                }
                _ => {}
            }
        }
        Ok(made?)
    }

    /// Start of a container created from a checkpoint.
    pub(super) async fn restore(&self, container: &Arc<Container>) -> Result<(), TaskError> {
        let Some(restore) = &container.restore else {
            return Ok(());
        };
        let init = &container.init;
        if !init.advance(Phase::Registered, Phase::Starting) {
            return Err(TaskError::WrongPhase {
                action: "restore the container",
                phase: init.phase(),
            });
        }
        let result = self.restore_from(container, restore).await;
        if result.is_err() {
            init.advance(Phase::Starting, Phase::Registered);
        }
        result
    }

    async fn restore_from(
        &self,
        container: &Arc<Container>,
        restore: &crate::container::Restore,
    ) -> Result<(), TaskError> {
        let init = &container.init;
        let reaper = &self.0.reaper;
        let pid_file = container.bundle.join("init.pid");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut arguments = vec![
            "--detach".to_owned(),
            "--pid-file".to_owned(),
            text(&pid_file),
            "--bundle".to_owned(),
            text(&container.bundle),
            "--image-path".to_owned(),
            text(&restore.image),
            "--work-path".to_owned(),
            text(&restore.work),
        ];
        // runc would else become the subreaper of what it restores; crun does not know the word.
        let is_runc = container
            .runtime
            .binary()
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("runc"));
        if is_runc {
            arguments.push("--no-subreaper".to_owned());
        }
        let _birth = reaper.expect_birth();
        let (runtime, id) = (&container.runtime, &container.id);
        if init.paths.terminal {
            let socket = ConsoleSocket::bind(self.socket_dir())?;
            arguments.extend(["--console-socket".to_owned(), text(socket.path())]);
            let stdio = Stdio3::of_container()?;
            runtime
                .other(reaper, "restore", &arguments, id, stdio)
                .await?;
            let streams =
                Streams::open_console(&init.paths, &container.owner, reaper, socket).await?;
            init.set_streams(streams);
        } else {
            let (stdio, streams) = Streams::open(&init.paths, &container.owner, reaper).await?;
            init.set_streams(streams);
            runtime
                .other(reaper, "restore", &arguments, id, stdio)
                .await?;
        }
        let child = reaper.adopt(bundle::read_pid(&pid_file)?)?;
        init.born(child.handle.clone());
        init.advance(Phase::Starting, Phase::Running);
        begin_input(init);
        container.publish(&event::TaskStart {
            container_id: container.id.clone(),
            pid: init.pid(),
            ..event::TaskStart::default()
        });
        container.adopt_init(child, None);
        Ok(())
    }
}

fn arguments(image: &str, work: &str, options: &CheckpointOptions) -> Vec<String> {
    let mut arguments = vec![
        "--image-path".to_owned(),
        image.to_owned(),
        "--work-path".to_owned(),
        work.to_owned(),
    ];
    for (wanted, word) in [
        (!options.exit, "--leave-running"),
        (options.open_tcp, "--tcp-established"),
        (options.external_unix_sockets, "--ext-unix-sk"),
        (options.terminal, "--shell-job"),
        (options.file_locks, "--file-locks"),
    ] {
        if wanted {
            arguments.push(word.to_owned());
        }
    }
    if !options.cgroups_mode.is_empty() {
        arguments.extend([
            "--manage-cgroups-mode".to_owned(),
            options.cgroups_mode.clone(),
        ]);
    }
    for namespace in &options.empty_namespaces {
        arguments.extend(["--empty-ns".to_owned(), namespace.clone()]);
    }
    arguments
}

/// Where CRIU works for a container in `bundle`.
pub(super) fn criu_work(options: &Options, bundle: &Path) -> PathBuf {
    if options.criu_work_path.is_empty() {
        bundle.join("work")
    } else {
        PathBuf::from(&options.criu_work_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_the_runtimes_words() {
        let options = CheckpointOptions {
            exit: true,
            terminal: true,
            empty_namespaces: vec!["network".to_owned()],
            ..CheckpointOptions::default()
        };
        assert_eq!(
            arguments("/i", "/w", &options),
            [
                "--image-path",
                "/i",
                "--work-path",
                "/w",
                "--shell-job",
                "--empty-ns",
                "network"
            ]
        );
        let running = arguments("/i", "/w", &CheckpointOptions::default());
        assert!(running.contains(&"--leave-running".to_owned()));
    }
}
