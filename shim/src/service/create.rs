//! Create and Start of a container's init.
//!
//! Create is a chain of steps, each undone when a later one fails: mounts → run directory and cgroup → streams →
//! runtime `create` → pidfd. TaskCreate is published before anything can tell of an end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::shim::oci::Options;

use super::Shim;
use crate::bundle::{self, Config, ShimRecord};
use crate::container::{Container, Parts, Restore};
use crate::error::{TaskError, chain};
use crate::io::{ConsoleSocket, Owner, StdioPaths, Streams};
use crate::process::{Phase, Process};
use crate::run::{Run, Signaller};
use crate::runtime::{Runtime, find_binary};
use crate::{bootstrap, lock, mounts};

/// State directory of the OCI runtime when the client names none; the namespace is appended.
const RUNTIME_ROOT: &str = "/run/containerd/davit";

/// Holds an id while its container is being created.
struct Creating<'a> {
    shim: &'a Shim,
    id: &'a str,
}

impl<'a> Creating<'a> {
    fn begin(shim: &'a Shim, id: &'a str) -> Result<Self, TaskError> {
        let taken = lock(&shim.0.containers).contains_key(id)
            || !lock(&shim.0.creating).insert(id.to_owned());
        if taken {
            return Err(TaskError::ContainerExists(id.to_owned()));
        }
        Ok(Self { shim, id })
    }
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        lock(&self.shim.0.creating).remove(self.id);
    }
}

impl Shim {
    pub(super) async fn create(
        &self,
        request: api::CreateTaskRequest,
    ) -> Result<api::CreateTaskResponse, TaskError> {
        let created = self.create_container(request).await;
        if created.is_err() {
            self.task_gone();
        }
        created
    }

    async fn create_container(
        &self,
        request: api::CreateTaskRequest,
    ) -> Result<api::CreateTaskResponse, TaskError> {
        let creating = Creating::begin(self, &request.id)?;
        let bundle = PathBuf::from(&request.bundle);
        self.note_bundle(&bundle)?;
        let rootfs = bundle.join("rootfs");
        mounts::mount_all(&request.rootfs, &rootfs)?;
        let made = self.create_in(&request, &bundle).await;
        let container = match made {
            Ok(container) => container,
            Err(error) => {
                log::warn!("create failed: {}", chain(&error));
                if let Err(undo) = mounts::unmount_all(&rootfs) {
                    log::warn!("{}", chain(&undo));
                }
                return Err(error);
            }
        };
        lock(&self.0.containers).insert(request.id.clone(), container.clone());
        drop(creating);
        Ok(api::CreateTaskResponse {
            pid: container.init.pid(),
            ..api::CreateTaskResponse::default()
        })
    }

