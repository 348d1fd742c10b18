//! One module a command.

mod compare;
mod doctor;
mod export;
mod gate;
mod import;
mod kernels;
mod lower;
mod mock;
mod model;
mod presets;
mod publish;
mod report;
mod run;
mod serve;

use std::process::ExitCode;

use crate::args::Command;
use crate::failure::Failure;

/// Runs a command.
pub(crate) fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Report(args) => report::report(&args),
        Command::Export(args) => export::export(&args),
        Command::Import(args) => import::import(&args),
        Command::Publish(args) => publish::publish(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Gate(args) => gate::gate(&args),
        Command::Presets(command) => presets::presets(&command),
        Command::Model(command) => model::model(&command),
        Command::Serve(args) => serve::serve(&args),
        Command::Mock(args) => mock::mock(&args),
        Command::Selftest(args) => crate::selftest::selftest(&args),
        Command::Kernels(args) => kernels::kernels(&args),
        Command::Doctor => doctor::doctor(),
    }
}
