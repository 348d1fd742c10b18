//! Prompt files that others made, and users' own, read into prompts.
//!
//! What for: results are compared on public sets, which come in three shapes (see [`FileFormat`]); each is read by the
//! field names of its source. This module reads no disk, checks no hash and chooses no categories: bytes go in.
//! Invariants: no bytes make it panic; a file is read whole or refused with the line; what is left out is counted.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Above this a file is refused before it is parsed, since all of its prompts are held in memory.
pub const MAX_PROMPT_FILE_BYTES: usize = 1 << 30;

/// The shapes of prompt files. Each may be one JSON object a line or one JSON array of such objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Our own: `text`, and optionally `id`, `category` and `system`; no other field.
    Own,
    /// `ShareGPT`: `conversations`, a list of `from` (`system`, `human` or `user`, anything else is the model) and
    /// `value`. Its ids do not make labels, so prompts are numbered.
    ShareGpt,
    /// Question files of MT-Bench, Spec-Bench and SPEED-Bench: `question_id` (a number, in SPEED-Bench a text),
    /// `category`, `turns`. Their other fields are ignored; nothing in a file of the first two tells them apart.
    Questions,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptFile {
    /// The shape that was named or detected.
    pub format: FileFormat,
    /// In the file's order, with unique ids.
    pub prompts: Vec<FilePrompt>,
    /// User turns from a blank one on: nothing can be sent there, and what follows would answer it.
    pub turns_left_out: usize,
    /// Conversations in which the user says nothing, or only blanks.
    pub records_left_out: usize,
}

/// The user's part of a record: what a model said in the file is not kept, since the arms answer themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePrompt {
    /// Of `a-z`, `0-9` and `-`.
    pub id: String,
    /// The file's word; `prose` where it has none.
    pub category: String,
    /// System message.
    pub system: Option<String>,
    /// The user's first message.
    pub text: String,
    /// The user's messages after it, up to the first blank one.
    pub later_turns: Vec<String>,
}

/// Why a file is not read: what was found where, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptFileError {
    /// Refused unparsed.
    #[error("the file has {bytes} bytes, expected at most {MAX_PROMPT_FILE_BYTES}")]
    TooLarge {
        /// The file's size.
        bytes: usize,
    },
    /// No text at all; a Parquet file, for one.
    #[error("byte {offset} of the file is not UTF-8, expected JSON objects, one a line or in an array")]
    NotText {
        /// The first byte that is not.
        offset: usize,
    },
    /// Nothing to ask.
    #[error("the file has no prompt, expected at least one JSON object")]
    Empty,
    /// A record that is none of its format.
    #[error("line {line}: {found}, expected {expected}")]
    Record {
        /// From 1.
        line: usize,
        /// What stands there.
        found: String,
        /// What the format wants.
        expected: &'static str,
    },
}

impl FileFormat {
    const ANY: &str = "an object with `text` (own), `conversations` (ShareGPT) or `turns` (question files)";

    fn expected(self) -> &'static str {
        match self {
            Self::Own => "an object of `text` and, optionally, `id`, `category`, `system`",
            Self::ShareGpt => "an object with `conversations`, a list of `from` and `value`",
            Self::Questions => "an object with `question_id`, `category` and `turns`, a list of texts",
        }
    }

    /// By the fields of the first record.
    fn detect(line: usize, record: &str) -> Result<Self, PromptFileError> {
        #[derive(Deserialize)]
        struct Probe<'a> {
            #[serde(borrow)]
            text: Option<&'a RawValue>,
            conversations: Option<&'a RawValue>,
            turns: Option<&'a RawValue>,
        }
        let probe: Probe<'_> = decode(line, record, Self::ANY)?;
        match (probe.text, probe.conversations, probe.turns) {
            (Some(_), None, None) => Ok(Self::Own),
            (None, Some(_), None) => Ok(Self::ShareGpt),
            (None, None, Some(_)) => Ok(Self::Questions),
            (None, None, None) => Err(bad(line, "none of the known fields", Self::ANY)),
            (Some(_), _, _) | (None, Some(_), Some(_)) => {
                Err(bad(line, "the fields of two formats", "one format, or its name"))
            }
        }
    }
}

/// Reads a whole file; the format is detected by the fields of its first record if it is not named.
///
/// # Errors
///
/// The first thing that does not fit, with its line.
pub fn read_prompt_file(bytes: &[u8], format: Option<FileFormat>) -> Result<PromptFile, PromptFileError> {
    if bytes.len() > MAX_PROMPT_FILE_BYTES {
        return Err(PromptFileError::TooLarge { bytes: bytes.len() });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| PromptFileError::NotText { offset: error.valid_up_to() })?;
    let records = records(text.strip_prefix('\u{feff}').unwrap_or(text), format)?;
    let Some(&(line, first)) = records.first() else { return Err(PromptFileError::Empty) };
    let format = format.map_or_else(|| FileFormat::detect(line, first), Ok)?;
    let mut file = PromptFile { format, prompts: Vec::new(), turns_left_out: 0, records_left_out: 0 };
    let mut seen: HashMap<String, (usize, String)> = HashMap::new();
    for (line, record) in records {
        let found = match format {
            FileFormat::Own => own(line, record)?,
            FileFormat::ShareGpt => conversation(line, record, file.prompts.len() + file.records_left_out)?,
            FileFormat::Questions => question(line, record)?,
        };
        let Some((prompt, given, cut)) = found else {
            file.records_left_out += 1;
            continue;
        };
        if let Some((before, other)) = seen.insert(prompt.id.clone(), (line, given.clone())) {
            return Err(same_id(line, &given, before, &other, &prompt.id));
        }
        file.turns_left_out += cut;
        file.prompts.push(prompt);
    }
    if file.prompts.is_empty() { Err(PromptFileError::Empty) } else { Ok(file) }
}

