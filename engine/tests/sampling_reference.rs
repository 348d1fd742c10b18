//! The algorithm of the kernels `sample_cut` and `sample_find` in plain Rust, against the host's sampler and acceptance
//! rules: a radix search by digits of a key in place of sorting, sums of whole numbers in parts, all rows at once. What
//! the kernels compute is checked against the host on a GPU by `gpu_sampling.rs`; that they compute the right thing, here.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "functions of tests, which clippy does not take for tests; a reference"
)]

#[path = "gpu_sampling/cases.rs"]
mod cases;

use bench_engine::spec::mass::{mass, nucleus, place, sum_of_weights, weight};
use bench_engine::spec::rows::{DrawnRow, Origin, numbers_taken, side_by_side};
use bench_engine::spec::sampler::{Sampler, SamplingParams, argmax};
use cases::{Rng, Step, assert_is_the_hosts};

/// Parts of a row that are summed by themselves.
const PARTS: usize = 7;

/// What is left of a row: keys above `key`, and of it the ids up to `id`.
#[derive(Debug, Clone, Copy)]
struct Cut {
    key: u32,
    id: usize,
}

fn key_of(logit: f32) -> u32 {
    let bits = (logit + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

impl Cut {
    const NONE: Self = Self { key: 0, id: usize::MAX };

    fn leaves(self, logit: f32, id: usize) -> bool {
        let key = key_of(logit);
        logit > f32::NEG_INFINITY && (key > self.key || (key == self.key && id <= self.id))
    }

    /// Cuts where the sum of `value` over tokens, greatest logits first, reaches what `wanted` makes of the sum of all.
    fn at(self, row: &[f32], value: impl Fn(f32) -> u64, wanted: impl Fn(u64) -> u64) -> Self {
        let (mut prefix, mut left) = (0_u32, 0);
        for shift in [24, 16, 8, 0] {
            let mut bins = [0_u64; 256];
            for (_, &x) in row.iter().enumerate().filter(|&(id, &x)| self.leaves(x, id)) {
                let key = key_of(x);
                if shift == 24 || (key ^ prefix) >> (shift + 8) == 0 {
                    bins[(key >> shift & 255) as usize] += value(x);
                }
            }
            if shift == 24 {
                left = wanted(bins.iter().sum());
                if left == 0 {
                    return self;
                }
            }
            let mut above = 0;
            let digit = (0..256).rev().find(|&digit| {
                let reached = above + bins[digit] >= left;
                above += if reached { 0 } else { bins[digit] };
                reached
            });
            prefix |= (digit.unwrap() as u32) << shift;
            left -= above;
        }
        let one = value(logit_of(prefix));
        let ties = row.iter().enumerate().filter(|&(id, &x)| key_of(x) == prefix && self.leaves(x, id));
        let nth = usize::try_from(left.div_ceil(one)).unwrap() - 1;
        Self { key: prefix, id: ties.map(|(id, _)| id).nth(nth).unwrap() }
    }
}

fn logit_of(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & 0x7fff_ffff } else { !key })
}

/// Probabilities of a row.
fn probabilities(row: &[f32], params: &SamplingParams) -> Vec<f32> {
    let max = row[argmax(row).unwrap() as usize];
    let mut cut = Cut::NONE;
    if let Some(k) = params.top_k.map(|k| u64::from(k.get())).filter(|&k| (k as usize) < row.len()) {
        cut = cut.at(row, |_| 1, |present| if present <= k { 0 } else { k });
    }
    if let Some(p) = params.top_p.filter(|&p| p < 1.0) {
        cut = cut.at(row, |x| mass(weight(x - max)), |total| nucleus(p, total));
    }
    let floor = params.min_p.filter(|&p| p > 0.0).map_or(f32::NEG_INFINITY, |p| max + p.ln());
    let weights: Vec<f32> = row
        .iter()
        .enumerate()
        .map(|(id, &x)| {
            let left = cut.leaves(x, id) && x >= floor;
            if left { weight((x - max) / params.temperature) } else { 0.0 }
        })
        .collect();
    let total = weights.iter().map(|&w| mass(w)).sum();
    let scale = (1.0 / sum_of_weights(total)) as f32;
    weights.iter().map(|w| w * scale).collect()
}

