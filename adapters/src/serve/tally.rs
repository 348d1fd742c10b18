//! Counts and times of one generation, folded from the engine's rounds, in the words of llama.cpp and vLLM.
//!
//! `predicted_per_second` is llama.cpp's since build b11434: tokens after the first one, over the time after the first
//! one. `acceptance_histogram[j]`, as in vLLM: rounds that drafted and accepted exactly j.

use std::time::{Duration, Instant};

use bench_engine::spec::generation::StepEvent;
use serde_json::{Map, Value, json};

/// One generation's counts so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tally {
    pub(super) prompt_tokens: usize,
    pub(super) output_tokens: usize,
    /// Passes after the prefill.
    pub(super) verify_steps: u64,
    pub(super) drafted: u64,
    pub(super) accepted: u64,
    /// `[j]`: rounds that drafted and accepted exactly j; empty for plain decoding.
    histogram: Vec<u64>,
    pub(super) draft_ns: u64,
    pub(super) verify_ns: u64,
    started: Instant,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

impl Tally {
    pub(super) fn new(prompt_tokens: usize, draft_max: usize, started: Instant) -> Self {
        Self {
            prompt_tokens,
            output_tokens: 0,
            verify_steps: 0,
            drafted: 0,
            accepted: 0,
            histogram: vec![0; if draft_max == 0 { 0 } else { draft_max + 1 }],
            draft_ns: 0,
            verify_ns: 0,
            started,
            first_token: None,
            last_token: None,
        }
    }

    /// Books a round of which `kept` tokens count; what a stop string cut off does not.
    pub(super) fn add(&mut self, step: &StepEvent<'_>, kept: usize) {
        self.output_tokens += kept;
        self.last_token = Some(step.at);
        if self.first_token.is_none() {
            self.first_token = Some(step.at);
            return;
        }
        self.verify_steps += 1;
        self.draft_ns += step.draft_ns;
        self.verify_ns += step.verify_ns;
        let accepted = (step.accepted as usize).min(kept);
        self.drafted += u64::from(step.drafted);
        self.accepted += accepted as u64;
        if step.drafted > 0
            && let Some(rounds) = self.histogram.get_mut(accepted)
        {
            *rounds += 1;
        }
    }

    /// Rounds that drafted.
    pub(super) fn drafting_steps(&self) -> u64 {
        self.histogram.iter().sum()
    }

    /// `[i]`: rounds whose draft at position i was accepted.
    pub(super) fn accepted_per_position(&self) -> Vec<u64> {
        let positions = 1..self.histogram.len();
        positions.map(|position| self.histogram[position..].iter().sum()).collect()
    }

    /// Time to the first token.
    pub(super) fn prefill(&self) -> Duration {
        self.first_token.map_or(Duration::ZERO, |first| first.duration_since(self.started))
    }

    /// Time after the first token.
    pub(super) fn decode(&self) -> Duration {
        match (self.first_token, self.last_token) {
            (Some(first), Some(last)) => last.duration_since(first),
            (None, _) | (_, None) => Duration::ZERO,
        }
    }

    /// OpenAI's `usage`.
    pub(super) fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.prompt_tokens + self.output_tokens,
            "prompt_tokens_details": { "cached_tokens": 0 },
        })
    }

    /// llama.cpp's `timings`; the counts of drafts only if there were any, as there.
    pub(super) fn timings(&self) -> Value {
        let mut timings = Map::new();
        let mut set = |key: &str, value: Value| timings.insert(key.to_owned(), value);
        set("cache_n", json!(0));
        set("prompt_n", json!(self.prompt_tokens));
        rates(&mut set, "prompt", self.prefill(), self.prompt_tokens);
        set("predicted_n", json!(self.output_tokens));
        rates(&mut set, "predicted", self.decode(), self.output_tokens.saturating_sub(1));
        if self.drafted > 0 {
            set("draft_n", json!(self.drafted));
            set("draft_n_accepted", json!(self.accepted));
        }
        Value::Object(timings)
    }

    /// vLLM's `metrics`; `None` for plain decoding.
    pub(super) fn metrics(&self) -> Option<Value> {
        let draft_max = self.histogram.len().checked_sub(1)?;
        let steps = self.drafting_steps();
        let per = |n: u64, of: u64| (of > 0).then(|| n as f64 / of as f64);
        Some(json!({ "speculative_decoding": {
            "mean_acceptance_length": per(self.accepted + steps, steps),
            "draft_acceptance_rate": per(self.accepted, self.drafted),
            "acceptance_histogram": self.histogram,
            "num_spec_steps": steps,
            "num_accepted_draft_tokens": self.accepted,
            "num_draft_tokens": self.drafted,
            "num_spec_tokens": draft_max,
        }}))
    }
}

/// `NAME_ms`, `NAME_per_token_ms`, `NAME_per_second`; rates of nothing are 0, as in llama.cpp.
fn rates(set: &mut impl FnMut(&str, Value) -> Option<Value>, name: &str, time: Duration, tokens: usize) {
    let ms = time.as_secs_f64() * 1e3;
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    set(&format!("{name}_ms"), json!(ms));
    set(&format!("{name}_per_token_ms"), json!(ratio(ms, tokens as f64)));
    set(&format!("{name}_per_second"), json!(ratio(tokens as f64 * 1e3, ms)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(tokens: &[u32], drafted: u32, at: Instant) -> StepEvent<'_> {
        let accepted = u32::try_from(tokens.len()).unwrap() - 1;
        StepEvent { tokens, drafted, accepted, draft_ns: 1, verify_ns: 2, sample_ns: 3, at }
    }

    #[test]
    fn rounds_become_counts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut tally = Tally::new(7, 3, start);
        tally.add(&step(&[1], 0, at(10)), 1);
        tally.add(&step(&[2, 3, 4], 3, at(20)), 3);
        tally.add(&step(&[5], 0, at(30)), 1);
        // A stop string in the first of three tokens: the second accepted draft does not count.
        tally.add(&step(&[6, 7, 8], 3, at(50)), 1);
        assert_eq!((tally.output_tokens, tally.verify_steps, tally.drafted, tally.accepted), (6, 3, 6, 3));
        assert_eq!((tally.drafting_steps(), tally.accepted_per_position()), (2, vec![2, 1, 0]));
        let timings = tally.timings();
        assert_eq!(timings["prompt_ms"], 10.0);
        assert_eq!(timings["predicted_per_second"], 125.0);
        assert_eq!(timings["draft_n_accepted"], 3);
        let metrics = tally.metrics().unwrap();
        assert_eq!(metrics["speculative_decoding"]["mean_acceptance_length"], 2.5);
        assert_eq!(metrics["speculative_decoding"]["acceptance_histogram"], json!([0, 1, 1, 0]));
    }

    #[test]
    fn plain_decoding_says_nothing_of_drafts() {
        let tally = Tally::new(1, 0, Instant::now());
        assert_eq!((tally.metrics(), tally.timings().get("draft_n")), (None, None));
        assert_eq!(tally.timings()["predicted_per_second"], 0.0);
    }
}
