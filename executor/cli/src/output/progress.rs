//! How a pull gets on: a bar on a terminal, a line per step elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use davit_rpc::local::PullProgress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::note;
use super::table::rounded;

/// How often a pull is told of where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// Shows one pull on standard error.
pub(crate) struct Progress {
    shown: bool,
    bar: Option<ProgressBar>,
    step: String,
    told: Option<Instant>,
}

impl Progress {
    /// Shows nothing at all unless `shown`.
    pub(crate) fn new(shown: bool) -> Self {
        Self {
            shown,
            bar: None,
            step: String::new(),
            told: None,
        }
    }

    /// The latest state.
    pub(crate) fn show(&mut self, progress: &PullProgress) {
        if !self.shown {
            return;
        }
        if io::stderr().is_terminal() {
            self.draw(progress);
        } else if self.is_worth_a_line(progress) {
            note(&line(progress));
            self.told = Some(Instant::now());
        }
        self.step.clone_from(&progress.step);
    }

    /// Steps that take time are told, and how they get on every few seconds; an image that was here
    /// already makes no noise.
    fn is_worth_a_line(&self, progress: &PullProgress) -> bool {
        match progress.step.as_str() {
            "downloading" | "unpacking" => {
                self.step != progress.step
                    || self.told.is_none_or(|told| told.elapsed() >= LINE_PERIOD)
            }
            "done" => self.told.is_some() && self.step != "done",
            _ => false,
        }
    }

    /// Takes the bar away: something else is printed now.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draw(&mut self, progress: &PullProgress) {
        if self.bar.is_none() && progress.step == "done" {
            return;
        }
        let bar = self.bar.get_or_insert_with(new_bar);
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.downloaded_bytes);
        bar.set_message(format!(
            "{} {}/{}",
            progress.step, progress.layers_done, progress.layers_total
        ));
        if progress.step == "done" {
            self.clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(
        "{msg:16} [{bar:20}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
    ) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn line(progress: &PullProgress) -> String {
    match progress.step.as_str() {
        "downloading" => {
            format!(
                "downloading {}: {} of {}",
                layers(progress),
                rounded(progress.downloaded_bytes),
                rounded(progress.total_bytes)
            )
        }
        "unpacking" => format!(
            "unpacking {}: {} done",
            layers(progress),
            progress.layers_done
        ),
        "done" => format!("image ready, {}", layers(progress)),
        step => format!("{step} the image"),
    }
}

fn layers(progress: &PullProgress) -> String {
    match progress.layers_total {
        1 => "1 layer".to_owned(),
        total => format!("{total} layers"),
    }
}
