//! Paired ratios against simulated experiments whose truth is known. Longer runs of the same, with more settings, are
//! `examples/statistics.rs`; their figures stand in `docs/statistics.md`.

use proptest::prelude::*;

use super::*;
use crate::report::Verdict;
use crate::stats::{Evidence, Looks, Power, holm, signed_rank, verdict, wilson};
use crate::testing::Experiment;

/// Block noise of 5 %, of which 3 % is an arm's own; requests 2 %; prompts that gain very differently.
const USUAL: Experiment = Experiment {
    blocks: 6,
    prompts: 5,
    ratio: 1.1,
    block_noise: 0.05,
    arm_noise: 0.03,
    request_noise: 0.02,
    prompt_spread: 0.2,
    prompts_are_drawn: false,
};

const EXPERIMENTS: u64 = 2000;

fn config(seed: u64) -> BootstrapConfig {
    BootstrapConfig { resamples: 1000, seed, ..BootstrapConfig::default() }
}

fn holds(estimate: Estimate, truth: f64) -> bool {
    estimate.low.unwrap() <= truth && truth <= estimate.high.unwrap()
}

/// Share of `EXPERIMENTS` for which something is so.
fn share(mut is_so: impl FnMut(u64) -> bool) -> f64 {
    (0..EXPERIMENTS).filter(|&seed| is_so(seed)).count() as f64 / EXPERIMENTS as f64
}

#[test]
fn intervals_hold_the_planted_ratio_as_often_as_they_say() {
    for blocks in [5, 6, 10, 20] {
        let experiment = Experiment { blocks, ..USUAL };
        let covered =
            share(|seed| holds(paired_log_ratio(&experiment.pairs(seed), &config(seed)).unwrap().ratio, 1.1));
        assert!((0.93..=0.97).contains(&covered), "{blocks} blocks: {covered}");
    }
}

#[test]
fn intervals_over_other_prompts_hold_the_ratio_of_all_prompts() {
    let experiment = Experiment { blocks: 8, prompts: 12, prompts_are_drawn: true, ..USUAL };
    let covered = share(|seed| {
        let config = BootstrapConfig { resamples: 400, ..config(seed) };
        holds(paired_log_ratio(&experiment.pairs(seed), &config).unwrap().other_prompts, 1.1)
    });
    assert!((0.93..=0.97).contains(&covered), "{covered}");
}

#[test]
fn an_arm_against_itself_is_called_different_as_seldom_as_said() {
    let nothing = Experiment { ratio: 1.0, ..USUAL };
    let alarms = (0..EXPERIMENTS).filter(|&seed| {
        let got = paired_log_ratio(&nothing.pairs(seed), &config(seed)).unwrap();
        let evidence = Evidence {
            ratio: Some(got.ratio),
            p_adjusted: block_test(&got.block_logs),
            alpha: 0.05,
            margin: 0.01,
            noise_floor: None,
            more_is_faster: true,
        };
        matches!(verdict(&evidence).0, Verdict::Faster | Verdict::Slower)
    });
    let rate = wilson(alarms.count() as u64, EXPERIMENTS, 0.95).unwrap();
    assert!(rate.low.unwrap() <= 0.05 && rate.high.unwrap() <= 0.065, "{rate:?}");
}

#[test]
fn tests_keep_their_level_with_and_without_many_metrics() {
    let nothing = Experiment { ratio: 1.0, ..USUAL };
    let blocks =
        |seed| paired_log_ratio(&nothing.pairs(seed), &BootstrapConfig { resamples: 1, ..config(0) });
    let student = share(|seed| block_test(&blocks(seed).unwrap().block_logs).unwrap() <= 0.05);
    assert!((0.04..=0.06).contains(&student), "Student: {student}");
    let ranks = share(|seed| signed_rank(&blocks(seed).unwrap().block_logs).unwrap().p_value <= 0.05);
    assert!((0.02..=0.05).contains(&ranks), "signed ranks of 6 blocks have the levels 0.031, 0.063: {ranks}");
    let family = share(|seed| {
        let of = |metric: u64| block_test(&blocks(3 * seed + metric).unwrap().block_logs).unwrap();
        holm(&[of(0), of(1), of(2)]).iter().any(|&p| p <= 0.05)
    });
    assert!((0.04..=0.06).contains(&family), "three metrics: {family}");
}

#[test]
fn planted_effects_are_found_with_the_stated_power() {
    for effect in [0.03, 0.05] {
        let power = Power::default();
        let ideal = Experiment { ratio: 1.0 + effect, ..USUAL };
        // What a long A/A run would measure: an arm's own noise twice, the requests' over 5 prompts twice.
        let block_sd = (2.0 * (0.03_f64.powi(2) + 0.02_f64.powi(2) / 5.0)).sqrt();
        let blocks = power.needed_blocks(block_sd, effect).unwrap();
        let experiment = Experiment { blocks, ..ideal };
        let found = share(|seed| {
            let got = paired_log_ratio(&experiment.pairs(seed), &config(seed)).unwrap();
            got.ratio.low.unwrap() > 1.0
        });
        assert!((0.78..=0.86).contains(&found), "{effect} in {blocks} blocks: {found}");
    }
}

