//! The service of runs.

use std::time::Duration;

use davit_rpc::local::{self, follow_event::Event};
use davit_rundir::log::Stream;
use davit_types::{FieldError, StopSignal, limits};
use tonic::{Request, Response, Status};

use super::{Answers, Shutdown, convert, status};
use crate::credentials;
use crate::runs::{Beside, FollowItem, Run, RunError, RunHandle, Runs, StopOrder, View, offload};

type Answer<T> = Result<Response<T>, Status>;

/// Serves [`Runs`].
#[derive(Clone, Debug)]
pub(crate) struct RunsService {
    pub(crate) runs: Runs,
    pub(crate) shutdown: Shutdown,
}

impl RunsService {
    async fn find(&self, reference: &str) -> Result<Run, Status> {
        self.runs
            .find(reference)
            .await
            .map_err(|error| status::run(&error))
    }

    async fn tell(&self, view: &View) -> local::Run {
        let usage = self.runs.usage(view).await;
        convert::run(view, usage.as_ref())
    }

    /// An ended run as it is, a live one after `action` on it.
    async fn act<F>(
        &self,
        reference: &str,
        action: impl FnOnce(RunHandle) -> F,
    ) -> Answer<local::Run>
    where
        F: Future<Output = Result<View, RunError>>,
    {
        let view = match self.find(reference).await? {
            Run::Ended(view) => *view,
            Run::Live(handle) => {
                let done = async { action(handle).await.map_err(|error| status::run(&error)) };
                self.shutdown.or(done).await?
            }
        };
        Ok(Response::new(self.tell(&view).await))
    }

    /// As [`Self::act`], but what has ended cannot be acted upon.
    async fn act_on_live<F>(
        &self,
        operation: &'static str,
        reference: &str,
        action: impl FnOnce(RunHandle) -> F,
    ) -> Answer<local::Run>
    where
        F: Future<Output = Result<View, RunError>>,
    {
        if let Run::Ended(view) = self.find(reference).await? {
            let (run, phase) = (view.run_id(), view.state.phase());
            return Err(status::run(&RunError::WrongPhase {
                operation,
                run,
                phase,
            }));
        }
        self.act(reference, action).await
    }
}

#[tonic::async_trait]
impl local::runs_server::Runs for RunsService {
    type FollowStream = Answers<local::FollowEvent>;

    async fn submit(&self, request: Request<local::SubmitRequest>) -> Answer<local::Run> {
        let mut submit = request.into_inner();
        let secrets = convert::secrets(&mut submit);
        let (request, credentials) =
            davit_rpc::run_request(submit).map_err(|wrong| davit_rpc::invalid(&wrong))?;
        let beside = Beside {
            credentials: credentials.map(credentials::given),
            secrets,
            files: None,
        };
        let handle = self
            .runs
            .submit_beside(request, beside)
            .await
            .map_err(|error| status::run(&error))?;
        Ok(Response::new(self.tell(&handle.view()).await))
    }

    async fn get(&self, request: Request<local::RunRef>) -> Answer<local::Run> {
        let view = self.find(&request.into_inner().run).await?.view();
        let mut run = self.tell(&view).await;
        let dir = view.dir.clone();
        let launch = offload(move || dir.read_launch()).await;
        // What cannot be read is told as absent: whoever needs the record to go on says what is wrong with it.
        if let Some(launch) = launch.ok().flatten() {
            run.security = launch.security.map(convert::security);
            run.link = launch.network.map(convert::network_link);
        }
        Ok(Response::new(run))
    }

    async fn list(&self, request: Request<local::ListRequest>) -> Answer<local::ListReply> {
        let views = self.runs.list(request.into_inner().all).await;
        let mut runs = Vec::with_capacity(views.len());
        for view in &views {
            runs.push(self.tell(view).await);
        }
        Ok(Response::new(local::ListReply { runs }))
    }

