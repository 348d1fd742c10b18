//! What the readings say of a span of time.
//!
//! Counters are read between two readings by a straight line, so that any span has its difference; gauges are taken from
//! the readings inside the span and the one on either side. What some reading lacks is unknown for every span that needs
//! it. Nothing is said of a span that the readings do not cover.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{EnvironmentSample, GpuSample, Pressure, throttle_words};

/// Readings in the order of their time.
#[derive(Debug, Clone, Copy)]
pub struct Timeline<'a> {
    samples: &'a [EnvironmentSample],
}

/// A span of the machine's time. Shares are of all CPUs, or of the span's time; what was not told is `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Span {
    /// Length, gaps left out.
    pub seconds: f64,
    /// Readings in it, and those on either side.
    pub readings: u64,
    /// CPU time that anybody used.
    pub busy_share: Option<f64>,
    /// CPU time that we used: this process and all it started.
    pub ours_share: Option<f64>,
    /// The difference of the two.
    pub others_share: Option<f64>,
    /// CPU time that the hypervisor took.
    pub steal_share: Option<f64>,
    /// Mean clock of the CPUs.
    pub cpu_mhz: Option<f64>,
    /// Highest load average of one minute.
    pub load_1m_max: Option<f64>,
    /// Least memory that could be had.
    pub memory_available_min_bytes: Option<u64>,
    /// Most memory of ours.
    pub ours_memory_max_bytes: Option<u64>,
    /// Context switches of the machine, a second.
    pub context_switches_per_s: Option<f64>,
    /// Time in which some task of the machine waited for a CPU.
    pub cpu_stall_share: Option<f64>,
    /// The same for memory.
    pub memory_stall_share: Option<f64>,
    /// The same for disks.
    pub io_stall_share: Option<f64>,
    /// Time in which our control group was kept from running.
    pub throttled_share: Option<f64>,
    /// Each GPU; empty where none can be read.
    pub gpus: Vec<GpuSpan>,
}

/// A span of one GPU's time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GpuSpan {
    /// Lowest clock of the multiprocessors.
    pub sm_clock_min_mhz: Option<u32>,
    /// Their mean clock.
    pub sm_clock_mhz: Option<f64>,
    /// Mean clock of the memory.
    pub memory_clock_mhz: Option<f64>,
    /// Mean power: energy by time.
    pub power_w: Option<f64>,
    /// The lowest power cap in force.
    pub power_limit_w: Option<f64>,
    /// Energy used.
    pub energy_j: Option<f64>,
    /// Highest temperature.
    pub temperature_max_c: Option<u32>,
    /// Reasons that held its clock down at some reading.
    pub throttled_by: Option<Vec<String>>,
    /// Most memory in use.
    pub memory_used_max_bytes: Option<u64>,
    /// Most processes of others on it.
    pub foreign_processes_max: Option<u32>,
}

impl<'a> Timeline<'a> {
    /// Over readings in the order of their time.
    #[must_use]
    pub fn new(samples: &'a [EnvironmentSample]) -> Self {
        Self { samples }
    }

