//! Reads runs and decides whether they are repetitions of one experiment.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use bench_core::environment::{EnvironmentRead, read_environment};
use bench_core::kv_quality::KvQualityOutcome;
use bench_core::noise::NoiseFloor;
use bench_core::record::{ArmManifest, ArmStatus, RequestRecord, RunManifest};
use bench_core::row_stream::for_each_row;
use bench_core::run_dir::RunDir;

use crate::answer::{AnswerPlace, Answers};
use crate::differences::{no_repetition, whole_machine};
use crate::error::ResultsError;
use crate::import::IMPORTED_FILE;
use crate::reasons::{Reason, Refusal};
use crate::row::{Packed, Row, Shared};
use crate::shards;
use crate::tables::{self, TableRun, for_each_request};

/// One or more runs of the same preset on the same machine.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// In the order given; at least one.
    pub(crate) manifests: Vec<RunManifest>,
    /// The arms of all runs, each once, in report order.
    pub(crate) arms: Vec<ArmManifest>,
    /// The rows of all runs. Blocks are renumbered so that no two runs share one: a block is one moment of one run.
    pub(crate) rows: Vec<Row>,
    /// The files of rows: where answers are.
    pub(crate) files: Vec<PathBuf>,
    /// The files of readings, in the order of the manifests; there may be none at that place.
    pub(crate) readings: Vec<PathBuf>,
    /// What a reader has to be told: a torn last line.
    pub(crate) notes: Vec<String>,
    /// The readings of the machine, one entry a run, in the order of the manifests; `None` for a run without.
    pub(crate) environments: Vec<Option<EnvironmentRead>>,
}

impl Loaded {
    /// A reader of what was answered.
    pub(crate) fn answers(&self) -> Answers<'_> {
        Answers::new(&self.files)
    }

    /// Whether an arm's drafts are accepted by coin flips: its text is nobody's, and is held against no other.
    pub(crate) fn plants_acceptance(&self, label: &str) -> bool {
        self.arms.iter().any(|arm| arm.label == label && arm.spec.plants_acceptance())
    }

    /// Whether the preset asks the same KV types of both arms.
    pub(crate) fn same_kv_types(&self, a: &ArmManifest, b: &ArmManifest) -> bool {
        let asked = |arm: &ArmManifest| self.first().preset.kv_types_of(&arm.variant);
        asked(a) == asked(b)
    }

    /// The noise floor that the first run knew, or was told by [`Self::or_noise_floor`].
    pub(crate) fn noise_floor(&self) -> Option<&NoiseFloor> {
        self.first().noise_floor.as_ref()
    }

    /// Tells a noise floor to a run that was made before one was known. The caller sees to it that it is of this machine
    /// and experiment ([`bench_core::noise::noise_key`]).
    #[must_use]
    pub fn or_noise_floor(mut self, floor: Option<NoiseFloor>) -> Self {
        if self.first().noise_floor.is_none() {
            self.manifests[0].noise_floor = floor;
        }
        self
    }

    /// The manifest of the first run: what all runs have in common can be read from it.
    #[must_use]
    pub fn manifest(&self) -> &RunManifest {
        self.first()
    }

    /// The first run: what all have in common is read from it.
    pub(crate) fn first(&self) -> &RunManifest {
        &self.manifests[0]
    }
}

/// Reads run directories, and directories of the layout that [`crate::export_tables`] writes, and merges all runs in
/// them.
///
/// The directories have to stay as they are for as long as the result is used: answers are read again from their files.
///
/// Fails if nothing is given, if something cannot be read, if a row does not belong to its manifest, and if two runs
/// are no repetitions of one experiment ([`crate::REASONS`], `merged`). All shards of a sharded run are one run; one that is missing or
/// there twice, and a request that two of them made, are refused.
pub fn load(runs: &[PathBuf]) -> Result<Loaded, ResultsError> {
    let Some(first) = runs.first() else { return Err(ResultsError::NoRuns) };
    let mut loaded = Loaded::default();
    let mut ends = Vec::new();
    let mut shared = Shared::default();
    for root in runs {
        for source in Source::of(root)? {
            add(&mut loaded, &mut shared, first, &source)?;
            ends.push(loaded.rows.len());
        }
    }
    if loaded.manifests.is_empty() {
        return Err(ResultsError::NoRuns);
    }
    shards::whole(&loaded.manifests, &loaded.rows, &ends).map_err(|what| ResultsError::Shards { what })?;
    if loaded.first().shard.is_some() {
        // One pass, sent from several places: rows in the order in which requests were sent.
        loaded.rows.sort_by_key(|row| row.sent_unix_ms);
        let other = |run: &&RunManifest| whole_machine(&run.host) != whole_machine(&loaded.first().host);
        let others = loaded.manifests.iter().filter(other).count();
        if others > 0 {
            loaded.notes.push(format!(
                "{others} of {} shards were sent from another machine than the one that is named here",
                loaded.manifests.len()
            ));
        }
    }
    Ok(loaded)
}