/// A record's prompt, unless it has none, its id as it is written, and how many turns were cut off it.
type Found = Option<(FilePrompt, String, usize)>;

/// Two ids may differ in what a label cannot hold: which two they are must be said, since the file has no such twice.
fn same_id(line: usize, given: &str, before: usize, other: &str, label: &str) -> PromptFileError {
    let found = match given == other {
        true => format!("id `{given}`, as in line {before}"),
        false => format!("id `{given}`, of which rows keep `{label}`, as of `{other}` in line {before}"),
    };
    bad(line, found, "an id of its own, by small letters a-z, digits and `-`")
}

/// The first of the user's texts, those after it up to the first blank one, and how many come from there on.
fn user_turns(texts: Vec<String>) -> Option<(String, Vec<String>, usize)> {
    let all = texts.len();
    let mut texts = texts.into_iter().take_while(|text| !text.trim().is_empty());
    let (first, later) = (texts.next()?, texts.collect::<Vec<_>>());
    let cut = all - 1 - later.len();
    Some((first, later, cut))
}

/// The JSON text of each record and the line on which it begins.
fn records(text: &str, format: Option<FileFormat>) -> Result<Vec<(usize, &str)>, PromptFileError> {
    if !text.trim_start().starts_with('[') {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        return Ok(lines.map(|(index, line)| (index + 1, line)).collect());
    }
    let expected = format.map_or(FileFormat::ANY, FileFormat::expected);
    let items: Vec<&RawValue> = decode(1, text, expected)?;
    let (mut line, mut rest) = (1, text);
    let place = |item: &'_ RawValue| {
        // Items are borrowed from `text`, in order: what is between two of them is what `rest` has lost.
        let skipped = item.get().as_ptr().addr().saturating_sub(rest.as_ptr().addr());
        let (before, after) = rest.split_at_checked(skipped).unwrap_or((rest, ""));
        line += before.matches('\n').count();
        rest = after;
        line
    };
    let lines: Vec<usize> = items.iter().copied().map(place).collect();
    Ok(lines.into_iter().zip(items.into_iter().map(RawValue::get)).collect())
}

fn own(line: usize, record: &str) -> Result<Found, PromptFileError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        id: Option<String>,
        category: Option<String>,
        system: Option<String>,
        text: String,
    }
    let expected = FileFormat::Own.expected();
    let Own { id, category, system, text } = decode(line, record, expected)?;
    if text.trim().is_empty() {
        return Err(bad(line, "an empty `text`", expected));
    }
    let given = id.unwrap_or_else(|| format!("line-{line}"));
    let (id, category) = (label(line, &given)?, category.unwrap_or_else(prose));
    Ok(Some((FilePrompt { id, category, system, text, later_turns: Vec::new() }, given, 0)))
}

fn conversation(line: usize, record: &str, nth: usize) -> Result<Found, PromptFileError> {
    #[derive(Deserialize)]
    struct Conversation {
        conversations: Vec<Message>,
    }
    #[derive(Deserialize)]
    struct Message {
        from: String,
        value: String,
    }
    let Conversation { conversations } = decode(line, record, FileFormat::ShareGpt.expected())?;
    let mut system = None;
    let mut users = Vec::new();
    for Message { from, value } in conversations {
        match from.as_str() {
            "system" if users.is_empty() => system = Some(value),
            "human" | "user" => users.push(value),
            _ => {}
        }
    }
    let id = format!("sharegpt-{}", nth + 1);
    Ok(user_turns(users).map(|(text, later_turns, cut)| {
        (FilePrompt { id: id.clone(), category: prose(), system, text, later_turns }, id, cut)
    }))
}

fn question(line: usize, record: &str) -> Result<Found, PromptFileError> {
    #[derive(Deserialize)]
    struct Question {
        question_id: Id,
        category: String,
        turns: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a `question_id` that is neither a whole number from 0 nor a text")]
    enum Id {
        Number(u64),
        Text(String),
    }
    let expected = FileFormat::Questions.expected();
    let Question { question_id, category, turns } = decode(line, record, expected)?;
    let Some((text, later_turns, cut)) = user_turns(turns) else {
        return Err(bad(line, "no first turn", expected));
    };
    let given = match question_id {
        Id::Number(number) => number.to_string(),
        Id::Text(text) => text,
    };
    let id = label(line, &given)?;
    Ok(Some((FilePrompt { id, category, system: None, text, later_turns }, given, cut)))
}

/// Ids become part of file names and rows: what no label may hold becomes `-`.
fn label(line: usize, id: &str) -> Result<String, PromptFileError> {
    let fit = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let label: String = id.chars().map(fit).collect();
    if label.is_empty() { Err(bad(line, "an empty id", "an id")) } else { Ok(label) }
}

fn prose() -> String {
    "prose".to_owned()
}

/// One record; the line of an error is counted from the record's own.
fn decode<'a, T: Deserialize<'a>>(
    line: usize,
    json: &'a str,
    expected: &'static str,
) -> Result<T, PromptFileError> {
    serde_json::from_str(json).map_err(|error| {
        let words = error.to_string();
        let found = words.rsplit_once(" at line ").map_or(words.as_str(), |(found, _)| found);
        bad(line + error.line().saturating_sub(1), found, expected)
    })
}

fn bad(line: usize, found: impl Into<String>, expected: &'static str) -> PromptFileError {
    PromptFileError::Record { line, found: found.into(), expected }
}
