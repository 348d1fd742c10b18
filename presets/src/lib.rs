//! Presets: the shipped ones with the models they need, and the reader that turns TOML into a valid [`Preset`].
//!
//! Text goes through four steps, each in its module: keys are checked against the table of `fields` (so that an
//! unknown key is named with its line and the key that was probably meant), types by `raw`, layers (`inherits`,
//! `--set`) are laid over each other by `layers`, and `validate` makes a `Preset` or says which value is wrong.
//! Invariant: a `Preset` that leaves this crate can be run as it is, on any stack.
//!
//! This crate does not know which stacks are installed and reads no file but the preset's own and the trace it names.

mod bundled;
mod error;
mod fields;
mod gate_rules;
mod layers;
mod prompt_file;
mod raw;
mod reference;
mod schema;
mod shipped;
mod suite;
mod trace;
mod validate;
mod write;

use std::path::Path;

use bench_core::preset::Preset;

pub use self::bundled::{BundledFile, BundledPair, UnknownPair, bundled, find_bundled};
pub use self::error::{InvalidValue, Place, PresetError};
pub use self::gate_rules::{DEFAULT_GATE_RULES, parse_gate_rules};
pub use self::prompt_file::{
    FileFormat, FilePrompt, MAX_PROMPT_FILE_BYTES, PromptFile, PromptFileError, read_prompt_file,
};
pub use self::reference::reference_markdown;
pub use self::schema::json_schema;
pub use self::shipped::{Shipped, Theme, shipped};
pub use self::write::to_toml;

/// Loads a shipped preset by name, or a preset file by path (anything with a path separator or ending in `.toml`),
/// with `--set` overrides (`run.blocks=3`, `variants.mtp-3.draft_max=2`) applied in order.
pub fn load(name_or_path: &str, overrides: &[String]) -> Result<Preset, PresetError> {
    load_noted(name_or_path, overrides).map(|noted| noted.preset)
}

/// [`load`], with what was left out of its prompts.
///
/// # Errors
///
/// As [`load`].
pub fn load_noted(name_or_path: &str, overrides: &[String]) -> Result<Noted, PresetError> {
    if let Some(found) = shipped().iter().find(|preset| preset.name == name_or_path) {
        return parse_noted(found.toml, found.name, overrides);
    }
    let path = Path::new(name_or_path);
    let is_path =
        path.extension().is_some_and(|extension| extension == "toml") || path.components().count() > 1;
    if !is_path {
        return Err(shipped::unknown(name_or_path));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|source| PresetError::Read { path: path.to_owned(), source })?;
    parse_noted(&text, name_or_path, overrides)
}

/// A preset, and what a reader of its results has to know: what its prompt file held that is not asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// The preset.
    pub preset: Preset,
    /// A sentence each.
    pub notes: Vec<String>,
}

/// Parses a preset's text. `origin` names it in messages. Pure: shipped presets it inherits from are in the binary.
pub fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<Preset, PresetError> {
    parse_noted(text, origin, overrides).map(|noted| noted.preset)
}

fn parse_noted(text: &str, origin: &str, overrides: &[String]) -> Result<Noted, PresetError> {
    let table = layers::resolve(text, origin)?;
    let table = layers::apply_overrides(table, overrides)?;
    let raw = layers::to_raw(table).map_err(|error| PresetError::Document {
        origin: origin.to_owned(),
        place: None,
        message: error.message().to_owned(),
    })?;
    let mut notes = Vec::new();
    let preset = validate::validate(raw, &mut notes).map_err(|source| source.at(origin))?;
    Ok(Noted { preset, notes })
}
