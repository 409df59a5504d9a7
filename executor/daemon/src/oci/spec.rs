//! The spec as a whole.

use std::collections::HashMap;
use std::path::Path;

use davit_types::{Capability, NetworkMode, RunSpec};
use oci_spec::runtime::{
    Capabilities, Capability as OciCapability, Linux, LinuxBuilder, LinuxCapabilities,
    LinuxCapabilitiesBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
    PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, RootBuilder, Spec,
    SpecBuilder, UserBuilder,
};

use crate::images::ImageConfig;

use super::{
    Controllers, HostFacts, ResolvedUser, SpecError, ids, limits, mounts, network, process, seccomp,
};

/// The annotation that tells davit's shim which run directory is its own. Set here only: no
/// annotation of an image or a run gets into a spec.
pub const RUN_DIR_ANNOTATION: &str = "davit.run-dir";
/// In its place: the directory of the warm slot that this is, before and after a run was given it.
pub const SLOT_DIR_ANNOTATION: &str = "davit.slot-dir";

/// Tells the shim that the executor has secrets for it: the run is not made without them.
const SECRETS_ANNOTATION: &str = "davit.secrets";

/// Version of the runtime spec written; the oldest with everything used here.
const OCI_VERSION: &str = "1.0.2";
/// A host short of memory kills jobs before its own daemons.
const OOM_SCORE_ADJ: i32 = 500;
/// Characters of a host name (Linux: HOST_NAME_MAX).
const HOSTNAME_CHARS_MAX: usize = 63;

/// What the run manager found out before a spec can be built.
#[derive(Clone, Debug)]
pub struct SpecContext<'a> {
    /// The run's cgroup, from the root of the cgroup v2 file system, e.g. `/davit/<key>`.
    pub cgroups_path: &'a str,
    /// Whom the job runs as, from [`super::resolve_user`].
    pub user: &'a ResolvedUser,
    /// Whether it gets a user namespace of its own.
    pub user_namespace: bool,
    /// The controllers its cgroup has.
    pub controllers: Controllers,
    /// The run directory, for the shim.
    pub run_dir: &'a Path,
    /// The host.
    pub host: &'a HostFacts,
}

/// Builds the OCI runtime spec of `run`. Pure: nothing but the arguments counts.
///
/// # Errors
/// [`SpecError::NoCommand`] when neither run nor image names a program.
pub fn build(
    run: &RunSpec,
    image: &ImageConfig,
    context: &SpecContext<'_>,
) -> Result<Spec, SpecError> {
    let hostname = hostname(run);
    let mut annotations = HashMap::from([(
        RUN_DIR_ANNOTATION.to_owned(),
        context.run_dir.display().to_string(),
    )]);
    annotations.extend(network::annotation(run)?);
    let root = RootBuilder::default()
        .path("rootfs")
        .readonly(run.read_only_root)
        .build()
        .map_err(SpecError::part("root"))?;
    let job = job(run, image, context, &hostname)?;
    if context.user_namespace {
        ids::check(&job)?;
    }
    let mut spec = SpecBuilder::default()
        .version(OCI_VERSION)
        .process(job)
        .root(root)
        .hostname(hostname)
        .mounts(mounts::mounts(run, context.host)?)
        .annotations(annotations)
        .linux(linux(run, context)?)
        .build()
        .map_err(SpecError::part("whole"))?;
    // The builder's default is none; written out because it must stay so.
    spec.set_hooks(None);
    Ok(spec)
}

/// Has the shim ask for the run's secrets.
pub fn await_secrets(spec: &mut Spec) {
    let mut annotations = spec.annotations().clone().unwrap_or_default();
    annotations.insert(SECRETS_ANNOTATION.to_owned(), "given".to_owned());
    spec.set_annotations(Some(annotations));
}

/// The run's host name, or the last part of its id: the first ones are the time of its creation.
fn hostname(run: &RunSpec) -> String {
    let id = run.run_id.to_string();
    let short = id.rsplit('-').next().unwrap_or(&id);
    let name = run.hostname.as_deref().unwrap_or(short);
    name.chars().take(HOSTNAME_CHARS_MAX).collect()
}

