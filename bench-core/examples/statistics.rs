//! The long form of the simulations behind `docs/statistics.md`: prints its tables. One to two minutes.
//!
//! `cargo run --release -p bench-core --features testing --example statistics`

#![expect(clippy::print_stdout, reason = "tables are what it is for")]

use bench_core::report::Estimate;
use bench_core::stats::{
    BootstrapConfig, LogValue, Looks, PairSample, Power, Sample, block_test, estimate_ratio, holm,
    paired_log_ratio, paired_ratio, signed_rank, unpaired_log_ratio, wilson,
};
use bench_core::testing::{Cell, Experiment};

const EXPERIMENTS: u64 = 2000;

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

fn main() {
    coverage();
    other_prompts();
    two_runs();
    false_alarms();
    found();
    looks();
}

fn config(seed: u64) -> BootstrapConfig {
    BootstrapConfig { resamples: 2000, seed, ..BootstrapConfig::default() }
}

fn holds(estimate: Estimate, truth: f64) -> bool {
    estimate.low.is_some_and(|low| low <= truth) && estimate.high.is_some_and(|high| truth <= high)
}

/// A share of experiments in percent, with Wilson's 95 % bounds.
fn share(is_so: impl FnMut(&u64) -> bool) -> String {
    let count = (0..EXPERIMENTS).filter(is_so).count() as u64;
    wilson(count, EXPERIMENTS, 0.95).map_or_else(String::new, |share| {
        let percent = |end: Option<f64>| end.unwrap_or(f64::NAN) * 100.0;
        format!("{:.1} [{:.1}, {:.1}]", share.point * 100.0, percent(share.low), percent(share.high))
    })
}

fn coverage() {
    println!(
        "\n| noise (block, arm, request, prompts) | blocks | log ratios | ratio of sums | one arm |\n|---|--:|--:|--:|--:|"
    );
    for (block_noise, arm_noise, request_noise, prompt_spread) in
        [(0.05, 0.03, 0.02, 0.0), (0.05, 0.03, 0.02, 0.2), (0.1, 0.005, 0.05, 0.4), (0.0, 0.0, 0.1, 0.2)]
    {
        for blocks in [5, 6, 8, 10, 20] {
            let experiment =
                Experiment { blocks, block_noise, arm_noise, request_noise, prompt_spread, ..USUAL };
            let logs = share(|&seed| {
                paired_log_ratio(&experiment.pairs(seed), &config(seed))
                    .is_some_and(|got| holds(got.ratio, experiment.ratio))
            });
            // The truth of a ratio of sums weighs prompts by their time: taken from the noiseless experiment.
            let quiet = Experiment { block_noise: 0.0, arm_noise: 0.0, request_noise: 0.0, ..experiment };
            let sums = share(|&seed| {
                let truth = sums(&quiet, seed).map_or(f64::NAN, |truth| truth.point);
                sums(&experiment, seed).is_some_and(|got| holds(got, truth))
            });
            let arm = share(|&seed| {
                // Seconds of log-normal speeds have a mean that is half a variance above that of their logs.
                let variance = block_noise.powi(2) + arm_noise.powi(2) + request_noise.powi(2);
                let truth =
                    one_arm(&quiet, seed).map_or(f64::NAN, |truth| truth.point * (-variance / 2.0).exp());
                one_arm(&experiment, seed).is_some_and(|got| holds(got, truth))
            });
            println!(
                "| {block_noise}, {arm_noise}, {request_noise}, {prompt_spread} | {blocks} | {logs} | {sums} | {arm} |"
            );
        }
    }
}

fn sums(experiment: &Experiment, seed: u64) -> Option<Estimate> {
    let pairs: Vec<_> = experiment
        .cells(seed)
        .into_iter()
        .map(|cell| PairSample {
            block: cell.block,
            prompt: cell.prompt,
            a_num: 100.0,
            a_den: 100.0 / cell.baseline,
            b_num: 100.0,
            b_den: 100.0 / cell.candidate,
        })
        .collect();
    paired_ratio(&pairs, &config(seed)).map(|(ratio, _)| ratio)
}

/// Tokens over seconds of the baseline.
fn one_arm(experiment: &Experiment, seed: u64) -> Option<Estimate> {
    let sample = |cell: Cell| Sample {
        block: cell.block,
        prompt: cell.prompt,
        numerator: 100.0,
        denominator: 100.0 / cell.baseline,
    };
    let samples: Vec<_> = experiment.cells(seed).into_iter().map(sample).collect();
    estimate_ratio(&samples, &config(seed))
}

fn other_prompts() {
    println!("\n| blocks | prompts | other prompts | these prompts only |\n|--:|--:|--:|--:|");
    for (blocks, prompts) in [(5, 5), (6, 10), (8, 12), (10, 20), (10, 40)] {
        let experiment = Experiment { blocks, prompts, prompts_are_drawn: true, ..USUAL };
        let of = |seed: u64| paired_log_ratio(&experiment.pairs(seed), &config(seed));
        let other = share(|&seed| of(seed).is_some_and(|got| holds(got.other_prompts, experiment.ratio)));
        let these = share(|&seed| of(seed).is_some_and(|got| holds(got.ratio, experiment.ratio)));
        println!("| {blocks} | {prompts} | {other} | {these} |");
    }
}

