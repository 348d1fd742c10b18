//! Drafts that are drawn on the device and stay there with what they were drawn from: ids, distributions and verdicts
//! against the host's, and the distribution of what comes out.

use std::num::NonZeroU32;

use bench_engine::backend::cuda::{Device, Drawing, NO_TOKEN, Outcome};
use bench_engine::spec::rows::numbers_taken;
use bench_engine::spec::sampler::{Sampler, SamplingParams};
use bench_engine::spec::{Draft, accept};

use crate::cases::{Rng, Step};
use crate::gpu::{device, publish};
use crate::{Bench, chi_square, deviation};

/// Rounds whose tokens are counted.
const ROUNDS: usize = 40_000;

impl Bench {
    /// Draws a draft from each row of a drafter's logits; [`NO_TOKEN`] where a row gives none. Takes the numbers.
    fn draw(&mut self, views: &[Vec<f32>], sampler: &mut Sampler) -> Vec<u32> {
        if views.is_empty() {
            return Vec::new();
        }
        self.bring(views);
        let numbers = sampler.upcoming(views.len());
        self.sampler.begin_drafts(&self.device, &numbers).unwrap();
        let Self { device, sampler: rows, best, logits, drafts, token, .. } = self;
        for step in 0..views.len() {
            let drawing =
                Drawing { logits, best, first_row: step, params: sampler.params(), rejection: false };
            rows.draw_draft(device, &drawing, step, (drafts, token)).unwrap();
        }
        let mut ids = device.download(drafts).unwrap();
        ids.truncate(views.len());
        let onwards = device.download(token).unwrap()[0];
        let wanted = ids.last().filter(|id| **id != NO_TOKEN).copied().unwrap_or(0);
        assert_eq!(onwards, wanted, "the token that the next step embeds");
        sampler.skip(views.len());
        rows.hold(&ids);
        ids
    }
}

/// The host's drafts by its own distributions.
fn on_host(views: &[Vec<f32>], sampler: &mut Sampler) -> Draft {
    let mut draft = Draft::default();
    for view in views {
        let mut q = Vec::new();
        sampler.distribution(view, &mut q).unwrap();
        draft.tokens.push(sampler.draw(&q).unwrap());
        draft.probs.push(q);
    }
    draft
}

/// A round on both sides; the drafts that stand.
fn check(bench: &mut Bench, step: &Step, views: &[Vec<f32>], compares_q: bool, what: &str) -> usize {
    let mut host = Sampler::new(&step.params).unwrap();
    let mut here = host.clone();
    let draft = on_host(views, &mut host);
    let ids = bench.draw(views, &mut here);
    assert_eq!(ids, draft.tokens, "{what}: drafts; {}", step.describe());
    if compares_q {
        let held = bench.sampler.download_held(&bench.device).unwrap();
        let bits = |q: &Vec<f32>| q.iter().map(|p| p.to_bits()).collect::<Vec<_>>();
        for (i, (got, wanted)) in held.iter().zip(&draft.probs).enumerate() {
            assert!(bits(got) == bits(wanted), "{what}: distribution of draft {i}; {}", step.describe());
        }
    }
    let held = Draft { tokens: ids, held: true, ..Draft::default() };
    bench.bring(&step.rows);
    let Outcome { accepted, next } = bench.decide(&held, true, &here);
    let mut probs = Vec::new();
    let verdict = accept::rejection(&draft, |i| &step.rows[i], &mut host, &mut probs).unwrap();
    let wanted = (verdict.accepted, Some(verdict.next));
    assert_eq!((accepted, next), wanted, "{what}: accepted, next; {}", step.describe());
    here.skip(numbers_taken(&held, true, accepted));
    assert_eq!(here.uniform(), host.uniform(), "{what}: numbers taken; {}", step.describe());
    accepted
}

#[test]
fn drawn_drafts_and_their_verdicts_are_the_hosts() {
    let Some(mut device) = device() else { return };
    let mut rng = Rng(21);
    let sizes = [(2, 400), (31, 700), (256, 500), (257, 700), (1025, 700), (4099, 600), (8192, 500)];
    let large = [(151_937, 30), (262_144, 40)];
    let (mut rounds, mut drafted, mut accepted) = (0, 0, 0);
    for (vocab, count) in sizes.into_iter().chain(large) {
        let mut bench = Bench::new(device, vocab);
        for round in 0..count {
            let step = rng.step(vocab);
            let views = rng.views(&step);
            let what = format!("vocabulary {vocab}, round {round}");
            accepted += check(&mut bench, &step, &views, vocab < 5000 || round < 20, &what);
            (rounds, drafted) = (rounds + 1, drafted + views.len());
        }
        println!("vocabulary {vocab}: {count} rounds as on the host");
        device = bench.device;
    }
    println!(
        "{rounds} rounds, {drafted} drafts drawn, {accepted} accepted: ids, q and verdicts are the host's"
    );
    assert!(accepted > drafted / 5 && accepted < drafted, "{accepted} of {drafted} drafts");
    let figures =
        serde_json::json!({ "rounds": rounds, "drafts": drafted, "accepted": accepted, "different": 0 });
    publish("gpu-drawn-drafts.json", &figures);
}

