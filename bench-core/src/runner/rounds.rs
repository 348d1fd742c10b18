//! A closed loop that time ends: the prompts in the preset's order, around and around, until the time is over.
//!
//! A pure state machine; it neither sends nor waits. Every request has a number, as in an open loop: prompts go around by
//! it, seeds follow from it, and arms are paired by it, so a faster arm's later requests are paired with nothing. What was
//! sent before the end is waited for: a slow answer is not dropped because it is slow.

use tokio::time::Instant;

use super::closed_loop::Asked;
use super::conversation::Said;
use crate::record::{Arrival, Outcome};

/// Which request is next.
#[derive(Debug)]
pub(super) struct Rounds {
    /// Prompts of a round; not 0.
    prompts: usize,
    /// Nothing is sent at this time, or later.
    until: Instant,
    /// Number of the next request.
    slot: u32,
    /// Requests that failed since one completed.
    failures_in_a_row: usize,
    ended: bool,
}

impl Rounds {
    pub(super) fn new(prompts: usize, until: Instant) -> Self {
        Self { prompts, until, slot: 0, failures_in_a_row: 0, ended: false }
    }

    /// The request to be sent now; `None` when the time is over, or when a whole round failed: a stack that refuses at
    /// once would be asked thousands of times.
    pub(super) fn next(&self, now: Instant) -> Option<Asked> {
        if self.ended || now >= self.until || self.failures_in_a_row >= self.prompts {
            return None;
        }
        let arrival = Arrival { slot: self.slot, intended_ns: 0, sent_ns: None };
        let prompt = self.slot as usize % self.prompts;
        Some(Asked { slot: self.slot, prompt, arrival: Some(arrival), turn: 0, said: Said::default() })
    }

    /// The next one was sent.
    pub(super) fn sent(&mut self) {
        match self.slot.checked_add(1) {
            Some(next) => self.slot = next,
            None => self.ended = true,
        }
    }

    /// One has ended.
    pub(super) fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Completed { .. } => self.failures_in_a_row = 0,
            Outcome::Failed { .. } | Outcome::TimedOut { .. } | Outcome::Cancelled => {
                self.failures_in_a_row += 1
            }
        }
    }

    /// Nothing more is sent.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }
}
