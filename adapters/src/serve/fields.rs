//! The JSON object of a request, read field by field. `null` is absent, unknown fields are ignored, a wrong type names
//! its field.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::ApiError;

/// A request's object.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(ApiError::bad_request("the body is JSON, but no object")),
            Err(error) => Err(ApiError::bad_request(format!("the body is no JSON: {error}"))),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A field of a type. `expected` says what would do, for the client.
    pub(super) fn opt<'a, T: Deserialize<'a>>(
        &'a self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, ApiError> {
        let read = |value: &'a Value| {
            // Serde's words name Rust's types; the field, its value and ours say more.
            T::deserialize(value).map_err(|_error| ApiError::bad_field(name, value, expected))
        };
        self.get(name).map(read).transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.opt(name, "true or false")?.unwrap_or(false))
    }
}
