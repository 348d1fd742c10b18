//! As much of JSON Schema as a preset's needs; an unknown keyword is a failure, so that none goes unchecked.

use serde_json::Value;

/// Every place where the document breaks the schema.
pub(crate) fn breaches(schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, document, "", &mut found);
    found
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let here = |what: String| if at.is_empty() { what } else { format!("{at}: {what}") };
    for (keyword, rule) in schema.as_object().into_iter().flatten() {
        let breach = match keyword.as_str() {
            "$schema" | "title" | "description" => None,
            "type" => (!is_of_type(value, rule)).then(|| format!("{value} is no {}", text(rule))),
            "enum" => {
                let words = rule.as_array().into_iter().flatten();
                (!words.into_iter().any(|word| word == value))
                    .then(|| format!("{value} is none of the words"))
            }
            "minimum" => (value.is_number() && value.as_f64() < rule.as_f64())
                .then(|| format!("{value} is below {rule}")),
            "maximum" => (value.as_f64() > rule.as_f64()).then(|| format!("{value} is above {rule}")),
            "minItems" => {
                let too_few = |list: &Vec<Value>| (list.len() as u64) < rule.as_u64().unwrap_or_default();
                value.as_array().is_some_and(too_few).then(|| "too few elements".to_owned())
            }
            "pattern" => {
                (!matches(text(rule), text(value))).then(|| format!("{value} is not `{}`", text(rule)))
            }
            "required" => {
                let keys = rule.as_array().into_iter().flatten();
                let missing = keys.into_iter().find(|key| value.get(text(key)).is_none());
                missing.map(|key| format!("{} is missing", text(key)))
            }
            "items" => {
                for (index, element) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, element, &format!("{at}[{index}]"), found);
                }
                None
            }
            "properties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                    rule.get(key).into_iter().for_each(|rule| check(rule, inner, &path, found));
                }
                None
            }
            "additionalProperties" => {
                let unknown = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .find(|(key, _)| schema["properties"].get(key).is_none());
                unknown.map(|(key, _)| format!("unknown key {key}"))
            }
            unknown => Some(format!("the schema has `{unknown}`, which nobody checks")),
        };
        found.extend(breach.map(here));
    }
}

fn is_of_type(value: &Value, rule: &Value) -> bool {
    match text(rule) {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        unknown => panic!("the schema has the type `{unknown}`"),
    }
}

/// The patterns that the schema has.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[a-z0-9-]+$" => {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        }
        "^[0-9]+ ?(ms|s|m)$" => {
            let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
            unit.len() < text.len() && ["ms", "s", "m"].contains(&unit.strip_prefix(' ').unwrap_or(unit))
        }
        "^(f32|f16|bf16|q8_0|q4_0|turbo2|turbo3|turbo4|turbo4-atomic)(/(f32|f16|bf16|q8_0|q4_0|turbo2|turbo3|turbo4|turbo4-atomic))?$" => {
            text.parse::<bench_core::preset::KvTypes>().is_ok()
        }
        unknown => panic!("the schema has the pattern `{unknown}`"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
