//! The presets in the binary.

use crate::error::PresetError;
use crate::fields::nearest;

/// A preset that comes with the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// What `bench run` calls it.
    pub name: &'static str,
    /// Its text.
    pub toml: &'static str,
}

/// All shipped presets, in the order they are listed in.
#[must_use]
pub fn shipped() -> &'static [Shipped] {
    &[
        Shipped { name: "quickstart", toml: include_str!("../presets/quickstart.toml") },
        Shipped { name: "smoke", toml: include_str!("../presets/smoke.toml") },
    ]
}

pub(crate) fn unknown(name: &str) -> PresetError {
    let names: Vec<_> = shipped().iter().map(|preset| preset.name).collect();
    PresetError::UnknownPreset {
        name: name.to_owned(),
        nearest: nearest(name, names.iter().copied()),
        shipped: names,
    }
}