    async fn follow(&self, request: Request<local::FollowRequest>) -> Answer<Self::FollowStream> {
        let request = request.into_inner();
        let stream = stream_named(&request.stream)?;
        let run = self.find(&request.run).await?;
        let follower = self
            .runs
            .follow(run, request.after_id, stream, request.follow);
        let service = self.clone();
        let events = futures::stream::try_unfold(follower, move |mut follower| {
            let service = service.clone();
            async move {
                let next = async { follower.next().await.map_err(|error| status::run(&error)) };
                let event = match service.shutdown.or(next).await? {
                    None => return Ok(None),
                    Some(FollowItem::Pull(progress)) => Event::Pull(convert::progress(progress)),
                    Some(FollowItem::Log(record)) => Event::Log(davit_rpc::log_record(record)),
                    Some(FollowItem::State(view)) => Event::State(service.tell(&view).await),
                };
                Ok(Some((local::FollowEvent { event: Some(event) }, follower)))
            }
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn wait(&self, request: Request<local::RunRef>) -> Answer<local::Run> {
        let reference = request.into_inner().run;
        self.act(&reference, |handle| async move { handle.ended().await })
            .await
    }

    async fn stop(&self, request: Request<local::StopRequest>) -> Answer<local::Run> {
        let request = request.into_inner();
        let order = stop_order(&request)?;
        self.act(
            &request.run,
            |handle| async move { handle.stop(order).await },
        )
        .await
    }

    async fn cancel(&self, request: Request<local::RunRef>) -> Answer<local::Run> {
        let reference = request.into_inner().run;
        self.act(&reference, |handle| async move { handle.cancel().await })
            .await
    }

    async fn pause(&self, request: Request<local::RunRef>) -> Answer<local::Run> {
        let reference = request.into_inner().run;
        self.act_on_live(
            "pause",
            &reference,
            |handle| async move { handle.pause().await },
        )
        .await
    }

    async fn resume(&self, request: Request<local::RunRef>) -> Answer<local::Run> {
        let reference = request.into_inner().run;
        self.act_on_live("resume", &reference, |handle| async move {
            handle.resume().await
        })
        .await
    }

    async fn extend(&self, request: Request<local::ExtendRequest>) -> Answer<local::Run> {
        let request = request.into_inner();
        let seconds = request.timeout_seconds;
        if !(1..=limits::TIMEOUT_SECONDS_MAX).contains(&seconds) {
            return Err(status::field(FieldError::new(
                "timeout_seconds",
                seconds,
                format!("must be 1 to {}", limits::TIMEOUT_SECONDS_MAX),
            )));
        }
        let extend = |handle: RunHandle| async move { handle.extend(seconds * 1_000).await };
        self.act_on_live("extend", &request.run, extend).await
    }

    async fn remove(&self, request: Request<local::RunRef>) -> Answer<local::Empty> {
        let reference = request.into_inner().run;
        self.runs
            .remove(&reference)
            .await
            .map_err(|error| status::run(&error))?;
        Ok(Response::new(local::Empty {}))
    }

    async fn reap(&self, request: Request<local::ReapRequest>) -> Answer<local::ReapReply> {
        let default_seconds = self.runs.host().settings.reap.age_seconds;
        let age_seconds = request.into_inner().age_seconds.unwrap_or(default_seconds);
        let reaped = self
            .runs
            .reap(Duration::from_secs(age_seconds))
            .await
            .map_err(|error| status::run(&error))?;
        Ok(Response::new(local::ReapReply {
            containers: reaped.containers,
            snapshots: reaped.snapshots,
            leases: reaped.leases,
            cgroups: reaped.cgroups,
            lost_runs: reaped.lost_runs,
            run_dirs: reaped.run_dirs,
        }))
    }
}

fn stream_named(name: &str) -> Result<Option<Stream>, Status> {
    match name {
        "" => Ok(None),
        "stdout" => Ok(Some(Stream::Stdout)),
        "stderr" => Ok(Some(Stream::Stderr)),
        other => Err(status::field(FieldError::new(
            "stream",
            other,
            "must be one of stdout, stderr",
        ))),
    }
}

fn stop_order(request: &local::StopRequest) -> Result<StopOrder, Status> {
    let wrong = |field, value: &dyn std::fmt::Display, problem: String| {
        Err(status::field(FieldError::new(field, value, problem)))
    };
    let mut order = StopOrder::default();
    if let Some(text) = &request.signal {
        match text.parse::<StopSignal>() {
            Ok(signal) => order.signal = Some(signal),
            Err(problem) => return wrong("signal", text, problem),
        }
    }
    if let Some(grace_ms) = request.grace_ms {
        if grace_ms > limits::STOP_GRACE_MS_MAX {
            let problem = format!("must be at most {}", limits::STOP_GRACE_MS_MAX);
            return wrong("grace_ms", &grace_ms, problem);
        }
        order.grace_ms = grace_ms;
    }
    Ok(order)
}
