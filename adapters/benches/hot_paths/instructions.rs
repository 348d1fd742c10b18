//! Instructions of our hot paths, counted by callgrind and held against stored figures: `cargo bench --workspace --bench
//! instructions`.
//!
//! Times on a shared machine scatter by per cents, counts of a deterministic program do not: a gate at 1 % has no false
//! alarms and sees any change of the code. It does not see memory, caches or waiting: those are for the timed benchmarks
//! beside it. Each case runs in a process of its own under valgrind, which counts inside [`measured`] alone.
//!
//! Counts are of one compiler: `figures.txt` names it. Under another one they are shown and nothing is judged, which is said;
//! the commit that changes the compiler makes the figures again with `BLESS=1`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]
#![expect(clippy::expect_used, reason = "a benchmark of fixed, valid input")]

mod cases;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::cases::CASES;

/// A count further from its figure is a finding, in either direction: a figure that is too high hides the next loss.
const TOLERANCE: f64 = 0.01;

const REMAKE: &str = "make them again: BLESS=1 cargo bench --workspace --bench instructions";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.iter().position(|argument| argument == "--case") {
        Some(at) => {
            arguments.get(at + 1).map_or(Err("--case needs a name".to_owned()), |name| run_case(name))
        }
        None => check(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What valgrind is told to count inside of. Never inlined, and named in no other symbol.
#[inline(never)]
fn measured(hot: &mut dyn FnMut()) {
    hot();
}

/// In a thread of its own, because that has a heap of its own: in the first one, what paths and variables of the environment
/// left there decides whether a vector grows in place, which moved a count by 2 per cent.
fn run_case(name: &str) -> Result<(), String> {
    let case = CASES.iter().find(|case| case.name == name).ok_or(format!("no case is called `{name}`"))?;
    let prepared_and_run = || {
        let mut hot = (case.prepare)();
        measured(&mut *hot);
    };
    std::thread::spawn(prepared_and_run).join().map_err(|_panic| format!("{name} panicked"))
}

fn check() -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/hot_paths/figures.txt");
    let compiler = first_line(Command::new("rustc").arg("-V"))?;
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    let (of, stored) = if bless { (compiler.clone(), BTreeMap::new()) } else { read(&path)? };
    let comparable = of == compiler;
    let mut counts = BTreeMap::new();
    let mut findings = Vec::new();
    for case in CASES {
        if !(case.runs_here)() {
            println!("{:<34} left out: this CPU has no AVX2, FMA and F16C", case.name);
            continue;
        }
        let count = count(case.name)?;
        let (words, is_finding) = judged(count, stored.get(case.name).copied(), bless);
        let is_finding = is_finding && comparable;
        println!("{:<34} {count:>12}  {words}", case.name);
        findings.extend(is_finding.then(|| format!("{}: {words}", case.name)));
        counts.insert(case.name, count);
    }
    let gone = stored.keys().filter(|name| CASES.iter().all(|case| case.name != name.as_str()));
    findings.extend(gone.map(|name| format!("{name}: has a figure and is no case")));
    if bless {
        return write(&path, &compiler, &counts);
    }
    if !comparable {
        eprintln!("not judged: the figures are of `{of}`, this is `{compiler}`; {REMAKE}");
        return Ok(());
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} of {} counts are not within {:.0} % of their figures:\n  {}\nif that is meant, {REMAKE}",
        findings.len(),
        counts.len(),
        TOLERANCE * 100.0,
        findings.join("\n  ")
    ))
}

fn judged(count: u64, figure: Option<u64>, bless: bool) -> (String, bool) {
    let Some(figure) = figure else {
        return if bless { ("stored".to_owned(), false) } else { ("has no figure".to_owned(), true) };
    };
    let change = count as f64 / figure as f64 - 1.0;
    (format!("{:+.2} % of {figure}", change * 100.0), change.abs() > TOLERANCE)
}

/// Instructions of one case, inside [`measured`].
fn count(name: &str) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program is nowhere: {error}"))?;
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*instructions::measured*",
        ])
        .arg(program)
        .args(["--case", name])
        .output()
        .map_err(|error| format!("cannot run valgrind: {error} (apt-get install valgrind)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("valgrind on {name}: {}: {said}", output.status));
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    // Nothing at all: the function was not found under that name.
    collected.filter(|&count| count > 0).ok_or_else(|| format!("valgrind counted nothing of {name}: {said}"))
}

fn first_line(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned).ok_or_else(|| format!("{command:?} said nothing"))
}

/// The compiler, then lines `name count`.
fn read(path: &Path) -> Result<(String, BTreeMap<String, u64>), String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let compiler = lines.next().unwrap_or_default().to_owned();
    let figure = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    let figures = lines
        .map(|line| figure(line).ok_or_else(|| format!("{}: `{line}` is no figure", path.display())))
        .collect::<Result<_, _>>()?;
    Ok((compiler, figures))
}

fn write(path: &Path, compiler: &str, counts: &BTreeMap<&str, u64>) -> Result<(), String> {
    let mut text = String::from(
        "# Instructions of hot paths by callgrind. Written by: BLESS=1 cargo bench --workspace --bench instructions\n",
    );
    text += compiler;
    text.push('\n');
    for (name, count) in counts {
        writeln!(text, "{name} {count}").expect("writing to a string does not fail");
    }
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
