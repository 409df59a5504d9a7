//! How a container comes to its shim: forked in advance of containerd's asking, or executed by containerd.
//!
//! ```text
//!  launch ──► Shims::create ──┬─ pre-started: zygote ──fork──► shim ◄──task API address── containerd
//!                             └─ plain:       containerd ──exec──► shim start ──exec──► shim
//! ```
//!
//! Which of the two is decided here and nowhere else: for the whole host when it starts ([`plain`]), and for one
//! container when the zygote has none to give. The container record says which it was (it names the sandbox or
//! not), and so does the directory of sockets, `<state_dir>/shims/<container>`.
//!
//! Invariants:
//! - whatever goes wrong on the shorter way, the plain one is taken, with one warning an outage;
//! - each request to the zygote is bounded in time; a zygote that does not keep the bound is replaced;
//! - a shim that dies leaves its socket, by which [`dead`] finds it and runs `shim delete` as containerd would:
//!   containerd neither notices such a death nor clears up after it;
//! - a shim nobody uses ends by itself, and none is ended here with a container in it.
//!
//! Absent on purpose: watching the living. containerd does not watch a shim that it has not executed, but a run holds
//! a connection to its `shim.sock` and a slot one to its `slot.sock`, and either breaks with the shim. And exit codes.

mod dead;
mod error;
mod keeper;
mod plain;
mod zygote;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use davit_cgroup::{CgroupPath, Hierarchy};
use davit_rundir::Stamp;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::{mpsc, oneshot};

use self::error::ShimsError;
use self::keeper::Order;
use self::plain::Plain;
use self::zygote::Recipe;
use crate::containerd::{ContainerSpec, Containerd, ContainerdError, Mount};
use crate::runs::{offload, sentence};
use crate::settings::Settings;

/// The shim's binary, as containerd derives it from the runtime's name.
pub(crate) const SHIM_BINARY: &str = "containerd-shim-davit-v1";
/// The leaf of davit's cgroup that shims live in. No container is called so.
const CGROUP: &str = "shims";
/// Requests waiting for the zygote; more are refused, and the plain way is taken.
const ORDERS_WAITING_MAX: usize = 256;

/// The shims of this host. Cheap to clone; the last clone takes the zygote along, and no shim.
#[derive(Clone, Debug)]
pub(crate) struct Shims {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Where the sockets are.
    dir: PathBuf,
    /// For clearing up; there may be none to be found.
    binary: Option<PathBuf>,
    containerd: Containerd,
    namespace: String,
    /// To the zygote's keeper; `None` where all containers take the plain way.
    orders: Option<mpsc::Sender<Order>>,
}

/// A shim that was forked for a container.
#[derive(Debug)]
struct ShimProcess {
    /// Of its task API, as containerd wants it told.
    address: String,
    /// Its process, to be named only.
    pid: u32,
    /// Its process, to be signalled.
    pidfd: OwnedFd,
}

impl ShimProcess {
    /// Ends it, for a container that came to nothing; fine if it has ended.
    fn kill(&self) {
        if let Err(error) = pidfd_send_signal(&self.pidfd, Signal::KILL) {
            tracing::debug!(pid = self.pid, %error, "killing a shim");
        }
    }
}

/// When the parts of a task that waits for its start were there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// The container record.
    pub(crate) prepared: Stamp,
    /// The task.
    pub(crate) created: Stamp,
    /// The container's first process.
    pub(crate) pid: u32,
}

