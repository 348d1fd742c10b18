//! `bench run`: preset, arms, runner, report.

use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bench_adapters::{ConnectRequest, ModelPaths};
use bench_core::client::{ClientWatch, Watched};
use bench_core::clock;
use bench_core::host;
use bench_core::jsonl::{RowSink, RowWriter};
use bench_core::noise::{aa_preset, is_aa};
use bench_core::preset::{
    HfModels, ModelSource, Preset, RunParams, ServingParams, SpecDecode, StackChoice, StackKind,
};
use bench_core::record::{ArmManifest, ArmStatus, RECORD_SCHEMA, RunEnd, RunManifest};
use bench_core::report::Report;
use bench_core::run_dir::{RunDir, json_sha256, preset_sha256};
use bench_core::runner::{self, RunPlan, RunSummary, RunnableArm};
use bench_core::salt::Salted;
use bench_core::stack::{Stack, StackError, StackInfo};
use bench_presets::Noted;
use tokio_util::sync::CancellationToken;

use super::report;
use crate::args::RunArgs;
use crate::bandwidth;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::kv_quality;
use crate::models;
use crate::noise;
use crate::places::Places;
use crate::progress::Progress;
use crate::readback;

/// Exit code after Ctrl-C, as shells have it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Threads that read streams. One reads some 300,000 chunks a second, and leaves the other CPUs to the server; rows are
/// stored by the main thread.
const READERS: usize = 1;

pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let Noted { mut preset, notes } = bench_presets::load_noted(&args.preset, &args.overrides)?;
    notes.iter().for_each(|note| say(&format!("note: {note}")));
    if !args.stacks.is_empty() {
        preset.stacks = args.stacks.iter().map(|&kind| chosen(&preset, kind)).collect();
    }
    if args.aa {
        preset = aa_preset(preset);
    }
    if args.shard.is_some() {
        check_shard(&preset)?;
    }
    let places = Places::parse(&args.places, &preset)?;
    for orphan in bench_adapters::sweep_orphans() {
        say(&format!(
            "ended {} ({} processes), left behind by a run that was killed",
            orphan.program, orphan.killed
        ));
    }
    let mut manifest = new_manifest(preset)?;
    manifest.shard = args.shard;
    manifest.notes = notes;
    let root = args.out.clone().unwrap_or_else(|| default_dir(&manifest));
    let dir = RunDir::create(&root)?;
    let starting = starting(&manifest.preset, &places);
    let paths = models::resolve(&manifest.preset, &starting)?;
    models::record_hashes(&mut manifest, &paths, &starting)?;
    dir.write_manifest(&manifest)?;

    bench_adapters::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(READERS).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::io("start threads for", &root, &e))?;
    let summary = runtime.block_on(measure(&mut manifest, &dir, (&paths, &places), args))?;

    // A part of a load says nothing by itself.
    if args.no_report || args.shard.is_some() {
        say(&format!("{} rows are in {}", summary.rows, dir.rows().display()));
        if let Some(shard) = args.shard {
            say(&format!(
                "`bench report` makes one report of all {} parts: name their directories",
                shard.of
            ));
        }
        return Ok(if summary.interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS });
    }
    let written = report::write_report(std::slice::from_ref(&root), &dir.report())?;
    report::print(&written, args.json)?;
    report::say_where(&dir.report());
    if args.aa {
        publish_noise(&root, &written)?;
    }
    if summary.interrupted {
        say(&format!("stopped by Ctrl-C; {} rows are kept in {}", summary.rows, dir.rows().display()));
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(report::exit_code(&written))
}

/// Keeps what an A/A run found, and tells it.
fn publish_noise(root: &Path, report: &Report) -> Result<(), Failure> {
    let loaded = bench_results::load(&[root.to_owned()])?;
    let Some(floor) = bench_results::noise_floor(&loaded, report)? else {
        say("no noise floor: both arms have to be valid, with at least 5 blocks");
        return Ok(());
    };
    for entry in &floor.entries {
        let needed = entry.needed.iter().map(|needed| {
            let blocks = needed.blocks.map_or_else(|| "too many".to_owned(), |blocks| blocks.to_string());
            format!("{:.0} %: {blocks}", needed.effect * 100.0)
        });
        say(&format!(
            "noise floor of {}, {}: {:.2} %; blocks that find an effect in 80 % of runs: {}",
            entry.stack,
            entry.metric,
            entry.floor * 100.0,
            needed.collect::<Vec<_>>().join(", ")
        ));
    }
    let kept = noise::publish(&floor, root)?;
    say(&format!(
        "kept in {}: later runs of this experiment on this machine refuse claims below it",
        kept.display()
    ));
    Ok(())
}

