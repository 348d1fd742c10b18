//! The command line as typed; what it means is decided in `commands`.

mod gate;
mod kernels;

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use bench_core::load::Shard;
use bench_core::preset::{KvType, KvTypes, StackKind};

pub(crate) use self::gate::{GateArgs, GateCommand, JudgeArgs};
pub(crate) use self::kernels::KernelsArgs;

/// Measure speculative decoding honestly: the same preset on every stack, counts instead of guesses, ratios with
/// intervals.
#[derive(Debug, Parser)]
#[command(name = "bench", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Start here:
  bench run quickstart               measure the bundled Gemma-4 pair with and without speculation (no set-up)
  bench presets list                 what else is shipped
  bench doctor                       what this machine can run, and what is missing

A run leaves a directory with manifest.json and rows.jsonl, one row a request; report/index.html is made from them.

Exit codes: 0 all arms measured; 1 usage or set-up error; 3 some arm failed or is invalid; 130 stopped by Ctrl-C.
`bench gate`: 0 pass, 1 regression, 2 neither was shown.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a preset on its stacks, interleaved, and write the report
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Make the report again, from one run or from several of the same preset
    Report(ReportArgs),
    /// Write runs in a form that other tools read: Parquet, vllm bench's JSON, CSV, Markdown, a profile
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Read a file of another tool, to draw its figures; they are never compared with measured ones
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Compare two runs that were not interleaved: intervals, tests, verdicts, outputs
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// Say by exit code whether a run may replace a baseline: pass, regression, or neither was shown
    #[command(after_help = gate::GATE_EXAMPLES)]
    Gate(GateArgs),
    /// Make a static site of many runs: an index with filters, trends, each run's page and raw rows
    #[command(after_help = PUBLISH_EXAMPLES)]
    Publish(PublishArgs),
    /// The shipped presets
    #[command(subcommand)]
    Presets(PresetsCommand),
    /// Look into a GGUF file, or write synthetic models
    #[command(subcommand)]
    Model(ModelCommand),
    /// The native engine behind an OpenAI-compatible endpoint, for other tools and for llama-swap
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// A paced OpenAI-compatible server whose truth is known, to measure clients with
    #[command(after_help = MOCK_EXAMPLES)]
    Mock(MockArgs),
    /// Measure our own client against the mock server, and print its error budget
    #[command(after_help = SELFTEST_EXAMPLES)]
    Selftest(SelftestArgs),
    /// Attention and mat-vec kernels one by one, against the read bandwidth of the GPU here; or which a GPU would run
    #[command(after_help = kernels::KERNELS_EXAMPLES)]
    Kernels(KernelsArgs),
    /// What this machine can run, what is missing, and how to get it
    Doctor,
}

const RUN_EXAMPLES: &str = "\
Examples:
  bench run quickstart
  bench run quickstart --stack native --set run.blocks=10 --set workload.max_tokens=200
  bench run my-pair.toml --out runs/today
  bench run quickstart --aa --set run.blocks=10
  bench run my-pair.toml --stack llama-server --at llama-server=http://127.0.0.1:8080
  bench run my-pair.toml --stack vllm --at vllm/none=http://127.0.0.1:8000 --at vllm/mtp-3=http://127.0.0.1:8001

