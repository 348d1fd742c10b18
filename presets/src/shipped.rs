//! The presets in the binary.

use crate::error::PresetError;
use crate::fields::nearest;

/// A preset that comes with the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// What `bench run` calls it.
    pub name: &'static str,
    /// What it is for; equal to the description in its text.
    pub description: &'static str,
    /// Its text.
    pub toml: &'static str,
}

/// All shipped presets, in the order they are listed in.
#[must_use]
pub fn shipped() -> &'static [Shipped] {
    &[
        Shipped {
            name: "quickstart",
            description: "Tiny synthetic Gemma-4 pair with planted acceptance 0.7: every way of speculating against \
                          plain decoding, in well under a minute.",
            toml: include_str!("../presets/quickstart.toml"),
        },
        Shipped {
            name: "smoke",
            description: "Two prompts, two blocks, a few seconds: shows that a set-up works. Too few blocks for \
                          intervals.",
            toml: include_str!("../presets/smoke.toml"),
        },
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
