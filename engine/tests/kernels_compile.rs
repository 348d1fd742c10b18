//! Every row of the table compiles for every architecture, without spills and within its registers and shared memory.
//! Needs NVRTC and no GPU. Without NVRTC it says so and passes, unless `BENCH_REQUIRE_NVRTC` is set.

#![cfg(feature = "cuda")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use bench_engine::attention::{HeadDims, INSTANCES, Instance, Mask, Path};
use bench_engine::backend::cuda::{KernelSource, architecture, compile, nvrtc_present, nvrtc_version};
use bench_engine::gguf::GgmlType;

const COMPUTE: [u32; 5] = [80, 86, 89, 90, 120];
/// Where trees are compiled without `BENCH_SWEEP=full`: the oldest, and the one that needs the most registers. All five take as
/// long as everything else here together.
const TREE_COMPUTE: [u32; 2] = [80, 120];

/// One compilation and what it may use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    name: String,
    source: &'static str,
    defines: Vec<String>,
    compute: u32,
    max_registers: u32,
    static_shared: u32,
}

/// What the assembler reports.
#[derive(Debug, PartialEq, Eq)]
struct Used {
    registers: u32,
    spills: u32,
    stack: u32,
    shared: u32,
}

/// Every kernel once: rows whose formats share a kernel (the two 4-bit codebooks) are one compilation.
fn jobs(mask: Mask, architectures: &[u32]) -> Vec<Job> {
    let mut seen = BTreeSet::new();
    let mut jobs = Vec::new();
    for &compute in architectures {
        // Prefill serves causal masks alone.
        let is_compiled = |row: &&Instance| match row.path {
            Path::Tile => false,
            Path::MmaPrefill => mask == Mask::Causal,
            Path::MmaDecode | Path::MmaDecodeTurbo => true,
        };
        for row in INSTANCES.iter().filter(is_compiled) {
            assert!(matches!(row.head_dims, HeadDims::One(_)), "{}", row.name());
            for (k, v) in row.formats {
                let mut defines = row.defines(*k, *v);
                defines.extend(mask.define().map(str::to_owned));
                if seen.insert((compute, defines.clone())) {
                    let name = format!("{} {}/{}", row.name(), k.name(), v.name());
                    let source = KernelSource::attention(row.path).file();
                    let max_registers = row.max_registers();
                    jobs.push(Job { name, source, defines, compute, max_registers, static_shared: 0 });
                }
            }
        }
    }
    jobs
}

/// The kernels that have no options: those beside attention.
fn plain_jobs() -> Vec<Job> {
    let mut jobs = Vec::new();
    for compute in COMPUTE {
        let tile = INSTANCES.iter().find(|row| row.path == Path::Tile).unwrap();
        let (k, v) = tile.formats[0];
        let plain = [
            (KernelSource::AttentionTile, tile.max_registers(), tile.shared_bytes(k, v).1),
            (KernelSource::AttentionCombine, 64, 12_416),
            (KernelSource::KvWrite, 128, 0),
            (KernelSource::Quantize, 64, 0),
            (KernelSource::MatmulPack, 128, 0),
            (KernelSource::ResidualNorm, 64, 512),
            (KernelSource::Heads, 128, 128),
            (KernelSource::GeluMultiply, 128, 0),
            (KernelSource::LayerInputs, 128, 128),
            (KernelSource::Argmax, 128, 97),
            (KernelSource::SampleCut, 64, 2049),
            (KernelSource::SampleFind, 64, 2072),
            (KernelSource::JoinRows, 128, 0),
            (KernelSource::FetchRows, 64, 0),
            (KernelSource::CentroidSelect, 64, 5124),
            (KernelSource::JoinExperts, 64, 256),
            (KernelSource::ReadProbe, 64, 0),
        ];
        for (source, max_registers, static_shared) in plain {
            let (name, source) = (source.entry().to_owned(), source.file());
            jobs.push(Job { name, source, defines: Vec::new(), compute, max_registers, static_shared });
        }
        let source = KernelSource::AttentionCombine;
        let (name, defines) = (format!("{} of few splits", source.entry()), vec!["-DFEW_SPLITS".to_owned()]);
        let source = source.file();
        jobs.push(Job { name, source, defines, compute, max_registers: 64, static_shared: 0 });
        jobs.extend(matmul_jobs(compute));
        for per_lane in [4, 32] {
            let (source, defines) = (KernelSource::RouteExperts, vec![format!("-DPER_LANE={per_lane}")]);
            let name = format!("{} of {} experts", source.entry(), 32 * per_lane);
            let source = source.file();
            jobs.push(Job { name, source, defines, compute, max_registers: 64, static_shared: 12_288 });
        }
        for ty in [GgmlType::F16, GgmlType::Q8_0, GgmlType::Q6K] {
            let (source, defines) = (KernelSource::CandidateScores, vec![format!("-DTYPE={}", ty.id())]);
            let name = format!("{} {ty}", source.entry());
            let source = source.file();
            jobs.push(Job { name, source, defines, compute, max_registers: 128, static_shared: 0 });
        }
    }
    jobs
}

