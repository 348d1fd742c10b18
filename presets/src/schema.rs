//! A preset's JSON Schema, made from the table of keys: for editors that complete and check TOML while it is written.
//!
//! It knows what a key takes, not how keys depend on each other; [`crate::parse`] has the last word. Keys that may be
//! inherited are optional in it.

use bench_core::preset::KvType;
use serde_json::{Map, Value, json};

use crate::fields::{FIELDS, Field, Kind};

const LABEL: &str = "^[a-z0-9-]+$";
const DURATION: &str = "^[0-9]+ ?(ms|s|m)$";

/// The schema (draft 2020-12) that docs/preset.schema.json holds.
#[must_use]
pub fn json_schema() -> Value {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Preset",
        "description": "One experiment: models, stacks, ways of speculating, prompts, sampling, repetition.",
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "properties": {},
    });
    for field in FIELDS {
        let path: Vec<&str> = field.path.split('.').collect();
        insert(&mut root, &path, field);
    }
    root
}

/// Puts a key's schema where its path says, and makes the sections on the way.
fn insert(object: &mut Value, path: &[&str], field: &Field) {
    let Some((&name, rest)) = path.split_first() else { return };
    let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) else { return };
    if rest.is_empty() {
        properties.insert(name.to_owned(), of(field));
        return;
    }
    match name.strip_suffix("[]") {
        Some(list) => {
            let entry = properties
                .entry(list)
                .or_insert_with(|| json!({ "type": "array", "minItems": 1, "items": section() }));
            insert(&mut entry["items"], rest, field);
        }
        None => insert(properties.entry(name).or_insert_with(section), rest, field),
    }
}

fn section() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": {} })
}

fn of(field: &Field) -> Value {
    let mut schema = match field.kind {
        Kind::Label => json!({ "type": "string", "pattern": LABEL }),
        Kind::Text(_) => json!({ "type": "string" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::OneOf(words) => json!({ "enum": words }),
        Kind::KvTypes => {
            let names = KvType::ALL.map(KvType::as_str).join("|");
            json!({ "type": "string", "pattern": format!("^({names})(/({names}))?$") })
        }
        Kind::Whole(least, most, _) => limits(json!({ "type": "integer", "minimum": least }), most),
        Kind::Number(least, most, _) => limits(json!({ "type": "number", "minimum": least }), most),
        Kind::Duration => json!({ "type": "string", "pattern": DURATION }),
        Kind::Texts(_) => json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
        Kind::Shares(_) => json!({
            "type": "array", "minItems": 1, "items": { "type": "number", "minimum": 0.0, "maximum": 1.0 },
        }),
        Kind::Counts(_) => json!({
            "type": "array", "minItems": 1, "items": { "type": "integer", "minimum": 0 },
        }),
    };
    if let Some(keys) = schema.as_object_mut() {
        keys.insert("description".to_owned(), Value::from(description(field)));
    }
    schema
}

fn limits(mut schema: Value, most: Option<impl Into<Value>>) -> Value {
    if let (Some(keys), Some(most)) = (schema.as_object_mut(), most) {
        let keys: &mut Map<String, Value> = keys;
        keys.insert("maximum".to_owned(), most.into());
    }
    schema
}

fn description(field: &Field) -> String {
    match field.default {
        "" => field.doc.to_owned(),
        default => format!("{} Default: {}.", field.doc, default.replace('`', "")),
    }
}
