//! The spec builder: from run, image config and host to the OCI runtime spec, with everything that
//! makes a container a cage written out here and nowhere else.
//!
//! ```text
//!  RunSpec ─────┐
//!  ImageConfig ─┼─► build() ─► Spec     pure: same input, same spec (held by a golden test)
//!  SpecContext ─┘
//!      ▲ user: resolve_user(mounts, "name:group") reads /etc/passwd inside the image's layers
//!      ▲ host: HostFacts, once at start          Spec ─► divide ─► what a warm slot shares and what it
//!                                                         is given late
//! ```
//!
//! Invariants (property-tested):
//! - no capability in any set, `no_new_privs`, seccomp that denies by default, for every input;
//! - no hook, no mount of a host path but the files [`HostFacts`] names, and those read-only;
//! - nothing of the image but user, environment, entrypoint, command, working directory and stop
//!   signal has any influence: its labels, volumes and annotations were never read;
//! - a private mount, pid, ipc, uts and cgroup namespace always; the host's network only for
//!   [`davit_types::NetworkMode::Host`].
//!
//! Absent on purpose: I/O in [`build`], privileged containers, device passthrough,
//! bind mounts asked for by users. There is no setting that weakens the spec.

mod error;
mod host;
mod ids;
mod late;
mod limits;
mod mounts;
mod network;
mod process;
mod rootfs;
mod seccomp;
mod seccomp_table;
mod security;
mod spec;
mod user;

pub use self::error::SpecError;
pub use self::host::{Arch, HostFacts};
pub use self::ids::{give_ids, has_user_namespace};
pub use self::late::{Late, divide, slot_spec};
pub use self::limits::Controllers;
pub(crate) use self::mounts::hidden_by;
pub(crate) use self::network::network;
pub(crate) use self::process::working_directory;
pub use self::rootfs::RootfsError;
pub(crate) use self::rootfs::{Layers, Step, split_lower};
pub use self::security::security;
pub use self::spec::{RUN_DIR_ANNOTATION, SLOT_DIR_ANNOTATION, SpecContext, await_secrets, build};
pub use self::user::{ResolvedUser, UserError, resolve_user, user_text};
