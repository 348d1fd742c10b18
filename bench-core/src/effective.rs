//! What was asked of a stack against what it says of itself: only differences that matter, in words.
//!
//! Pure. What a stack does not say contradicts nothing. A difference makes an arm invalid, not slow.

use crate::preset::{Device, KvTypes, PleTable, Preset, SpecDecode};
use crate::stack::{PLE_TABLE_DETAIL, StackInfo};

/// What was asked of one arm.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The experiment.
    pub preset: &'a Preset,
    /// The arm's way of speculating.
    pub spec: &'a SpecDecode,
    /// The arm's KV types.
    pub kv_type: KvTypes,
    /// SHA-256 of the target's file, hex.
    pub target_sha256: Option<&'a str>,
    /// SHA-256 of the assistant's file, hex.
    pub assistant_sha256: Option<&'a str>,
}

/// Every difference that matters; empty if the stack contradicts nothing.
#[must_use]
pub fn differences(asked: Asked<'_>, info: &StackInfo) -> Vec<String> {
    let mut found = configuration_differences(asked, info);
    found.extend(file_differences(asked, info));
    found
}

/// Differences in how the models are served.
#[must_use]
pub fn configuration_differences(asked: Asked<'_>, info: &StackInfo) -> Vec<String> {
    let Asked { preset, spec, kv_type, .. } = asked;
    let serving = &preset.serving;
    let mut found = Vec::new();
    if let Some(kv) = info.kv_type.as_deref().filter(|kv| !kv_type.is_named(kv)) {
        found.push(format!("KV cache in force is {kv}, the preset asks for {kv_type}"));
    }
    if let Some(method) = info.speculation.as_deref().filter(|method| !is_method(spec, method)) {
        found.push(format!("speculation in force is {method}, the preset asks for {}", spec.method()));
    }
    if let (Some(in_force), Some(asked)) = (info.draft_max, spec.draft_max())
        && in_force != asked.get()
    {
        found.push(format!("up to {in_force} drafts a round are in force, the preset asks for {asked}"));
    }
    if let Some(context) = info.context_tokens.filter(|&context| context < serving.context_tokens.get()) {
        found.push(format!(
            "context in force is {context} tokens, the preset asks for {}",
            serving.context_tokens
        ));
    }
    if let Some(device) = info.device.as_deref().filter(|device| !is_device(serving.device, device)) {
        found.push(format!("models run on {device}, the preset asks for {}", serving.device.as_str()));
    }
    let asked = serving.ple_table.as_str();
    if let Some(place) = info.details.get(PLE_TABLE_DETAIL).filter(|place| !place.starts_with(asked))
        && serving.ple_table != PleTable::Auto
    {
        found
            .push(format!("the table of per-layer embeddings lies on: {place}; the preset asks for {asked}"));
    }
    found
}

/// Model files that are not the preset's.
#[must_use]
pub fn file_differences(asked: Asked<'_>, info: &StackInfo) -> Vec<String> {
    let assistant = asked.assistant_sha256.filter(|_| asked.spec.needs_assistant());
    let target = other_file("target", asked.target_sha256, info.target_sha256.as_deref());
    target.into_iter().chain(other_file("assistant", assistant, info.assistant_sha256.as_deref())).collect()
}

/// Whether a stack's word for its method is ours. Stacks have words of their own: llama.cpp's `draft-mtp` serves the
/// assistant and next-token layers alike, vLLM says `draft_model`. A word that is no method's ("on") is no contradiction
/// to speculating.
fn is_method(spec: &SpecDecode, word: &str) -> bool {
    let word = word.to_lowercase().replace('_', "-");
    let is_none = word == "none";
    let names_another = |families: &[&str]| families.iter().any(|family| word.contains(family));
    match spec {
        SpecDecode::None => is_none,
        SpecDecode::Mtp { .. } | SpecDecode::Nextn { .. } => {
            !is_none && !names_another(&["ngram", "eagle", "medusa", "draft-simple", "draft-model", "dflash"])
        }
        SpecDecode::DraftModel { .. } => {
            !is_none && !names_another(&["ngram", "eagle", "medusa", "mtp", "nextn", "dflash"])
        }
        SpecDecode::Ngram { .. } => {
            !is_none && !names_another(&["mtp", "nextn", "eagle", "medusa", "draft-"])
        }
    }
}