    /// What happened in these spans together (start and end, milliseconds since 1970; they may overlap). `None` if there
    /// is no time in them, or the readings do not reach from the first to the last of it.
    #[must_use]
    pub fn span(&self, spans: &[(u64, u64)]) -> Option<Span> {
        let spans = union(spans);
        let (start, end) = (spans.first()?.0, spans.last()?.1);
        let covered = self.samples.first()?.at_unix_ms <= start && end <= self.samples.last()?.at_unix_ms;
        if !covered {
            return None;
        }
        let seconds = spans.iter().map(|(start, end)| (end - start) as f64).sum::<f64>() / 1e3;
        let near = self.near(&spans);
        let sum = |value: &dyn Fn(&EnvironmentSample) -> Option<f64>| self.difference(&spans, value);
        let cpu = |part: fn(super::CpuTimes) -> u64| sum(&|sample| Some(part(sample.cpu?) as f64));
        let (busy, idle, steal) = (cpu(|cpu| cpu.busy_ms), cpu(|cpu| cpu.idle_ms), cpu(|cpu| cpu.steal_ms));
        let ours = sum(&|sample| Some(sample.ours_cpu_ms? as f64));
        let all = busy.zip(idle).zip(steal).map(|((busy, idle), steal)| busy + idle + steal);
        let share = |part: Option<f64>| Some((part? / all.filter(|all| *all > 0.0)?).clamp(0.0, 1.0));
        let of_time = |micros: Option<f64>| Some((micros? / 1e6 / seconds).clamp(0.0, 1.0));
        let stall =
            |part: fn(Pressure) -> Option<u64>| of_time(sum(&|sample| Some(part(sample.pressure?)? as f64)));
        Some(Span {
            seconds,
            readings: near.len() as u64,
            busy_share: share(busy),
            ours_share: share(ours),
            others_share: share(busy.zip(ours).map(|(busy, ours)| busy - ours)),
            steal_share: share(steal),
            cpu_mhz: mean(&near, |sample| sample.cpu_mhz),
            load_1m_max: all_of(&near, |sample| sample.load_1m)
                .and_then(|loads| loads.into_iter().max_by(f64::total_cmp)),
            memory_available_min_bytes: all_of(&near, |sample| sample.memory_available_bytes)
                .and_then(|bytes| bytes.into_iter().min()),
            ours_memory_max_bytes: all_of(&near, |sample| sample.ours_memory_bytes)
                .and_then(|bytes| bytes.into_iter().max()),
            context_switches_per_s: sum(&|sample| Some(sample.context_switches? as f64))
                .map(|switches| switches / seconds),
            cpu_stall_share: stall(|pressure| pressure.cpu_some_us),
            memory_stall_share: stall(|pressure| pressure.memory_some_us),
            io_stall_share: stall(|pressure| pressure.io_some_us),
            throttled_share: of_time(sum(&|sample| Some(sample.group_throttled_us? as f64))),
            gpus: self.gpus(&spans, &near, seconds),
        })
    }

    /// Readings inside the spans, and the last before and the first after each.
    fn near(&self, spans: &[(u64, u64)]) -> Vec<&'a EnvironmentSample> {
        let mut indices = BTreeSet::new();
        for &(start, end) in spans {
            let first = self.samples.partition_point(|sample| sample.at_unix_ms <= start).saturating_sub(1);
            let last = self.samples.partition_point(|sample| sample.at_unix_ms < end);
            indices.extend(first..=last.min(self.samples.len() - 1));
        }
        indices.into_iter().map(|index| &self.samples[index]).collect()
    }

    /// How much a counter rose in the spans. `None` if a reading that is needed lacks it, or it went back.
    fn difference(
        &self,
        spans: &[(u64, u64)],
        counter: &dyn Fn(&EnvironmentSample) -> Option<f64>,
    ) -> Option<f64> {
        spans.iter().map(|&(start, end)| self.rise(start, end, counter)).sum()
    }

    fn rise(&self, start: u64, end: u64, counter: &dyn Fn(&EnvironmentSample) -> Option<f64>) -> Option<f64> {
        let rise = self.at(end, counter)? - self.at(start, counter)?;
        (rise >= 0.0).then_some(rise)
    }

    /// A counter at a moment, on the line between its two readings.
    fn at(&self, moment: u64, counter: &dyn Fn(&EnvironmentSample) -> Option<f64>) -> Option<f64> {
        let next = self.samples.partition_point(|sample| sample.at_unix_ms < moment);
        let after = self.samples.get(next)?;
        if after.at_unix_ms == moment {
            return counter(after);
        }
        let before = self.samples.get(next.checked_sub(1)?)?;
        let (from, to) = (counter(before)?, counter(after)?);
        let way = (moment - before.at_unix_ms) as f64 / (after.at_unix_ms - before.at_unix_ms) as f64;
        Some(from + (to - from) * way)
    }

    fn gpus(&self, spans: &[(u64, u64)], near: &[&EnvironmentSample], seconds: f64) -> Vec<GpuSpan> {
        let count = near.iter().map(|sample| sample.gpus.as_ref().map_or(0, Vec::len)).max().unwrap_or(0);
        (0..count).map(|index| self.gpu(index, spans, near, seconds)).collect()
    }

    fn gpu(&self, index: usize, spans: &[(u64, u64)], near: &[&EnvironmentSample], seconds: f64) -> GpuSpan {
        let gpu = |sample: &EnvironmentSample| sample.gpus.as_ref()?.get(index).cloned();
        let numbers = |of: fn(&GpuSample) -> Option<u32>| all_of(near, |sample| of(&gpu(sample)?));
        let average =
            |of: fn(&GpuSample) -> Option<u32>| mean(near, |sample| of(&gpu(sample)?).map(f64::from));
        let energy_j = self
            .difference(spans, &|sample| Some(gpu(sample)?.energy_mj? as f64 / 1e3))
            .or_else(|| self.energy_of_power(index, spans));
        let reasons = all_of(near, |sample| gpu(sample)?.throttle_reasons);
        GpuSpan {
            sm_clock_min_mhz: numbers(|gpu| gpu.sm_clock_mhz).and_then(|all| all.into_iter().min()),
            sm_clock_mhz: average(|gpu| gpu.sm_clock_mhz),
            memory_clock_mhz: average(|gpu| gpu.memory_clock_mhz),
            power_w: energy_j.map(|joules| joules / seconds),
            power_limit_w: numbers(|gpu| gpu.power_limit_mw)
                .and_then(|all| all.into_iter().min())
                .map(|milliwatts| f64::from(milliwatts) / 1e3),
            energy_j,
            temperature_max_c: numbers(|gpu| gpu.temperature_c).and_then(|all| all.into_iter().max()),
            throttled_by: reasons.map(|all| {
                let any = all.into_iter().fold(0, |any, reasons| any | reasons);
                throttle_words(any).into_iter().map(str::to_owned).collect()
            }),
            memory_used_max_bytes: all_of(near, |sample| gpu(sample)?.memory_used_bytes)
                .and_then(|all| all.into_iter().max()),
            foreign_processes_max: numbers(|gpu| gpu.foreign_processes).and_then(|all| all.into_iter().max()),
        }
    }

    /// Energy of a GPU that counts none: its power by the trapezoid rule over the readings, in joules.
    fn energy_of_power(&self, index: usize, spans: &[(u64, u64)]) -> Option<f64> {
        let power =
            |sample: &EnvironmentSample| Some(f64::from(sample.gpus.as_ref()?.get(index)?.power_mw?) / 1e3);
        let trapezoid = |&(start, end): &(u64, u64)| {
            let inside = self.samples.iter().filter(|sample| (start + 1..end).contains(&sample.at_unix_ms));
            let mut points = vec![(start, self.at(start, &power)?)];
            for sample in inside {
                points.push((sample.at_unix_ms, power(sample)?));
            }
            points.push((end, self.at(end, &power)?));
            let area =
                |pair: &[(u64, f64)]| (pair[1].0 - pair[0].0) as f64 / 1e3 * (pair[0].1 + pair[1].1) / 2.0;
            Some(points.windows(2).map(area).sum::<f64>())
        };
        spans.iter().map(trapezoid).sum()
    }
}

