//! `bench serve`: the engine behind HTTP, until Ctrl-C (exit code 130) or SIGTERM (0).

use std::io::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use bench_adapters::serve::{ApiKey, ServeConfig, Server};
use bench_engine::model::{DraftHead, PleTable};
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::{DeviceChoice, EngineConfig, Speculation};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{DeviceArg, PleTableArg, ServeArgs, SpecMethod};
use crate::failure::Failure;

/// Holds the key; its value is never printed, so it is no argument.
const API_KEY_VAR: &str = "BENCH_SERVE_API_KEY";
/// Exit code after Ctrl-C, as shells have it: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

pub(crate) fn serve(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("start threads for", &args.model, &error))?;
    let code = runtime.block_on(serve_until_stopped(args));
    // A prompt that is just being read by the engine must not hold up the exit.
    runtime.shutdown_background();
    code
}

async fn serve_until_stopped(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let config = config(args)?;
    if !config.host.is_loopback() && config.api_key.is_none() {
        say(&format!(
            "warning: {} is open to others and there is no authentication: set {API_KEY_VAR}",
            config.host
        ));
    }
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Failure::io("handle signals while serving", &args.model, &error))?;
    let mut server = Server::start(&config).await?;
    let serving = async {
        server.ready().await?;
        say(&format!("listening on http://{}", server.address()));
        Err(server.died().await)
    };
    let code = tokio::select! {
        ended = serving => return ended.map_err(Failure::from),
        _ = tokio::signal::ctrl_c() => ExitCode::from(INTERRUPTED),
        _ = terminate.recv() => ExitCode::SUCCESS,
    };
    say("stopping");
    server.stop().await;
    Ok(code)
}

fn config(args: &ServeArgs) -> Result<ServeConfig, Failure> {
    let speculation = match args.spec {
        SpecMethod::None => Speculation::None,
        SpecMethod::Mtp => Speculation::Mtp {
            draft_max: args.draft_max,
            acceptance: AcceptanceRule::SampleAndCompare,
            draft_head: DraftHead::Auto,
        },
        SpecMethod::Ngram => Speculation::Ngram {
            draft_max: args.draft_max,
            ngram_min: args.ngram_min,
            ngram_max: args.ngram_max,
        },
    };
    let all_threads = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Ok(ServeConfig {
        engine: EngineConfig {
            target: args.model.clone(),
            assistant: args.assistant.clone(),
            context_tokens: args.context.get(),
            kv_type: bench_adapters::kv_types(args.kv_type)?,
            threads: args.threads.unwrap_or_else(all_threads),
            device: match args.device {
                DeviceArg::Auto => DeviceChoice::Auto,
                DeviceArg::Cpu => DeviceChoice::Cpu,
                DeviceArg::Gpu => DeviceChoice::Gpu(0),
            },
            ple_table: match args.ple_table {
                PleTableArg::Auto => PleTable::Auto,
                PleTableArg::Device => PleTable::Device,
                PleTableArg::Host => PleTable::Host,
            },
            speculation,
        },
        host: args.host,
        port: args.port,
        queue: args.queue,
        alias: args.alias.clone(),
        api_key: std::env::var(API_KEY_VAR).ok().and_then(ApiKey::new),
    })
}

fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