Keys of servers come from BENCH_API_KEY, or from a stack's own variable (BENCH_VLLM_API_KEY).";

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// A shipped name (`bench presets list`) or a TOML file
    pub(crate) preset: String,
    /// Run on this stack only (repeatable); it must be there. Default: the preset's stacks
    #[arg(long = "stack", value_name = "STACK", value_parser = parse_stack)]
    pub(crate) stacks: Vec<StackKind>,
    /// Where a stack is: `vllm=http://127.0.0.1:8000`, or `llama-server/mtp-3=/opt/llama-server` for one arm (repeatable)
    #[arg(long = "at", value_name = "STACK[/VARIANT]=PLACE")]
    pub(crate) places: Vec<String>,
    /// Directory of the run. Default: bench-runs/PRESET-RUN_ID
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Change a value of the preset: `run.blocks=10`, `variants.mtp-3.draft_max=2`, `serving.kv_type=q8_0/turbo3`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Measure the baseline against itself: what this machine shows as a difference where there is none. Later runs of
    /// the same experiment refuse claims below it
    #[arg(long)]
    pub(crate) aa: bool,
    /// Send part I of N of an open loop, from 0: others send the rest to the same server (one arm, one block)
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    pub(crate) shard: Option<Shard>,
    /// Begin the measured requests at this time, seconds since 1970, so that all parts begin together
    #[arg(long, value_name = "SECONDS", requires = "shard")]
    pub(crate) start_at: Option<f64>,
    /// Memory bandwidth of the device that computes, in GB/s (10^9 bytes): the ceiling that decoding is held against
    /// (docs/explanation.md). Default: of the CPU a short probe before the first request, of a GPU unknown
    #[arg(long, value_name = "GB_PER_S", value_parser = parse_bandwidth)]
    pub(crate) memory_bandwidth: Option<f64>,
    /// Print report.json instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Only measure: `bench report DIR` makes the report, and judges
    #[arg(long, conflicts_with = "json")]
    pub(crate) no_report: bool,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  bench export bench-runs/today --format parquet --out data    data/requests and data/chunks, in hive partitions
  bench report data                                            the report again, from these tables
  bench export bench-runs/today --format vllm                  one file an arm, for dashboards of vllm bench
  bench export bench-runs/today --format block                 to paste into an issue
  bench export bench-runs/today --format speculation-profile   NVIDIA's speculation_profile.json 1.0

docs/results.md has queries over the Parquet files.";

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Run directories, one or several of the same preset; or places such as `s3://BUCKET/RUN` (feature `object-store`)
    #[arg(required = true, value_name = "RUN_DIR")]
    pub(crate) runs: Vec<PathBuf>,
    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: ExportFormatArg,
    /// Where to write it. Default: export/ in the first run directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ExportFormatArg {
    /// One file of requests and one of chunks a run and stack, in partitions `run_date=/stack=/preset=`
    Parquet,
    /// The JSON of `vllm bench serve --save-detailed`
    Vllm,
    /// One line an arm
    Csv,
    /// The report as a document
    Markdown,
    /// What `vllm bench serve` prints
    Block,
    /// NVIDIA's acceptance profile
    SpeculationProfile,
}

const IMPORT_EXAMPLES: &str = "\
Examples:
  bench import openai-infqps-model.json                        the tool is found by the file's keys
  bench import bench.sql --format llama-bench --out imports/laptop

The directory holds a copy of the file; `bench report DIR` makes its report again.";

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// What the tool saved: JSON, lines of it, or llama-bench's SQL
    pub(crate) file: PathBuf,
    /// The tool that wrote it. Default: found by the file's keys
    #[arg(long, value_enum, value_name = "TOOL")]
    pub(crate) format: Option<ImportFormatArg>,
    /// Directory of the import. Default: bench-runs/imported-FILE
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print report.json instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ImportFormatArg {
    /// `vllm bench serve --save-result`
    Vllm,
    /// SGLang's `bench_serving` or `sglang-bench`
    Sglang,
    /// `llama-bench -o json|jsonl|sql`
    LlamaBench,
    /// `profile_export_aiperf.json`
    Aiperf,
    /// GuideLLM's JSON
    Guidellm,
    /// llama.cpp's `speed_bench.py`
    SpeedBench,
}

const PUBLISH_EXAMPLES: &str = "\
Examples:
  bench publish site                                  the runs under results/published
  bench publish site bench-runs/a bench-runs/b

Open site/index.html from the disk, or put the directory on any web server (GitHub Pages: .github/workflows/publish.yml).
Pages are made again from the rows; prompts and outputs are in them, so publish only what may be seen.";

#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    /// Where to write the site
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Run directories, or places as for `report`. Default: those under results/published
    #[arg(value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
}

