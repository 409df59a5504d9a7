//! Where the peers run: the payload's image is in the registry, pulled and unpacked; executors serve as
//! soon as one of the peers needs them. All of it ends with the stage.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, ensure};

use crate::davit::Davit;
use crate::davit::executor::{Executor, Flavour};
use crate::image;
use crate::peers::ctr;
use crate::report::SUBJECT;
use crate::session::say;

/// An executor that a measurement may kill and start again.
pub(crate) type SharedExecutor = Rc<RefCell<Executor>>;

/// See the module.
pub(crate) struct Stage {
    scratch: tempfile::TempDir,
    executors: Vec<(Flavour, SharedExecutor, Davit)>,
}

impl Stage {
    /// Prepares it in a directory of its own below `scratch`.
    pub(crate) fn set(scratch: &Path) -> anyhow::Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "needs root: it starts containers"
        );
        let scratch = tempfile::Builder::new()
            .prefix("bench.")
            .tempdir_in(scratch)
            .with_context(|| format!("make a directory in {}", scratch.display()))?;
        say(&format!("preparing the payload image {}", image::REFERENCE))?;
        image::push(scratch.path())?;
        ctr::pull()?;
        Ok(Self {
            scratch,
            executors: Vec::new(),
        })
    }

    /// A directory that ends with the stage.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A client of the executor as shipped, which is started by the first call.
    pub(crate) fn davit(&mut self) -> anyhow::Result<Davit> {
        self.davit_flavoured(Flavour::AsShipped)
    }

    /// A client of an executor of that flavour, which is started by the first call.
    pub(crate) fn davit_flavoured(&mut self, flavour: Flavour) -> anyhow::Result<Davit> {
        if let Some((.., davit)) = self.executors.iter().find(|(other, ..)| *other == flavour) {
            return Ok(davit.clone());
        }
        let executor = Executor::start(self.scratch.path(), flavour)?;
        let davit = Davit::connect(executor.socket(), flavour)?;
        davit.pull().with_context(|| executor.log_tail())?;
        let executor = Rc::new(RefCell::new(executor));
        self.executors.push((flavour, executor, davit.clone()));
        Ok(davit)
    }

    /// The executor as shipped; [`Stage::davit`] must have been called.
    pub(crate) fn executor(&self) -> anyhow::Result<SharedExecutor> {
        let shipped = |(flavour, ..): &&(Flavour, _, _)| *flavour == Flavour::AsShipped;
        let found = self.executors.iter().find(shipped);
        Ok(Rc::clone(&found.context("no executor was started")?.1))
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> anyhow::Result<PathBuf> {
        Ok(self.executor()?.borrow().socket().to_owned())
    }

    /// Its process.
    pub(crate) fn executor_pid(&self) -> anyhow::Result<u32> {
        Ok(self.executor()?.borrow().pid())
    }

    /// Adds what davit's executors said to an error of one of its paths.
    pub(crate) fn explain(&self, peer: &str, error: anyhow::Error) -> anyhow::Error {
        if !peer.starts_with(SUBJECT) {
            return error;
        }
        self.executors
            .iter()
            .fold(error, |error, (flavour, executor, _)| {
                let tail = executor.borrow().log_tail();
                error.context(format!(
                    "the log of the executor {flavour:?} ends with:\n{tail}"
                ))
            })
    }
}
