//! davit through its local API: detached, warm image, one warm channel; records, log and security
//! defaults as always.

use anyhow::Context as _;
use davit_rpc::local::SubmitRequest;

use crate::clock::Instant;
use crate::davit::{Davit, check_succeeded, payload_run};
use crate::launch::DURABLE_END;
use crate::limits::Limits;
use crate::peers::{Peer, launch_sample};
use crate::sample::Sample;

/// davit as shipped is the subject of all ratios.
pub(crate) struct ThroughApi {
    name: &'static str,
    davit: Davit,
    request: SubmitRequest,
}

impl ThroughApi {
    /// Measures the executor that `davit` is a client of as `name`.
    pub(crate) fn new(name: &'static str, limits: Option<Limits>, davit: Davit) -> Self {
        let mut request = payload_run(&[]);
        if let Some(limits) = limits {
            limits.ask(&mut request);
        }
        Self {
            name,
            davit,
            request,
        }
    }

    /// The same with a link to the outside.
    pub(crate) fn bridged(mut self) -> Self {
        "bridge".clone_into(&mut self.request.network);
        self
    }
}

impl Peer for ThroughApi {
    fn name(&self) -> &'static str {
        self.name
    }

    fn measure_once(&mut self) -> anyhow::Result<Sample> {
        let request = self.request.clone();
        let submitted = Instant::now();
        let accepted = self.davit.submit(request)?;
        let run = self.davit.wait(&accepted.id)?;
        let ended = Instant::now();
        self.davit.wait_until_cleaned(&run)?;
        let cleaned = Instant::now();
        check_succeeded(&run)?;
        let first = Instant::printed(&self.davit.stdout(&run.id)?)
            .with_context(|| format!("run {}", run.id))?;
        self.davit.remove(&run.id)?;
        let mut sample = launch_sample(submitted, first, cleaned)?;
        sample.insert(DURABLE_END, ended.milliseconds_since(submitted)?);
        Ok(sample)
    }
}