/// Parts of a load meet at the server only where there is nothing to wait for between them.
fn check_shard(preset: &Preset) -> Result<(), Failure> {
    let RunParams { load, blocks, .. } = &preset.run;
    let arms = preset.stacks.len() * preset.variants.len();
    if load.is_closed() || blocks.get() > 1 || arms > 1 {
        let found = format!(
            "`--shard` needs an open loop, one arm and one block; this preset has {} loop, {arms} arms and {blocks} blocks",
            if load.is_closed() { "a closed" } else { "an open" }
        );
        return Err(Failure::with_hint(
            found,
            "set `run.load`, `run.blocks=1`, and a preset of one stack and variant",
        ));
    }
    Ok(())
}

/// A moment of the calendar as one of the run's clock. One that has passed stays in the past, so that what was due since
/// then is late; one from before the machine started is now.
fn until(unix_s: f64) -> tokio::time::Instant {
    let now = tokio::time::Instant::now();
    let ahead_s = unix_s - clock::unix_ms() as f64 / 1e3;
    let away = std::time::Duration::try_from_secs_f64(ahead_s.abs()).unwrap_or_default();
    if ahead_s > 0.0 { now + away } else { now.checked_sub(away).unwrap_or(now) }
}

/// A stack from the command line has to be there; how it is launched is the preset's word.
fn chosen(preset: &Preset, kind: StackKind) -> StackChoice {
    let command =
        preset.stacks.iter().find(|choice| choice.kind == kind).map(|choice| choice.command.clone());
    StackChoice { kind, required: true, command: command.unwrap_or_default() }
}

/// Stacks of which at least one arm starts here, instead of running somewhere already.
fn starting(preset: &Preset, places: &Places) -> Vec<StackKind> {
    let starts = |kind: &StackKind| {
        let mut places = preset.variants.iter().map(|variant| places.of(*kind, &variant.label));
        places.any(|place| !bench_adapters::is_attached(*kind, place))
    };
    preset.stacks.iter().map(|choice| choice.kind).filter(starts).collect()
}

/// The models' names for stacks that read no GGUF.
fn hf(models: &ModelSource) -> Option<&HfModels> {
    match models {
        ModelSource::Files { hf, .. } => hf.as_ref(),
        ModelSource::Bundled(_) | ModelSource::SynthTiny(_) => None,
    }
}

fn new_manifest(preset: Preset) -> Result<RunManifest, Failure> {
    let started_unix_ms = clock::unix_ms();
    let sha = preset_sha256(&preset)
        .map_err(|e| Failure::with_hint(format!("cannot hash the preset: {e}"), "this is a bug"))?;
    let host = host::read_host();
    Ok(RunManifest {
        schema: RECORD_SCHEMA,
        run_id: clock::new_run_id(started_unix_ms),
        suite_version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args().collect(),
        started_unix_ms,
        end: None,
        preset_sha256: sha,
        target_sha256: None,
        assistant_sha256: None,
        noise_floor: if is_aa(&preset) { None } else { noise::known(&host, &preset)? },
        host,
        arms: Vec::new(),
        client: None,
        memory_bandwidth: None,
        notes: Vec::new(),
        preset,
        shard: None,
    })
}

fn default_dir(manifest: &RunManifest) -> PathBuf {
    Path::new("bench-runs").join(format!("{}-{}", manifest.preset.name, manifest.run_id))
}

