//! Create of a container's init.
//!
//! Create is a chain of steps, each undone when a later one fails: mounts → run directory and cgroup → streams →
//! runtime `create` → pidfd. TaskCreate is published before anything can tell of an end.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_shim_protos::api;
use containerd_shim_protos::events::task as event;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::shim::oci::Options;

use super::Shim;
use super::checkpoint::criu_work;
use super::console::take_terminal;
use crate::bundle::{self, Config, ShimRecord};
use crate::cgroup::ContainerCgroup;
use crate::container::{Container, Parts, Restore};
use crate::error::{TaskError, chain};
use crate::io::{ConsoleSocket, Owner, StdioPaths, Streams};
use crate::mounts::{self, UserNamespace};
use crate::process::{Phase, Process};
use crate::reaper::Child;
use crate::run::{Run, Signaller, own_layer};
use crate::runtime::{Creation, Runtime, Stdio3, find_binary};
use crate::secrets::{self, Place};
use crate::slot::{Slot, SlotError};
use crate::{bootstrap, lock};

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
        self.shim.0.settled.notify_waiters();
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

    /// Waits until `id` is not being created (any more).
    pub(super) async fn created(&self, id: &str) {
        loop {
            let settled = self.0.settled.notified();
            if !lock(&self.0.creating).contains(id) {
                return;
            }
            settled.await;
        }
    }

    async fn create_container(
        &self,
        request: api::CreateTaskRequest,
    ) -> Result<api::CreateTaskResponse, TaskError> {
        let creating = Creating::begin(self, &request.id)?;
        let bundle = PathBuf::from(&request.bundle);
        self.note_bundle(&bundle)?;
        let config = Config::read(&bundle)?;
        let ids = config.davits_ids()?.map(UserNamespace::of).transpose()?;
        mounts::mount_all(&request.rootfs, &bundle, ids.as_ref())?;
        let container = match self.create_in(&request, &bundle, &config).await {
            Ok(container) => container,
            Err(error) => {
                log::warn!("create failed: {}", chain(&error));
                if let Err(undo) = mounts::unmount_bundle(&bundle) {
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
        config: &Config,
    ) -> Result<Arc<Container>, TaskError> {
        let options = request
            .options
            .as_ref()
            .and_then(bootstrap::runc_options)
            .unwrap_or_default();
        let (slot, run) = davits(request, config)?;
        let ids = config.davits_ids()?;
        let secrets = match &run {
            Some(run) if config.awaits_secrets() => {
                Some(secrets::hand_over(run, bundle, ids).await?)
            }
            _ => None,
        };
        let runtime = self
            .runtime(&options, slot.as_deref(), run.as_ref(), bundle)?
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
            layer: own_layer(&request.rootfs),
            runtime,
            owner: Owner {
                uid: options.io_uid,
                gid: options.io_gid,
                id: request.id.clone(),
                namespace: self.0.namespace.clone(),
            },
            init: Arc::new(Process::init(paths)),
            slot,
            run,
            restore: (!request.checkpoint.is_empty()).then(|| Restore {
                image: PathBuf::from(&request.checkpoint),
                work: criu_work(&options, bundle),
            }),
            ids,
            private_pid_namespace: config.has_private_pid_namespace(),
            publisher: self.0.publisher.clone(),
        }));
        if container.restore.is_none() {
            self.create_init(&container, &options, secrets).await?;
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
        slot: Option<&Slot>,
        run: Option<&Run>,
        bundle: &Path,
    ) -> Result<Runtime, TaskError> {
        let chosen = slot.map(Slot::runtime_binary);
        let binary = match chosen.or(run.map(Run::runtime_binary)) {
            Some(binary) => binary.to_owned(),
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
            slot_dir: slot.map(|slot| slot.dir().to_owned()),
            cgroup: slot
                .map(Slot::cgroup_path)
                .or(run.map(Run::cgroup_path))
                .map(str::to_owned),
        };
        record.write(bundle)?;
        let runtime = Runtime::new(record.runtime, record.root, record.systemd_cgroup, bundle);
        if slot.is_some() && !runtime.is_crun() {
            return Err(SlotError::OtherRuntime(runtime.binary().to_owned()).into());
        }
        Ok(runtime)
    }

    /// Has the runtime create the container and takes its init over.
    async fn create_init(
        &self,
        container: &Arc<Container>,
        options: &Options,
        secrets: Option<Place>,
    ) -> Result<(), TaskError> {
        let pid_file = container.bundle.join("init.pid");
        let with = |console, stdio, passed| Creation {
            pid_file: &pid_file,
            console,
            stdio,
            passed,
            no_pivot: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
        };
        let reaper = &self.0.reaper;
        let init = &container.init;
        // From here to the pidfd an early death of the init must wait for us as a zombie.
        let _birth = reaper.expect_birth();
        let (runtime, id) = (&container.runtime, &container.id);
        let mut terminal = None;
        if init.paths.terminal {
            let socket = ConsoleSocket::bind(self.socket_dir())?;
            let creation = with(Some(socket.path()), Stdio3::of_container()?, Vec::new());
            runtime.create(reaper, id, creation).await?;
            let streams =
                Streams::open_console(&init.paths, &container.owner, reaper, socket).await;
            self.keep_or_remove(container, streams).await?;
        } else {
            terminal = self.run_console(container)?;
            let (stdio, passed) = self.prepare(container).await?;
            let path = terminal.as_ref().map(ConsoleSocket::path);
            let created = runtime.create(reaper, id, with(path, stdio, passed)).await;
            if let Err(error) = created {
                undo_prepare(container).await;
                return Err(error.into());
            }
        }
        let forgotten = secrets.map_or(Ok(()), |place| container.forget_secrets(place));
        let held = match forgotten
            .and_then(|()| take_terminal(container, terminal))
            .and_then(|()| Ok(bundle::read_pid(&pid_file)?))
            .and_then(|pid| Ok(reaper.adopt(pid)?))
        {
            Ok(child) => self
                .hold(container, &child)
                .await
                .map(|cgroup| (child, cgroup)),
            Err(error) => Err(error),
        };
        let (child, cgroup) = match held {
            Ok(held) => held,
            Err(error) => {
                // Nobody holds this container: it must not stay.
                self.remove_runtime_state(container).await;
                undo_prepare(container).await;
                return Err(error);
            }
        };
        init.advance(Phase::Registered, Phase::Created);
        container.adopt_init(child, cgroup);
        Ok(())
    }

    /// What the container is given for its streams, and from descriptor 3 on.
    async fn prepare(&self, container: &Container) -> Result<(Stdio3, Vec<OwnedFd>), TaskError> {
        if let Some(slot) = &container.slot {
            return Ok(slot.prepare(container.ids)?);
        }
        if let Some(run) = container.run() {
            return Ok((
                run.prepare(container.ids, &container.limits()?)?,
                Vec::new(),
            ));
        }
        let init = &container.init;
        let (stdio, streams) = Streams::open(&init.paths, &container.owner, &self.0.reaper).await?;
        init.set_streams(streams);
        Ok((stdio, Vec::new()))
    }

    /// Takes over what was created; returns the cgroup if the shim has made it.
    async fn hold(
        &self,
        container: &Arc<Container>,
        init: &Child,
    ) -> Result<Option<Arc<ContainerCgroup>>, TaskError> {
        if let Some(slot) = &container.slot {
            let cgroup = slot.created(&container.runtime).await?;
            self.serve_slot(container, slot)?;
            return Ok(Some(cgroup));
        }
        if let Some(run) = container.run() {
            return Ok(Some(run.created(&init.handle, self.hands(container))?));
        }
        Ok(None)
    }

    pub(super) fn signaller(&self, container: &Container) -> Signaller {
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
}

/// The slot or the run that this container is to be, if it is davit's.
fn davits(
    request: &api::CreateTaskRequest,
    config: &Config,
) -> Result<(Option<Arc<Slot>>, Option<Run>), TaskError> {
    let dir = match (config.slot_dir(), config.run_dir()) {
        (None, None) => return Ok((None, None)),
        (Some(slot), None) => slot,
        (None, Some(run)) => run,
        (Some(_), Some(_)) => {
            return Err(TaskError::Field {
                field: "annotations",
                problem: "a container is a run's or a slot, not both".to_owned(),
            });
        }
    };
    if request.terminal || !request.checkpoint.is_empty() {
        return Err(TaskError::Field {
            field: "terminal",
            problem: format!("{} has neither terminal nor checkpoint", dir.display()),
        });
    }
    if config.run_dir().is_some() {
        return Ok((None, Some(Run::open(dir, None)?)));
    }
    for (name, private) in [
        ("pid", config.has_private_pid_namespace()),
        ("uts", config.has_private_uts_namespace()),
    ] {
        if !private {
            return Err(SlotError::SharedNamespace(name).into());
        }
    }
    let slot = Slot::open(dir, &request.id)?;
    Ok((Some(Arc::new(slot)), None))
}

/// Takes back what was prepared for a container that could not be made.
async fn undo_prepare(container: &Container) {
    if let Some(slot) = &container.slot {
        slot.create_failed().await;
    }
    if let Some(run) = container.run() {
        run.create_failed().await;
    }
}