/// What a rule has to get right by itself: supports that do not meet, one token with all of p, ties, cuts to one token.
#[test]
fn edges_of_rejection_are_the_hosts() {
    let Some(device) = device() else { return };
    let vocab = 1003;
    let (mut bench, mut rng) = (Bench::new(device, vocab), Rng(22));
    let plain = SamplingParams { temperature: 1.0, ..SamplingParams::greedy() };
    let one = SamplingParams { top_k: NonZeroU32::new(1), ..plain.clone() };
    let tied = SamplingParams { top_k: NonZeroU32::new(5), top_p: Some(0.5), ..plain.clone() };
    let only = |ids: std::ops::Range<usize>| {
        (0..vocab).map(|id| if ids.contains(&id) { 0.5 } else { f32::NEG_INFINITY }).collect::<Vec<f32>>()
    };
    let wide = rng.logits(vocab);
    let peak: Vec<f32> = (0..vocab).map(|id| if id == 77 { 200.0 } else { 0.0 }).collect();
    let cases = [
        ("p and q share no token", only(0..20), only(500..600), &plain, Some(0)),
        ("q is a part of p", wide.clone(), only(3..9), &plain, None),
        ("p is a part of q", only(3..9), wide.clone(), &plain, None),
        ("p is one token, q is all", peak.clone(), wide.clone(), &plain, None),
        ("p and q are the same token", peak.clone(), peak.clone(), &plain, Some(3)),
        ("p and q are equal", wide.clone(), wide.clone(), &plain, Some(3)),
        ("top-k 1, the same token", wide.clone(), wide.clone(), &one, Some(3)),
        ("top-k 1, other tokens", wide, peak, &one, Some(0)),
        ("all tokens tie", vec![1.0; vocab], vec![-3.0; vocab], &tied, Some(3)),
        ("both zeros tie", vec![-0.0; vocab], vec![0.0; vocab], &tied, Some(3)),
    ];
    for (what, row, view, params, stands) in cases {
        for seed in 0..40 {
            let params = SamplingParams { seed, ..params.clone() };
            let draft = Draft { tokens: vec![0; 3], ..Draft::default() };
            let step = Step { rows: vec![row.clone(); 4], draft, params, rejection: true };
            let accepted = check(&mut bench, &step, &vec![view.clone(); 3], true, what);
            assert!(stands.is_none_or(|stands| accepted == stands), "{what}: {accepted} drafts stand");
        }
        println!("{what}: as on the host");
    }
}

/// A drafter's row without a greatest logit gives no draft; the others are drawn, and the next round is right.
#[test]
fn a_drafters_bad_row_gives_no_token() {
    let Some(device) = device() else { return };
    let vocab = 1003;
    let (mut bench, mut rng) = (Bench::new(device, vocab), Rng(23));
    for case in 0..60 {
        let mut views: Vec<Vec<f32>> = (0..4).map(|_| rng.logits(vocab)).collect();
        let row = rng.below(4);
        match case % 3 {
            0 => views[row][rng.below(vocab)] = f32::NAN,
            1 => views[row][rng.below(vocab)] = f32::INFINITY,
            _ => views[row].fill(f32::NEG_INFINITY),
        }
        let params = SamplingParams { temperature: 1.0, seed: case, ..SamplingParams::greedy() };
        let ids = bench.draw(&views, &mut Sampler::new(&params).unwrap());
        let refused: Vec<usize> = (0..4).filter(|&i| ids[i] == NO_TOKEN).collect();
        assert_eq!(refused, [row], "case {case}: {ids:?}");
    }
    let step = rng.step(vocab);
    let views = rng.views(&step);
    check(&mut bench, &step, &views, true, "after bad rows");
}

