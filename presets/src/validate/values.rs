//! Single values: numbers in their ranges, names, durations; and the errors that say what was expected.

use std::num::NonZeroU32;

use crate::error::InvalidValue;

pub(super) type Checked<T> = Result<T, InvalidValue>;

/// A number of things, at least 1.
pub(super) fn count(key: impl Into<String>, value: Option<i64>, default: u32) -> Checked<NonZeroU32> {
    let value = value.unwrap_or(i64::from(default));
    let checked = u32::try_from(value).ok().and_then(NonZeroU32::new);
    checked.ok_or_else(|| invalid(key, value, format!("1 to {}", u32::MAX)))
}

pub(super) fn seed(key: &str, value: Option<i64>, default: u64) -> Checked<u64> {
    value.map_or(Ok(default), |value| {
        u64::try_from(value).map_err(|_negative| invalid(key, value, format!("0 to {}", i64::MAX)))
    })
}

/// A share from 0 to 1.
pub(super) fn share(key: &str, value: Option<f64>) -> Checked<Option<f32>> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(invalid(key, value, "0 to 1")),
        value => Ok(value.map(narrow)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is meant")]
pub(super) fn narrow(value: f64) -> f32 {
    value as f32
}

/// A label: it becomes part of arm names, file names and `--set` paths.
pub(super) fn label(key: String, value: Option<String>) -> Checked<String> {
    let Some(value) = value else { return Err(missing(key, "a name of `a-z`, `0-9` and `-`")) };
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if value.is_empty() || !value.chars().all(fits) {
        return Err(invalid(key, value, "a name of `a-z`, `0-9` and `-`"));
    }
    Ok(value)
}

pub(super) fn path(key: &str, value: String) -> Checked<String> {
    if value.is_empty() { Err(invalid(key, value, "a path")) } else { Ok(value) }
}

/// `500ms`, `30s`, `2m`: a whole number and its unit, above 0.
pub(super) fn duration_ms(key: &str, text: &str) -> Checked<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let number: Option<u64> = digits.trim_end().parse().ok();
    let ms = number.zip(unit_ms).and_then(|(number, unit_ms)| number.checked_mul(unit_ms));
    // A deadline is added to the clock: a century is far enough, and cannot overflow it.
    ms.filter(|ms| (1..=3_155_760_000_000).contains(ms)).ok_or_else(|| {
        invalid(key, text, "a duration above 0")
            .hint("write a whole number and `ms`, `s` or `m`, such as `30s`")
    })
}

#[expect(clippy::needless_pass_by_value, reason = "callers hand over numbers and strings alike")]
pub(super) fn invalid(
    key: impl Into<String>,
    value: impl ToString,
    expected: impl Into<String>,
) -> InvalidValue {
    InvalidValue { key: key.into(), value: Some(value.to_string()), expected: expected.into(), hint: None }
}

pub(super) fn missing(key: impl Into<String>, expected: impl Into<String>) -> InvalidValue {
    InvalidValue { key: key.into(), value: None, expected: expected.into(), hint: None }
}

impl InvalidValue {
    pub(super) fn hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }
}
