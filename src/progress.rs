//! Progress of a run, shown on stderr.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

/// Receives stages and completed units of work. Has no effect on results.
pub trait Progress: Sync {
    /// A stage of `total` units begins; the previous one has ended.
    fn stage(&self, name: &str, total: u64);
    /// `units` more units are complete.
    fn advance(&self, units: u64);
    /// The last stage has ended.
    fn end(&self);
}

/// Shows nothing.
#[derive(Debug)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _: &str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}

/// One line per stage, for logs.
#[derive(Debug)]
struct LogProgress;

impl Progress for LogProgress {
    fn stage(&self, name: &str, _: u64) {
        // A closed stderr does not stop the run.
        let _ = writeln!(io::stderr(), "foretaste: {name}");
    }
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}

/// A progress bar per stage, for terminals.
#[derive(Debug, Default)]
struct BarProgress(Mutex<Option<ProgressBar>>);

impl BarProgress {
    fn replace(&self, bar: Option<ProgressBar>) {
        let mut current = self.0.lock().expect("no thread panics while it holds the bar");
        if let Some(bar) = current.take() {
            bar.finish();
        }
        *current = bar;
    }
}

impl Progress for BarProgress {
    fn stage(&self, name: &str, total: u64) {
        let style = ProgressStyle::with_template("{msg:28} {wide_bar} {pos}/{len} {eta:>4}")
            .expect("the template is well formed");
        let bar = ProgressBar::new(total).with_style(style).with_message(name.to_owned());
        self.replace(Some(bar));
    }

    fn advance(&self, units: u64) {
        if let Some(bar) = &*self.0.lock().expect("no thread panics while it holds the bar") {
            bar.inc(units);
        }
    }

    fn end(&self) {
        self.replace(None);
    }
}

/// Bars on a terminal, lines elsewhere, nothing if `quiet`.
pub fn on_stderr(quiet: bool) -> Box<dyn Progress> {
    match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Silent),
        (false, true) => Box::new(BarProgress::default()),
        (false, false) => Box::new(LogProgress),
    }
}
