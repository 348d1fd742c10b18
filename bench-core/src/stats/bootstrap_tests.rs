//! The bootstrap against naive versions, laws, and simulated experiments whose truth is known.

use proptest::prelude::*;

use super::*;
use crate::stats::median;

fn config(resamples: u32) -> BootstrapConfig {
    BootstrapConfig { resamples, ..BootstrapConfig::default() }
}

fn samples(blocks: u32, prompts: u32, value: impl Fn(u32, u32) -> (f64, f64)) -> Vec<Sample> {
    let cells = (0..blocks).flat_map(|block| (0..prompts).map(move |prompt| (block, prompt)));
    cells
        .map(|(block, prompt)| {
            let (numerator, denominator) = value(block, prompt);
            Sample { block, prompt, numerator, denominator }
        })
        .collect()
}

#[test]
fn the_point_is_the_ratio_of_sums() {
    let samples = samples(2, 2, |block, prompt| (f64::from(block + 1) * 10.0, f64::from(prompt + 1)));
    assert_eq!(estimate_ratio(&samples, &config(10)), Some(Estimate { point: 10.0, low: None, high: None }));
}

#[test]
fn nothing_to_divide_by_is_no_estimate() {
    assert_eq!(estimate_ratio(&[], &config(10)), None);
    assert_eq!(estimate_ratio(&samples(5, 2, |_, _| (1.0, 0.0)), &config(10)), None);
    assert_eq!(estimate_ratio(&samples(5, 2, |_, _| (f64::NAN, 1.0)), &config(10)), None);
    assert_eq!(estimate_median(&[], &config(10)), None);
    assert_eq!(paired_ratio(&[], &config(10)), None);
}

#[test]
fn too_few_blocks_have_no_interval() {
    let of = |blocks| {
        estimate_ratio(&samples(blocks, 30, |b, p| (f64::from(b * p + 1), 1.0)), &config(100)).unwrap()
    };
    assert_eq!(of(4).low, None);
    assert!(of(5).low.is_some() && of(5).high.is_some());
}

/// Six prompts that accept differently, each the same in every block, as greedy decoding has it.
#[test]
fn repeating_a_prompt_does_not_narrow_its_interval() {
    let accepted = [9.0, 4.0, 7.0, 8.0, 2.0, 6.0];
    let blocks = |blocks| samples(blocks, 6, |_, prompt| (accepted[prompt as usize], 10.0));
    let once = estimate_ratio_over_prompts(&blocks(1), &config(2000)).unwrap();
    assert_eq!(estimate_ratio_over_prompts(&blocks(10), &config(2000)), Some(once));
    assert!((once.point - 0.6).abs() < 1e-12);
    let (low, high) = (once.low.unwrap(), once.high.unwrap());
    assert!(low < 0.5 && high > 0.7, "{once:?}");
    let over_blocks = estimate_ratio(&blocks(10), &config(2000)).unwrap();
    assert!(over_blocks.high.unwrap() - over_blocks.low.unwrap() < (high - low) / 2.0, "{over_blocks:?}");

    let few = samples(10, 4, |_, prompt| (accepted[prompt as usize], 10.0));
    assert_eq!(estimate_ratio_over_prompts(&few, &config(100)).unwrap().low, None, "4 prompts");
    assert_eq!(estimate_ratio_over_prompts(&[], &config(100)), None);
}

#[test]
fn tails_are_as_wide_as_student_asks() {
    // As Hesterberg 2015 prints them for a nominal 0.025.
    for (blocks, expected) in [(5, 0.0010), (10, 0.0086), (20, 0.0159)] {
        let got = tail_level(blocks, 0.95).unwrap();
        assert!((got - expected).abs() < 1e-4, "{blocks} blocks: {got}");
    }
    assert!((tail_level(100_000, 0.95).unwrap() - 0.025).abs() < 1e-5);
}