const COMPARE_EXAMPLES: &str = "\
Examples:
  bench compare bench-runs/yesterday bench-runs/today
  bench compare f16 q8 --allow serving
  bench compare run-a run-b --arms native/none=native/mtp-3 --json

Arms of one run are compared by its own report, which is the better experiment: they were interleaved.";

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Directory (or place, as for `report`) of the run below the line
    #[arg(value_name = "RUN_A")]
    pub(crate) baseline: PathBuf,
    /// Directory (or place, as for `report`) of the run above the line
    #[arg(value_name = "RUN_B")]
    pub(crate) candidate: PathBuf,
    /// Compare this arm of the first run with that of the second (repeatable). Default: arms of equal labels
    #[arg(long, value_name = "A=B")]
    pub(crate) arms: Vec<String>,
    /// The runs may differ in this (repeatable); the table says so
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) allow: Vec<AllowArg>,
    /// Print JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum AllowArg {
    /// Other machines
    Machine,
    /// Other model files
    Models,
    /// Another KV type, context, number of threads, device or route
    Serving,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  bench model synth tiny models
  bench serve --model models/tiny-target.gguf --assistant models/tiny-assistant.gguf --spec mtp
  BENCH_LLAMA_SERVER=http://127.0.0.1:8080 bench run my-pair.toml --stack llama-server

There is no authentication unless BENCH_SERVE_API_KEY is set; then clients need `Authorization: Bearer KEY`.";

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// GGUF file of the target
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// GGUF file of its MTP assistant; needed by `--spec mtp`
    #[arg(long, value_name = "FILE")]
    pub(crate) assistant: Option<PathBuf>,
    /// How to draft
    #[arg(long, value_enum, default_value_t = SpecMethod::None)]
    pub(crate) spec: SpecMethod,
    /// Most drafted tokens in a round
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) draft_max: NonZeroUsize,
    /// Shortest n-gram that may match
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) ngram_min: NonZeroUsize,
    /// Longest n-gram, tried first
    #[arg(long, value_name = "N", default_value = "4")]
    pub(crate) ngram_max: NonZeroUsize,
    /// Most tokens of a sequence, prompt and output
    #[arg(long, value_name = "TOKENS", default_value = "4096")]
    pub(crate) context: NonZeroUsize,
    /// How keys and values are stored: f32, f16, bf16 (on a GPU only), `q8_0`, turbo2, turbo3, turbo4 or turbo4-atomic (made for
    /// a GPU and slow on the CPU); keys and values apart as `q8_0/turbo3`
    #[arg(long, value_name = "TYPE", default_value_t = KvTypes::same(KvType::F16))]
    pub(crate) kv_type: KvTypes,
    /// Where the models run
    #[arg(long, value_enum, default_value_t = DeviceArg::Auto)]
    pub(crate) device: DeviceArg,
    /// Where a GPU keeps the table of per-layer embeddings (Gemma 4 E2B and E4B), of which a token reads one row
    #[arg(long, value_enum, default_value_t = PleTableArg::Auto)]
    pub(crate) ple_table: PleTableArg,
    /// Threads that compute on the CPU. Default: as many as the machine has
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port, 0 for any that is free
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Requests that may wait while one runs; more are refused with 503
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) queue: usize,
    /// The model's name for clients. Default: the file's name
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Option<String>,
}

const SELFTEST_EXAMPLES: &str = "\
Examples:
  bench selftest                                      all cases, half a minute
  bench selftest --case paced-512 --case stall --json

Exit codes: 0 every figure is within its limit; 3 some is not; 1 a case could not be played.
The limits are of a quiet machine: the client shares its CPUs with the mock and with whatever else runs.";

