//! `bench doctor`: what this machine can run, what is missing, and how to get it.

use std::io::Write;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use bench_core::bandwidth::{BEYOND_CACHES_BYTES, MemoryBandwidth, probe};
use bench_core::host;
use bench_core::preset::StackKind;
use bench_core::record::HostInfo;
use bench_engine::session::{GpuInfo, GpuState, gpu_state};

use crate::failure::Failure;
use crate::table;

pub(crate) fn doctor() -> Result<ExitCode, Failure> {
    let host = host::read_host();
    let mut facts = machine(&host);
    facts.push(["memory bandwidth".to_owned(), bandwidth(host.cpu_count.unwrap_or(1))]);
    let mut text = table::columns(&facts);
    text.push('\n');
    text.push_str(&gpus(&gpu_state()));
    for kind in StackKind::ALL {
        text.push_str(&stack(kind));
    }
    // A closed pipe is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    Ok(ExitCode::SUCCESS)
}

fn machine(host: &HostInfo) -> Vec<[String; 2]> {
    let unknown = || "unknown".to_owned();
    let features = if host.cpu_features.is_empty() {
        "none of avx2, fma, f16c: the engine's scalar path runs, several times slower".to_owned()
    } else {
        host.cpu_features.join(" ")
    };
    let row = |name: &str, value: String| [name.to_owned(), value];
    vec![
        row("system", host.os.clone().unwrap_or_else(unknown)),
        row("cpu", host.cpu.clone().unwrap_or_else(unknown)),
        row("logical cpus", host.cpu_count.map_or_else(unknown, |n| n.to_string())),
        row("instructions", features),
        row(
            "memory",
            host.memory_bytes.map_or_else(unknown, |n| format!("{:.1} GiB", n as f64 / f64::from(1 << 30))),
        ),
        row(
            "gpus",
            if host.gpus.is_empty() { "none that NVML names".to_owned() } else { host.gpus.join(", ") },
        ),
        row("load, 1 min", host.load_before.map_or_else(unknown, |load| format!("{load:.2}"))),
    ]
}

/// What all CPUs together read from memory, caches left out.
fn bandwidth(threads: u32) -> String {
    match probe(threads, &[BEYOND_CACHES_BYTES]) {
        Ok(MemoryBandwidth::Probed { readings, .. }) => readings.first().map_or_else(
            || "unknown".to_owned(),
            |best| {
                let gb_per_s = best.bytes_per_s / 1e9;
                let mib = best.buffer_bytes >> 20;
                format!(
                    "{gb_per_s:.1} GB/s read by {threads} threads, best of {} passes over {mib} MiB",
                    best.passes
                )
            },
        ),
        Ok(MemoryBandwidth::Given { .. }) => "unknown".to_owned(),
        Err(error) => format!("could not be measured: {error}"),
    }
}

/// What our own engine finds to compute on.
fn gpus(state: &GpuState) -> String {
    match state {
        GpuState::Ready { gpus, nvrtc } => {
            let line = |gpu: &GpuInfo| {
                let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
                let (major, minor) = (gpu.compute / 10, gpu.compute % 10);
                found(&format!(
                    "gpu: {}, compute capability {major}.{minor}, {:.1} of {:.1} GiB free, NVRTC {}.{}",
                    gpu.name,
                    gib(gpu.free_bytes),
                    gib(gpu.memory_bytes),
                    nvrtc.0,
                    nvrtc.1
                ))
            };
            gpus.iter().map(line).collect()
        }
        GpuState::Missing { what, hint } => missing(&format!("gpu: {what}"), hint.as_deref()),
    }
}

/// `ok` or `missing` with the fix.
fn stack(kind: StackKind) -> String {
    match bench_adapters::availability(kind) {
        Ok(place) => found(&format!("{kind}: {place}")),
        Err(error) => missing(&error.to_string(), error.hint().as_deref()),
    }
}

fn found(what: &str) -> String {
    let good = Style::new().fg_color(Some(AnsiColor::Green.into())).bold();
    format!("{good}ok{good:#}       {what}\n")
}

fn missing(what: &str, hint: Option<&str>) -> String {
    let bad = Style::new().fg_color(Some(AnsiColor::Yellow.into())).bold();
    let hint = hint.map_or_else(String::new, |hint| format!("         {hint}\n"));
    format!("{bad}missing{bad:#}  {what}\n{hint}")
}
