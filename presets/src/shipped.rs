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
            description: "The bundled pair (a trained 14 M Gemma 4 and its MTP assistant) on five kinds of text: \
                          every way of speculating against plain decoding, in a minute or two.",
            toml: include_str!("../presets/quickstart.toml"),
        },
        Shipped {
            name: "smoke",
            description: "Two prompts, two blocks, a few seconds: shows that a set-up works. Too few blocks for \
                          intervals.",
            toml: include_str!("../presets/smoke.toml"),
        },
        Shipped {
            name: "nano-draft-length",
            description: "The bundled pair at draft lengths 1 to 5 against plain decoding: where speculation \
                          pays on this machine, and where it stops.",
            toml: include_str!("../presets/nano-draft-length.toml"),
        },
        Shipped {
            name: "nano-held-out",
            description: "Acceptance of the bundled pair on 120 held-out prompts of six kinds, draft lengths 1 \
                          to 5, centroid head and dense head.",
            toml: include_str!("../presets/nano-held-out.toml"),
        },
        Shipped {
            name: "synthetic",
            description: "Tiny synthetic Gemma-4 pair with planted acceptance 0.7: every way of speculating \
                          against plain decoding, with counts known beforehand.",
            toml: include_str!("../presets/synthetic.toml"),
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
