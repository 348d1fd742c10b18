//! Lays a preset's text over the one it inherits from, and `--set` overrides over both.
//!
//! Each layer is checked by itself before it is laid, so that an error has the line and column of its own text, or
//! names the override it came with. Tables merge key by key; lists and values replace.

use serde::Deserialize;
use toml::de::{DeTable, DeValue, Deserializer};
use toml::{Table, Value};

use crate::error::{Place, PresetError};
use crate::fields::{is_known, nearest_key};
use crate::raw::RawPreset;
use crate::shipped;

/// The text, laid over what it inherits from.
pub(crate) fn resolve(text: &str, origin: &str) -> Result<Table, PresetError> {
    let table = check_text(text, origin)?;
    let Some(parent) = table.get("inherits").and_then(Value::as_str) else { return Ok(table) };
    let parent =
        shipped().iter().find(|preset| preset.name == parent).ok_or_else(|| shipped::unknown(parent))?;
    // Ends: only shipped presets are inherited from, and a test resolves every one of them.
    let mut base = resolve(parent.toml, parent.name)?;
    base.remove("name");
    base.remove("description");
    Ok(overlay(base, table))
}

/// The document's types, or what the TOML reader says.
pub(crate) fn to_raw(table: Table) -> Result<RawPreset, toml::de::Error> {
    RawPreset::deserialize(Value::Table(table))
}

/// Applies overrides in order.
pub(crate) fn apply_overrides(mut table: Table, overrides: &[String]) -> Result<Table, PresetError> {
    for text in overrides {
        let failed =
            |detail: String, hint: Option<String>| PresetError::Override { text: text.clone(), detail, hint };
        let Some((path, value)) = text.split_once('=') else {
            return Err(failed("there is no `=`".to_owned(), Some("write `--set run.blocks=3`".to_owned())));
        };
        let segments: Vec<&str> = path.split('.').map(str::trim).collect();
        set(&mut table, &segments, parse_value(value)).map_err(|error| match error {
            SetError::UnknownKey { key } => PresetError::UnknownKey {
                origin: format!("--set {text}"),
                place: None,
                nearest: nearest_key(&key),
                key,
            },
            SetError::Unfit { detail } => failed(detail, None),
        })?;
        to_raw(table.clone()).map_err(|error| failed(error.message().to_owned(), None))?;
    }
    Ok(table)
}

/// A value as TOML has it; anything else is a string, so that paths and words need no quotes.
fn parse_value(text: &str) -> Value {
    match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => {
            table.remove("value").unwrap_or_else(|| Value::String(text.to_owned()))
        }
        Ok(_) | Err(_) => Value::String(text.to_owned()),
    }
}

/// Checks one text: syntax, keys, types.
fn check_text(text: &str, origin: &str) -> Result<Table, PresetError> {
    let document = |error: &toml::de::Error| PresetError::Document {
        origin: origin.to_owned(),
        place: error.span().map(|span| Place::of(text, span.start)),
        message: error.message().to_owned(),
    };
    let parsed = DeTable::parse(text).map_err(|error| document(&error))?;
    if let Some((key, offset)) = find_unknown(parsed.get_ref(), "") {
        let place = Some(Place::of(text, offset));
        return Err(PresetError::UnknownKey {
            origin: origin.to_owned(),
            place,
            nearest: nearest_key(&key),
            key,
        });
    }
    RawPreset::deserialize(Deserializer::from(parsed.clone())).map_err(|error| document(&error))?;
    Table::deserialize(Deserializer::from(parsed)).map_err(|error| document(&error))
}