/// The joint distribution of the first two tokens of rounds whose two drafts are drawn on the device, against p(first)
/// p(second): a drafter that is nearly right, and one that knows only some of the tokens.
#[test]
fn two_tokens_are_distributed_as_the_target_alone() {
    let Some(device) = device() else { return };
    let vocab = 12;
    let (mut bench, mut rng) = (Bench::new(device, vocab), Rng(24));
    let rows: Vec<Vec<f32>> = (0..3).map(|_| rng.logits(vocab).iter().map(|x| 0.5 * x).collect()).collect();
    let noisy = |rng: &mut Rng| {
        let shifts = rng.logits(vocab);
        rows[..2].iter().map(|row| row.iter().zip(&shifts).map(|(x, s)| x + 0.3 * s).collect()).collect()
    };
    let near: Vec<Vec<f32>> = noisy(&mut rng);
    let some = near.iter().map(|row| {
        let known = |(id, x): (usize, &f32)| if id % 3 == 0 { *x } else { f32::NEG_INFINITY };
        row.iter().enumerate().map(known).collect::<Vec<f32>>()
    });
    let some: Vec<Vec<f32>> = some.collect();
    let mut results = Vec::new();
    for (name, views) in [("near", near), ("candidates", some)] {
        let figures = joint(&mut bench, &rows, &views, name);
        results.push(figures);
    }
    publish("gpu-drawn-drafts-distribution.json", &serde_json::json!(results));
}

fn joint(bench: &mut Bench, rows: &[Vec<f32>], views: &[Vec<f32>], name: &str) -> serde_json::Value {
    let vocab = bench.vocab;
    let params = SamplingParams { temperature: 1.3, seed: 31, ..SamplingParams::greedy() };
    let mut sampler = Sampler::new(&params).unwrap();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    sampler.distribution(&rows[0], &mut first).unwrap();
    sampler.distribution(&rows[1], &mut second).unwrap();
    let probs: Vec<f32> = first.iter().flat_map(|p| second.iter().map(move |q| p * q)).collect();
    let (mut counts, mut accepted_in_all) = (vec![0; vocab * vocab], 0);
    for _ in 0..ROUNDS {
        let ids = bench.draw(views, &mut sampler);
        let draft = Draft { tokens: ids, held: true, ..Draft::default() };
        bench.bring(rows);
        let Outcome { accepted, next } = bench.decide(&draft, true, &sampler);
        sampler.skip(numbers_taken(&draft, true, accepted));
        let next = next.unwrap();
        let (first, second) = match accepted {
            0 => {
                // The round gave one token; the next is drawn plainly.
                bench.bring(&rows[1..2]);
                let plain = bench.decide(&Draft::default(), false, &sampler);
                sampler.skip(1);
                (next, plain.next.unwrap())
            }
            1 => (draft.tokens[0], next),
            _ => (draft.tokens[0], draft.tokens[1]),
        };
        counts[first as usize * vocab + second as usize] += 1;
        accepted_in_all += accepted;
    }
    let (sum, freedom) = chi_square(&counts, &probs);
    let z = deviation((sum, freedom));
    println!(
        "{name}: {accepted_in_all} of {} drafts accepted, chi-square {sum:.1} of {freedom} degrees, {z:+.2} standard deviations",
        2 * ROUNDS
    );
    assert!(z < 4.0, "{name}: {z}");
    serde_json::json!({ "drafter": name, "rounds": ROUNDS, "accepted": accepted_in_all, "deviation": z })
}

/// Opens nothing: a draft that nobody holds is refused before it gets to a kernel.
#[test]
fn a_sampler_holds_only_what_it_drew() {
    let Some(device): Option<Device> = device() else { return };
    let (mut bench, mut rng) = (Bench::new(device, 64), Rng(25));
    assert!(!bench.sampler.holds(&[1]) && !bench.sampler.holds(&[]));
    let params = SamplingParams { temperature: 1.0, ..SamplingParams::greedy() };
    let views = vec![rng.logits(64), rng.logits(64)];
    let ids = bench.draw(&views, &mut Sampler::new(&params).unwrap());
    assert!(bench.sampler.holds(&ids) && bench.sampler.holds(&ids[..1]));
    assert!(!bench.sampler.holds(&[ids[0] ^ 1]));
    // Distributions that come from the host take their place.
    let step = Step { rows: vec![rng.logits(64); 2], ..rng.step(64) };
    let draft = Draft { tokens: vec![3], probs: vec![vec![1.0 / 64.0; 64]], held: false };
    bench.bring(&step.rows);
    bench.decide(&draft, true, &Sampler::new(&params).unwrap());
    assert!(!bench.sampler.holds(&ids));
}
