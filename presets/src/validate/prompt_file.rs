//! `workload.file`, made into prompts.

use std::path::Path;

use bench_core::preset::Route;
use sha2::{Digest, Sha256};

use super::values::{Checked, count, invalid, missing};
use crate::error::InvalidValue;
use crate::prompt_file::{FileFormat, FilePrompt, MAX_PROMPT_FILE_BYTES, read_prompt_file};
use crate::raw::{FileWord, RawPrompt, RawPromptFile, RawWorkload};

/// The prompts of the file; `None` where the preset names none.
pub(super) fn prompts(raw: &RawWorkload, route: Route) -> Checked<Option<Vec<RawPrompt>>> {
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
    let mut found = read_prompt_file(&bytes, format)
        .map_err(|error| invalid("workload.file.path", path, "a file of prompts").hint(&error.to_string()))?
        .prompts;
    if let Some(names) = &raw.categories {
        found = of_categories(found, names)?;
    }
    if let Some(limit) = file.limit {
        found.truncate(count("workload.file.limit", Some(limit), 1)?.get() as usize);
    }
    Ok(Some(found.into_iter().map(raw_prompt).collect()))
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
    let FilePrompt { id, category, system, text } = prompt;
    RawPrompt { id: Some(id), category: Some(category), system, text: Some(text) }
}
