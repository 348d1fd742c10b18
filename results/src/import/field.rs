//! Values of a document by key, with their place for the error. A key that is missing or null is `None`; a value of
//! another kind is an error, since what it means is not known.

use serde_json::Value;

use super::ImportError;

/// A value and how it was reached.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    value: &'a Value,
    place: String,
}

impl<'a> Field<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, place: String::new() }
    }

    /// What stands under a key; `None` where nothing does, and of what is no object.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        let place = if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) };
        Some(Self { value, place })
    }

    /// Along several keys.
    pub(super) fn path(&self, keys: &[&str]) -> Option<Self> {
        keys.iter().try_fold(self.clone(), |field, key| field.get(key))
    }

    pub(super) fn need(&self, key: &str, expected: &'static str) -> Result<Self, ImportError> {
        self.get(key).ok_or_else(|| ImportError::Field {
            place: if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) },
            found: "missing".to_owned(),
            expected,
        })
    }

    /// A finite number.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, ImportError> {
        self.get(key).map(|field| field.as_number()).transpose()
    }

    pub(super) fn as_number(&self) -> Result<f64, ImportError> {
        self.value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| self.wrong("a finite number"))
    }

    /// A count; `6.0` is one.
    pub(super) fn count(&self, key: &str) -> Result<Option<u64>, ImportError> {
        self.get(key).map(|field| field.as_count()).transpose()
    }

    pub(super) fn as_count(&self) -> Result<u64, ImportError> {
        let whole = self.value.as_u64().or_else(|| {
            let number = self.value.as_f64()?;
            // Printed without a fraction it is a whole number, and parsing it checks the range.
            (number.fract() == 0.0 && number >= 0.0).then(|| format!("{number:.0}").parse().ok())?
        });
        whole.ok_or_else(|| self.wrong("a count"))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, ImportError> {
        let text = |field: Self| field.value.as_str().map(str::to_owned).ok_or_else(|| field.wrong("a text"));
        self.get(key).map(text).transpose()
    }

    pub(super) fn as_text(&self) -> Option<String> {
        self.value.as_str().map(str::to_owned)
    }

    /// A text, or a number as text.
    pub(super) fn label(&self, key: &str) -> Option<String> {
        let field = self.get(key)?;
        match field.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    pub(super) fn list(&self, key: &str) -> Result<Option<Vec<Self>>, ImportError> {
        self.get(key).map(|field| field.as_list()).transpose()
    }

    pub(super) fn as_list(&self) -> Result<Vec<Self>, ImportError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let item = |(nth, value): (usize, &'a Value)| Self { value, place: format!("{}[{nth}]", self.place) };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, ImportError> {
        let numbers = |fields: Vec<Self>| fields.iter().map(Self::as_number).collect::<Result<Vec<_>, _>>();
        self.list(key)?.map(numbers).transpose()
    }

    fn wrong(&self, expected: &'static str) -> ImportError {
        let found = match self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => format!("the text `{}`", text.chars().take(40).collect::<String>()),
            Value::Array(items) => format!("a list of {}", items.len()),
            Value::Object(_) => "an object".to_owned(),
        };
        let place = if self.place.is_empty() { "the document".to_owned() } else { self.place.clone() };
        ImportError::Field { place, found, expected }
    }
}
