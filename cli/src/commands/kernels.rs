//! `bench kernels`: which attention and mat-vec kernels a GPU runs, and how fast they are beside what its memory gives.

use std::io::Write;
use std::process::ExitCode;

use bench_engine::attention::DeviceCaps;
use bench_engine::kernels::{
    Case, CaseGrid, InstanceRow, Measured, MeasuredGpu, Outcome, Planned, Session, cases, gpu_here,
    instance_rows, planned,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::args::KernelsArgs;
use crate::failure::Failure;
use crate::table;

pub(crate) fn kernels(args: &KernelsArgs) -> Result<ExitCode, Failure> {
    let grid = CaseGrid { depths: args.depths.clone(), rows: args.rows.clone(), filter: args.filter.clone() };
    let cases = cases(&grid)?;
    let text = if args.list { list(args, &cases)? } else { measure(args, &cases)? };
    // A closed pipe is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    Ok(ExitCode::SUCCESS)
}

/// Measures every case on the first GPU.
fn measure(args: &KernelsArgs, cases: &[Case]) -> Result<String, Failure> {
    let mut session = Session::open().map_err(|error| {
        let failure = Failure::from(error);
        let hint = failure.hint.as_deref().map_or_else(String::new, |hint| format!("{hint}; "));
        Failure::with_hint(
            format!("`bench kernels` measures a GPU, and there is none to measure: {failure}"),
            format!(
                "{hint}`bench doctor` shows what is found; `bench kernels --list --compute 86` needs no GPU"
            ),
        )
    })?;
    let bar = progress(cases.len());
    if bar.is_hidden() {
        drop(writeln!(std::io::stderr(), "measuring {} cases on {}", cases.len(), session.gpu().name));
    }
    let mut rows = Vec::with_capacity(cases.len());
    for case in cases {
        bar.set_message(case.name());
        rows.push(session.measure(case)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let gpu = session.gpu();
    if args.json {
        return Ok(format!("{:#}\n", json!({"gpu": gpu, "kernels": rows})));
    }
    Ok(format!("{}\n{}\n{MEASURED_LEGEND}\n", gpu_line(gpu), measured_table(&rows)))
}

const MEASURED_LEGEND: &str = "\
us: a launch out of memory, median and 95th percentile of replayed graphs (attention with its combine step). GB/s: the
cache rows or weights that it cannot but read, over the median. of read: GB/s over the read bandwidth above; small data
stays in L2, where it says little.";

const LIST_LEGEND: &str = "\
Decode and verify steps of 1 to 8 rows run one kernel, made for 8. shared: of a block. blocks: of a launch, splits of the
keys among them.";

fn gpu_line(gpu: &MeasuredGpu) -> String {
    let (major, minor) = (gpu.compute / 10, gpu.compute % 10);
    format!(
        "{}, compute capability {major}.{minor}, {} multiprocessors, NVRTC {}.{}: {:.0} GB/s read\n",
        gpu.name, gpu.multiprocessors, gpu.nvrtc.0, gpu.nvrtc.1, gpu.read_gb_per_s
    )
}

fn measured_table(rows: &[Measured]) -> String {
    let head = ["case", "us", "p95", "GB/s", "of read", "kernel"].map(str::to_owned);
    let row = |row: &Measured| match &row.outcome {
        Outcome::Measured { planned, times, gb_per_s, share_of_read, .. } => [
            row.name.clone(),
            format!("{:.2}", times.us_median),
            format!("{:.2}", times.us_p95),
            format!("{gb_per_s:.0}"),
            format!("{:.1} %", 100.0 * share_of_read),
            kernel(planned),
        ],
        Outcome::Skipped { why } => {
            let empty = String::new;
            [row.name.clone(), "skipped".to_owned(), empty(), empty(), empty(), why.clone()]
        }
    };
    let all: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(row)).collect();
    table::columns(&all)
}

/// `mma-turbo-d512-c16-k64-w8-s4 x66`.
fn kernel(planned: &Planned) -> String {
    if planned.splits > 1 {
        format!("{} x{}", planned.kernel, planned.splits)
    } else {
        planned.kernel.clone()
    }
}

/// The plan of every case, and the table of attention kernels, for a device that need not be there.
fn list(args: &KernelsArgs, cases: &[Case]) -> Result<String, Failure> {
    let (what, caps) = device_of(args)?;
    let plans: Vec<_> = cases.iter().map(|case| (case.name(), planned(case, &caps))).collect();
    let instances = instance_rows(&caps);
    if args.json {
        let plans = plans.iter().map(|(name, plan)| match plan {
            Ok(plan) => json!({"name": name, "planned": plan}),
            Err(why) => json!({"name": name, "refused": why}),
        });
        let device = json!({
            "compute": caps.compute,
            "multiprocessors": caps.multiprocessors,
            "shared_per_block": caps.shared_per_block,
        });
        let all = json!({"device": device, "instances": instances, "plans": plans.collect::<Vec<_>>()});
        return Ok(format!("{all:#}\n"));
    }
    let (major, minor) = (caps.compute / 10, caps.compute % 10);
    let kib = kib(caps.shared_per_block);
    Ok(format!(
        "{what}: compute capability {major}.{minor}, {} multiprocessors, {kib} of shared memory a block\n\n\
         Attention kernels\n{}\nPlans\n{}\n{LIST_LEGEND}\n",
        caps.multiprocessors,
        instance_table(&instances),
        plan_table(&plans)
    ))
}

/// The device of the list: the one that was named, or the one here.
fn device_of(args: &KernelsArgs) -> Result<(String, DeviceCaps), Failure> {
    let with_size = |mut caps: DeviceCaps| {
        caps.multiprocessors = args.multiprocessors.unwrap_or(caps.multiprocessors);
        caps
    };
    if let Some(compute) = args.compute {
        return Ok(("A typical device".to_owned(), with_size(DeviceCaps::typical(compute))));
    }
    let (name, caps) = gpu_here().map_err(|error| {
        Failure::with_hint(
            format!("`--list` without `--compute` lists for the GPU here, and there is none: {error}"),
            "name one: `--compute 86` (RTX 3060: 86, RTX 4090: 89, H100 and H200: 90, RTX 5060 Ti: 120)",
        )
    })?;
    Ok((name, with_size(caps)))
}

fn instance_table(rows: &[InstanceRow]) -> String {
    let head = ["kernel", "head_dim", "shared", "registers", "runs", "K/V types"].map(str::to_owned);
    let row = |row: &InstanceRow| {
        [
            row.name.clone(),
            row.head_dims.clone(),
            kib(row.shared_bytes),
            row.registers.to_string(),
            row.refused.as_ref().map_or_else(|| "yes".to_owned(), |why| format!("no: {why}")),
            if row.formats.len() > 16 { "every pair".to_owned() } else { row.formats.join(" ") },
        ]
    };
    table::columns(&std::iter::once(head).chain(rows.iter().map(row)).collect::<Vec<_>>())
}

fn plan_table(plans: &[(String, Result<Planned, String>)]) -> String {
    let head = ["case", "kernel", "shared", "blocks"].map(str::to_owned);
    let row = |(name, plan): &(String, Result<Planned, String>)| match plan {
        Ok(plan) => [name.clone(), kernel(plan), kib(plan.shared_bytes), plan.blocks.to_string()],
        Err(why) => [name.clone(), format!("none: {why}"), String::new(), String::new()],
    };
    table::columns(&std::iter::once(head).chain(plans.iter().map(row)).collect::<Vec<_>>())
}

fn kib(bytes: u32) -> String {
    format!("{:.1} KiB", f64::from(bytes) / 1024.0)
}

/// On stderr; hidden where that is no terminal.
fn progress(len: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len as u64), ProgressDrawTarget::stderr());
    let template = "{bar:28.cyan/black} {pos:>4}/{len} {msg}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
