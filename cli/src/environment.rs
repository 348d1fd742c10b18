//! Starts and stops the readings of the machine around a run, and has them cut where passes begin and end.
//!
//! They are evidence beside the rows: where they cannot be made the run goes on, and the report says that they are missing.

use std::io::Write;

use bench_core::environment::{GpuProbe, Moment, Nvml, Sampler, SamplerSettings};
use bench_core::run_dir::RunDir;
use bench_core::runner::{Observer, RunEvent};

/// The readings of one run; nothing where they could not be started.
pub(crate) struct Environment(Option<Sampler>);

impl Environment {
    pub(crate) fn start(dir: &RunDir) -> Self {
        let open = || Nvml::open().map(|nvml| Box::new(nvml) as Box<dyn GpuProbe>);
        match Sampler::start(&dir.environment(), SamplerSettings::default(), open) {
            Ok(sampler) => Self(Some(sampler)),
            Err(error) => {
                say(&format!(
                    "the machine's state is not recorded: {}: {error}",
                    dir.environment().display()
                ));
                Self(None)
            }
        }
    }

    /// An observer that tells `inner` everything, and reads the machine at the borders of passes.
    pub(crate) fn observe<'a, O: Observer>(&'a self, inner: &'a mut O) -> Marking<'a, O> {
        Marking { sampler: self.0.as_ref(), inner }
    }

    /// Reads a last time. What was read before an error is kept.
    pub(crate) fn stop(self) {
        if let Some(Err(error)) = self.0.map(Sampler::stop) {
            say(&format!("the machine's state was not recorded to the end: {error}"));
        }
    }
}

/// See [`Environment::observe`].
pub(crate) struct Marking<'a, O> {
    sampler: Option<&'a Sampler>,
    inner: &'a mut O,
}

impl<O: Observer> Observer for Marking<'_, O> {
    fn on_event(&mut self, event: &RunEvent<'_>) {
        let is_border = matches!(event, RunEvent::PassStarted { .. } | RunEvent::BlockFinished { .. });
        if let Some(sampler) = self.sampler.filter(|_| is_border) {
            sampler.mark(Moment::During);
        }
        self.inner.on_event(event);
    }
}

fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
