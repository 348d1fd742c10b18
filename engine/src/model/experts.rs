//! The mixture of experts beside a layer's dense feed-forward block (Gemma 4 26B-A4B), on the CPU.
//!
//! Each row goes to the experts whose router logits are the greatest. Rows of a pass that chose the same expert are one
//! product, so an expert's weights are read once a pass. Invariant: a row's bits do not depend on the rows beside it, its
//! experts being added in ascending order whatever the others chose.

use super::config::ExpertConfig;
use super::layer::project;
use super::weights::{ExpertWeights, GateUp};
use crate::backend::cpu::{Cpu, Job, Q8Buffer, multiply, rms_norm, rms_norm_in_place};

/// Buffers of a pass.
#[derive(Debug)]
pub(super) struct ExpertScratch {
    config: ExpertConfig,
    /// The stream, normed for the router, then for the experts; `[rows][hidden]`.
    x: Vec<f32>,
    /// `[rows][count]`
    logits: Vec<f32>,
    /// Of all rows, sorted by expert and row.
    choices: Vec<Choice>,
    /// Rows of one expert, in and out; `[rows][hidden]`.
    rows: Vec<f32>,
    /// `[rows][width]`
    gate: Vec<f32>,
    /// `[rows][width]`
    up: Vec<f32>,
    /// What all experts of a row make; `[rows][hidden]`.
    sum: Vec<f32>,
}

/// A row goes to an expert.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Choice {
    expert: usize,
    row: usize,
    weight: f32,
}

impl ExpertScratch {
    /// Values that [`Self::new`] allocates for a row.
    pub(super) const fn values_of_row(config: ExpertConfig, hidden: usize) -> usize {
        // A choice is three words.
        3 * hidden + config.count + 2 * config.width + 6 * config.used
    }

    pub(super) fn new(config: ExpertConfig, hidden: usize, rows: usize) -> Self {
        let zeros = |width: usize| vec![0.0; rows * width];
        Self {
            config,
            x: zeros(hidden),
            logits: zeros(config.count),
            choices: Vec::with_capacity(rows * config.used),
            rows: zeros(hidden),
            gate: zeros(config.width),
            up: zeros(config.width),
            sum: zeros(hidden),
        }
    }

    /// Runs the experts for the residual rows `h` and joins what they make to `dense`, the dense block's output.
    pub(super) fn run(
        &mut self,
        cpu: &mut Cpu,
        q8: &mut Q8Buffer,
        weights: &ExpertWeights,
        (h, eps): (&[f32], f32),
        dense: &mut [f32],
    ) {
        let hidden = weights.pre_norm.len();
        let rows = h.len() / hidden;
        self.route(cpu, q8, weights, (h, eps));
        rms_norm(h, &weights.pre_norm, eps, &mut self.x[..h.len()]);
        self.sum[..h.len()].fill(0.0);
        let choices = std::mem::take(&mut self.choices);
        for of_expert in choices.chunk_by(|a, b| a.expert == b.expert) {
            self.run_expert(cpu, q8, weights, of_expert);
        }
        self.choices = choices;
        let sum = &mut self.sum[..rows * hidden];
        rms_norm_in_place(dense, &weights.dense_post_norm, eps);
        rms_norm_in_place(sum, &weights.post_norm, eps);
        dense.iter_mut().zip(sum).for_each(|(dense, sum)| *dense += *sum);
    }

    /// Fills `choices`.
    fn route(&mut self, cpu: &mut Cpu, q8: &mut Q8Buffer, weights: &ExpertWeights, (h, eps): (&[f32], f32)) {
        let (hidden, count) = (weights.pre_norm.len(), self.config.count);
        let rows = h.len() / hidden;
        let (x, logits) = (&mut self.x[..h.len()], &mut self.logits[..rows * count]);
        rms_norm(h, &weights.router_scale, eps, x);
        let scale = 1.0 / (hidden as f32).sqrt();
        x.iter_mut().for_each(|x| *x *= scale);
        project(cpu, q8, x, rows, &mut [Job { weights: weights.router.weights(), out: &mut *logits }]);
        self.choices.clear();
        for (row, logits) in logits.chunks_exact(count).enumerate() {
            choose(logits, self.config.used, &weights.down_scale, |expert, weight| {
                self.choices.push(Choice { expert, row, weight });
            });
        }
        self.choices.sort_unstable_by_key(|choice| (choice.expert, choice.row));
    }

