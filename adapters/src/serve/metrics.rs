//! `/metrics`, Prometheus' text format 0.0.4: llama.cpp's names, so that its readers work, and some of our own.
//!
//! All are counters since the start, but for the two gauges of the line. Counters of speculation exist only where
//! speculation is on.

use std::fmt::Display;

use super::tally::Tally;

/// Sums over generations.
#[derive(Debug, Default)]
pub(super) struct Counters {
    finished: u64,
    cancelled: u64,
    /// Requests that found the line full.
    pub(super) refused: u64,
    prompt_tokens: u64,
    prompt_seconds: f64,
    output_tokens: u64,
    decode_seconds: f64,
    verify_steps: u64,
    draft_seconds: f64,
    verify_seconds: f64,
    drafted: u64,
    accepted: u64,
    drafting_steps: u64,
    accepted_per_position: Vec<u64>,
}

impl Counters {
    pub(super) fn new(draft_max: usize) -> Self {
        Self { accepted_per_position: vec![0; draft_max], ..Self::default() }
    }

    /// Books a generation. One that was cut short by its client, the server's end or an error is not `finished`.
    pub(super) fn add(&mut self, tally: &Tally, finished: bool) {
        *(if finished { &mut self.finished } else { &mut self.cancelled }) += 1;
        self.prompt_tokens += tally.prompt_tokens as u64;
        self.prompt_seconds += tally.prefill().as_secs_f64();
        self.output_tokens += tally.output_tokens as u64;
        self.decode_seconds += tally.decode().as_secs_f64();
        self.verify_steps += tally.verify_steps;
        self.draft_seconds += tally.draft_ns as f64 / 1e9;
        self.verify_seconds += tally.verify_ns as f64 / 1e9;
        self.drafted += tally.drafted;
        self.accepted += tally.accepted;
        self.drafting_steps += tally.drafting_steps();
        for (sum, n) in self.accepted_per_position.iter_mut().zip(tally.accepted_per_position()) {
            *sum += n;
        }
    }

    /// The page.
    pub(super) fn text(&self, waiting: usize, running: bool) -> String {
        let mut page = String::new();
        let mut metric = |kind: &str, name: &str, value: &dyn Display| {
            page.push_str(&format!("# TYPE {name} {kind}\n{name} {value}\n"));
        };
        let mut counter = |name: &str, value: &dyn Display| metric("counter", name, value);
        counter("llamacpp:prompt_tokens_total", &self.prompt_tokens);
        counter("llamacpp:prompt_seconds_total", &self.prompt_seconds);
        counter("llamacpp:tokens_predicted_total", &self.output_tokens);
        counter("llamacpp:tokens_predicted_seconds_total", &self.decode_seconds);
        counter("bench_requests_finished_total", &self.finished);
        counter("bench_requests_cancelled_total", &self.cancelled);
        counter("bench_requests_refused_total", &self.refused);
        counter("bench_verify_steps_total", &self.verify_steps);
        counter("bench_draft_seconds_total", &self.draft_seconds);
        counter("bench_verify_seconds_total", &self.verify_seconds);
        let speculates = !self.accepted_per_position.is_empty();
        if speculates {
            counter("llamacpp:spec_decode_num_draft_tokens_total", &self.drafted);
            counter("llamacpp:spec_decode_num_accepted_tokens_total", &self.accepted);
            counter("llamacpp:spec_decode_num_drafts_total", &self.drafting_steps);
        }
        metric("gauge", "llamacpp:requests_processing", &usize::from(running));
        metric("gauge", "llamacpp:requests_deferred", &waiting);
        if speculates {
            page.push_str(&self.per_position());
        }
        page
    }

    fn per_position(&self) -> String {
        const NAME: &str = "llamacpp:spec_decode_num_accepted_tokens_per_pos_total";
        let samples = self.accepted_per_position.iter().enumerate();
        let lines = samples.map(|(position, n)| format!("{NAME}{{position=\"{position}\"}} {n}\n"));
        format!("# TYPE {NAME} counter\n") + &lines.collect::<String>()
    }
}