fn job(
    run: &RunSpec,
    image: &ImageConfig,
    context: &SpecContext<'_>,
    hostname: &str,
) -> Result<Process, SpecError> {
    let user = context.user;
    let oci_user = UserBuilder::default()
        .uid(user.uid)
        .gid(user.gid)
        .additional_gids(user.additional_gids.clone())
        .build()
        .map_err(SpecError::part("user"))?;
    ProcessBuilder::default()
        .terminal(run.tty)
        .user(oci_user)
        .args(process::arguments(run, image)?)
        .env(process::environment(run, image, user, hostname))
        .cwd(process::working_directory(run, image))
        .capabilities(capabilities(run)?)
        .no_new_privileges(true)
        .rlimits(rlimits(context.host)?)
        .oom_score_adj(OOM_SCORE_ADJ)
        .build()
        .map_err(SpecError::part("process"))
}

/// In every set: a job that is not root keeps them over execve(2) by the ambient one alone.
fn capabilities(run: &RunSpec) -> Result<LinuxCapabilities, SpecError> {
    let given: Capabilities = run.capabilities.iter().copied().map(in_oci).collect();
    LinuxCapabilitiesBuilder::default()
        .bounding(given.clone())
        .effective(given.clone())
        .inheritable(given.clone())
        .permitted(given.clone())
        .ambient(given)
        .build()
        .map_err(SpecError::part("capabilities"))
}

const fn in_oci(capability: Capability) -> OciCapability {
    match capability {
        Capability::Chown => OciCapability::Chown,
        Capability::DacOverride => OciCapability::DacOverride,
        Capability::Fowner => OciCapability::Fowner,
        Capability::Fsetid => OciCapability::Fsetid,
        Capability::IpcLock => OciCapability::IpcLock,
        Capability::Kill => OciCapability::Kill,
        Capability::NetAdmin => OciCapability::NetAdmin,
        Capability::NetBindService => OciCapability::NetBindService,
        Capability::NetRaw => OciCapability::NetRaw,
        Capability::Setfcap => OciCapability::Setfcap,
        Capability::Setgid => OciCapability::Setgid,
        Capability::Setpcap => OciCapability::Setpcap,
        Capability::Setuid => OciCapability::Setuid,
        Capability::SysChroot => OciCapability::SysChroot,
        Capability::SysNice => OciCapability::SysNice,
        Capability::SysPtrace => OciCapability::SysPtrace,
    }
}

fn rlimits(host: &HostFacts) -> Result<Vec<PosixRlimit>, SpecError> {
    [
        (PosixRlimitType::RlimitNofile, host.nofile_max),
        // A core dump would be written wherever the host's core_pattern says, as root.
        (PosixRlimitType::RlimitCore, 0),
        (PosixRlimitType::RlimitMemlock, host.memlock_bytes_max),
    ]
    .into_iter()
    .map(|(kind, limit)| {
        PosixRlimitBuilder::default()
            .typ(kind)
            .soft(limit)
            .hard(limit)
            .build()
            .map_err(SpecError::part("rlimits"))
    })
    .collect()
}

fn linux(run: &RunSpec, context: &SpecContext<'_>) -> Result<Linux, SpecError> {
    let mut builder = LinuxBuilder::default()
        .cgroups_path(context.cgroups_path)
        .namespaces(namespaces(run.network, context.user_namespace)?)
        .resources(limits::resources(
            &run.instance_type.resources,
            context.controllers,
        )?)
        .devices(Vec::new())
        .seccomp(seccomp::profile(context.host.arch, &run.capabilities)?)
        .masked_paths(mounts::masked_paths(context.host))
        .readonly_paths(mounts::readonly_paths());
    if run.network != NetworkMode::Host {
        // Without CAP_NET_BIND_SERVICE; harmless in a network of the job's own.
        builder = builder.sysctl(HashMap::from([(
            "net.ipv4.ip_unprivileged_port_start".to_owned(),
            "0".to_owned(),
        )]));
    }
    builder.build().map_err(SpecError::part("linux block"))
}

fn namespaces(network: NetworkMode, user: bool) -> Result<Vec<LinuxNamespace>, SpecError> {
    let mut kinds = vec![
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ];
    match network {
        // A new one: the runtime brings its loopback device up and that is all there is, until one is given a link.
        NetworkMode::None | NetworkMode::Bridge => kinds.push(LinuxNamespaceType::Network),
        NetworkMode::Host => {}
    }
    if user {
        kinds.push(LinuxNamespaceType::User);
    }
    kinds
        .into_iter()
        .map(|kind| {
            LinuxNamespaceBuilder::default()
                .typ(kind)
                .build()
                .map_err(SpecError::part("namespaces"))
        })
        .collect()
}
