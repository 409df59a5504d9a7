//! How a pull gets on: a bar on a terminal, a line per step elsewhere.

use std::io::{self, IsTerminal};

use davit_rpc::local::PullProgress;
use davit_types::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::note;

/// Shows one pull on standard error.
pub(crate) struct Progress {
    shown: bool,
    bar: Option<ProgressBar>,
    step: String,
}

impl Progress {
    /// Shows nothing at all unless `shown`.
    pub(crate) fn new(shown: bool) -> Self {
        Self {
            shown,
            bar: None,
            step: String::new(),
        }
    }

    /// The latest state.
    pub(crate) fn show(&mut self, progress: &PullProgress) {
        if !self.shown {
            return;
        }
        if io::stderr().is_terminal() {
            self.draw(progress);
        } else if self.step != progress.step {
            note(&line(progress));
        }
        self.step.clone_from(&progress.step);
    }

    /// Takes the bar away: something else is printed now.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draw(&mut self, progress: &PullProgress) {
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
        "{msg:24} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
    ) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn line(progress: &PullProgress) -> String {
    match progress.step.as_str() {
        "downloading" => {
            let total = Bytes(progress.total_bytes);
            format!(
                "downloading {} layers, {total} bytes",
                progress.layers_total
            )
        }
        "unpacking" => format!("unpacking {} layers", progress.layers_total),
        "done" => format!("image ready, {} layers", progress.layers_total),
        step => format!("{step} the image"),
    }
}
