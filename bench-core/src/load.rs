//! When requests are sent: one after another (closed loop), or at times of their own (open loop).
//!
//! In a closed loop a slow stack is asked less often, and whoever would have waited is not counted (coordinated
//! omission). An open loop sends at intended times whatever the stack does; a request that goes out late, because a limit
//! of requests in flight held it back, is late in its row, never dropped.
//!
//! Pure: a schedule depends on the preset, the seed and the block, and on nothing else, so every arm of a block meets the
//! same arrivals, and a part of it can be sent from another machine ([`Shard`]).

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::SplitMix64;

/// When requests are sent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// The next one when one has ended: `run.concurrency` at once.
    #[default]
    Closed,
    /// At intended times.
    Open(OpenLoad),
}

/// Arrivals that do not wait for answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenLoad {
    /// How they are spaced.
    pub arrivals: Arrivals,
    /// Requests of a pass; prompts go around. Where time ends a pass ([`crate::preset::RunParams::duration_s`]) no more than
    /// these.
    pub requests: NonZeroU32,
    /// Most requests in flight; the rest waits, and is late in its row. `None`: no limit.
    pub max_in_flight: Option<NonZeroU32>,
}

/// How arrivals are spaced. Rates are requests a second, above 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Arrivals {
    /// Evenly, the first at once.
    Constant {
        /// Requests a second.
        rate: f64,
    },
    /// Gaps of an exponential distribution: arrivals that do not know of each other.
    Poisson {
        /// Mean requests a second.
        rate: f64,
    },
    /// Gaps of a gamma distribution with this shape, as vLLM's `--burstiness` has it: below 1 in bursts, 1 is Poisson,
    /// above 1 more even. The variance of a gap is 1 / (rate^2 burstiness).
    Gamma {
        /// Mean requests a second.
        rate: f64,
        /// Shape.
        burstiness: f64,
    },
    /// A rate that changes from the first request to the last.
    Ramp {
        /// Requests a second at the beginning.
        from: f64,
        /// At the end.
        to: f64,
        /// How it changes.
        curve: RampCurve,
    },
    /// Times from a file, microseconds from the first, ascending.
    Trace {
        /// One a request.
        at_us: Vec<u64>,
    },
}

/// How a rate changes over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RampCurve {
    /// By equal steps.
    #[default]
    Linear,
    /// By equal factors.
    Exponential,
}

/// An arm in an open loop: what was offered, what came of it, and latencies from the time a request was meant to be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// `constant`, `poisson`, `gamma`, `ramp` or `trace`.
    pub arrivals: String,
    /// Requests a second that were meant to be sent: gaps between first and last of each pass, summed.
    pub offered_per_s: Option<f64>,
    /// Requests a second that completed, from the first send of a pass to its last end.
    pub completed_per_s: Option<f64>,
    /// Most requests in flight at a time.
    pub peak_in_flight: u64,
    /// How late requests were sent.
    pub lateness_ms: Option<Spread>,
    /// Time to first token from when the request was meant to be sent: what a user waits.
    pub ttft_from_intended_ms: Option<Spread>,
    /// Time to last token from when it was meant to be sent.
    pub e2e_from_intended_ms: Option<Spread>,
}

/// Some percentiles, nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half are no more.
    pub p50: f64,
    /// 90 of 100 are no more.
    pub p90: f64,
    /// 99 of 100 are no more.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

/// Part `index` of `of` of a schedule: every `of`-th arrival, from `index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// Parts in all.
    pub of: NonZeroU32,
}

/// One arrival of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intended {
    /// Its number in the whole schedule, from 0; prompts go around by it.
    pub slot: u32,
    /// Nanoseconds from the beginning of the pass.
    pub at_ns: u64,
}

impl Load {
    /// Whether the next request waits for one to end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self == Self::Closed
    }

    /// The arrivals, unless the loop is closed.
    #[must_use]
    pub fn open(&self) -> Option<&OpenLoad> {
        match self {
            Self::Closed => None,
            Self::Open(load) => Some(load),
        }
    }
}

impl Arrivals {
    /// The word of presets: `constant`, `poisson`, `gamma`, `ramp` or `trace`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Constant { .. } => "constant",
            Self::Poisson { .. } => "poisson",
            Self::Gamma { .. } => "gamma",
            Self::Ramp { .. } => "ramp",
            Self::Trace { .. } => "trace",
        }
    }
}

impl OpenLoad {
    /// The whole schedule of a block, ascending.
    #[must_use]
    pub fn schedule(&self, seed: u64, block: u32) -> Vec<Intended> {
        self.arrivals(seed, block).collect()
    }

