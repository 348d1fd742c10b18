//! Drafts that the assistant draws on the device, a round one graph, against the same rounds drawn on the host step by
//! step: the same drafts, distributions and generations, and what a round costs either way.

use std::num::NonZeroU32;
use std::time::Instant;

use bench_engine::attention::KvFormat;
use bench_engine::model::{CudaMtpProposer, CudaTarget, DraftHead};
use bench_engine::spec::accept::{AcceptanceRule, ExactRule};
use bench_engine::spec::sampler::{Sampler, SamplingParams};
use bench_engine::spec::{Draft, DraftRequest, LogitRows, Proposer, Target};
use serde_json::{Value, json};

use crate::gpu::{device, publish};
use crate::models::{Pair, prompts};
use crate::sampled::{ForHost, OnHost, sample};
use crate::speed::pairs;

const HEADS: [(DraftHead, &str); 2] = [(DraftHead::Auto, "as in the file"), (DraftHead::Dense, "dense")];

fn settings() -> [(&'static str, SamplingParams); 4] {
    let plain = SamplingParams { temperature: 1.0, ..SamplingParams::greedy() };
    [
        ("whole vocabulary", plain.clone()),
        ("top-k 64", SamplingParams { top_k: NonZeroU32::new(64), ..plain.clone() }),
        (
            "top-k 64, top-p 0.95",
            SamplingParams { top_k: NonZeroU32::new(64), top_p: Some(0.95), ..plain.clone() },
        ),
        (
            "top-p 0.9, min-p 0.02, hot",
            SamplingParams { temperature: 1.3, top_p: Some(0.9), min_p: Some(0.02), ..plain },
        ),
    ]
}

/// Generations with rejection sampling, thousands of rounds of both heads: every token, every count.
#[test]
fn drafts_drawn_on_the_device_change_no_token() {
    let Some(device) = device() else { return };
    let pair = Pair::nano(device);
    let mut target = pair.gpu(KvFormat::F16, 5);
    let mut figures = Vec::new();
    for (head, head_name) in HEADS {
        let mut mtp = pair.mtp_with(head, &target, 4);
        for (name, params) in settings() {
            let (mut rounds, mut drafted, mut accepted) = (0, 0, 0);
            for seed in 0..4 {
                for prompt in prompts() {
                    let params = SamplingParams { seed, ..params.clone() };
                    let rule = AcceptanceRule::Rejection;
                    let here = sample(&mut target, Some(&mut mtp), &prompt, &params, rule.clone());
                    let mut for_host = ForHost(&mut mtp);
                    let there = sample(&mut OnHost(&mut target), Some(&mut for_host), &prompt, &params, rule);
                    assert_eq!(here, there, "{head_name} head, {params:?}");
                    let totals = here.1;
                    rounds += totals.verify_steps;
                    drafted += totals.drafted;
                    accepted += totals.accepted;
                }
            }
            println!(
                "{head_name} head, {name}: {rounds} rounds equal, {accepted} of {drafted} drafts accepted"
            );
            figures.push(json!({
                "head": head_name, "setting": name, "rounds": rounds, "drafted": drafted, "accepted": accepted,
                "different": 0,
            }));
        }
    }
    publish("gpu-drawn-generations.json", &json!(figures));
}

/// A round's drafts and what each was drawn from, to the bit; greedy samplers, and drafts that are decided elsewhere.
#[test]
fn drafts_drawn_on_the_device_come_from_the_hosts_distributions() {
    let Some(device) = device() else { return };
    let pair = Pair::nano(device);
    let mut target = pair.gpu(KvFormat::F16, 8);
    let tokens = pair.tokens(41);
    target.forward(&tokens[..40], LogitRows::Last).unwrap();
    for (head, name) in HEADS {
        let mut mtp = pair.mtp_with(head, &target, 7);
        for (seed, (_, params)) in (0_u64..).zip((0..50).flat_map(|_| settings())) {
            let params = SamplingParams { seed, ..params };
            let mut here = Round::of(&params);
            let mut there = Round::of(&params);
            here.propose(&mut mtp, &mut target, &tokens, 7, false);
            there.propose(&mut mtp, &mut target, &tokens, 7, true);
            assert!(here.draft.held && !there.draft.held);
            assert_eq!(here.draft.tokens, there.draft.tokens, "{name} head, {params:?}");
            assert_eq!(here.sampler.uniform().to_bits(), there.sampler.uniform().to_bits());
            // Drawing on the host has left the held ones alone.
            let held = target.download_held(&here.draft).unwrap();
            for (i, (got, wanted)) in held.iter().zip(&there.draft.probs).enumerate() {
                let bits = |q: &[f32]| q.iter().map(|p| p.to_bits()).collect::<Vec<_>>();
                assert!(bits(got) == bits(wanted), "{name} head, draft {i} by {params:?}");
            }
        }
        let mut greedy = Round::of(&SamplingParams::greedy());
        greedy.propose(&mut mtp, &mut target, &tokens, 4, false);
        let mut likeliest = Draft::default();
        let request = DraftRequest { tokens: &tokens, hidden_row: 0, max: 4, sampler: None };
        mtp.propose(&mut target, request, &mut likeliest).unwrap();
        assert_eq!(greedy.draft.tokens, likeliest.tokens, "temperature 0");
        println!("{name} head: 200 rounds of 7 drafts from the host's distributions");
    }
    let stranger = Draft { tokens: vec![5, 6], held: true, ..Draft::default() };
    target.forward(&[1, 5, 6], LogitRows::All).unwrap();
    let mut sampler = Sampler::new(&settings()[0].1).unwrap();
    let refused = target.accept(&stranger, ExactRule::Rejection, &mut sampler, &mut Vec::new());
    println!("drafts of somebody else: {}", refused.unwrap_err());
}

/// One proposal.
struct Round {
    sampler: Sampler,
    draft: Draft,
}

impl Round {
    fn of(params: &SamplingParams) -> Self {
        Self { sampler: Sampler::new(params).unwrap(), draft: Draft::default() }
    }

    fn propose(
        &mut self,
        mtp: &mut CudaMtpProposer,
        target: &mut CudaTarget,
        tokens: &[u32],
        max: usize,
        on_host: bool,
    ) {
        let request = DraftRequest { tokens, hidden_row: 0, max, sampler: Some(&mut self.sampler) };
        if on_host {
            mtp.propose_on_host(target, request, &mut self.draft).unwrap();
        } else {
            mtp.propose(target, request, &mut self.draft).unwrap();
        }
    }
}

/// What drafting and a whole round cost with rejection sampling, drawn on the host and on the device in turns.
#[test]
fn speed_of_drawn_drafts() {
    if cfg!(debug_assertions) {
        println!("SKIP: times are measured in a release build");
        return;
    }
    let Some(device) = device() else { return };
    let device = std::sync::Arc::new(device);
    let nano = std::iter::once(Pair::nano_on(device));
    let mut tables = Vec::new();
    for pair in nano.chain(pairs()) {
        let mut target = pair.try_gpu(KvFormat::F16, 8, 1024).unwrap();
        let tokens = pair.tokens(129);
        for (head, name) in HEADS {
            let mut mtp = pair.mtp_with(head, &target, 7);
            for (setting, params) in settings() {
                for drafts in [1, 4, 7] {
                    let row = Speed::measure(&pair, &mut target, &mut mtp, &tokens, &params, drafts);
                    println!("{}, {name} head, {setting}, {drafts} drafts: {}", pair.name, row.in_words());
                    tables.push(json!({
                        "model": pair.name, "head": name, "setting": setting, "drafts": drafts,
                        "figures": row.json(),
                    }));
                }
            }
        }
    }
    publish("gpu-drawn-drafts-speed.json", &json!(tables));
}

/// Medians, in microseconds; drawn on the host, and on the device.
struct Speed {
    drafts: usize,
    draft_us: [f64; 2],
    accept_us: [f64; 2],
    greedy_us: f64,
    kernels: [u64; 2],
}

impl Speed {
    const ROUNDS: usize = 20;

    fn measure(
        pair: &Pair,
        target: &mut CudaTarget,
        mtp: &mut CudaMtpProposer,
        tokens: &[u32],
        params: &SamplingParams,
        drafts: usize,
    ) -> Self {
        target.truncate(0);
        target.forward(&tokens[..tokens.len() - 1], LogitRows::Last).unwrap();
        let (mut times, mut kernels) = ([const { Vec::new() }; 5], [0; 2]);
        let mut round = Round::of(params);
        for repeat in 0..=Self::ROUNDS {
            for way in [0, 1] {
                target.truncate(tokens.len() - 1);
                let before = pair.device.kernels_queued();
                let started = Instant::now();
                round.propose(mtp, target, tokens, drafts, way == 0);
                let draft_us = started.elapsed().as_secs_f64() * 1e6;
                if repeat == 0 {
                    // The first round on the device captures its graph, launch by launch.
                    kernels[way] = pair.device.kernels_queued() - before;
                }
                let rows = [&tokens[tokens.len() - 1..], &round.draft.tokens].concat();
                target.forward(&rows, LogitRows::All).unwrap();
                let started = Instant::now();
                let Round { sampler, draft } = &mut round;
                target.accept(draft, ExactRule::Rejection, sampler, &mut Vec::new()).unwrap();
                let accept_us = started.elapsed().as_secs_f64() * 1e6;
                if repeat > 0 {
                    times[way].push(draft_us);
                    times[2 + way].push(accept_us);
                }
            }
            target.truncate(tokens.len() - 1);
            let mut draft = Draft::default();
            let request = DraftRequest { tokens, hidden_row: 0, max: drafts, sampler: None };
            let started = Instant::now();
            mtp.propose(target, request, &mut draft).unwrap();
            times[4].push(started.elapsed().as_secs_f64() * 1e6);
        }
        let [host, here, host_accept, here_accept, greedy] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        Self {
            drafts,
            draft_us: [host, here],
            accept_us: [host_accept, here_accept],
            greedy_us: greedy,
            kernels,
        }
    }

    fn in_words(&self) -> String {
        let per_s = |us: f64| self.drafts as f64 / us * 1e6;
        let [host, here] = self.draft_us;
        format!(
            "{host:.0} us drawn on the host, {here:.0} on the device ({:.0} and {:.0} drafts/s), {:.0} greedy; deciding {:.0} and {:.0} us; {} kernels queued one by one, {} in a graph",
            per_s(host),
            per_s(here),
            self.greedy_us,
            self.accept_us[0],
            self.accept_us[1],
            self.kernels[0],
            self.kernels[1],
        )
    }

    fn json(&self) -> Value {
        let [host, here] = self.draft_us;
        let [host_accept, here_accept] = self.accept_us;
        json!({
            "host_us": host, "device_us": here, "greedy_us": self.greedy_us, "host_accept_us": host_accept,
            "device_accept_us": here_accept, "kernels_host": self.kernels[0], "kernels_graph": self.kernels[1],
        })
    }
}