/// Connects the arms, runs the plan, stops the arms, and closes the manifest, whichever way it ends.
async fn measure(
    manifest: &mut RunManifest,
    dir: &RunDir,
    (paths, places): (&ModelPaths, &Places),
    args: &RunArgs,
) -> Result<RunSummary, Failure> {
    let cancel = cancel_on_ctrl_c();
    let environment = Environment::start(dir);
    let mut rows = dir.row_writer()?;
    let arms = connect_arms(manifest, dir, (paths, places), &mut rows, &cancel).await?;
    match bandwidth::known(manifest, args.memory_bandwidth) {
        Ok(bandwidth) => manifest.memory_bandwidth = bandwidth,
        // The run is none the worse for it; the report shows the ceiling as unknown.
        Err(error) => say(&format!("memory bandwidth could not be measured: {error}")),
    }
    dir.write_manifest(manifest)?;

    let set_up_rows = rows.rows();
    let mut progress = Progress::new();
    let mut observer = environment.observe(&mut progress);
    let plan = RunPlan {
        run_id: &manifest.run_id,
        preset: &manifest.preset,
        first_request_index: set_up_rows,
        shard: manifest.shard,
        start_at: args.start_at.map(until),
    };
    let mut client = ClientWatch::start();
    let mut observer = Watched { watch: &mut client, inner: &mut observer };
    let outcome = runner::run(plan, &arms, &mut rows, &mut observer, &cancel).await;
    progress.finish();
    let client = client.finish();
    environment.stop();
    // The arms of a sweep share their stacks.
    let share = |(index, arm): &(usize, &RunnableArm)| {
        !arms[..*index].iter().any(|before| Arc::ptr_eq(&before.stack, &arm.stack))
    };
    for (_, arm) in arms.iter().enumerate().filter(share) {
        if let Err(error) = arm.stack.shutdown().await {
            say(&format!("{}: did not stop cleanly: {error}", arm.label));
        }
    }
    let interrupted = cancel.is_cancelled();
    manifest.client = Some(client);
    manifest.end = Some(RunEnd { unix_ms: clock::unix_ms(), interrupted, rows: rows.rows() });
    dir.write_manifest(manifest)?;
    kv_quality::measure(manifest, paths, dir.root(), &|| cancel.is_cancelled());
    dir.write_manifest(manifest)?;
    Ok(RunSummary { rows: rows.rows(), interrupted, ..outcome? })
}

/// The first Ctrl-C ends the run and keeps what was measured; the second kills, as the system does by default.
fn cancel_on_ctrl_c() -> CancellationToken {
    let cancel = CancellationToken::new();
    let on_signal = cancel.clone();
    drop(tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            say("stopping; what was measured is kept (Ctrl-C again to stop at once)");
            on_signal.cancel();
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::abort();
            }
        }
    }));
    cancel
}

/// Every arm the preset asks for goes into the manifest; those that are ready come back.
async fn connect_arms(
    manifest: &mut RunManifest,
    dir: &RunDir,
    (paths, places): (&ModelPaths, &Places),
    rows: &mut RowWriter,
    cancel: &CancellationToken,
) -> Result<Vec<RunnableArm>, Failure> {
    let preset = manifest.preset.clone();
    let mut ready = Vec::new();
    let sweep = &preset.run.sweep_concurrency;
    for choice in &preset.stacks {
        let (first_arm, first_ready) = (manifest.arms.len(), ready.len());
        for variant in &preset.variants {
            if cancel.is_cancelled() {
                return Ok(ready);
            }
            let label = format!("{}/{}", choice.kind, variant.label);
            let serving = preset.serving_of(&variant.label);
            let request = ConnectRequest {
                kind: choice.kind,
                label: &label,
                models: paths,
                hf: hf(&preset.models),
                spec: &variant.spec,
                serving: &serving,
                command: &choice.command,
                place: places.of(choice.kind, &variant.label),
                log_dir: dir.root(),
            };
            let mut arm = ArmManifest {
                label: label.clone(),
                stack: choice.kind,
                variant: variant.label.clone(),
                spec: variant.spec.clone(),
                status: ArmStatus::Ready,
                info: None,
                config_sha256: config_sha256(manifest, &variant.spec, &serving),
                concurrency: None,
                kv_quality: None,
            };
            match connect(&request).await {
                Ok((stack, mut info)) => {
                    readback::hash_loaded(&mut info);
                    readback::say_differences(manifest, &arm, &info);
                    arm.info = Some(info);
                    let stack = salted_if(preset.workload.salted, stack);
                    ready.push(RunnableArm { label, stack, concurrency: None });
                }
                Err(StackError::NotInstalled { detail, .. }) if !choice.required => {
                    arm.status = ArmStatus::Skipped { reason: detail };
                }
                Err(error @ StackError::Unsupported { .. }) if !choice.required => {
                    arm.status = ArmStatus::Skipped { reason: error.to_string() };
                }
                Err(error) => {
                    for label in
                        swept(std::slice::from_ref(&label), &preset.run.sweep_concurrency, at_concurrency)
                    {
                        rows.append(&runner::setup_row(&manifest.run_id, &label, rows.rows(), &error))?;
                    }
                    say(&format!("{label}: {error}"));
                    arm.status = ArmStatus::Failed { kind: error.kind(), detail: error.to_string() };
                }
            }
            manifest.arms.push(arm);
        }
        say_skipped(manifest, choice.kind);
        sweep_over(&mut manifest.arms, first_arm, sweep, |arm, concurrency| ArmManifest {
            label: at_concurrency(&arm.label, concurrency),
            concurrency: Some(concurrency),
            ..arm.clone()
        });
        sweep_over(&mut ready, first_ready, sweep, |arm, concurrency| RunnableArm {
            label: at_concurrency(&arm.label, concurrency),
            concurrency: Some(concurrency),
            ..arm.clone()
        });
    }
    Ok(ready)
}

