//! `bench presets`.

use std::io::Write;
use std::process::ExitCode;

use anstyle::Style;
use bench_core::preset::{ModelSource, Preset};

use super::lower;
use crate::args::PresetsCommand;
use crate::failure::Failure;
use crate::table;

pub(crate) fn presets(command: &PresetsCommand) -> Result<ExitCode, Failure> {
    let text = match command {
        PresetsCommand::List => list()?,
        PresetsCommand::Show { preset } => bench_presets::to_toml(&bench_presets::load(preset, &[])?)?,
        PresetsCommand::Lower(args) => return lower::lower(args),
        PresetsCommand::Schema => format!("{:#}\n", bench_presets::json_schema()),
    };
    // A closed pipe (`bench presets list | head`) is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    Ok(ExitCode::SUCCESS)
}

/// Names and descriptions by theme; below a name, what has to be there before it runs.
fn list() -> Result<String, Failure> {
    let bold = Style::new().bold();
    let all = bench_presets::shipped();
    let mut text = String::new();
    for group in all.chunk_by(|a, b| a.theme == b.theme) {
        let mut rows = Vec::new();
        for shipped in group {
            rows.push([format!("  {}", shipped.name), shipped.description.to_owned()]);
            let needs = needs(&bench_presets::load(shipped.name, &[])?);
            rows.extend(needs.map(|needs| [String::new(), format!("needs {needs}")]));
        }
        let gap = if text.is_empty() { "" } else { "\n" };
        let theme = group.first().map_or_else(String::new, |shipped| shipped.theme.to_string());
        text.push_str(&format!("{gap}{bold}{theme}{bold:#}\n{}", table::columns(&rows)));
    }
    Ok(text)
}

/// The models that do not come with the program, as the preset's stacks name them.
fn needs(preset: &Preset) -> Option<String> {
    let ModelSource::Files { target, assistant, hf } = &preset.models else { return None };
    let needs_gguf = preset.stacks.iter().any(|stack| stack.kind.needs_gguf());
    let (target, assistant) = match hf {
        Some(hf) if !needs_gguf => (hf.target.clone(), hf.assistant.clone()),
        Some(_) | None => {
            (target.display().to_string(), assistant.as_ref().map(|path| path.display().to_string()))
        }
    };
    Some(match assistant {
        Some(assistant) => format!("{target} and {assistant}"),
        None => target,
    })
}