fn two_runs() {
    println!("\n| blocks a run | interval holds | false alarms of ranks |\n|--:|--:|--:|");
    for blocks in [5, 6, 10, 20] {
        let experiment = Experiment { blocks, ..USUAL };
        let of = |seed: u64, ratio: f64| {
            let logs = |of_candidate: bool| -> Vec<LogValue> {
                let seed = 2 * seed + u64::from(of_candidate);
                let prompts = Experiment { ratio, prompt_spread: 0.0, ..experiment }.cells(seed);
                let value = |cell: &Cell| {
                    let value = if of_candidate { cell.candidate } else { cell.baseline };
                    LogValue::new(cell.block, cell.prompt, value)
                };
                prompts.iter().filter_map(value).collect()
            };
            unpaired_log_ratio(&logs(false), &logs(true), 0.95)
        };
        let covered = share(|&seed| of(seed, 1.1).is_some_and(|got| holds(got.ratio, 1.1)));
        let alarms =
            share(|&seed| of(seed, 1.0).and_then(|got| got.ranks).is_some_and(|ranks| ranks.p_value <= 0.05));
        println!("| {blocks} | {covered} | {alarms} |");
    }
}

/// Log ratios of blocks, no resampling.
fn blocks_of(experiment: Experiment, seed: u64) -> Vec<f64> {
    let config = BootstrapConfig { resamples: 1, ..BootstrapConfig::default() };
    paired_log_ratio(&experiment.pairs(seed), &config).map(|got| got.block_logs).unwrap_or_default()
}

fn false_alarms() {
    println!("\n| blocks | interval | Student | signed ranks | any of 3 metrics | after Holm |");
    println!("|--:|--:|--:|--:|--:|--:|");
    for blocks in [5, 6, 10, 20] {
        let nothing = Experiment { blocks, ratio: 1.0, ..USUAL };
        let interval = share(|&seed| {
            paired_log_ratio(&nothing.pairs(seed), &config(seed)).is_some_and(|got| !holds(got.ratio, 1.0))
        });
        let student = share(|&seed| block_test(&blocks_of(nothing, seed)).is_some_and(|p| p <= 0.05));
        let ranks =
            share(|&seed| signed_rank(&blocks_of(nothing, seed)).is_some_and(|test| test.p_value <= 0.05));
        let three = |seed: u64| -> Vec<f64> {
            (0..3).filter_map(|metric| block_test(&blocks_of(nothing, 3 * seed + metric))).collect()
        };
        let any = share(|&seed| three(seed).iter().any(|&p| p <= 0.05));
        let adjusted = share(|&seed| holm(&three(seed)).iter().any(|&p| p <= 0.05));
        println!("| {blocks} | {interval} | {student} | {ranks} | {any} | {adjusted} |");
    }
}

fn found() {
    println!(
        "\n| block scatter of A/A | effect | blocks needed | found | found, scatter from 10 A/A blocks |"
    );
    println!("|--:|--:|--:|--:|--:|");
    let power = Power::default();
    for arm_noise in [0.005, 0.01, 0.02, 0.03] {
        for effect in [0.03, 0.05] {
            let noise = Experiment { arm_noise, ratio: 1.0 + effect, ..USUAL };
            let per_arm = noise.arm_noise.powi(2) + noise.request_noise.powi(2) / f64::from(noise.prompts);
            let block_sd = (2.0 * per_arm).sqrt();
            let Some(needed) = power.needed_blocks(block_sd, effect) else { continue };
            let finds = |blocks: u32, seed: u64| {
                let got = paired_log_ratio(&Experiment { blocks, ..noise }.pairs(seed), &config(seed));
                got.is_some_and(|got| got.ratio.low.is_some_and(|low| low > 1.0))
            };
            let known = share(|&seed| finds(needed, seed));
            let estimated = share(|&seed| {
                let own = paired_log_ratio(
                    &Experiment { blocks: 10, ratio: 1.0, ..noise }.pairs(seed + 1_000_000),
                    &BootstrapConfig { resamples: 1, ..config(0) },
                );
                let blocks = own.and_then(|own| power.needed_blocks(own.block_sd()?, effect));
                blocks.is_some_and(|blocks| finds(blocks, seed))
            });
            println!(
                "| {:.2} % | {:.0} % | {needed} | {known} | {estimated} |",
                block_sd * 100.0,
                effect * 100.0
            );
        }
    }
}

fn looks() {
    println!(
        "\n| looks | confidence | false alarms, paid | unpaid | 5 % found | blocks used then | 10 % found | blocks used then |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|");
    for count in 1..=5 {
        let looks = Looks::new(20, count);
        let nothing = Experiment { blocks: 20, ratio: 1.0, ..USUAL };
        let (alarms, _) = looked_at(nothing, looks);
        let unpaid = share(|&seed| {
            let all = blocks_of(nothing, seed);
            (1..=20).any(|done| {
                (done == 20 || looks.is_due(done))
                    && block_test(&all[..done as usize]).is_some_and(|p| p <= 0.05)
            })
        });
        let (five, five_blocks) = looked_at(Experiment { ratio: 1.05, ..nothing }, looks);
        let (ten, ten_blocks) = looked_at(Experiment { ratio: 1.1, ..nothing }, looks);
        println!(
            "| {count} | {:.2} % | {alarms} | {unpaid} | {five} | {five_blocks:.1} | {ten} | {ten_blocks:.1} |",
            looks.confidence() * 100.0
        );
    }
}

/// How often a run of 20 blocks that may stop early claims a difference, and the mean of the blocks it took.
fn looked_at(experiment: Experiment, looks: Looks) -> (String, f64) {
    let mut used = 0_u64;
    let claimed = share(|&seed| {
        let all = blocks_of(experiment, seed);
        let stops = |done: u32| looks.is_due(done) && looks.settles(&all[..done as usize], 0.0);
        let done = (1..20).find(|&done| stops(done)).unwrap_or(20);
        used += u64::from(done);
        looks.settles(&all[..done as usize], 0.0)
    });
    (claimed, used as f64 / EXPERIMENTS as f64)
}
