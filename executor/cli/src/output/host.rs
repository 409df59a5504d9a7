//! Host and images as JSON.

use davit_rpc::local::{HostInfo, Image};
use serde::Serialize;

use super::run::rfc3339;

/// `davit info -o json`.
#[derive(Debug, Serialize)]
pub(crate) struct HostJson<'a> {
    davit_version: &'a str,
    containerd_version: &'a str,
    kernel_version: &'a str,
    controllers: &'a [String],
    missing_controllers: &'a [String],
    cgroup_parent: &'a str,
    runtimes: Vec<RuntimeJson<'a>>,
    instance_types: Vec<InstanceTypeJson<'a>>,
    warnings: &'a [String],
    user_namespaces: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_user_namespaces: Option<&'a str>,
    bridge: bool,
    no_bridge: Option<&'a str>,
    disk_quotas: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_disk_quotas: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<LinkJson<'a>>,
}

#[derive(Debug, Serialize)]
struct LinkJson<'a> {
    server: &'a str,
    state: &'a str,
    since: String,
    host_id: &'a str,
    region: &'a str,
    epoch: Option<u64>,
    problem: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct RuntimeJson<'a> {
    name: &'a str,
    path: &'a str,
    version: &'a str,
}

#[derive(Debug, Serialize)]
struct InstanceTypeJson<'a> {
    slug: &'a str,
    name: &'a str,
    cpu_millis: u32,
    memory_bytes_max: u64,
    pids_max: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes_max: Option<u64>,
    price_second_micros: u64,
}

impl<'a> From<&'a HostInfo> for HostJson<'a> {
    fn from(info: &'a HostInfo) -> Self {
        let runtimes = info.runtimes.iter();
        let types = info.instance_types.iter();
        Self {
            davit_version: &info.davit_version,
            containerd_version: &info.containerd_version,
            kernel_version: &info.kernel_version,
            controllers: &info.controllers,
            missing_controllers: &info.missing_controllers,
            cgroup_parent: &info.cgroup_parent,
            runtimes: runtimes
                .map(|runtime| RuntimeJson {
                    name: &runtime.name,
                    path: &runtime.path,
                    version: &runtime.version,
                })
                .collect(),
            instance_types: types
                .map(|size| InstanceTypeJson {
                    slug: &size.slug,
                    name: &size.name,
                    cpu_millis: size.cpu_millis,
                    memory_bytes_max: size.memory_bytes_max,
                    pids_max: size.pids_max,
                    disk_bytes_max: size.disk_bytes_max,
                    price_second_micros: size.price_second_micros,
                })
                .collect(),
            warnings: &info.warnings,
            user_namespaces: info.no_user_namespaces.is_none(),
            no_user_namespaces: info.no_user_namespaces.as_deref(),
            bridge: info.no_bridge.is_none(),
            no_bridge: info.no_bridge.as_deref(),
            disk_quotas: info.no_disk_quotas.is_none(),
            no_disk_quotas: info.no_disk_quotas.as_deref(),
            link: info.link.as_ref().map(|link| LinkJson {
                server: &link.server,
                state: &link.state,
                since: rfc3339(link.since_unix_ns),
                host_id: &link.host_id,
                region: &link.region,
                epoch: link.epoch,
                problem: link.problem.as_deref(),
            }),
        }
    }
}

/// `davit images -o json`.
#[derive(Debug, Serialize)]
pub(crate) struct ImageJson<'a> {
    name: &'a str,
    digest: &'a str,
    size_bytes: u64,
    last_used_at: String,
    in_use: bool,
}

impl<'a> From<&'a Image> for ImageJson<'a> {
    fn from(image: &'a Image) -> Self {
        Self {
            name: &image.name,
            digest: &image.digest,
            size_bytes: image.size_bytes,
            last_used_at: rfc3339(image.last_used_at_ns),
            in_use: image.in_use,
        }
    }
}
