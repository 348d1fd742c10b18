//! Types of the KV cache: one for keys and one for values, which most presets set together.
//!
//! Written as one word, `f16`, or as `KEYS/VALUES`, `q8_0/turbo3`: the form in which llama.cpp's log tells it, too. Invariant:
//! a pair of equal types is written as one word, so documents from before there were pairs keep their hashes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Element type of one side of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvType {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain floats.
    Bf16,
    /// 8-bit blocks of 32 with one f16 scale.
    Q8_0,
    /// 4-bit blocks of 32 with one f16 scale.
    Q4_0,
    /// Rotated blocks of 128 with a 4-entry codebook, 2.125 bits a value.
    Turbo2,
    /// Rotated blocks of 128 with an 8-entry codebook, 3.125 bits a value.
    Turbo3,
    /// Rotated blocks of 128 with a 16-entry codebook, 4.125 bits a value: the best entries for a normal distribution.
    Turbo4,
    /// Those of atomic-llama.cpp, whose own name for it is `turbo4`: other entries, 4.25 bits a value.
    Turbo4Atomic,
}

/// Types of keys and values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KvTypes {
    /// Of keys.
    pub k: KvType,
    /// Of values.
    pub v: KvType,
}

/// A word that is no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown KV type `{got}`, expected {}, or one of keys and one of values as `q8_0/turbo3`", names())]
pub struct ParseKvTypesError {
    got: String,
}

impl KvType {
    /// Every type.
    pub const ALL: [Self; 9] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Turbo2,
        Self::Turbo3,
        Self::Turbo4,
        Self::Turbo4Atomic,
    ];

    /// The name in presets; llama.cpp's own, but for [`Self::Turbo4Atomic`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Turbo2 => "turbo2",
            Self::Turbo3 => "turbo3",
            Self::Turbo4 => "turbo4",
            Self::Turbo4Atomic => "turbo4-atomic",
        }
    }

    /// Whether values are stored in blocks of fewer than 16 bits each.
    #[must_use]
    pub const fn is_quantised(self) -> bool {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => false,
            Self::Q8_0 | Self::Q4_0 => true,
            Self::Turbo2 | Self::Turbo3 | Self::Turbo4 | Self::Turbo4Atomic => true,
        }
    }

    /// Whether it is one of the rotated types, which only our engine and atomic-llama.cpp have.
    #[must_use]
    pub const fn is_turbo(self) -> bool {
        matches!(self, Self::Turbo2 | Self::Turbo3 | Self::Turbo4 | Self::Turbo4Atomic)
    }
}

impl KvTypes {
    /// The same type for both.
    #[must_use]
    pub const fn same(both: KvType) -> Self {
        Self { k: both, v: both }
    }

    /// Whether keys, values or both are stored in blocks of fewer than 16 bits a value.
    #[must_use]
    pub const fn is_quantised(self) -> bool {
        self.k.is_quantised() || self.v.is_quantised()
    }

    /// Whether a server's word for its cache means these types. atomic-llama.cpp's `turbo4` is our `turbo4-atomic`.
    #[must_use]
    pub fn is_named(self, word: &str) -> bool {
        let own = self.to_string();
        let in_fork = || own.replace(KvType::Turbo4Atomic.as_str(), KvType::Turbo4.as_str());
        word.eq_ignore_ascii_case(&own) || word.eq_ignore_ascii_case(&in_fork())
    }
}

impl From<KvType> for KvTypes {
    fn from(both: KvType) -> Self {
        Self::same(both)
    }
}

impl fmt::Display for KvTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.k == self.v {
            f.pad(self.k.as_str())
        } else {
            f.pad(&format!("{}/{}", self.k.as_str(), self.v.as_str()))
        }
    }
}

impl From<KvTypes> for String {
    fn from(types: KvTypes) -> Self {
        types.to_string()
    }
}

/// As written: it stands in the words of refusals.
impl fmt::Debug for KvTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KvTypes {
    type Err = ParseKvTypesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let one = |word: &str| {
            let found = KvType::ALL.into_iter().find(|known| known.as_str() == word);
            found.ok_or_else(|| ParseKvTypesError { got: text.to_owned() })
        };
        match text.split_once('/') {
            None => Ok(Self::same(one(text)?)),
            Some((k, v)) => Ok(Self { k: one(k)?, v: one(v)? }),
        }
    }
}

impl TryFrom<String> for KvTypes {
    type Error = ParseKvTypesError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

fn names() -> String {
    KvType::ALL.map(|known| format!("`{}`", known.as_str())).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_reads_back_and_equal_ones_are_one_word() {
        for k in KvType::ALL {
            for v in KvType::ALL {
                let pair = KvTypes { k, v };
                assert_eq!(pair.to_string().parse(), Ok(pair));
                assert_eq!(pair.to_string().contains('/'), k != v);
            }
        }
        let json = serde_json::to_string(&KvTypes::same(KvType::Q8_0)).unwrap();
        assert_eq!(json, r#""q8_0""#, "as before there were pairs");
    }

    #[test]
    fn a_pair_is_lossy_if_one_side_is() {
        let lossy = |text: &str| text.parse::<KvTypes>().unwrap().is_quantised();
        assert_eq!(["f16", "bf16/f32", "f16/turbo3", "q8_0/f16"].map(lossy), [false, false, true, true]);
    }

    #[test]
    fn what_is_no_type_is_named_with_all_that_are() {
        for text in ["", "turbo5", "f16/", "/f16", "f16/q8_0/f16", "F16"] {
            let error = text.parse::<KvTypes>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
            assert!(error.contains("`turbo4-atomic`") && error.contains("`q8_0/turbo3`"), "{error}");
        }
    }

    #[test]
    fn the_forks_turbo4_is_turbo4_atomic() {
        let named = |types: &str, word| types.parse::<KvTypes>().unwrap().is_named(word);
        assert!(named("turbo4-atomic", "turbo4") && named("q8_0/turbo4-atomic", "Q8_0/turbo4"));
        assert!(named("turbo4", "turbo4") && !named("turbo4", "turbo4-atomic"));
        assert!(!named("q8_0/turbo3", "turbo3/q8_0"));
    }
}