/// The id at which the running sum passes the quantile: by parts first.
fn find(masses: &[u64], draw: f64) -> Option<u32> {
    let width = masses.len().div_ceil(PARTS);
    let parts: Vec<u64> = masses.chunks(width).map(|part| part.iter().sum()).collect();
    let total: u64 = parts.iter().sum();
    let mut left = place(draw, total);
    let part = parts.iter().position(|&sum| {
        let here = left < sum;
        left -= if here { 0 } else { sum };
        here
    })?;
    let within = masses[part * width..].iter().position(|&mass| {
        let here = left < mass;
        left -= if here { 0 } else { mass };
        here
    })?;
    u32::try_from(part * width + within).ok()
}

/// Whether a row's draft stands, and the token drawn.
fn decide_row(row: &[f32], drawn: &DrawnRow<'_>, step: &Step) -> (bool, Option<u32>) {
    let p = probabilities(row, &step.params);
    let plain: Vec<u64> = p.iter().map(|&p| mass(p)).collect();
    let Some(draft) = drawn.draft.filter(|_| step.rejection) else {
        let choice = find(&plain, drawn.draw);
        return (drawn.draft == choice, choice);
    };
    let at = draft as usize;
    let q = match drawn.q {
        Origin::Told(q) => Some(q),
        Origin::Point => None,
        Origin::Held => panic!("nothing is held by a device here"),
    };
    let stands = drawn.test * f64::from(q.map_or(1.0, |q| q[at])) < f64::from(p[at]);
    let mut residual = match q {
        Some(q) => p.iter().zip(q).map(|(p, q)| mass((p - q).max(0.0))).collect(),
        None => plain.clone(),
    };
    if q.is_none() {
        residual[at] = 0;
    } else if residual.iter().all(|&mass| mass == 0) {
        residual = plain;
    }
    (stands, find(&residual, drawn.draw))
}

#[test]
fn the_kernels_algorithm_decides_as_the_host_does() {
    let mut rng = Rng(1);
    let (mut accepted_in_all, mut rejected) = (0, 0);
    for case in 0..6000 {
        let vocab = 2 + rng.below([3, 40, 700][case % 3]);
        let step = rng.step(vocab);
        let fresh = Sampler::new(&step.params).unwrap();
        let rows = side_by_side(&step.draft, step.rejection, &fresh);
        let outcomes: Vec<(bool, Option<u32>)> =
            step.rows.iter().zip(&rows).map(|(row, drawn)| decide_row(row, drawn, &step)).collect();
        let drafted = step.draft.tokens.len();
        let accepted = outcomes[..drafted].iter().take_while(|(stands, _)| *stands).count();
        let taken = numbers_taken(&step.draft, step.rejection, accepted);
        assert_is_the_hosts(&step, case, accepted, outcomes[accepted].1, taken);
        accepted_in_all += accepted;
        rejected += usize::from(accepted < drafted);
    }
    // The cases are worth something only if both happen.
    assert!(accepted_in_all > 5000 && rejected > 1000, "{accepted_in_all} accepted, {rejected} rejected");
}

/// Drafts of a round by numbers that are known beforehand: the host's tokens, and its distributions to the bit.
#[test]
fn the_kernels_algorithm_draws_the_hosts_drafts() {
    let mut rng = Rng(7);
    let mut drawn = 0;
    for case in 0..3000 {
        let vocab = 2 + rng.below([3, 40, 700][case % 3]);
        let step = rng.step(vocab);
        let mut host = Sampler::new(&step.params).unwrap();
        let views = rng.views(&step);
        let numbers = host.upcoming(views.len());
        let mut q = Vec::new();
        for (row, u) in views.iter().zip(numbers) {
            host.distribution(row, &mut q).unwrap();
            let p = probabilities(row, &step.params);
            let bits = |p: &[f32]| p.iter().map(|p| p.to_bits()).collect::<Vec<_>>();
            assert!(bits(&p) == bits(&q), "case {case}: {}", step.describe());
            let masses: Vec<u64> = p.iter().map(|&p| mass(p)).collect();
            assert_eq!(find(&masses, u), Some(host.draw(&q).unwrap()), "case {case}: {}", step.describe());
            drawn += 1;
        }
    }
    assert!(drawn > 8000, "{drawn} drafts");
}