/// Equal values in each block: then resampling requests changes nothing, and the resamples of 5 blocks are all
/// 5^5 choices, which can be listed.
#[test]
fn agrees_with_all_resamples_listed() {
    let values = [90.0, 100.0, 104.0, 111.0, 120.0];
    let samples = samples(5, 3, |block, _| (values[block as usize], 1.0));
    let mut all: Vec<f64> = (0..3125)
        .map(|code| (0..5).map(|digit| values[code / 5_usize.pow(digit) % 5]).sum::<f64>() / 5.0)
        .collect();
    let confidence = 0.5;
    let tail = tail_level(5, confidence).unwrap();
    let low = percentile_in_place(&mut all, tail).unwrap();
    let high = percentile_in_place(&mut all, 1.0 - tail).unwrap();
    let got = estimate_ratio(&samples, &BootstrapConfig { resamples: 20_000, confidence, seed: 3 }).unwrap();
    assert!((got.low.unwrap() - low).abs() < 0.3, "{got:?}, listed {low}");
    assert!((got.high.unwrap() - high).abs() < 0.3, "{got:?}, listed {high}");
}

#[test]
fn what_hits_both_arms_cancels_in_the_pairs() {
    // Blocks differ by a factor of two, the candidate is always 1.25 times as fast.
    let pairs: Vec<_> =
        samples(6, 4, |block, prompt| (100.0, f64::from(1 + block % 2) * f64::from(3 + prompt)))
            .into_iter()
            .map(|s| PairSample {
                block: s.block,
                prompt: s.prompt,
                a_num: s.numerator,
                a_den: s.denominator,
                b_num: s.numerator,
                b_den: s.denominator / 1.25,
            })
            .collect();
    let (ratio, count) = paired_ratio(&pairs, &config(500)).unwrap();
    assert_eq!(count, 24);
    assert!(
        (ratio.low.unwrap() - 1.25).abs() < 1e-12 && (ratio.high.unwrap() - 1.25).abs() < 1e-12,
        "{ratio:?}"
    );
}