impl Shims {
    /// Finds out which way is taken on this host, and brings up what it needs.
    ///
    /// # Errors
    /// When the directory of the sockets cannot be made.
    pub(crate) async fn open(
        settings: &Settings,
        containerd: &Containerd,
        hierarchy: &Hierarchy,
        cgroup_parent: &CgroupPath,
    ) -> io::Result<Self> {
        let dir = settings.state_dir.join("shims");
        let made = dir.clone();
        offload(move || {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(made)
        })
        .await?;
        let binary = plain::find_binary(&settings.additional_binary_paths);
        let recipe = plain::decide(settings, containerd, binary.as_deref()).await;
        let recipe = match recipe {
            Ok(binary) => cgroup(hierarchy, cgroup_parent)
                .await
                .map(|cgroup| Recipe::new(binary, cgroup, settings)),
            Err(plain) => Err(plain),
        };
        let orders = match recipe {
            Ok(recipe) => {
                tracing::info!(binary = %recipe.binary.display(), "shims are forked, not executed");
                let (orders, received) = mpsc::channel(ORDERS_WAITING_MAX);
                tokio::spawn(keeper::keep(recipe, received));
                Some(orders)
            }
            Err(plain) => {
                let reason = sentence(&plain);
                if plain.is_as_wished() {
                    tracing::info!(reason, "containerd executes the shims");
                } else {
                    tracing::warn!(reason, "containerd executes the shims");
                }
                None
            }
        };
        let shims = Self {
            inner: Arc::new(Inner {
                dir,
                binary,
                containerd: containerd.clone(),
                namespace: settings.containerd.namespace.clone(),
                orders,
            }),
        };
        shims.clear_all_dead().await;
        Ok(shims)
    }

    /// The shim's program, if it was found.
    pub(crate) fn binary(&self) -> Option<&Path> {
        self.inner.binary.as_deref()
    }

    /// Makes container record and task of `spec`, with a shim by the shortest way there is.
    ///
    /// # Errors
    /// As of [`Containerd::container_create`] and [`Containerd::task_create`]. Nothing is taken back.
    pub(crate) async fn create(
        &self,
        mut spec: ContainerSpec<'_>,
        rootfs: Vec<Mount>,
    ) -> Result<Made, ContainerdError> {
        let containerd = &self.inner.containerd;
        let name = spec.name;
        let shim = self.pre_started(&name.to_string()).await;
        spec.in_sandbox = shim.is_some();
        let created = async {
            containerd.container_create(spec).await?;
            let prepared = Stamp::now();
            let address = shim.as_ref().map(|shim| shim.address.as_str());
            let pid = containerd.task_create(name, rootfs, address).await?;
            Ok((prepared, Stamp::now(), pid))
        };
        match created.await {
            Ok((prepared, created, pid)) => {
                tracing::debug!(%name, shim = shim.as_ref().map(|shim| shim.pid), "task created");
                Ok(Made {
                    prepared,
                    created,
                    pid,
                })
            }
            Err(error) => {
                if let Some(shim) = shim {
                    shim.kill();
                }
                Err(error)
            }
        }
    }

    /// A shim of its own for the container `name`, unless the plain way is to be taken.
    async fn pre_started(&self, name: &str) -> Option<ShimProcess> {
        let orders = self.inner.orders.as_ref()?;
        match self.spawn(orders, name).await {
            Ok(shim) => Some(shim),
            // Told once, by the keeper.
            Err(ShimsError::NoZygote) => None,
            Err(error) => {
                let problem = sentence(&error);
                tracing::warn!(
                    name,
                    problem,
                    "no shim is forked: containerd executes this one"
                );
                None
            }
        }
    }

    async fn spawn(
        &self,
        orders: &mpsc::Sender<Order>,
        name: &str,
    ) -> Result<ShimProcess, ShimsError> {
        let (done, answer) = oneshot::channel();
        let order = Order {
            id: name.to_owned(),
            socket: self.socket_of(name),
            done,
        };
        orders.try_send(order).map_err(|_| ShimsError::Busy {
            waiting_max: ORDERS_WAITING_MAX,
        })?;
        answer.await.map_err(|_| ShimsError::NoZygote)?
    }

    fn socket_of(&self, name: &str) -> PathBuf {
        self.inner.dir.join(name)
    }
}

/// The leaf cgroup of the shims, which belongs to no service that is restarted.
async fn cgroup(hierarchy: &Hierarchy, parent: &CgroupPath) -> Result<PathBuf, Plain> {
    let path = hierarchy.locate(parent).join(CGROUP);
    offload(move || match std::fs::create_dir_all(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(Plain::Cgroup { path, source }),
    })
    .await
}
