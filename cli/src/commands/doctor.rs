//! `bench doctor`: what this machine can run, what is missing, and how to get it.

use std::io::Write;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use bench_core::host;
use bench_core::preset::StackKind;
use bench_core::record::HostInfo;

use crate::failure::Failure;
use crate::table;

pub(crate) fn doctor() -> Result<ExitCode, Failure> {
    let mut text = table::columns(&machine(&host::read_host()));
    text.push('\n');
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
        row("load, 1 min", host.load_before.map_or_else(unknown, |load| format!("{load:.2}"))),
    ]
}

/// `ok` or `missing` with the fix.
fn stack(kind: StackKind) -> String {
    let style = |colour: AnsiColor| Style::new().fg_color(Some(colour.into())).bold();
    let (good, bad) = (style(AnsiColor::Green), style(AnsiColor::Yellow));
    match bench_adapters::availability(kind) {
        Ok(found) => format!("{good}ok{good:#}       {kind}: {found}\n"),
        Err(error) => {
            let hint = error.hint().map_or_else(String::new, |hint| format!("         {hint}\n"));
            format!("{bad}missing{bad:#}  {error}\n{hint}")
        }
    }
}
