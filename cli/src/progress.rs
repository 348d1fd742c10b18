//! Progress of a run on stderr: one bar on a terminal, one line a block elsewhere.

use std::io::Write;

use bench_core::record::{Outcome, Phase};
use bench_core::runner::{Observer, RunEvent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Draws what the runner tells.
pub(crate) struct Progress {
    bar: ProgressBar,
    failures: u64,
}

impl Progress {
    /// Draws on stderr. Hidden, but for one line a block, where that is no terminal.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = "{bar:28.cyan/black} {pos:>4}/{len} {msg}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self { bar, failures: 0 }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            drop(writeln!(std::io::stderr(), "{line}"));
        } else {
            self.bar.println(line);
        }
    }
}

impl Observer for Progress {
    fn on_event(&mut self, event: &RunEvent<'_>) {
        match event {
            RunEvent::PassStarted { arm, phase, block } => self.bar.set_message(match phase {
                Phase::Measured => format!("{arm}, block {}", block + 1),
                Phase::Warmup | Phase::Setup => format!("{arm}, warm-up"),
            }),
            RunEvent::RequestFinished { record, done, total, tokens_per_s } => {
                self.bar.set_length(*total);
                self.bar.set_position(*done);
                if let Some(rate) = tokens_per_s {
                    let block = record.block + 1;
                    self.bar.set_message(format!("{}, block {block}, {rate:.0} tokens/s", record.arm));
                }
                if let Outcome::Failed { detail, .. } = &record.outcome {
                    self.failures += 1;
                    if self.failures <= 5 {
                        self.say(&format!("{} {}: {detail}", record.arm, record.prompt_id));
                    }
                }
            }
            RunEvent::CountersUnreadable { arm, message } => {
                self.say(&format!("{arm}: counters of speculation unreadable: {message}"));
            }
            RunEvent::Restarted { arm, restarts, limit } => {
                self.say(&format!("{arm}: its server died and was started again ({restarts} of {limit})"));
            }
            RunEvent::ArmGivenUp { arm, why } => self.say(&format!("{arm}: given up: {why}")),
            RunEvent::BlockFinished { block, blocks } if self.bar.is_hidden() => {
                self.say(&format!("block {} of {blocks} done", block + 1));
            }
            RunEvent::BlockFinished { .. } => {}
            RunEvent::Settled { blocks } => {
                self.say(&format!("every comparison is settled after {blocks} blocks: the run ends early"));
            }
        }
    }
}