/// Products and gathers, once a type of weights. Registers leave room for two blocks of the small kernel on a
/// multiprocessor, and of the tiled one where it says so.
fn matmul_jobs(compute: u32) -> Vec<Job> {
    let types = [
        GgmlType::F32,
        GgmlType::F16,
        GgmlType::Bf16,
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Q5_0,
        GgmlType::Q5_1,
        GgmlType::Q8_0,
        GgmlType::Q4K,
        GgmlType::Q5K,
        GgmlType::Q6K,
    ];
    let mut jobs = Vec::new();
    for ty in types {
        let two_blocks = [80, 90].contains(&compute)
            && [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q8_0, GgmlType::Q4K].contains(&ty);
        let kernels = [
            (KernelSource::MatmulSmall, &["-DDEPTH=3"][..], 102, 0),
            (KernelSource::MatmulSmall, &["-DDEPTH=2", "-DEXPERTS"], 102, 0),
            (KernelSource::MatmulTiled, &[], if two_blocks { 128 } else { 255 }, 0),
            (KernelSource::GatherRows, &[], 64, 0),
        ];
        for (source, options, max_registers, static_shared) in kernels {
            let defines = options.iter().map(|option| (*option).to_owned());
            jobs.push(Job {
                name: format!("{} {ty} {options:?}", source.entry()),
                source: source.file(),
                defines: std::iter::once(format!("-DTYPE={}", ty.id())).chain(defines).collect(),
                compute,
                max_registers,
                static_shared,
            });
        }
    }
    jobs
}

/// Numbers in front of words in lines such as `Used 96 registers, used 1 barriers, 4096 bytes smem`.
fn parse(log: &str) -> Used {
    let before = |word: &str| {
        let (head, _) = log.split_once(word)?;
        head.trim_end().rsplit([' ', ',']).next()?.parse().ok()
    };
    Used {
        registers: before(" registers").unwrap_or(u32::MAX),
        spills: before(" bytes spill stores").unwrap_or(u32::MAX),
        stack: before(" bytes stack frame").unwrap_or(u32::MAX),
        shared: before(" bytes smem").unwrap_or(0),
    }
}

fn check(job: &Job) -> Result<Used, String> {
    let source = KernelSource::ALL.iter().copied().find(|source| source.file() == job.source).unwrap();
    let label = format!("{} on {}", job.name, architecture(job.compute));
    let compiled =
        compile(source, &job.defines, &architecture(job.compute)).map_err(|e| format!("{label}: {e}"))?;
    if compiled.log.contains("warning") {
        return Err(format!("{label}: {}", compiled.log));
    }
    let used = parse(&compiled.log);
    let fits = used.registers <= job.max_registers && used.shared == job.static_shared;
    if used.spills == 0 && used.stack == 0 && fits {
        return Ok(used);
    }
    Err(format!(
        "{label}: {used:?}, at most {} registers and {} bytes of shared memory",
        job.max_registers, job.static_shared
    ))
}

#[test]
fn every_row_compiles_for_every_architecture_within_its_resources() {
    check_all(&jobs(Mask::Causal, &COMPUTE));
}

#[test]
fn every_row_compiles_for_trees_within_the_same_resources() {
    let every = std::env::var("BENCH_SWEEP").is_ok_and(|sweep| sweep == "full");
    let mut jobs = jobs(Mask::Tree, if every { &COMPUTE } else { &TREE_COMPUTE });
    let tile = plain_jobs().into_iter().filter(|job| job.source == KernelSource::AttentionTile.file());
    jobs.extend(
        tile.map(|job| Job { defines: Mask::Tree.define().map(str::to_owned).into_iter().collect(), ..job }),
    );
    check_all(&jobs);
}

#[test]
fn the_other_kernels_compile_for_every_architecture_within_their_resources() {
    check_all(&plain_jobs());
}

fn check_all(jobs: &[Job]) {
    if !nvrtc_present() {
        assert!(
            std::env::var_os("BENCH_REQUIRE_NVRTC").is_none(),
            "BENCH_REQUIRE_NVRTC is set, but libnvrtc is not found"
        );
        println!(
            "SKIP: libnvrtc is not found (pip install nvidia-cuda-nvrtc==13.0.88; LD_LIBRARY_PATH to its lib folder)"
        );
        return;
    }
    let started = Instant::now();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = check(job);
                    results.lock().unwrap().push((job.clone(), outcome));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by(|a, b| a.0.cmp(&b.0));
    let errors: Vec<&String> = results.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).collect();
    for (job, outcome) in &results {
        if let Ok(used) = outcome {
            println!(
                "{} {}: {} registers of {}",
                job.name,
                architecture(job.compute),
                used.registers,
                job.max_registers
            );
        }
    }
    println!("{} kernels with NVRTC {:?} in {:.1?}", jobs.len(), nvrtc_version().unwrap(), started.elapsed());
    assert!(
        errors.is_empty(),
        "{} of {}:\n{}",
        errors.len(),
        jobs.len(),
        errors.iter().map(|e| e.as_str()).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn the_assemblers_report_is_understood() {
    let log = "ptxas info    : 8 bytes gmem\n    16 bytes stack frame, 24 bytes spill stores, 40 bytes spill loads\n\
               ptxas info    : Used 128 registers, used 1 barriers, 16 bytes cumulative stack size, 41216 bytes smem\n";
    assert_eq!(parse(log), Used { registers: 128, spills: 24, stack: 16, shared: 41_216 });
    assert_eq!(parse("nothing").registers, u32::MAX);
}