    /// Adds what one expert makes of the rows that chose it to `sum`.
    fn run_expert(&mut self, cpu: &mut Cpu, q8: &mut Q8Buffer, weights: &ExpertWeights, choices: &[Choice]) {
        let (hidden, width) = (weights.pre_norm.len(), self.config.width);
        let (m, expert) = (choices.len(), choices[0].expert);
        let rows = &mut self.rows[..m * hidden];
        for (to, choice) in rows.chunks_exact_mut(hidden).zip(choices) {
            to.copy_from_slice(&self.x[choice.row * hidden..][..hidden]);
        }
        let (gate, up) = (&mut self.gate[..m * width], &mut self.up[..m * width]);
        let (gate_weights, up_weights) = match &weights.gate_up {
            GateUp::Fused(both) => {
                (both.part(2 * expert * width, width), both.part((2 * expert + 1) * width, width))
            }
            GateUp::Apart { gate, up } => (gate.part(expert * width, width), up.part(expert * width, width)),
        };
        let gate_job = Job { weights: gate_weights, out: &mut *gate };
        project(cpu, q8, rows, m, &mut [gate_job, Job { weights: up_weights, out: &mut *up }]);
        cpu.isa.gelu(gate);
        multiply(gate, up);
        let down = weights.down.part(expert * hidden, hidden);
        project(cpu, q8, gate, m, &mut [Job { weights: down, out: &mut *rows }]);
        for (from, choice) in rows.chunks_exact(hidden).zip(choices) {
            let to = &mut self.sum[choice.row * hidden..][..hidden];
            to.iter_mut().zip(from).for_each(|(to, from)| *to += choice.weight * from);
        }
    }
}

/// The `used` greatest of a row's logits (the lower number among equals) with their share of the softmax among
/// themselves, times the expert's scale. A logit that is no number makes shares that are none.
fn choose(logits: &[f32], used: usize, scale: &[f32], mut to: impl FnMut(usize, f32)) {
    let mut chosen = [(0, 0.0_f32); ExpertConfig::MOST_USED];
    let chosen = &mut chosen[..used];
    let mut order = Order { best: chosen, len: 0 };
    for (expert, &logit) in logits.iter().enumerate() {
        order.offer(expert, logit);
    }
    let most = chosen[0].1;
    chosen.iter_mut().for_each(|(_, logit)| *logit = (*logit - most).exp());
    let sum: f32 = chosen.iter().map(|(_, share)| share).sum();
    for &mut (expert, share) in chosen {
        to(expert, share / sum * scale[expert]);
    }
}

/// The greatest so far, in descending order.
struct Order<'a> {
    best: &'a mut [(usize, f32)],
    len: usize,
}

impl Order<'_> {
    fn offer(&mut self, expert: usize, logit: f32) {
        // Above everything, so that a NaN is seen in the output.
        let above = |than: f32| logit > than || (logit.is_nan() && !than.is_nan());
        let place = self.best[..self.len].iter().position(|(_, other)| above(*other)).unwrap_or(self.len);
        if place < self.best.len() {
            self.len = (self.len + 1).min(self.best.len());
            self.best[place..self.len].rotate_right(1);
            self.best[place] = (expert, logit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(logits: &[f32], used: usize) -> Vec<(usize, f32)> {
        let mut to = Vec::new();
        choose(logits, used, &vec![1.0; logits.len()], |expert, weight| to.push((expert, weight)));
        to
    }

    #[test]
    fn equals_go_to_the_lower_number() {
        let experts = |logits: &[f32]| chosen(logits, 2).iter().map(|c| c.0).collect::<Vec<_>>();
        assert_eq!(experts(&[1.0, 3.0, 3.0, 3.0]), [1, 2]);
        assert_eq!(experts(&[0.0, 0.0, 0.0]), [0, 1]);
        assert_eq!(experts(&[f32::NEG_INFINITY, 5.0, f32::NEG_INFINITY]), [1, 0]);
    }

    #[test]
    fn shares_are_those_of_a_softmax_among_the_chosen() {
        let got = chosen(&[0.0, 2.0_f32.ln(), -50.0, 0.0], 3);
        assert_eq!(got.iter().map(|c| c.0).collect::<Vec<_>>(), [1, 0, 3]);
        for ((_, share), expected) in got.iter().zip([0.5, 0.25, 0.25]) {
            assert!((share - expected).abs() < 1e-6, "{got:?}");
        }
    }

    #[test]
    fn a_logit_that_is_no_number_is_seen() {
        let got = chosen(&[1.0, f32::NAN, 2.0], 2);
        assert!(got.iter().all(|(_, share)| share.is_nan()), "{got:?}");
    }

    proptest! {
        #[test]
        fn the_chosen_are_the_greatest(
            logits in prop::collection::vec(-20.0_f32..20.0, 1..200),
            used in 1_usize..=ExpertConfig::MOST_USED,
        ) {
            let used = used.min(logits.len());
            let got = chosen(&logits, used);
            let mut sorted: Vec<usize> = (0..logits.len()).collect();
            sorted.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            prop_assert_eq!(got.iter().map(|c| c.0).collect::<Vec<_>>(), &sorted[..used]);
            prop_assert!((got.iter().map(|c| c.1).sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }
}
