//! The `bench` command: wires presets, stacks, runner, results and plots together. Holds no formula and no protocol.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 usage or set-up error, 3 finished but some arm failed
//! or is invalid, 130 stopped by Ctrl-C (what was measured is kept). `bench gate`: 0 pass, 1 regression, 2 neither.

mod args;
mod bandwidth;
mod commands;
mod environment;
mod failure;
mod gate;
mod kv_quality;
mod models;
mod noise;
mod places;
mod progress;
mod readback;
mod runs;
mod selftest;
mod table;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::failure::Failure;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    match commands::dispatch(args.command) {
        Ok(code) => code,
        Err(failure) => {
            report(&failure);
            ExitCode::from(failure.code)
        }
    }
}

/// Help and version are data and a success; anything else is a usage error, exit code 1. Of a gate that would say
/// "regression": there it is 2.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is the only way this can fail, and then there is nobody to tell.
    drop(error.print());
    let is_gate = std::env::args_os().nth(1).is_some_and(|command| command == "gate");
    match (error.use_stderr(), is_gate) {
        (false, _) => ExitCode::SUCCESS,
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::from(2),
    }
}

fn report(failure: &Failure) {
    let mut err = anstream::stderr().lock();
    let style = anstyle::Style::new().fg_color(Some(anstyle::AnsiColor::Red.into())).bold();
    drop(writeln!(err, "{style}error{style:#}: {failure}"));
    if let Some(hint) = &failure.hint {
        drop(writeln!(err, "hint: {hint}"));
    }
}