    /// What of the schedule of a block is due before `end`: the same arrivals, and no later ones.
    #[must_use]
    pub fn schedule_until(&self, seed: u64, block: u32, end: Duration) -> Vec<Intended> {
        let is_due = |arrival: &Intended| Duration::from_nanos(arrival.at_ns) < end;
        self.arrivals(seed, block).take_while(is_due).collect()
    }

    /// Requests of a ramp that lasts so long: the area under its rate. At least one.
    #[must_use]
    pub fn requests_of_ramp(from: f64, to: f64, curve: RampCurve, duration: Duration) -> f64 {
        // The whole ramp takes this long for each of its requests.
        (duration.as_secs_f64() / ramp(from, to, curve, 1.0)).round().max(1.0)
    }

    /// One after another: who ends early makes no more of them.
    fn arrivals(&self, seed: u64, block: u32) -> impl Iterator<Item = Intended> + '_ {
        // Blocks differ, arms of a block do not.
        let mut random = SplitMix64::new(seed ^ (u64::from(block) + 1).wrapping_mul(0x9e6c_63d0_876a_3f6b));
        let count = self.requests.get();
        let mut now_s = 0.0;
        (0..count).map(move |slot| {
            let at_s = match &self.arrivals {
                Arrivals::Constant { rate } => f64::from(slot) / rate,
                Arrivals::Poisson { rate } => {
                    now_s += exponential(&mut random) / rate;
                    now_s
                }
                Arrivals::Gamma { rate, burstiness } => {
                    now_s += gamma(&mut random, *burstiness) / (burstiness * rate);
                    now_s
                }
                Arrivals::Ramp { from, to, curve } => {
                    ramp(*from, *to, *curve, f64::from(slot) / f64::from(count)) * f64::from(count)
                }
                Arrivals::Trace { at_us } => {
                    let at_us = usize::try_from(slot).ok().and_then(|slot| at_us.get(slot));
                    at_us.copied().unwrap_or_default() as f64 / 1e6
                }
            };
            Intended { slot, at_ns: nanoseconds(at_s) }
        })
    }
}

impl Shard {
    /// Whether an arrival is of this part.
    #[must_use]
    pub fn has(self, arrival: &Intended) -> bool {
        arrival.slot % self.of == self.index
    }
}

/// The nearest nanosecond; beyond what a u64 holds, its end.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are not negative, and a cast saturates"
)]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// The time at which a share of all requests has arrived, by request: the inverse of the integral of the rate.
fn ramp(from: f64, to: f64, curve: RampCurve, share: f64) -> f64 {
    // Where both rates are nearly equal the formulas below divide by nearly nothing.
    if (to / from - 1.0).abs() < 1e-9 {
        return share / from;
    }
    match curve {
        // from t + (to - from) t^2 / (2 T) = share, T = 2 / (from + to)
        RampCurve::Linear => {
            let slope = (to - from) * (from + to) / 2.0;
            ((from * from + 2.0 * slope * share).sqrt() - from) / slope
        }
        // from T / ln(to / from) ((to / from)^(t / T) - 1) = share, T = ln(to / from) / (to - from)
        RampCurve::Exponential => (share * (to - from) / from).ln_1p() / (to - from),
    }
}