/// The arms of a stack once for every number of requests in flight, in place of what stands from `from` on.
fn sweep_over<A: Clone>(
    arms: &mut Vec<A>,
    from: usize,
    sweep: &[NonZeroU32],
    at: impl Fn(&A, NonZeroU32) -> A,
) {
    let of_stack = arms.split_off(from);
    arms.extend(swept(&of_stack, sweep, at));
}

fn at_concurrency(label: &String, concurrency: NonZeroU32) -> String {
    format!("{label}@{concurrency}")
}

/// Each arm once for every number of requests in flight; all arms of one number stand together.
fn swept<A: Clone>(arms: &[A], sweep: &[NonZeroU32], at: impl Fn(&A, NonZeroU32) -> A) -> Vec<A> {
    if sweep.is_empty() {
        return arms.to_vec();
    }
    sweep
        .iter()
        .flat_map(|&concurrency| arms.iter().map(move |arm| (arm, concurrency)))
        .map(|(arm, n)| at(arm, n))
        .collect()
}

type Connected = (Arc<dyn Stack>, StackInfo);

async fn connect(request: &ConnectRequest<'_>) -> Result<Connected, StackError> {
    let stack = bench_adapters::connect(request).await?;
    match stack.describe().await {
        Ok(info) => Ok((stack, info)),
        Err(error) => {
            // The first error is the one to tell; a stop that fails too would hide it.
            drop(stack.shutdown().await);
            Err(error)
        }
    }
}

fn salted_if(salted: bool, stack: Arc<dyn Stack>) -> Arc<dyn Stack> {
    if salted { Arc::new(Salted::new(stack)) } else { stack }
}

/// Everything that decides what a stack does, prompts excepted.
fn config_sha256(manifest: &RunManifest, spec: &SpecDecode, serving: &ServingParams) -> Option<String> {
    let preset = &manifest.preset;
    let models = (&manifest.target_sha256, &manifest.assistant_sha256);
    json_sha256(&(spec, serving, &preset.sampling, models)).ok()
}

/// One line for an optional stack that is not here, not one for each of its arms.
fn say_skipped(manifest: &RunManifest, kind: StackKind) {
    let skipped = manifest.arms.iter().filter(|arm| arm.stack == kind);
    let reasons: Vec<_> = skipped
        .filter_map(|arm| match &arm.status {
            ArmStatus::Skipped { reason } => Some(reason),
            ArmStatus::Ready | ArmStatus::Failed { .. } => None,
        })
        .collect();
    if let Some(reason) = reasons.first() {
        say(&format!("{kind}: {} arms skipped: {reason} (see `bench doctor`)", reasons.len()));
    }
}

fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
