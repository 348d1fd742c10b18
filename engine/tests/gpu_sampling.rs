//! Drawing and deciding on a GPU: choice by choice the host's, and distributed as it must be.
//!
//! Without a GPU or NVRTC every test prints SKIP with the reason and passes. `OUT=DIR` writes the results as JSON.

#![cfg(feature = "cuda")]
#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "functions of tests, which clippy does not take for tests; numbers that must be equal"
)]

#[path = "gpu_sampling/cases.rs"]
mod cases;
#[path = "gpu_sampling/drafts.rs"]
mod drafts;
mod gpu;
#[path = "gpu_sampling/speed.rs"]
mod speed;

use bench_engine::backend::cuda::{Argmax, Buffer, Device, Drawing, Ops, Outcome, RowSampler, VERDICT};
use bench_engine::spec::rows::{numbers_taken, side_by_side};
use bench_engine::spec::sampler::{Sampler, SamplingParams, argmax};
use bench_engine::spec::{Draft, accept};
use cases::{Rng, Step, assert_is_the_hosts};
use gpu::{device, publish};

/// A device with all that sampling needs for up to 8 rows.
pub(crate) struct Bench {
    device: Device,
    ops: Ops,
    room: Argmax,
    sampler: RowSampler,
    best: Buffer<u32>,
    logits: Buffer<f32>,
    drafts: Buffer<u32>,
    token: Buffer<u32>,
    vocab: usize,
}

impl Bench {
    fn new(device: Device, vocab: usize) -> Self {
        Self {
            ops: Ops::new(&device).unwrap(),
            room: Argmax::new(&device, 8).unwrap(),
            sampler: RowSampler::new(&device, 8, vocab).unwrap(),
            best: device.zeros("ids", 8 + VERDICT).unwrap(),
            logits: device.zeros("logits", 8 * vocab).unwrap(),
            drafts: device.zeros("drafts", 8).unwrap(),
            token: device.zeros("token", 1).unwrap(),
            device,
            vocab,
        }
    }

    /// Rows to the device, with their greatest logits.
    fn bring(&mut self, rows: &[Vec<f32>]) {
        self.bring_beside(rows, None);
    }

    /// The same, with the drafts to be compared.
    fn bring_beside(&mut self, rows: &[Vec<f32>], drafts: Option<&Buffer<u32>>) {
        self.device.write(&mut self.logits, &rows.concat()).unwrap();
        let Self { device, ops, room, best, logits, vocab, .. } = self;
        let count = u32::try_from(rows.len()).unwrap();
        ops.argmax(device, count, (*vocab, 0.0), logits, room, (best, 0), None, None, drafts).unwrap();
    }

    fn decide(&mut self, draft: &Draft, rejection: bool, sampler: &Sampler) -> Outcome {
        let rows = side_by_side(draft, rejection, sampler);
        let Self { logits, best, .. } = self;
        let drawing = Drawing { logits, best, first_row: 0, params: sampler.params(), rejection };
        self.sampler.decide(&self.device, &drawing, &rows).unwrap()
    }

    fn step(&mut self, step: &Step) -> Outcome {
        self.bring(&step.rows);
        self.decide(&step.draft, step.rejection, &Sampler::new(&step.params).unwrap())
    }
}

#[test]
fn verdicts_are_the_hosts() {
    let Some(mut device) = device() else { return };
    let mut rng = Rng(2);
    let sizes = [(2, 300), (3, 300), (31, 500), (255, 500), (256, 300), (257, 500), (1025, 500), (4099, 400)];
    let large = [(32_003, 200), (151_937, 60), (262_144, 100)];
    let (mut cases, mut accepted) = (0, 0);
    for (vocab, count) in sizes.into_iter().chain(large) {
        let mut bench = Bench::new(device, vocab);
        for _ in 0..count {
            let step = rng.step(vocab);
            let outcome = bench.step(&step);
            let taken = numbers_taken(&step.draft, step.rejection, outcome.accepted);
            assert_is_the_hosts(&step, cases, outcome.accepted, outcome.next, taken);
            (cases, accepted) = (cases + 1, accepted + outcome.accepted);
        }
        println!("vocabulary {vocab}: {count} steps as on the host");
        device = bench.device;
    }
    assert!(accepted > cases / 2, "{accepted} drafts accepted in {cases} steps");
}

/// Greedy: the drafts before the first that is not its row's likeliest token, and the token behind them.
#[test]
fn greedy_verdicts_are_the_hosts() {
    let Some(device) = device() else { return };
    let (vocab, rows) = (4099, 8);
    let (mut bench, mut rng) = (Bench::new(device, vocab), Rng(6));
    let mut by_length = [0; 8];
    for case in 0..500 {
        let logits: Vec<Vec<f32>> = (0..=rng.below(rows)).map(|_| rng.logits(vocab)).collect();
        // Draft i is element i + 1, as the tokens of a pass lie; each is right as a rule.
        let mut pass = vec![0; rows];
        for (row, token) in logits.iter().zip(&mut pass[1..]) {
            let right = argmax(row).unwrap();
            *token = if rng.below(5) == 0 { right ^ 1 } else { right };
        }
        let drafts = &pass[1..logits.len()];
        let wanted = accept::greedy(drafts, |row| argmax(&logits[row])).unwrap();
        let on_device = bench.device.upload("tokens of a pass", &pass).unwrap();
        bench.bring_beside(&logits, Some(&on_device));
        let ids = bench.device.download(&bench.best).unwrap();
        let got = &ids[ids.len() - VERDICT..];
        let as_host = [u32::try_from(wanted.accepted).unwrap(), wanted.next];
        assert_eq!(got, as_host, "case {case}: drafts {drafts:?}, ids {ids:?}");
        by_length[wanted.accepted] += 1;
    }
    println!("steps by drafts accepted: {by_length:?}");
    assert!(by_length[..4].iter().all(|&count| count > 10));
}