/// A run that is looked at `looks` times and stops when its interval leaves 1 out: how often it does, and the blocks
/// it took.
fn looked_at(experiment: Experiment, looks: Looks) -> (f64, f64) {
    let mut blocks_used = 0.0;
    let claimed = share(|seed| {
        let all = paired_log_ratio(&experiment.pairs(seed), &BootstrapConfig { resamples: 1, ..config(0) });
        let all = all.unwrap().block_logs;
        let ends = (1..=all.len()).find(|&done| {
            done == all.len()
                || (looks.is_due(u32::try_from(done).unwrap()) && looks.settles(&all[..done], 0.0))
        });
        let done = ends.unwrap();
        blocks_used += done as f64;
        looks.settles(&all[..done], 0.0)
    });
    (claimed, blocks_used / EXPERIMENTS as f64)
}

#[test]
fn looking_early_costs_no_false_alarms_and_saves_blocks() {
    for count in [1, 2, 4, 5] {
        let looks = Looks::new(20, count);
        let (alarms, _) = looked_at(Experiment { blocks: 20, ratio: 1.0, ..USUAL }, looks);
        assert!((0.035..=0.06).contains(&alarms), "{count} looks: {alarms}");
    }
    let (found, blocks) = looked_at(Experiment { blocks: 20, ..USUAL }, Looks::new(20, 4));
    assert!(found > 0.99 && blocks < 8.0, "{found} {blocks}");
    // Unpaid looks are what this is about: four of them at 5 % each.
    let unpaid = share(|seed| {
        let nothing = Experiment { blocks: 20, ratio: 1.0, ..USUAL };
        let all = paired_log_ratio(&nothing.pairs(seed), &BootstrapConfig { resamples: 1, ..config(0) });
        let all = all.unwrap().block_logs;
        [5, 10, 15, 20].iter().any(|&done| block_test(&all[..done]).unwrap() <= 0.05)
    });
    assert!(unpaid > 0.1, "{unpaid}");
}

#[test]
fn prompts_that_differ_do_not_widen_the_interval() {
    let width = |prompt_spread| {
        let pairs = Experiment { prompt_spread, ..USUAL }.pairs(3);
        let got = paired_log_ratio(&pairs, &config(0)).unwrap();
        got.ratio.high.unwrap() / got.ratio.low.unwrap()
    };
    assert!((width(0.0) - width(0.5)).abs() < 1e-9);
}

#[test]
fn a_lost_pair_does_not_make_its_block_faster() {
    let pair = |block, prompt, log_ratio| LogPair { block, prompt, log_ratio };
    let mut pairs: Vec<_> = (0..6).flat_map(|block| [pair(block, 0, 0.1), pair(block, 1, 0.9)]).collect();
    pairs.pop();
    let got = paired_log_ratio(&pairs, &config(0)).unwrap();
    assert!((got.ratio.point.ln() - 0.5).abs() < 1e-12, "{got:?}");
    assert!(got.block_sd().unwrap() < 1e-12);
    assert_eq!((got.pairs, got.block_logs.len()), (11, 6));
}

#[test]
fn nonsense_is_no_estimate() {
    assert_eq!(paired_log_ratio(&[], &config(0)), None);
    assert_eq!(LogPair::new(0, 0, 0.0, 1.0), None);
    assert_eq!(LogPair::new(0, 0, 1.0, f64::INFINITY), None);
    assert_eq!(block_test(&[0.1]), None);
    assert_eq!(block_test(&[0.0, 0.0]), Some(1.0));
    assert_eq!(block_interval(&[0.1, 0.2], 1.0), None);
    let few = Experiment { blocks: 4, ..USUAL }.pairs(0);
    let got = paired_log_ratio(&few, &config(0)).unwrap();
    assert!(got.ratio.low.is_none() && got.other_prompts.low.is_none());
}

proptest! {
    #[test]
    fn turned_around_it_is_turned_around(seed in any::<u64>()) {
        let pairs = USUAL.pairs(seed);
        let turned: Vec<_> =
            pairs.iter().map(|pair| LogPair { log_ratio: -pair.log_ratio, ..*pair }).collect();
        let (one, other) = (paired_log_ratio(&pairs, &config(0)), paired_log_ratio(&turned, &config(0)));
        let (one, other) = (one.unwrap().ratio, other.unwrap().ratio);
        prop_assert!((one.point * other.point - 1.0).abs() < 1e-12);
        // Percentiles interpolate between neighbours, which are not turned around exactly.
        prop_assert!((one.low.unwrap() * other.high.unwrap() - 1.0).abs() < 1e-3);
        prop_assert!(one.low.unwrap() <= one.point && one.point <= one.high.unwrap());
    }
}
