//! `bench presets`.

use std::io::Write;
use std::process::ExitCode;

use crate::args::PresetsCommand;
use crate::failure::Failure;
use crate::table;

pub(crate) fn presets(command: &PresetsCommand) -> Result<ExitCode, Failure> {
    let text = match command {
        PresetsCommand::List => {
            let rows: Vec<[String; 2]> = bench_presets::shipped()
                .iter()
                .map(|preset| [preset.name.to_owned(), preset.description.to_owned()])
                .collect();
            table::columns(&rows)
        }
        PresetsCommand::Show { preset } => bench_presets::to_toml(&bench_presets::load(preset, &[])?)?,
    };
    // A closed pipe (`bench presets list | head`) is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    Ok(ExitCode::SUCCESS)
}
