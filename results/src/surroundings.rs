//! The readings of the machine, cut to what the report shows: runs, blocks and arms.

use std::collections::{BTreeMap, BTreeSet};

use bench_core::environment::{EnvironmentRead, EnvironmentSample, GpuHost, Moment, Span, Timeline};
use bench_core::record::{Phase, RunManifest};
use bench_core::report::{BlockEnvironment, RunEnvironment};

use crate::load::Loaded;
use crate::row::Row;

/// The machine while the requests of one arm were measured.
#[derive(Debug, Default)]
pub(crate) struct Surroundings<'a> {
    pub(crate) span: Option<Span>,
    /// Of the first run with a head.
    pub(crate) gpu: Option<&'a GpuHost>,
    /// Whether some run of the arm recorded nothing.
    pub(crate) unrecorded: bool,
}

impl Surroundings<'_> {
    /// Why there is no span.
    pub(crate) fn absence(&self) -> &'static str {
        if self.unrecorded {
            "the run did not record its environment"
        } else {
            "the readings do not cover the arm's requests"
        }
    }
}

/// Start and end of a request, milliseconds since 1970.
fn extent(row: &Row) -> (u64, u64) {
    (row.sent_unix_ms, row.sent_unix_ms.saturating_add(row.timing.ended_ns.div_ceil(1_000_000)))
}

/// The readings of all runs in one line of time: runs of one machine do not overlap, and no span reaches over two.
pub(crate) fn all_readings(loaded: &Loaded) -> Vec<EnvironmentSample> {
    let reads = loaded.environments.iter().flatten();
    let mut all: Vec<_> = reads.flat_map(|read| read.samples.iter().cloned()).collect();
    all.sort_by_key(|sample| sample.at_unix_ms);
    all
}

/// The machine while an arm was measured, pass by pass: what happened between its passes is of others.
pub(crate) fn around_arm<'a>(
    loaded: &'a Loaded,
    readings: &[EnvironmentSample],
    label: &str,
) -> Surroundings<'a> {
    let rows = || loaded.rows.iter().filter(|row| row.arm == label && row.phase == Phase::Measured);
    let mut passes: BTreeMap<(&str, u32), (u64, u64)> = BTreeMap::new();
    for row in rows() {
        let (start, end) = extent(row);
        let pass = passes.entry((&row.run_id, row.block)).or_insert((start, end));
        *pass = (pass.0.min(start), pass.1.max(end));
    }
    let runs: BTreeSet<_> = passes.keys().map(|(run, _)| *run).collect();
    let recorded = |(run, read): (&RunManifest, &Option<EnvironmentRead>)| {
        read.is_some() || !runs.contains(run.run_id.as_str())
    };
    let unrecorded = !loaded.manifests.iter().zip(&loaded.environments).all(recorded);
    let spans: Vec<_> = passes.into_values().collect();
    Surroundings {
        span: if unrecorded { None } else { Timeline::new(readings).span(&spans) },
        gpu: loaded.environments.iter().flatten().find_map(|read| read.head.as_ref()).map(|head| &head.gpu),
        unrecorded,
    }
}

/// What the report shows of each run that recorded its environment.
pub(crate) fn run_environments(loaded: &Loaded) -> Vec<RunEnvironment> {
    let runs = loaded.manifests.iter().zip(&loaded.environments);
    runs.filter_map(|(run, read)| Some(run_environment(loaded, run, read.as_ref()?))).collect()
}

fn run_environment(loaded: &Loaded, run: &RunManifest, read: &EnvironmentRead) -> RunEnvironment {
    let timeline = Timeline::new(&read.samples);
    let of_run = || loaded.rows.iter().filter(|row| row.run_id == run.run_id && row.phase != Phase::Setup);
    let measured = || of_run().filter(|row| row.phase == Phase::Measured);
    let times = |moment| {
        let of_moment = read.samples.iter().filter(move |sample| sample.moment == moment);
        of_moment.map(|sample| sample.at_unix_ms)
    };
    let begin = of_run().map(|row| row.sent_unix_ms).min();
    let before_end = begin.or_else(|| times(Moment::Before).max());
    // The first reading does not wait for a driver, which would leave the GPUs unknown for all of the time before.
    let with_gpus = read.samples.iter().find(|sample| sample.gpus.is_some()).map(|sample| sample.at_unix_ms);
    let with_gpus = with_gpus.filter(|first| before_end.is_some_and(|end| *first < end));
    let before_start = with_gpus.or_else(|| times(Moment::Before).min());
    let mut blocks: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    for row in measured() {
        blocks.entry(row.block).or_default().push(extent(row));
    }
    let between = |ends: (Option<u64>, Option<u64>)| timeline.span(&[(ends.0?, ends.1?)]);
    RunEnvironment {
        run_id: run.run_id.clone(),
        head: read.head.clone(),
        readings: read.samples.len() as u64,
        unreadable: read.unreadable,
        before: between((before_start, before_end)),
        during: timeline.span(&measured().map(extent).collect::<Vec<_>>()),
        after: between((times(Moment::After).min(), times(Moment::After).max())),
        blocks: blocks
            .into_iter()
            .map(|(block, spans)| BlockEnvironment { block, span: timeline.span(&spans) })
            .collect(),
    }
}