fn is_device(asked: Device, word: &str) -> bool {
    let on_cpu = word.to_lowercase().starts_with("cpu");
    match asked {
        Device::Auto => true,
        Device::Cpu => on_cpu,
        Device::Gpu => !on_cpu,
    }
}

fn other_file(which: &str, asked: Option<&str>, loaded: Option<&str>) -> Option<String> {
    let (asked, loaded) = (asked?, loaded?);
    let short = |hash: &str| hash.chars().take(12).collect::<String>();
    (asked != loaded).then(|| {
        format!(
            "the {which} that was loaded is another file ({}, the preset's is {})",
            short(loaded),
            short(asked)
        )
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::preset::{AcceptanceRule, DraftHead};
    use crate::testing::{preset, stack_info};

    fn mtp() -> SpecDecode {
        let draft_max = NonZeroU32::new(3).unwrap();
        SpecDecode::Mtp { draft_max, acceptance: AcceptanceRule::default(), draft_head: DraftHead::Auto }
    }

    fn ngram() -> SpecDecode {
        let n = NonZeroU32::MIN;
        SpecDecode::Ngram { draft_max: n, ngram_min: n, ngram_max: n }
    }

    fn found(spec: &SpecDecode, device: Device, info: &StackInfo) -> Vec<String> {
        let mut preset = preset();
        preset.serving.device = device;
        let asked = Asked {
            preset: &preset,
            spec,
            kv_type: preset.serving.kv_type,
            target_sha256: Some("aaaa"),
            assistant_sha256: Some("bbbb"),
        };
        differences(asked, info)
    }

    #[test]
    fn a_stack_that_says_nothing_contradicts_nothing() {
        assert_eq!(found(&mtp(), Device::Gpu, &stack_info()), Vec::<String>::new());
    }

    #[test]
    fn every_difference_that_matters_is_named() {
        let info = StackInfo {
            speculation: Some("none".to_owned()),
            kv_type: Some("q8_0".to_owned()),
            context_tokens: Some(512),
            draft_max: Some(4),
            device: Some("cpu".to_owned()),
            target_sha256: Some("aaaa".to_owned()),
            assistant_sha256: Some("cccc".to_owned()),
            ..stack_info()
        };
        let found = found(&mtp(), Device::Gpu, &info);
        let begins = [
            "KV cache in force is q8_0",
            "speculation in force is none",
            "up to 4 drafts",
            "context in force",
            "models run on cpu",
            "the assistant that was loaded",
        ];
        assert_eq!(found.len(), begins.len(), "{found:?}");
        for (difference, begin) in found.iter().zip(begins) {
            assert!(difference.starts_with(begin), "{difference}");
        }
    }

    #[test]
    fn stacks_have_words_of_their_own() {
        let said = |word: &str| StackInfo { speculation: Some(word.to_owned()), ..stack_info() };
        for (spec, fits, does_not) in [
            (
                mtp(),
                vec!["mtp", "draft-mtp", "gemma4_mtp", "on, by a method the server does not tell"],
                vec!["none", "ngram-simple", "draft_model"],
            ),
            (ngram(), vec!["ngram", "ngram-simple", "ngram_gpu"], vec!["none", "draft-mtp", "draft_model"]),
            (SpecDecode::None, vec!["none"], vec!["mtp", "ngram"]),
        ] {
            for word in fits {
                assert_eq!(found(&spec, Device::Auto, &said(word)), Vec::<String>::new(), "{word}");
            }
            for word in does_not {
                assert_eq!(found(&spec, Device::Auto, &said(word)).len(), 1, "{word} for {}", spec.method());
            }
        }
    }

    #[test]
    fn a_table_of_per_layer_embeddings_elsewhere_is_a_difference_where_one_was_asked_for() {
        let found = |asked, said: &str| {
            let mut preset = preset();
            preset.serving.ple_table = asked;
            let mut info = StackInfo { speculation: Some("none".to_owned()), ..stack_info() };
            info.details.insert(PLE_TABLE_DETAIL.to_owned(), said.to_owned());
            let asked = Asked {
                preset: &preset,
                spec: &SpecDecode::None,
                kv_type: preset.serving.kv_type,
                target_sha256: None,
                assistant_sha256: None,
            };
            configuration_differences(asked, &info).join("; ").contains("per-layer embeddings")
        };
        for said in ["device", "host (a locked copy)"] {
            assert!(!found(PleTable::Auto, said));
            assert_eq!(found(PleTable::Device, said), said != "device");
            assert_eq!(found(PleTable::Host, said), said == "device");
        }
    }
}