/// Above 0, up to 1.
fn uniform(random: &mut SplitMix64) -> f64 {
    ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// Of mean 1.
fn exponential(random: &mut SplitMix64) -> f64 {
    -uniform(random).ln()
}

/// Of mean 0 and variance 1 (Box and Muller 1958).
fn normal(random: &mut SplitMix64) -> f64 {
    (2.0 * exponential(random)).sqrt() * (std::f64::consts::TAU * uniform(random)).cos()
}

/// Of mean and variance `shape` (Marsaglia and Tsang 2000, "A simple method for generating gamma variables").
fn gamma(random: &mut SplitMix64, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = uniform(random).powf(1.0 / shape);
        return gamma(random, shape + 1.0) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(random);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && uniform(random).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(arrivals: Arrivals, requests: u32) -> OpenLoad {
        OpenLoad { arrivals, requests: requests.try_into().unwrap(), max_in_flight: None }
    }

    fn times(arrivals: Arrivals, requests: u32) -> Vec<u64> {
        open(arrivals, requests).schedule(7, 0).iter().map(|arrival| arrival.at_ns).collect()
    }

    /// Mean and variance of gaps, seconds.
    fn moments(times: &[u64]) -> (f64, f64) {
        let gaps: Vec<f64> = std::iter::once(0)
            .chain(times.iter().copied())
            .zip(times)
            .map(|(before, at)| (at - before) as f64 / 1e9)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        (mean, gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64)
    }

    #[test]
    fn constant_is_exact() {
        let rate = 8.0;
        assert_eq!(times(Arrivals::Constant { rate }, 4), [0, 125_000_000, 250_000_000, 375_000_000]);
    }

    #[test]
    fn a_trace_is_kept() {
        let at_us = vec![0, 7, 7, 1_000_000];
        assert_eq!(times(Arrivals::Trace { at_us }, 4), [0, 7_000, 7_000, 1_000_000_000]);
    }

    #[test]
    fn gaps_have_the_moments_of_their_distribution() {
        let poisson = times(Arrivals::Poisson { rate: 5.0 }, 100_000);
        let (mean, variance) = moments(&poisson);
        assert!((mean - 0.2).abs() < 0.003 && (variance - 0.04).abs() < 0.002, "{mean} {variance}");
        for burstiness in [0.2, 0.5, 1.0, 2.5, 10.0] {
            let (mean, variance) = moments(&times(Arrivals::Gamma { rate: 5.0, burstiness }, 200_000));
            let expected = 0.04 / burstiness;
            assert!((mean - 0.2).abs() < 0.006, "{burstiness}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.06, "{burstiness}: {variance} for {expected}");
        }
    }

    /// In a slice of time there are as many arrivals as the rate there says.
    #[test]
    fn ramps_have_the_rate_they_say() {
        for curve in [RampCurve::Linear, RampCurve::Exponential] {
            for (from, to) in [(2.0, 40.0), (30.0, 3.0), (5.0, 5.0)] {
                let times = times(Arrivals::Ramp { from, to, curve }, 10_000);
                let rate_at = |i: usize| 3.0 * 1e9 / (times[i + 3] - times[i]) as f64;
                assert!((rate_at(0) / from - 1.0).abs() < 0.06, "{curve:?} {from} {to}: {}", rate_at(0));
                assert!(
                    (rate_at(9_996) / to - 1.0).abs() < 0.06,
                    "{curve:?} {from} {to}: {}",
                    rate_at(9_996)
                );
                let (half, end) = (times[5_000] as f64 / 1e9, times[9_999] as f64 / 1e9);
                let length = 10_000.0
                    * match curve {
                        RampCurve::Linear => 2.0 / (from + to),
                        RampCurve::Exponential if (from - to).abs() < 1e-9 => 1.0 / from,
                        RampCurve::Exponential => (to / from).ln() / (to - from),
                    };
                assert!((end / length - 1.0).abs() < 0.001 && half < end, "{curve:?}: {end} of {length}");
            }
        }
    }

    fn any_arrivals() -> impl Strategy<Value = Arrivals> {
        let rate = 0.01_f64..1000.0;
        let curve = prop_oneof![Just(RampCurve::Linear), Just(RampCurve::Exponential)];
        prop_oneof![
            rate.clone().prop_map(|rate| Arrivals::Constant { rate }),
            rate.clone().prop_map(|rate| Arrivals::Poisson { rate }),
            (rate.clone(), 0.05_f64..20.0)
                .prop_map(|(rate, burstiness)| Arrivals::Gamma { rate, burstiness }),
            (rate.clone(), rate, curve).prop_map(|(from, to, curve)| Arrivals::Ramp { from, to, curve }),
        ]
    }

    proptest! {
        #[test]
        fn a_schedule_ascends_and_is_a_function_of_preset_seed_and_block(
            arrivals in any_arrivals(), requests in 1_u32..200, seed: u64, block in 0_u32..50,
        ) {
            let load = open(arrivals, requests);
            let all = load.schedule(seed, block);
            prop_assert_eq!(&all, &load.schedule(seed, block));
            prop_assert_eq!(all.len(), requests as usize);
            prop_assert!(all.windows(2).all(|pair| pair[0].at_ns <= pair[1].at_ns && pair[0].slot < pair[1].slot));
        }

        #[test]
        fn shards_are_the_whole(arrivals in any_arrivals(), requests in 1_u32..100, of in 1_u32..9, seed: u64) {
            let load = open(arrivals, requests);
            let of = NonZeroU32::new(of).unwrap();
            let mut parts: Vec<_> =
                (0..of.get())
                    .flat_map(|index| {
                        let shard = Shard { index, of };
                        load.schedule(seed, 3).into_iter().filter(move |arrival| shard.has(arrival))
                    })
                    .collect();
            parts.sort_by_key(|arrival| arrival.slot);
            prop_assert_eq!(parts, load.schedule(seed, 3));
        }

        #[test]
        fn loads_survive_json(arrivals in any_arrivals(), requests in 1_u32..100) {
            let load = Load::Open(open(arrivals, requests));
            let text = serde_json::to_string(&load).unwrap();
            prop_assert_eq!(serde_json::from_str::<Load>(&text).unwrap(), load);
        }
    }
}
