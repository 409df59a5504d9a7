//! Why an executor does not serve.

use std::path::PathBuf;

use davit_cgroup::CgroupError;

use crate::containerd::ContainerdError;
use crate::images::ImageError;
use crate::runs::RunError;

/// Why the executor does not serve; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Without root nothing works.
    #[error("the executor must run as root: use sudo or the systemd unit")]
    NotRoot,
    /// Secrets would be in them.
    #[error("cannot do without core dumps")]
    CoreDumps(#[source] std::io::Error),
    /// A path cannot be used.
    #[error("cannot {operation} {}", path.display())]
    Path {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another executor owns the runs.
    #[error(
        "another executor serves the runs in {}: stop it, or give this one a state_dir of its own",
        state_dir.display()
    )]
    StateDirTaken {
        /// The directory.
        state_dir: PathBuf,
    },
    /// Another program answers on the socket.
    #[error(
        "another executor answers on {}: stop it, or give this one a socket of its own",
        socket.display()
    )]
    SocketTaken {
        /// The socket.
        socket: PathBuf,
    },
    /// The cgroup hierarchy cannot be used.
    #[error("{source}")]
    Cgroup {
        /// What is wrong.
        #[source]
        source: CgroupError,
    },
    /// Limits could not be enforced.
    #[error(
        "this host has no cgroup controller {missing}: runs would be unlimited. Boot with it, or for \
         development set allow_missing_controllers = true"
    )]
    MissingControllers {
        /// Which, separated by spaces.
        missing: String,
    },
    /// The runs' cgroup cannot have the controllers that the host has.
    #[error(
        "limits cannot be enforced in cgroup {parent}: runs would be unlimited. Choose another \
         cgroup_parent, or for development set allow_missing_controllers = true"
    )]
    CannotEnable {
        /// The setting.
        parent: String,
        /// What stands in the way.
        #[source]
        source: CgroupError,
    },
    /// No runtime for runs that name none.
    #[error("default_runtime {runtime} cannot be used: {problem}")]
    NoDefaultRuntime {
        /// The setting.
        runtime: &'static str,
        /// Why not.
        problem: String,
    },
    /// A setting is wrong in a way only the host shows.
    #[error("setting {setting}: {problem}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// containerd cannot be used.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// The image store cannot be opened.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// The runs on disk cannot be found.
    #[error(transparent)]
    Runs(#[from] RunError),
    /// No threads to work with.
    #[error("cannot start the event loop")]
    EventLoop(#[source] std::io::Error),
    /// The server broke.
    #[error("the local API broke down")]
    Transport(#[from] tonic::transport::Error),
}

impl ServeError {
    pub(super) fn path(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path {
            operation,
            path,
            source,
        }
    }
}