#[derive(Debug, clap::Args)]
pub(crate) struct SelftestArgs {
    /// Only this case (repeatable): paced-1, paced-64, paced-512, unpaced-1, unpaced-64, unpaced-512, stall, speculation
    #[arg(long = "case", value_name = "NAME")]
    pub(crate) cases: Vec<String>,
    /// Where its runs are kept
    #[arg(long, value_name = "DIR", default_value = "bench-runs/selftest")]
    pub(crate) dir: PathBuf,
    /// Print JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

const MOCK_EXAMPLES: &str = "\
Examples:
  bench mock --ttft-ms 50 --itl-ms 10                         128 tokens a request, one a chunk
  bench mock --spec 3,1,2,0 --spec-k 3                        2.51 tokens a chunk of 128 tokens
  bench mock --stall-every 40 --stall-ms 100                  3 of 127 gaps are 110 ms
  curl -X POST localhost:8200/reset; curl localhost:8200/truth

/truth tells what was written when, to be held against what a client reports. No key, no TLS, streams only.";

#[derive(Debug, clap::Args)]
pub(crate) struct MockArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port, 0 for any that is free
    #[arg(long, default_value_t = 8200)]
    pub(crate) port: u16,
    /// From a request to its first chunk
    #[arg(long, value_name = "MS", default_value = "50", value_parser = parse_ms)]
    pub(crate) ttft_ms: Duration,
    /// From chunk to chunk
    #[arg(long, value_name = "MS", default_value = "10", value_parser = parse_ms)]
    pub(crate) itl_ms: Duration,
    /// Tokens of a request that names no number
    #[arg(long, value_name = "TOKENS", default_value = "128")]
    pub(crate) chunks: NonZeroU32,
    /// Most tokens of any request, whatever it asks; it then ends with `stop`
    #[arg(long, value_name = "TOKENS")]
    pub(crate) cap: Option<NonZeroU32>,
    /// Drafts that step after step accepts, around and around: `3,1,2,0`
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    pub(crate) spec: Vec<u32>,
    /// Drafted tokens of every step
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) spec_k: u32,
    /// Make every N-th gap longer
    #[arg(long, value_name = "N", requires = "stall_ms")]
    pub(crate) stall_every: Option<NonZeroU32>,
    /// By so much
    #[arg(long, value_name = "MS", requires = "stall_every", value_parser = parse_ms)]
    pub(crate) stall_ms: Option<Duration>,
    /// Tell llama.cpp's `timings` beside vLLM's `metrics`
    #[arg(long)]
    pub(crate) timings: bool,
    /// No chunk without content before the first
    #[arg(long)]
    pub(crate) no_role_chunk: bool,
    /// The model's name for clients
    #[arg(long, value_name = "NAME", default_value = "mock")]
    pub(crate) model: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SpecMethod {
    None,
    Mtp,
    Ngram,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DeviceArg {
    /// The GPU if there is one that can be used, else the CPU
    Auto,
    Cpu,
    Gpu,
}

/// As `serving.ple_table` of a preset.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum PleTableArg {
    /// In its own memory, or the host's where that has no room for it
    Auto,
    Device,
    /// Rows are read over the bus
    Host,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Run directories, or directories that `bench export --format parquet` wrote; or places of either, such as
    /// `s3://BUCKET/RUN` and `https://HOST/RUN` (feature `object-store`)
    #[arg(required = true, value_name = "RUN_DIR")]
    pub(crate) runs: Vec<PathBuf>,
    /// Where to write it. Default: report/ in the first run directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print report.json instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PresetsCommand {
    /// Names and descriptions, by theme, with the model files that they need
    List,
    /// The TOML of a preset, to read or to start your own from
    Show {
        /// A shipped name or a TOML file
        preset: String,
    },
    /// What a preset becomes for one stack: command lines, vLLM's JSON, llama-swap's YAML
    #[command(after_help = LOWER_EXAMPLES)]
    Lower(LowerArgs),
    /// The JSON Schema of presets, for editors
    Schema,
}

const LOWER_EXAMPLES: &str = "\
Examples:
  bench presets lower gemma-4-e4b-throughput --stack llama-server
  bench presets lower gemma-4-e4b-throughput --stack atomic-llama-server --dialect atomic-old
  bench presets lower vllm-recommended-e4b --stack vllm
  bench presets lower gemma-4-e4b --stack llama-swap > llama-swap.yaml

