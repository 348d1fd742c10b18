//! `workload.file`, made into prompts.

use std::path::Path;

use bench_core::preset::Route;
use sha2::{Digest, Sha256};

use super::values::{Checked, count, invalid, missing};
use crate::error::InvalidValue;
use crate::prompt_file::{FileFormat, FilePrompt, MAX_PROMPT_FILE_BYTES, PromptFile, read_prompt_file};
use crate::raw::{FileWord, RawPrompt, RawPromptFile, RawWorkload};

/// The prompts of the file; `None` where the preset names none.
pub(super) fn prompts(
    raw: &RawWorkload,
    route: Route,
    notes: &mut Vec<String>,
) -> Checked<Option<Vec<RawPrompt>>> {
    let Some(file) = &raw.file else { return Ok(None) };
    if raw.set.is_some() || raw.prompts.as_ref().is_some_and(|prompts| !prompts.is_empty()) {
        return Err(invalid("workload.file", "given", "no file beside `workload.set` or `workload.prompts`")
            .hint("write `prompts = []` to drop inherited prompts"));
    }
    if route != Route::Chat {
        return Err(invalid("workload.file", "given", "`serving.route = \"chat\"`")
            .hint("its prompts are what users wrote to a model"));
    }
    let Some(path) = &file.path else { return Err(missing("workload.file.path", "a file of prompts")) };
    let bytes = read(path, file)?;
    let format = file.format.map(|word| match word {
        FileWord::Own => FileFormat::Own,
        FileWord::Sharegpt => FileFormat::ShareGpt,
        FileWord::Questions => FileFormat::Questions,
    });
    let PromptFile { prompts: mut found, mut turns_left_out, records_left_out, format: _ } =
        read_prompt_file(&bytes, format).map_err(|error| {
            invalid("workload.file.path", path, "a file of prompts").hint(&error.to_string())
        })?;
    if let Some(names) = &raw.categories {
        found = of_categories(found, names)?;
    }
    if let Some(limit) = file.limit {
        found.truncate(count("workload.file.limit", Some(limit), 1)?.get() as usize);
    }
    let turns = count("workload.file.turns", file.turns, 1)?.get() as usize;
    for prompt in &mut found {
        turns_left_out += prompt.later_turns.len().saturating_sub(turns - 1);
        prompt.later_turns.truncate(turns - 1);
    }
    notes.extend(left_out(path, turns_left_out, records_left_out));
    Ok(Some(found.into_iter().map(raw_prompt).collect()))
}

/// What of the file is not asked, in words; nothing if all is.
fn left_out(path: &str, turns: usize, records: usize) -> Option<String> {
    let of = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let parts = [
        of(turns, "later user turns (`workload.file.turns` says how many of a record are asked)"),
        of(records, "records in which the user says nothing"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("left out of `{path}`: {}", parts.join(", ")))
}

fn read(path: &str, file: &RawPromptFile) -> Checked<Vec<u8>> {
    let unreadable = |error: std::io::Error| InvalidValue {
        hint: Some(error.to_string()),
        ..invalid("workload.file.path", path, "a file that can be read")
    };
    let size = std::fs::metadata(Path::new(path)).map_err(unreadable)?.len();
    if size > MAX_PROMPT_FILE_BYTES as u64 {
        let expected = format!("at most {MAX_PROMPT_FILE_BYTES} bytes");
        return Err(invalid("workload.file.path", format!("{path}, of {size} bytes"), expected));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    if let Some(expected) = &file.sha256 {
        let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if !expected.eq_ignore_ascii_case(&found) {
            return Err(invalid("workload.file.sha256", expected, format!("{found}, which `{path}` has"))
                .hint("the file is not the one the preset was written for"));
        }
    }
    Ok(bytes)
}

fn of_categories(found: Vec<FilePrompt>, names: &[String]) -> Checked<Vec<FilePrompt>> {
    let mut known: Vec<&str> = found.iter().map(|prompt| prompt.category.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(invalid("workload.categories", unknown, format!("some of {}", known.join(", "))));
    }
    Ok(found.into_iter().filter(|prompt| names.contains(&prompt.category)).collect())
}

fn raw_prompt(prompt: FilePrompt) -> RawPrompt {
    let FilePrompt { id, category, system, text, later_turns } = prompt;
    let (text, turns) = if later_turns.is_empty() {
        (Some(text), None)
    } else {
        (None, Some(std::iter::once(text).chain(later_turns).collect()))
    };
    RawPrompt { id: Some(id), category: Some(category), system, text, turns }
}
