//! A run as it goes out.

use davit_rpc::local;
use davit_rundir::{NetworkRecord, SecretEnv, SecretFile, Secrets, Stamp};
use davit_types::{Command, EgressRule, EnvVar, MountPoint, PublishedPort, SecurityProfile, Usage};

use crate::images::{ImageInfo, PullProgress};
use crate::runs::{View, elapsed};

/// The message that tells of `view`, whose usage so far is `usage`.
pub(super) fn run(view: &View, usage: Option<&Usage>) -> local::Run {
    let spec = &view.spec.spec;
    let end = view.end.as_deref();
    let shim = view.shim.as_deref();
    let (command, argv) = match &spec.command {
        Command::Image => (None, Vec::new()),
        Command::Shell(line) => (Some(line.clone()), Vec::new()),
        Command::Argv(argv) => (None, argv.clone()),
    };
    let started = end.map_or_else(|| shim.and_then(|shim| shim.started), |end| end.started);
    let limits = &spec.instance_type.resources;
    local::Run {
        id: spec.run_id.to_string(),
        attempt: spec.attempt.number(),
        tenant: spec.tenant.as_str().to_owned(),
        name: spec.name.clone(),
        labels: spec.labels.clone().into_iter().collect(),
        status: view.status().as_str().to_owned(),
        phase: view.state.phase().to_owned(),
        exit_code: end.and_then(|end| end.exit_code).map(u32::from),
        end_reason: end.map(|end| end.end_reason.as_str().to_owned()),
        message: end.map(|end| end.message.clone()),
        image: spec.image.clone(),
        image_digest: view.image_digest.as_deref().map(str::to_owned),
        command,
        argv,
        entrypoint: spec.entrypoint.clone(),
        instance_type: spec.instance_type.slug.clone(),
        cpu_millis: limits.cpu_millis,
        memory_bytes_max: limits.memory_bytes_max.0,
        pids_max: limits.pids_max,
        disk_bytes_max: spec.instance_type.disk_bytes_max.map(|bytes| bytes.0),
        // Extensions included, once the shim knows of the run.
        timeout_seconds: shim.map_or(spec.timeout_seconds, |shim| shim.timeout_ms / 1_000),
        network: spec.network.as_str().to_owned(),
        runtime: spec.runtime.binary().to_owned(),
        created_at_ns: view.spec.accepted.unix_ns,
        started_at_ns: started.map(|stamp| stamp.unix_ns),
        completed_at_ns: end.map(|end| end.ended.unix_ns),
        paused_at_ns: paused_at(view),
        duration_ms: duration_ms(view),
        usage: usage.map(Into::into),
        env_keys: spec
            .env
            .iter()
            .map(|EnvVar { key, .. }| key.clone())
            .collect(),
        workdir: spec.workdir.clone(),
        user: spec.user.clone(),
        run_dir: view.dir.path().display().to_string(),
        log: end.map(|end| end.log.into()),
        hostname: spec.hostname.clone(),
        timings: Some((&view.timings).into()),
        security: None,
        secret_env: spec.secret_env.clone(),
        secret_files: spec.secret_files.clone(),
        extracts: end.map_or_else(Vec::new, |end| {
            end.extracts.iter().map(Into::into).collect()
        }),
        files_in: spec.files_in,
        egress: spec.egress.iter().map(EgressRule::to_string).collect(),
        publish: spec.publish.iter().map(PublishedPort::to_string).collect(),
        network_bytes_per_second_max: spec.network_bytes_per_second_max,
        link: None,
    }
}

/// A run's link to the outside.
pub(super) fn network_link(link: NetworkRecord) -> local::NetworkLink {
    local::NetworkLink {
        interface: link.interface,
        ipv4: link.ipv4.to_string(),
        ipv6: link.ipv6.map(|address| address.to_string()),
    }
}

/// The secrets of a request, which has none afterwards.
pub(super) fn secrets(submit: &mut local::SubmitRequest) -> Secrets {
    let env = std::mem::take(&mut submit.secret_env).into_iter();
    let files = std::mem::take(&mut submit.secret_files).into_iter();
    Secrets {
        env: env
            .map(|local::EnvVar { key, value }| SecretEnv {
                key,
                value: value.into(),
                redact: true,
            })
            .collect(),
        files: files
            .map(|local::SecretFile { name, value }| SecretFile {
                name,
                value: value.into(),
            })
            .collect(),
    }
}

/// What a run was locked in with.
pub(super) fn security(profile: SecurityProfile) -> local::SecurityProfile {
    let mount = |mount: MountPoint| local::MountPoint {
        destination: mount.destination,
        r#type: mount.kind,
        host_path: mount.host_path,
        options: mount.options,
    };
    local::SecurityProfile {
        runtime: profile.runtime,
        uid: profile.uid,
        gid: profile.gid,
        additional_gids: profile.additional_gids,
        capabilities: profile.capabilities,
        no_new_privileges: profile.no_new_privileges,
        seccomp_digest: profile.seccomp_digest,
        apparmor_profile: profile.apparmor_profile,
        selinux_label: profile.selinux_label,
        namespaces: profile.namespaces,
        network: profile.network,
        read_only_root: profile.read_only_root,
        mounts: profile.mounts.into_iter().map(mount).collect(),
        masked_paths: profile.masked_paths,
        read_only_paths: profile.read_only_paths,
        devices: profile.devices,
        ids: profile.ids.map(|ids| local::IdRange {
            first: ids.first,
            count: ids.count,
        }),
        no_user_namespace: profile.no_user_namespace,
        no_disk_quota: profile.no_disk_quota,
    }
}

fn paused_at(view: &View) -> Option<u64> {
    if view.end.is_some() {
        return None;
    }
    let pause = view.shim.as_ref()?.pauses.last()?;
    pause.end.is_none().then_some(pause.begin.unix_ns)
}

/// Start to end, or to now; absent if it never began or nobody knows when it ended.
fn duration_ms(view: &View) -> Option<u64> {
    match (&view.end, &view.shim) {
        (Some(end), _) => end.started.map(|_| end.usage.wall_ms).filter(|ms| *ms > 0),
        (None, Some(shim)) => shim.started.map(|_| elapsed(shim, Stamp::now()).wall_ms),
        (None, None) => None,
    }
}

/// How a pull gets on.
pub(super) fn progress(progress: PullProgress) -> local::PullProgress {
    local::PullProgress {
        step: progress.step.as_str().to_owned(),
        downloaded_bytes: progress.downloaded_bytes,
        total_bytes: progress.total_bytes,
        layers_done: progress.layers_done,
        layers_total: progress.layers_total,
    }
}

/// An image on this host.
pub(super) fn image(info: ImageInfo) -> local::Image {
    let used = info
        .last_used
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    local::Image {
        name: info.name,
        digest: info.digest,
        size_bytes: info.size_bytes,
        last_used_at_ns: u64::try_from(used.as_nanos()).unwrap_or(u64::MAX),
        in_use: info.in_use,
    }
}