/// Where a run is.
enum Source {
    Lines(RunDir),
    Tables(TableRun),
}

impl Source {
    /// The runs in a directory: its own, or those of an export.
    fn of(root: &Path) -> Result<Vec<Self>, ResultsError> {
        if root.join(IMPORTED_FILE).exists() {
            return Err(ResultsError::NotMeasured { root: root.to_owned() });
        }
        let tables = tables::runs(root)?;
        Ok(tables.map_or_else(
            || vec![Self::Lines(RunDir::existing(root))],
            |runs| runs.into_iter().map(Self::Tables).collect(),
        ))
    }

    /// The directory of its manifest and its readings.
    fn dir(&self) -> RunDir {
        match self {
            Self::Lines(dir) => dir.clone(),
            Self::Tables(run) => RunDir::existing(&run.own_folder()),
        }
    }
}

fn add(loaded: &mut Loaded, shared: &mut Shared, first: &Path, source: &Source) -> Result<(), ResultsError> {
    let dir = source.dir();
    let manifest = dir.read_manifest()?;
    let mut found = Vec::new();
    let environment = environment(&dir, &mut found);
    if let Some(why) = unlike(loaded, &manifest, environment.as_ref()) {
        return Err(ResultsError::Unlike { first: first.to_owned(), second: dir.root().to_owned(), why });
    }
    // Shards are parts of the same blocks, other runs have their own.
    let run = to_u32(loaded.manifests.len());
    let before = if manifest.shard.is_some() { 0 } else { run };
    let blocks_before = manifest.preset.run.blocks.get().saturating_mul(before);
    let known = Known::of(&manifest);
    let start = loaded.rows.len();
    let take = |(packed, position): (Packed, Option<u64>)| {
        known.check(dir.root(), packed.record())?;
        let row = Row::new(packed, shared);
        let block = row.block.saturating_add(blocks_before);
        let position = position.unwrap_or((loaded.rows.len() - start) as u64);
        loaded.rows.push(Row { run, block, position, ..row });
        Ok::<(), ResultsError>(())
    };
    match source {
        Source::Lines(dir) => lines(dir, &mut loaded.files, &mut found, take)?,
        Source::Tables(tables) => table_rows(tables, &mut loaded.files, &mut found, take)?,
    }
    loaded.rows[start..].sort_by_key(|row| row.position);
    loaded.notes.extend(found);
    for note in &manifest.notes {
        if !loaded.notes.contains(note) {
            loaded.notes.push(note.clone());
        }
    }
    loaded.environments.push(environment);
    loaded.readings.push(dir.environment());
    merge_arms(&mut loaded.arms, &manifest.arms);
    loaded.manifests.push(manifest);
    Ok(())
}

fn lines(
    dir: &RunDir,
    files: &mut Vec<PathBuf>,
    notes: &mut Vec<String>,
    mut take: impl FnMut((Packed, Option<u64>)) -> Result<(), ResultsError>,
) -> Result<(), ResultsError> {
    let file = to_u32(files.len());
    files.push(dir.rows());
    let pack = |row, place| (Packed::new(row, AnswerPlace::Line { file, place }), None);
    if let Some(tail) = for_each_row(&dir.rows(), pack, &mut take)? {
        notes.push(format!(
            "the last line of {} was cut short ({} bytes): one request is lost",
            dir.rows().display(),
            tail.len()
        ));
    }
    Ok(())
}

