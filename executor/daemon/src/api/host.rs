//! The service of the host: what the executor found at start, and what it has counted since.

use std::sync::Arc;

use davit_rpc::local;
use davit_types::InstanceType;
use tonic::{Request, Response};

use crate::link::Status;
use crate::metrics::Exposition;
use crate::runtimes::FoundRuntime;

/// What the executor found at start.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostReport {
    pub(crate) containerd_version: String,
    pub(crate) kernel_version: String,
    pub(crate) controllers: Vec<String>,
    pub(crate) missing_controllers: Vec<String>,
    pub(crate) runtimes: Vec<FoundRuntime>,
    pub(crate) instance_types: Vec<InstanceType>,
    pub(crate) warnings: Vec<String>,
    pub(crate) cgroup_parent: String,
    pub(crate) no_user_namespaces: Option<String>,
    pub(crate) no_bridge: Option<String>,
    pub(crate) no_disk_quotas: Option<String>,
}

/// Serves the [`HostReport`] and the [`Exposition`].
#[derive(Clone, Debug)]
pub(crate) struct HostService {
    info: local::HostInfo,
    link: Option<Status>,
    metrics: Arc<Exposition>,
}

impl HostService {
    pub(crate) fn new(report: HostReport, link: Option<Status>, metrics: Exposition) -> Self {
        let runtimes = report.runtimes.into_iter().map(|found| local::Runtime {
            name: found.runtime.binary().to_owned(),
            path: found.path.display().to_string(),
            version: found.version,
        });
        let instance_types = report
            .instance_types
            .into_iter()
            .map(|size| local::InstanceType {
                slug: size.slug,
                name: size.name,
                cpu_millis: size.resources.cpu_millis,
                memory_bytes_max: size.resources.memory_bytes_max.0,
                pids_max: size.resources.pids_max,
                price_second_micros: size.price_second_micros,
                disk_bytes_max: size.disk_bytes_max.map(|bytes| bytes.0),
            });
        Self {
            link,
            metrics: Arc::new(metrics),
            info: local::HostInfo {
                davit_version: env!("CARGO_PKG_VERSION").to_owned(),
                containerd_version: report.containerd_version,
                kernel_version: report.kernel_version,
                controllers: report.controllers,
                missing_controllers: report.missing_controllers,
                runtimes: runtimes.collect(),
                instance_types: instance_types.collect(),
                warnings: report.warnings,
                cgroup_parent: report.cgroup_parent,
                no_user_namespaces: report.no_user_namespaces,
                no_bridge: report.no_bridge,
                no_disk_quotas: report.no_disk_quotas,
                link: None,
            },
        }
    }
}

#[tonic::async_trait]
impl local::host_server::Host for HostService {
    async fn info(
        &self,
        _request: Request<local::Empty>,
    ) -> Result<Response<local::HostInfo>, tonic::Status> {
        Ok(Response::new(local::HostInfo {
            link: self.link.as_ref().map(Status::told),
            ..self.info.clone()
        }))
    }

    async fn metrics(
        &self,
        _request: Request<local::Empty>,
    ) -> Result<Response<local::HostMetrics>, tonic::Status> {
        Ok(Response::new(local::HostMetrics {
            openmetrics_text: self.metrics.text(),
        }))
    }
}