/// An approximately normal number: the sum of twelve uniform ones.
fn normal(random: &mut SplitMix64) -> f64 {
    (0..12).map(|_| (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64).sum::<f64>() - 6.0
}

/// Runs `experiments` simulated experiments of two arms, true ratio 1.1, whose blocks and requests are noisy; how
/// often the interval of the paired ratio, and of the baseline's throughput, holds the truth.
fn covered(blocks: u32, prompts: u32, experiments: u64) -> (u64, u64) {
    let (mut paired, mut single) = (0, 0);
    let holds = |estimate: &Estimate, truth: f64| {
        u64::from(estimate.low.unwrap() <= truth && truth <= estimate.high.unwrap())
    };
    for experiment in 0..experiments {
        let mut random = SplitMix64::new(experiment);
        let mut pairs = Vec::new();
        for block in 0..blocks {
            let shared = 0.05 * normal(&mut random);
            let of_arm = [0.03 * normal(&mut random), 0.03 * normal(&mut random)];
            for prompt in 0..prompts {
                let size = 1.0 + 0.2 * f64::from(prompt);
                let mut seconds =
                    |arm: usize| size * (1.0 + shared + of_arm[arm] + 0.02 * normal(&mut random));
                let (a_den, b_den) = (seconds(0), seconds(1) / 1.1);
                pairs.push(PairSample {
                    block,
                    prompt,
                    a_num: size * 100.0,
                    a_den,
                    b_num: size * 100.0,
                    b_den,
                });
            }
        }
        let settings = BootstrapConfig { resamples: 1000, seed: experiment, ..BootstrapConfig::default() };
        paired += holds(&paired_ratio(&pairs, &settings).unwrap().0, 1.1);
        let baseline: Vec<_> = pairs
            .iter()
            .map(|p| Sample { block: p.block, prompt: p.prompt, numerator: p.a_num, denominator: p.a_den })
            .collect();
        single += holds(&estimate_ratio(&baseline, &settings).unwrap(), 100.0);
    }
    (paired, single)
}

#[test]
fn intervals_hold_the_truth_about_as_often_as_they_say() {
    // Binomial(300, 0.95) has mean 285 and deviation 3.8: three of them on either side.
    let (paired, single) = covered(6, 5, 300);
    assert!((274..=296).contains(&paired), "paired ratio: {paired} of 300");
    assert!((274..=296).contains(&single), "throughput: {single} of 300");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn laws_hold(
        cells in prop::collection::vec((0_u32..7, 0_u32..5, 0.0_f64..1e3, 1e-3_f64..1e3), 1..60),
        scale in 1e-3_f64..1e3,
    ) {
        let samples: Vec<_> = cells.iter()
            .map(|&(block, prompt, numerator, denominator)| Sample { block, prompt, numerator, denominator })
            .collect();
        let got = estimate_ratio(&samples, &config(200)).unwrap();
        let naive = cells.iter().map(|c| c.2).sum::<f64>() / cells.iter().map(|c| c.3).sum::<f64>();
        prop_assert!((got.point - naive).abs() <= 1e-9 * naive.abs(), "{} {naive}", got.point);

        // The interval holds the point, and the same input gives the same interval.
        prop_assert!(got.low.is_none_or(|low| low <= got.point) && got.high.is_none_or(|high| high >= got.point));
        prop_assert_eq!(estimate_ratio(&samples, &config(200)), Some(got));

        // Another unit scales everything.
        let scaled: Vec<_> = samples.iter().map(|s| Sample { numerator: s.numerator * scale, ..*s }).collect();
        let scaled = estimate_ratio(&scaled, &config(200)).unwrap();
        for (one, other) in [(Some(got.point), Some(scaled.point)), (got.low, scaled.low), (got.high, scaled.high)] {
            prop_assert_eq!(one.is_some(), other.is_some());
            if let (Some(one), Some(other)) = (one, other) {
                prop_assert!((one * scale - other).abs() <= 1e-9 * other.abs(), "{} {}", one * scale, other);
            }
        }

        // An arm against itself is exactly 1.
        let pairs: Vec<_> = samples.iter().map(|s| PairSample {
            block: s.block, prompt: s.prompt,
            a_num: s.numerator + 1.0, a_den: s.denominator, b_num: s.numerator + 1.0, b_den: s.denominator,
        }).collect();
        let (same, _) = paired_ratio(&pairs, &config(50)).unwrap();
        prop_assert!((same.point - 1.0).abs() < 1e-12 && same.low.is_none_or(|low| (low - 1.0).abs() < 1e-12));

        let values: Vec<_> = samples.iter()
            .map(|s| Clustered { block: s.block, prompt: s.prompt, value: s.numerator }).collect();
        let plain: Vec<_> = samples.iter().map(|s| s.numerator).collect();
        prop_assert_eq!(estimate_median(&values, &config(50)).map(|e| e.point), median(&plain));
    }

    #[test]
    fn the_order_of_rows_does_not_matter(seed in any::<u64>()) {
        let ordered = samples(5, 4, |block, prompt| (f64::from(block * 7 + prompt * 3 + 1), f64::from(prompt + 1)));
        let mut shuffled = ordered.clone();
        let mut random = SplitMix64::new(seed);
        for last in (1..shuffled.len()).rev() {
            shuffled.swap(last, random.index(last + 1));
        }
        prop_assert_eq!(estimate_ratio(&shuffled, &config(100)), estimate_ratio(&ordered, &config(100)));
    }
}

/// Blocks of unlike sizes with many equal values: what is looked up is the middle of the list that a resample stands for.
#[test]
fn the_median_of_resamples_is_that_of_their_lists() {
    let mut random = SplitMix64::new(7);
    for (blocks, most) in [(1, 1), (2, 3), (7, 40), (12, 150)] {
        let mut values = Vec::new();
        for block in 0..blocks {
            for prompt in 0..=random.index(most) {
                let (value, prompt) = (random.index(30) as f64 / 7.0, u32::try_from(prompt).unwrap());
                values.push(Clustered { block, prompt, value });
            }
        }
        let clusters = Clusters::new(&values, |value| (value.block, value.prompt));
        let ranked = Ranked::new(&clusters);
        for _ in 0..50 {
            let times = Draw::Resample(&clusters, &mut random).times();
            let repeat = |(block, range): (usize, &Range<usize>)| {
                let items = clusters.items[range.clone()].iter().map(|item| item.value);
                items.cycle().take(range.len() * times[block]).collect::<Vec<_>>()
            };
            let list: Vec<f64> = clusters.blocks.iter().enumerate().flat_map(repeat).collect();
            assert_eq!(ranked.median(&times), median(&list), "{times:?}");
        }
    }
}