A variant that the stack cannot run is a line that says why. Exit code 1: it can run none of them.";

#[derive(Debug, clap::Args)]
pub(crate) struct LowerArgs {
    /// A shipped name or a TOML file
    pub(crate) preset: String,
    /// For which stack
    #[arg(long, value_name = "STACK", value_parser = parse_stack)]
    pub(crate) stack: StackKind,
    /// Only this variant, by its label
    #[arg(long, value_name = "LABEL")]
    pub(crate) variant: Option<String>,
    /// Which flags the server knows. Default: upstream for llama-server and llama-swap, atomic-new for the fork
    #[arg(long, value_enum)]
    pub(crate) dialect: Option<DialectArg>,
    /// Change a value of the preset: `serving.kv_type=q8_0`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DialectArg {
    /// llama.cpp
    Upstream,
    /// The fork before b10018
    AtomicOld,
    /// The fork since b10018
    AtomicNew,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Architecture, metadata and tensor types of a GGUF file or of a bundled pair
    Info {
        /// The file, or the name of a bundled pair (`nano`; `./nano` is a file)
        file: PathBuf,
    },
    /// Copy a bundled pair out, for other tools (for llama.cpp with an assistant that it loads)
    Export {
        /// Its name: `nano`
        name: String,
        /// Where to write target and assistant
        dir: PathBuf,
    },
    /// Write a synthetic pair, deterministic by seed
    #[command(subcommand)]
    Synth(SynthCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SynthCommand {
    /// A tiny Gemma-4 pair that follows a planted rule, so that its acceptance is known beforehand
    Tiny {
        /// Where to write target, assistant and rule
        dir: PathBuf,
        /// Share of tokens whose successor the assistant knows, 0 to 1
        #[arg(long, default_value_t = 0.7)]
        acceptance: f32,
        /// Weight type of the matrices
        #[arg(long, value_enum, default_value_t = Weights::F16)]
        weights: Weights,
        /// Seed of all weights
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Random weights in the real shapes of a Gemma 4 model and its assistant: real speed, meaningless text
    Real {
        /// Which model
        #[arg(value_enum)]
        size: Size,
        /// Where to write target and assistant
        dir: PathBuf,
        /// Weight type of the matrices
        #[arg(long, value_enum, default_value_t = Weights::Q8_0)]
        weights: Weights,
        /// Seed of all weights
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Weights {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Size {
    #[value(name = "e2b")]
    E2b,
    #[value(name = "e4b")]
    E4b,
    #[value(name = "12b")]
    B12,
    #[value(name = "26b-a4b")]
    B26A4b,
    #[value(name = "31b")]
    B31,
}

/// Milliseconds, fractions allowed, up to a day.
fn parse_ms(text: &str) -> Result<Duration, String> {
    const DAY_MS: f64 = 86_400_000.0;
    let ms: f64 = text.parse().map_err(|_not_a_number| "expected milliseconds, like 10 or 0.5".to_owned())?;
    if (0.0..=DAY_MS).contains(&ms) {
        Ok(Duration::from_secs_f64(ms / 1e3))
    } else {
        Err("expected 0 to 86400000 milliseconds".to_owned())
    }
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    let parts = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
    match parts {
        Some((index, of)) if index < NonZeroU32::get(of) => Ok(Shard { index, of }),
        Some(_) | None => Err("expected I/N with I from 0 to N - 1, such as 0/2".to_owned()),
    }
}

/// Bytes a second.
fn parse_bandwidth(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|error| format!("`{text}` is not a number of GB/s: {error}"))?;
    if value.is_finite() && value > 0.0 {
        Ok(value * 1e9)
    } else {
        Err(format!("`{text}` is not a bandwidth: expected more than 0 GB/s"))
    }
}

fn parse_stack(text: &str) -> Result<StackKind, String> {
    let known = StackKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| {
        let names: Vec<_> = StackKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("no such stack; there are: {}", names.join(", "))
    })
}