/// What cannot be drawn from gives no token, and only where the step gets there; the host then names the logit.
#[test]
fn rows_without_a_greatest_logit_give_no_token() {
    let Some(device) = device() else { return };
    let vocab = 1003;
    let (mut bench, mut rng) = (Bench::new(device, vocab), Rng(3));
    let (mut refused, mut past) = (0, 0);
    for case in 0..400 {
        let mut step = rng.step(vocab);
        let (row, id) = (rng.below(step.rows.len()), rng.below(vocab));
        match case % 3 {
            0 => step.rows[row][id] = f32::NAN,
            1 => step.rows[row][id] = f32::INFINITY,
            _ => step.rows[row].fill(f32::NEG_INFINITY),
        }
        let outcome = bench.step(&step);
        match step.on_host().0 {
            Ok(verdict) => {
                let wanted = Outcome { accepted: verdict.accepted, next: Some(verdict.next) };
                assert_eq!(outcome, wanted, "case {case}, row {row} is bad; {}", step.describe());
                past += 1;
            }
            Err(error) => {
                assert_eq!(
                    outcome,
                    Outcome { accepted: row, next: None },
                    "case {case}: {error}; {}",
                    step.describe()
                );
                refused += 1;
            }
        }
    }
    println!("{refused} steps refused, {past} ended before the bad row");
    assert!(refused > 20 && past > 20);
    // Nothing is left behind: the next step is right.
    let step = rng.step(vocab);
    let outcome = bench.step(&step);
    let taken = numbers_taken(&step.draft, step.rejection, outcome.accepted);
    assert_is_the_hosts(&step, 400, outcome.accepted, outcome.next, taken);
}

const DRAWS: usize = 100_000;

/// Chi-square of counts against probabilities, and the number of tokens that could be drawn less one.
fn chi_square(counts: &[usize], probs: &[f32]) -> (f64, f64) {
    let total: f64 = probs.iter().map(|&p| f64::from(p)).sum();
    let draws = counts.iter().sum::<usize>() as f64;
    let mut sum = 0.0;
    for (&count, &p) in counts.iter().zip(probs) {
        let expected = draws * f64::from(p) / total;
        if p > 0.0 {
            sum += (count as f64 - expected).powi(2) / expected;
        } else {
            assert_eq!(count, 0, "a token that was cut away was drawn");
        }
    }
    (sum, probs.iter().filter(|&&p| p > 0.0).count() as f64 - 1.0)
}

/// Wilson and Hilferty's approximation: about standard normal where counts are of the distribution.
fn deviation((sum, freedom): (f64, f64)) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    ((sum / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// The distribution of the first token of 100,000 steps over 24 tokens: drawn plainly, and with drafts by either rule.
#[test]
fn tokens_are_distributed_as_the_target_alone() {
    let Some(device) = device() else { return };
    let vocab = 24;
    let (mut bench, mut rng) = (Bench::new(device, vocab), Rng(4));
    let rows = [rng.logits(vocab), rng.logits(vocab)];
    let mut results = Vec::new();
    for (name, rejection, drafts) in
        [("plain", false, 0), ("compare", false, 1), ("rejection", true, 1), ("point mass", true, 2)]
    {
        let mut params = SamplingParams { temperature: 1.5, ..SamplingParams::greedy() };
        (params.top_p, params.min_p, params.seed) = (Some(0.98), Some(0.01), 11);
        let (mut sampler, mut probs, mut q) = (Sampler::new(&params).unwrap(), Vec::new(), Vec::new());
        sampler.distribution(&rows[0], &mut probs).unwrap();
        let drafter_params = SamplingParams { temperature: 3.0, seed: 12, ..SamplingParams::greedy() };
        let mut drafter = Sampler::new(&drafter_params).unwrap();
        drafter.distribution(&rows[0], &mut q).unwrap();
        bench.bring(&rows[..=drafts.min(1)]);
        let mut counts = vec![0; vocab];
        let (mut accepted, mut draft) = (0, Draft::default());
        for _ in 0..DRAWS {
            draft.clear();
            if drafts > 0 {
                draft.tokens.push(if drafts == 1 { drafter.draw(&q).unwrap() } else { 5 });
                draft.probs.push(if drafts == 1 { q.clone() } else { Vec::new() });
            }
            let outcome = bench.decide(&draft, rejection, &sampler);
            sampler.skip(numbers_taken(&draft, rejection, outcome.accepted));
            let first = if outcome.accepted > 0 { draft.tokens[0] } else { outcome.next.unwrap() };
            counts[first as usize] += 1;
            accepted += outcome.accepted;
        }
        let z = deviation(chi_square(&counts, &probs));
        println!("{name}: {accepted} of {DRAWS} drafts accepted, chi-square {z:+.2} standard deviations");
        assert!(z < 4.0, "{name}: {z}; counts {counts:?} of {probs:?}");
        results
            .push(serde_json::json!({ "rule": name, "draws": DRAWS, "accepted": accepted, "deviation": z }));
    }
    publish("gpu-sampling-distribution.json", &serde_json::json!(results));
}

/// Time of a step's choice on the device and on the host, logits on the device to begin with.
#[test]
fn what_a_choice_costs() {
    let Some(device) = device() else { return };
    if cfg!(debug_assertions) {
        println!("SKIP: times are measured in a release build");
        return;
    }
    publish("gpu-sampling-speed.json", &speed::measure(Bench::new(device, 262_144)));
}