/// Spans without overlap, in order; empty ones are left out.
fn union(spans: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut sorted: Vec<_> = spans.iter().copied().filter(|(start, end)| start < end).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in sorted {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            Some(_) | None => merged.push((start, end)),
        }
    }
    merged
}

/// `None` if a reading lacks the value.
fn all_of<T>(near: &[&EnvironmentSample], value: impl Fn(&EnvironmentSample) -> Option<T>) -> Option<Vec<T>> {
    near.iter().map(|sample| value(sample)).collect()
}

fn mean(near: &[&EnvironmentSample], value: impl Fn(&EnvironmentSample) -> Option<f64>) -> Option<f64> {
    let values = all_of(near, value)?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::super::{CpuTimes, EnvironmentLine, Moment, parse_environment};
    use super::*;
    use crate::testing::environment_sample;

    /// Two CPUs, a reading a second: one CPU busy, half of that ours; a tenth of a CPU stolen; 100 W and then 200 W.
    fn readings() -> Vec<EnvironmentSample> {
        let reading = |second: u64| {
            let energy_mj = if second <= 5 { second * 100_000 } else { 500_000 + (second - 5) * 200_000 };
            EnvironmentSample {
                cpu: Some(CpuTimes { busy_ms: second * 1000, idle_ms: second * 900, steal_ms: second * 100 }),
                ours_cpu_ms: Some(second * 500),
                pressure: Some(Pressure { cpu_some_us: Some(second * 250_000), ..Pressure::default() }),
                gpus: Some(vec![GpuSample {
                    energy_mj: Some(energy_mj),
                    power_mw: Some(if second <= 5 { 100_000 } else { 200_000 }),
                    throttle_reasons: Some(if second == 7 { 0x4 } else { 0x1 }),
                    sm_clock_mhz: Some(1980),
                    ..GpuSample::default()
                }]),
                ..environment_sample(1_000_000 + second * 1000, Moment::During)
            }
        };
        (0..=10).map(reading).collect()
    }

    fn close(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    }

    #[test]
    fn any_span_has_its_difference() {
        let samples = readings();
        let span = |spans: &[(u64, u64)]| Timeline::new(&samples).span(spans).unwrap();
        for found in [span(&[(1_001_000, 1_004_000)]), span(&[(1_001_250, 1_001_750)])] {
            assert!(close(found.busy_share, 0.5) && close(found.ours_share, 0.25), "{found:?}");
            assert!(close(found.others_share, 0.25) && close(found.steal_share, 0.05), "{found:?}");
            assert!(close(found.cpu_stall_share, 0.25) && found.memory_stall_share.is_none(), "{found:?}");
            assert!(close(found.gpus[0].power_w, 100.0), "{found:?}");
        }
        let found = span(&[(1_004_500, 1_005_500), (1_005_000, 1_006_000), (1_008_000, 1_008_000)]);
        assert!(close(Some(found.seconds), 1.5) && close(found.gpus[0].energy_j, 50.0 + 200.0), "{found:?}");
        assert_eq!(found.gpus[0].throttled_by, Some(vec![]));
        assert_eq!(span(&[(1_006_500, 1_006_900)]).gpus[0].throttled_by, Some(vec!["power cap".to_owned()]));
        assert_eq!(found.gpus[0].temperature_max_c, None);
    }

    #[test]
    fn what_is_not_covered_or_not_told_is_unknown() {
        let mut samples = readings();
        for spans in [&[][..], &[(5, 5)], &[(999_999, 1_001_000)], &[(1_009_000, 1_010_001)]] {
            assert_eq!(Timeline::new(&samples).span(spans), None, "{spans:?}");
        }
        assert_eq!(Timeline::new(&[]).span(&[(1, 2)]), None);
        samples[3].ours_cpu_ms = None;
        samples[6].cpu = Some(CpuTimes { busy_ms: 0, idle_ms: 0, steal_ms: 0 });
        let span = |start, end| Timeline::new(&samples).span(&[(start, end)]).unwrap();
        let lacking = span(1_002_000, 1_002_500);
        assert_eq!((lacking.ours_share, lacking.others_share), (None, None));
        assert!(close(lacking.busy_share, 0.5));
        assert_eq!(span(1_005_000, 1_006_000).busy_share, None, "a counter that went back is none");
    }

    #[test]
    fn power_gives_energy_where_the_gpu_counts_none() {
        let mut samples = readings();
        for sample in &mut samples {
            sample.gpus.as_mut().unwrap()[0].energy_mj = None;
        }
        let span = Timeline::new(&samples).span(&[(1_001_000, 1_003_500)]).unwrap();
        assert!(close(span.gpus[0].energy_j, 250.0), "{span:?}");
        // Between 5 s and 6 s the power rises from 100 to 200 W.
        let rising = Timeline::new(&samples).span(&[(1_005_000, 1_006_000)]).unwrap();
        assert!(close(rising.gpus[0].energy_j, 150.0), "{rising:?}");
        samples[2].gpus = None;
        let gap = Timeline::new(&samples).span(&[(1_001_000, 1_003_500)]).unwrap();
        assert_eq!(gap.gpus[0].energy_j, None);
    }

    proptest! {
        /// Readings may hold anything, in any order: a span of them is told or not, and nothing panics.
        #[test]
        fn no_readings_panic_a_span(
            readings in vec((any::<u64>(), option::of(any::<u64>()), option::of(any::<u32>())), 0..8),
            spans in vec((any::<u64>(), any::<u64>()), 0..4),
        ) {
            let line = |(at, number, power): &(u64, Option<u64>, Option<u32>)| {
                let gpus = power.map(|power| vec![GpuSample { power_mw: Some(power), energy_mj: *number, ..GpuSample::default() }]);
                let sample = EnvironmentSample {
                    ours_cpu_ms: *number,
                    context_switches: *number,
                    gpus,
                    ..environment_sample(*at, Moment::During)
                };
                serde_json::to_string(&EnvironmentLine::Sample(Box::new(sample))).unwrap()
            };
            let text = readings.iter().map(line).collect::<Vec<_>>().join("\n");
            let read = parse_environment(text.as_bytes());
            prop_assert_eq!((read.samples.len(), read.unreadable), (readings.len(), 0));
            let span = Timeline::new(&read.samples).span(&spans);
            prop_assert!(span.is_none_or(|span| span.seconds > 0.0));
        }
    }
}