/// The first key that means nothing, and its byte offset. Values of the wrong shape are left to the types.
fn find_unknown(table: &DeTable<'_>, section: &str) -> Option<(String, usize)> {
    table.iter().find_map(|(key, value)| {
        let path = join(section, key.get_ref());
        if !is_known(&path) {
            return Some((path, key.span().start));
        }
        if let DeValue::Table(inner) = value.get_ref() {
            return find_unknown(inner, &path);
        }
        let DeValue::Array(elements) = value.get_ref() else { return None };
        elements.iter().find_map(|element| {
            let DeValue::Table(inner) = element.get_ref() else { return None };
            find_unknown(inner, &format!("{path}[]"))
        })
    })
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// `upper` over `base`.
fn overlay(mut base: Table, upper: Table) -> Table {
    for (key, value) in upper {
        let merged = match (base.remove(&key), value) {
            (Some(Value::Table(mut base)), Value::Table(upper)) => {
                if key == "models" {
                    upper.keys().for_each(|chosen| drop_other_source(&mut base, chosen));
                }
                Value::Table(overlay(base, upper))
            }
            (_, value) => value,
        };
        base.insert(key, merged);
    }
    base
}

/// Weights come from one source: choosing it in an upper layer drops the others below it.
fn drop_other_source(models: &mut Table, chosen: &str) {
    const SOURCES: [&[&str]; 3] =
        [&["target", "assistant", "hf_target", "hf_assistant"], &["bundled"], &["synth_tiny"]];
    let others = SOURCES.iter().filter(|source| !source.contains(&chosen));
    others.flat_map(|source| source.iter()).for_each(|key| drop(models.remove(*key)));
}

enum SetError {
    /// With `[]` for elements.
    UnknownKey { key: String },
    /// The path does not fit the preset.
    Unfit { detail: String },
}

/// Sets one value by its path; elements of a list go by index or by name.
fn set(table: &mut Table, segments: &[&str], value: Value) -> Result<(), SetError> {
    if let ["models", chosen, ..] = segments
        && let Some(Value::Table(models)) = table.get_mut("models")
    {
        drop_other_source(models, chosen);
    }
    set_in(table, "", segments, value)
}

fn set_in(table: &mut Table, section: &str, segments: &[&str], value: Value) -> Result<(), SetError> {
    let Some((&key, rest)) = segments.split_first() else {
        return Err(SetError::Unfit { detail: format!("`{section}` is a list element, not a value") });
    };
    let path = join(section, key);
    if !is_known(&path) {
        return Err(SetError::UnknownKey { key: path });
    }
    if rest.is_empty() {
        table.insert(key.to_owned(), value);
        return Ok(());
    }
    let entry = table.entry(key).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(inner) = entry {
        set_in(inner, &path, rest, value)
    } else if let Value::Array(elements) = entry {
        let element = find_element(elements, &path, rest[0])?;
        set_in(element, &format!("{path}[]"), &rest[1..], value)
    } else {
        Err(SetError::UnknownKey { key: join(&path, &rest.join(".")) })
    }
}

/// The element of a list by its name (label, kind or id), or by its index from 0.
fn find_element<'a>(elements: &'a mut [Value], path: &str, wanted: &str) -> Result<&'a mut Table, SetError> {
    let name_of = |element: &Value| -> Option<String> {
        let name = ["label", "kind", "id"].iter().find_map(|key| element.get(key)?.as_str());
        name.map(str::to_owned)
    };
    let names: Vec<_> = elements.iter().map(name_of).collect();
    let by_name = names.iter().position(|name| name.as_deref() == Some(wanted));
    let index = by_name.or_else(|| wanted.parse().ok());
    let found = index.and_then(|index| elements.get_mut(index)).and_then(Value::as_table_mut);
    found.ok_or_else(|| {
        let known: Vec<_> = names.into_iter().flatten().map(|name| format!("`{name}`")).collect();
        SetError::Unfit { detail: format!("`{path}` has no `{wanted}`, it has {}", known.join(", ")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::{FIELDS, Kind};

    /// A document with one key, whose value most keys do not take.
    fn document_with(path: &str) -> Table {
        let date = toml::from_str::<Table>("value = 1979-05-27").unwrap()["value"].clone();
        let wrap = |value: Value, key: &str| match key.strip_suffix("[]") {
            Some(list) => Table::from_iter([(list.to_owned(), Value::Array(vec![value]))]),
            None => Table::from_iter([(key.to_owned(), value)]),
        };
        let value = path.rsplit('.').fold(date, |value, key| Value::Table(wrap(value, key)));
        value.as_table().unwrap().clone()
    }

    #[test]
    fn the_types_know_every_key_of_the_table() {
        for field in FIELDS {
            if let Err(error) = to_raw(document_with(field.path)) {
                assert!(!error.message().contains("unknown field"), "{}: {error}", field.path);
            }
        }
        let error = to_raw(document_with("run.blcks")).unwrap_err();
        assert!(error.message().contains("unknown field"), "the check above could not fail: {error}");
    }

    /// Keys that only a reader of text knows: written out they are other keys (a set, its prompts).
    const NEVER_WRITTEN: [&str; 13] = [
        "workload.file.path",
        "workload.file.format",
        "workload.file.sha256",
        "workload.file.limit",
        "workload.file.turns",
        "run.trace",
        "inherits",
        "variants[].draft_block_size",
        "variants[].sweep_draft_max",
        "variants[].synthetic_length",
        "workload.set",
        "workload.categories",
        "workload.per_category",
    ];

    /// Presets that have every key between them.
    const EVERYTHING: [&str; 9] = [
        r#"
        inherits = "quickstart"
        models = { target = "t", assistant = "a", hf_target = "h", hf_assistant = "i" }
        stacks = [{ kind = "openai", command = ["server"] }]
        sampling = { top_k = 1, top_p = 1.0, min_p = 0.1 }
        workload.prompts = [{ id = "a", system = "x", text = "y" }]
        variants = [
            { label = "none", method = "none", kv_type = "q8_0/turbo3" },
            { label = "mtp", method = "mtp", draft_max = 1, acceptance = "synthetic", synthetic_rates = [0.5] },
            { label = "nextn", method = "nextn", draft_max = 1 },
            { label = "ngram", method = "ngram", draft_max = 1 },
        ]
        "#,
        "inherits = \"quickstart\"",
        "inherits = \"quickstart\"\nrun = { sweep_concurrency = [1, 2] }",
        "inherits = \"quickstart\"\nrun = { load = \"gamma\", rate = 2, burstiness = 0.5, max_in_flight = 3 }",
        "inherits = \"quickstart\"\nrun = { load = \"ramp\", rate = 2, rate_end = 4 }",
        "inherits = \"quickstart\"\nrun = { load = \"trace\", trace_us = [0, 5], duration_s = 9 }",
        "inherits = \"nano-chat\"",
        "inherits = \"synthetic\"\nmodels.synth_tiny.cycle = 40",
        "inherits = \"nano-prefill\"",
    ];

    #[test]
    fn the_table_knows_every_key_of_the_types() {
        let mut seen: Vec<_> = NEVER_WRITTEN.map(str::to_owned).into();
        for text in EVERYTHING {
            let preset = crate::parse(&format!("name = \"x\"\n{text}"), "everything", &[]).unwrap();
            let text = crate::to_toml(&preset).unwrap();
            check_text(&text, "written").unwrap();
            leaves(&Value::Table(toml::from_str(&text).unwrap()), "", &mut seen);
        }
        for field in FIELDS {
            assert!(seen.iter().any(|path| path == field.path), "`{}` was never written", field.path);
        }
    }

    #[test]
    fn the_words_of_the_table_are_those_of_the_types() {
        for field in FIELDS {
            let Kind::OneOf(words) = field.kind else { continue };
            let mut document = document_with(field.path);
            replace_leaf(&mut document, "no-such-word");
            match to_raw(document) {
                Err(error) => {
                    let known: Vec<_> = error.message().split('`').skip(3).step_by(2).collect();
                    assert_eq!(known, words, "{}: {error}", field.path);
                }
                // Not an enum of the types: names of bundled pairs.
                Ok(_) => assert_eq!(words, crate::bundled().iter().map(|pair| pair.name).collect::<Vec<_>>()),
            }
        }
    }

    fn replace_leaf(table: &mut Table, word: &str) {
        for (_, value) in table.iter_mut() {
            match value {
                Value::Table(inner) => replace_leaf(inner, word),
                Value::Array(elements) => elements
                    .iter_mut()
                    .filter_map(Value::as_table_mut)
                    .for_each(|inner| replace_leaf(inner, word)),
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_) => {
                    *value = Value::String(word.to_owned());
                }
            }
        }
    }

    fn leaves(value: &Value, path: &str, seen: &mut Vec<String>) {
        if let Some(table) = value.as_table() {
            table.iter().for_each(|(key, value)| leaves(value, &join(path, key), seen));
        } else if let Some(elements) = value.as_array() {
            elements.iter().for_each(|element| leaves(element, &format!("{path}[]"), seen));
            seen.push(path.to_owned());
        } else {
            seen.push(path.to_owned());
        }
    }
}