    async fn create_in(
        &self,
        request: &api::CreateTaskRequest,
        bundle: &Path,
    ) -> Result<Arc<Container>, TaskError> {
        let options = request
            .options
            .as_ref()
            .and_then(bootstrap::runc_options)
            .unwrap_or_default();
        let config = Config::read(bundle)?;
        let run = match config.run_dir() {
            Some(dir) if request.terminal || !request.checkpoint.is_empty() => {
                return Err(TaskError::Field {
                    field: "terminal",
                    problem: format!("run {} has neither terminal nor checkpoint", dir.display()),
                });
            }
            Some(dir) => Some(Run::open(dir)?),
            None => None,
        };
        let runtime = self
            .runtime(&options, run.as_ref(), bundle)?
            .with_sandbox_network(config.sandbox_network());
        let paths = StdioPaths {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let container = Arc::new(Container::new(Parts {
            id: request.id.clone(),
            bundle: bundle.to_owned(),
            runtime,
            owner: Owner {
                uid: options.io_uid,
                gid: options.io_gid,
                id: request.id.clone(),
                namespace: self.0.namespace.clone(),
            },
            init: Arc::new(Process::init(paths)),
            run,
            restore: (!request.checkpoint.is_empty()).then(|| Restore {
                image: PathBuf::from(&request.checkpoint),
                work: criu_work(&options, bundle),
            }),
            private_pid_namespace: config.has_private_pid_namespace(),
            publisher: self.0.publisher.clone(),
        }));
        if container.restore.is_none() {
            self.create_init(&container, &options).await?;
        }
        container.publish(&event::TaskCreate {
            container_id: request.id.clone(),
            bundle: request.bundle.clone(),
            io: MessageField::some(event::TaskIO {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
                ..event::TaskIO::default()
            }),
            checkpoint: request.checkpoint.clone(),
            pid: container.init.pid(),
            ..event::TaskCreate::default()
        });
        Ok(container)
    }

    fn runtime(
        &self,
        options: &Options,
        run: Option<&Run>,
        bundle: &Path,
    ) -> Result<Runtime, TaskError> {
        let binary = match run {
            Some(run) => run.runtime_binary().to_owned(),
            None => find_binary(&options.binary_name)?,
        };
        let root = if options.root.is_empty() {
            RUNTIME_ROOT
        } else {
            &options.root
        };
        let record = ShimRecord {
            runtime: binary,
            root: Path::new(root).join(&self.0.namespace),
            systemd_cgroup: options.systemd_cgroup,
            run_dir: run.map(|run| run.dir().to_owned()),
        };
        record.write(bundle)?;
        Ok(Runtime::new(
            record.runtime,
            record.root,
            record.systemd_cgroup,
            bundle,
        ))
    }

    /// Has the runtime create the container and takes its init over.
    async fn create_init(
        &self,
        container: &Arc<Container>,
        options: &Options,
    ) -> Result<(), TaskError> {
        let pid_file = container.bundle.join("init.pid");
        let flags = (options.no_pivot_root, options.no_new_keyring);
        let reaper = &self.0.reaper;
        let init = &container.init;
        // From here to the pidfd an early death of the init must wait for us as a zombie.
        let _birth = reaper.expect_birth();
        let (runtime, id) = (&container.runtime, &container.id);
        if init.paths.terminal {
            let socket = ConsoleSocket::bind(self.socket_dir())?;
            let stdio = crate::runtime::Stdio3::null();
            runtime
                .create(reaper, id, &pid_file, Some(socket.path()), flags, stdio)
                .await?;
            let streams =
                Streams::open_console(&init.paths, &container.owner, reaper, socket).await;
            self.keep_or_remove(container, streams).await?;
        } else {
            let stdio = match &container.run {
                Some(run) => run.prepare()?,
                None => {
                    let (stdio, streams) =
                        Streams::open(&init.paths, &container.owner, reaper).await?;
                    init.set_streams(streams);
                    stdio
                }
            };
            let created = runtime
                .create(reaper, id, &pid_file, None, flags, stdio)
                .await;
            if let Err(error) = created {
                if let Some(run) = &container.run {
                    run.create_failed();
                }
                return Err(error.into());
            }
        }
        let child = match bundle::read_pid(&pid_file)
            .map_err(TaskError::from)
            .and_then(|pid| Ok(reaper.adopt(pid)?))
        {
            Ok(child) => child,
            Err(error) => {
                self.remove_runtime_state(container).await;
                return Err(error);
            }
        };
        let mut cgroup = None;
        if let Some(run) = &container.run {
            match run.created(&child.handle, self.signaller(container)) {
                Ok(of_run) => cgroup = Some(of_run),
                Err(error) => {
                    // Nobody holds this container: it must not stay.
                    self.remove_runtime_state(container).await;
                    return Err(error.into());
                }
            }
        }
        init.advance(Phase::Registered, Phase::Created);
        container.adopt_init(child, cgroup);
        Ok(())
    }

    fn signaller(&self, container: &Container) -> Signaller {
        if !container.runtime.is_sandboxed() {
            return Signaller::Pidfd;
        }
        Signaller::Runtime {
            runtime: container.runtime.clone(),
            reaper: self.0.reaper.clone(),
            id: container.id.clone(),
        }
    }

    async fn keep_or_remove(
        &self,
        container: &Container,
        streams: Result<Streams, crate::io::IoError>,
    ) -> Result<(), TaskError> {
        match streams {
            Ok(streams) => {
                container.init.set_streams(streams);
                Ok(())
            }
            Err(error) => {
                self.remove_runtime_state(container).await;
                Err(error.into())
            }
        }
    }

    async fn remove_runtime_state(&self, container: &Container) {
        let deleted = container
            .runtime
            .delete(&self.0.reaper, &container.id, true)
            .await;
        if let Err(error) = deleted {
            log::warn!("after a failed create: {}", chain(&error));
        }
    }

    pub(super) async fn start(
        &self,
        request: api::StartRequest,
    ) -> Result<api::StartResponse, TaskError> {
        let (container, process) = self.process(&request.id, &request.exec_id)?;
        if process.exec_id.is_empty() {
            self.start_init(&container).await?;
        } else {
            self.start_exec(&container, &process).await?;
        }
        Ok(api::StartResponse {
            pid: process.pid(),
            ..api::StartResponse::default()
        })
    }

    async fn start_init(&self, container: &Arc<Container>) -> Result<(), TaskError> {
        let init = &container.init;
        if container.restore.is_some() {
            return self.restore(container).await;
        }
        if !init.advance(Phase::Created, Phase::Starting) {
            return Err(TaskError::WrongPhase {
                action: "start the container",
                phase: init.phase(),
            });
        }
        if let Some(run) = &container.run {
            run.starting();
        }
        let started = container.runtime.start(&self.0.reaper, &container.id).await;
        if let Some(run) = &container.run {
            run.started(started.is_ok());
        }
        match started {
            Ok(()) => {
                container.publish(&event::TaskStart {
                    container_id: container.id.clone(),
                    pid: init.pid(),
                    ..event::TaskStart::default()
                });
                // Unless it has ended meanwhile.
                init.advance(Phase::Starting, Phase::Running);
                begin_input(init);
                Ok(())
            }
            Err(error) => {
                init.advance(Phase::Starting, Phase::Created);
                Err(error.into())
            }
        }
    }
}

/// The process has its output and its end; a broken input is no reason to fail what runs.
pub(super) fn begin_input(process: &Process) {
    if let Err(error) = process.streams().start_input() {
        log::error!("{}", chain(&error));
    }
}

fn criu_work(options: &Options, bundle: &Path) -> PathBuf {
    if options.criu_work_path.is_empty() {
        bundle.join("work")
    } else {
        PathBuf::from(&options.criu_work_path)
    }
}
