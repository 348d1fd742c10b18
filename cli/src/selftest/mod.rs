//! `bench selftest`: our own client against the paced mock server, and the error budget.
//!
//! Every case is a child process of this very program, `bench mock`, and another, `bench run`: what is measured is the
//! whole command, not a special path of it. What the run wrote is held against what the mock says it did. Exit code 0
//! within the budget, 3 outside of it.

mod budget;
mod case;
mod measure;

use std::io::Write;
use std::process::ExitCode;

use self::case::{CASES, Case};
use crate::args::SelftestArgs;
use crate::failure::Failure;
use crate::table;

pub(crate) fn selftest(args: &SelftestArgs) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("start a runtime for", &args.dir, &error))?;
    let wanted = |case: &&Case| args.cases.is_empty() || args.cases.iter().any(|name| name == case.name);
    let cases: Vec<_> = CASES.iter().filter(wanted).collect();
    if cases.is_empty() {
        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        return Err(Failure::with_hint("no such case", format!("there are: {}", names.join(", "))));
    }
    let mut results = Vec::new();
    for case in cases {
        drop(writeln!(std::io::stderr(), "{}: {}", case.name, case.what));
        let figures = runtime.block_on(measure::measure(case, &args.dir))?;
        results.push(budget::judge(case, &figures));
    }
    let text = if args.json {
        let text = serde_json::to_string_pretty(&results);
        text.map_err(|error| Failure::with_hint(error.to_string(), "this is a bug"))? + "\n"
    } else {
        table::columns(&budget::rows(&results))
    };
    // A closed pipe is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    let good = results.iter().all(budget::CaseResult::is_within);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
