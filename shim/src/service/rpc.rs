//! ttrpc on one side, [`Shim`] on the other: one implementation under two service names.
//!
//! Task API v3 is v2 under another name with the same messages, so the generated dispatch table of v3 is
//! registered a second time as v2.
//!
//! ttrpc drops a handler whose connection has gone or whose time is up. A half-done Create must not be dropped:
//! everything that changes state runs in a task of its own, of which the handler only awaits the result.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::shim_async::{Task, create_task};
use ttrpc::asynchronous::{Service, TtrpcContext};

use super::Shim;
use crate::error::TaskError;

const V3: &str = "containerd.task.v3.Task";
const V2: &str = "containerd.task.v2.Task";

/// Dispatch tables for both versions.
pub(crate) fn services(shim: &Shim) -> HashMap<String, Service> {
    let task: Arc<dyn Task + Send + Sync> = Arc::new(shim.clone());
    let mut services = create_task(task.clone());
    services.extend(
        create_task(task)
            .into_iter()
            .map(|(name, service)| (name.replace(V3, V2), service)),
    );
    services
}

/// Runs to the end whatever happens to the caller.
async fn detached<T, F>(shim: &Shim, work: F) -> ttrpc::Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, TaskError>> + Send + 'static,
{
    let result = tokio::spawn(work).await;
    shim.0.idle.touch();
    match result {
        Ok(result) => result.map_err(Into::into),
        // A panic aborts the process, and nobody cancels this task.
        Err(error) => Err(ttrpc::Error::Others(error.to_string())),
    }
}

fn empty(_done: ()) -> api::Empty {
    api::Empty::new()
}

macro_rules! methods {
    ($($name:ident($request:ident) -> $response:ident $(=> $convert:ident)?;)*) => {
        #[async_trait]
        impl Task for Shim {
            $(
                async fn $name(
                    &self,
                    _context: &TtrpcContext,
                    request: api::$request,
                ) -> ttrpc::Result<api::$response> {
                    let shim = self.clone();
                    detached(self, async move { shim.$name(request).await }).await $(.map($convert))?
                }
            )*

            async fn state(
                &self,
                _context: &TtrpcContext,
                request: api::StateRequest,
            ) -> ttrpc::Result<api::StateResponse> {
                Ok(Shim::state(self, &request)?)
            }

            // Dropping a wait loses nothing, and one for each past connection would pile up.
            async fn wait(
                &self,
                _context: &TtrpcContext,
                request: api::WaitRequest,
            ) -> ttrpc::Result<api::WaitResponse> {
                Ok(Shim::wait(self, &request).await?)
            }

            async fn pids(
                &self,
                _context: &TtrpcContext,
                request: api::PidsRequest,
            ) -> ttrpc::Result<api::PidsResponse> {
                Ok(Shim::pids(self, &request)?)
            }

            async fn stats(
                &self,
                _context: &TtrpcContext,
                request: api::StatsRequest,
            ) -> ttrpc::Result<api::StatsResponse> {
                Ok(Shim::stats(self, &request)?)
            }

            async fn connect(
                &self,
                _context: &TtrpcContext,
                request: api::ConnectRequest,
            ) -> ttrpc::Result<api::ConnectResponse> {
                Ok(Shim::connect(self, &request))
            }

            async fn resize_pty(
                &self,
                _context: &TtrpcContext,
                request: api::ResizePtyRequest,
            ) -> ttrpc::Result<api::Empty> {
                Ok(empty(Shim::resize_pty(self, &request)?))
            }

            async fn close_io(
                &self,
                _context: &TtrpcContext,
                request: api::CloseIORequest,
            ) -> ttrpc::Result<api::Empty> {
                Ok(empty(Shim::close_io(self, &request)?))
            }

            async fn exec(
                &self,
                _context: &TtrpcContext,
                request: api::ExecProcessRequest,
            ) -> ttrpc::Result<api::Empty> {
                Ok(empty(self.add_exec(request)?))
            }

            async fn shutdown(
                &self,
                _context: &TtrpcContext,
                _request: api::ShutdownRequest,
            ) -> ttrpc::Result<api::Empty> {
                Shim::shutdown(self);
                Ok(api::Empty::new())
            }
        }
    };
}

methods! {
    create(CreateTaskRequest) -> CreateTaskResponse;
    start(StartRequest) -> StartResponse;
    delete(DeleteRequest) -> DeleteResponse;
    pause(PauseRequest) -> Empty => empty;
    resume(ResumeRequest) -> Empty => empty;
    checkpoint(CheckpointTaskRequest) -> Empty => empty;
    kill(KillRequest) -> Empty => empty;
    update(UpdateTaskRequest) -> Empty => empty;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Lifetime;
    use crate::events::Publisher;
    use crate::idle::Idle;
    use crate::reaper::Reaper;

    #[tokio::test(flavor = "current_thread")]
    async fn both_versions_have_all_methods() {
        let shim = Shim::new(
            "default",
            "/run/socket".into(),
            Lifetime::Group,
            Reaper::default(),
            Publisher::start("default", None),
            Idle::start(),
        );
        let services = services(&shim);
        assert_eq!(services.len(), 2);
        for name in [V2, V3] {
            assert_eq!(services[name].methods.len(), 17, "{name}");
        }
    }
}