fn table_rows(
    run: &TableRun,
    files: &mut Vec<PathBuf>,
    notes: &mut Vec<String>,
    mut take: impl FnMut((Packed, Option<u64>)) -> Result<(), ResultsError>,
) -> Result<(), ResultsError> {
    for (requests, chunks) in run.tables()? {
        let file = to_u32(files.len());
        files.push(requests.clone());
        if chunks.is_none() {
            notes.push(format!(
                "{} has no table of chunks: gaps and the course of a request are unknown",
                requests.display()
            ));
        }
        for_each_request(&requests, chunks.as_deref(), |row| {
            let packed = Packed::new(row.record, AnswerPlace::TableRow { file, row: row.row });
            let packed = if chunks.is_none() { packed.with_decode_span(row.decode_span) } else { packed };
            take((packed, Some(row.position)))
        })?;
    }
    Ok(())
}

/// The readings of the machine. They are evidence beside the rows: without them the rows are whole.
fn environment(dir: &RunDir, notes: &mut Vec<String>) -> Option<EnvironmentRead> {
    let path = dir.environment();
    match read_environment(&path) {
        Ok(read) => Some(read),
        // Runs from before it was recorded have none, and their rules say so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            notes
                .push(format!("{} cannot be read ({error}): the machine's state is unknown", path.display()));
            None
        }
    }
}

/// An arm that was measured in one run and skipped in another was measured.
fn merge_arms(known: &mut Vec<ArmManifest>, arms: &[ArmManifest]) {
    for arm in arms {
        match known.iter_mut().find(|other| other.label == arm.label) {
            None => known.push(arm.clone()),
            Some(other) if rank(&arm.status) > rank(&other.status) => *other = arm.clone(),
            // A KV cache whose quality one run measured is not unknown because another was stopped before.
            Some(other) if !is_measured(other) && is_measured(arm) => {
                other.kv_quality.clone_from(&arm.kv_quality);
            }
            Some(_) => {}
        }
    }
}

fn is_measured(arm: &ArmManifest) -> bool {
    matches!(arm.kv_quality, Some(KvQualityOutcome::Measured(_)))
}

/// A failure is shown before a success, and both before an absence.
fn rank(status: &ArmStatus) -> u8 {
    match status {
        ArmStatus::Skipped { .. } => 0,
        ArmStatus::Ready => 1,
        ArmStatus::Failed { .. } => 2,
    }
}

/// Why a run may not join those already read. The same run twice would count each request twice.
fn unlike(loaded: &Loaded, run: &RunManifest, environment: Option<&EnvironmentRead>) -> Option<Refusal> {
    // Shards may share the id of their run; which of them comes twice is told later.
    if run.shard.is_none() && loaded.manifests.iter().any(|other| other.run_id == run.run_id) {
        return Some(Reason::SameRun.with(&run.run_id));
    }
    let first = (loaded.manifests.first()?, loaded.environments.first()?.as_ref());
    no_repetition(first, &loaded.arms, (run, environment))
}

/// What rows may name.
struct Known<'a> {
    run_id: &'a str,
    arms: BTreeSet<&'a str>,
    prompts: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    fn of(manifest: &'a RunManifest) -> Self {
        Self {
            run_id: &manifest.run_id,
            arms: manifest.arms.iter().map(|arm| arm.label.as_str()).collect(),
            prompts: manifest.preset.workload.prompts.iter().map(|prompt| prompt.id.as_str()).collect(),
        }
    }

    fn check(&self, root: &Path, row: &RequestRecord) -> Result<(), ResultsError> {
        let stray =
            |what| ResultsError::Stray { root: root.to_owned(), request_index: row.request_index, what };
        if row.run_id != self.run_id {
            return Err(stray(format!("run `{}`", row.run_id)));
        }
        if !self.arms.contains(row.arm.as_str()) {
            return Err(stray(format!("arm `{}`", row.arm)));
        }
        if !row.prompt_id.is_empty() && !self.prompts.contains(row.prompt_id.as_str()) {
            return Err(stray(format!("prompt `{}`", row.prompt_id)));
        }
        Ok(())
    }
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
