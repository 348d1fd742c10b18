//! What a llama-server says of itself: `/props`, `/slots`, `/v1/models`.
//!
//! The method of speculation is not in `/props` (its default settings say `none` whatever runs); `/slots` tells
//! whether a slot speculates, and, once the slot was used, how. Where the layers are and how keys and values are kept is
//! read from the log, if the server is ours. What the server does not tell (threads, draft length) is `None`: what was
//! asked stands in the recipe. A server that was started to speculate and does not says so here, and its arm is invalid.

use std::collections::BTreeMap;

use bench_core::preset::StackKind;
use bench_core::stack::{DRAFT_HEAD_DETAIL, StackError, StackInfo};
use serde::Deserialize;
use serde_json::Value;

use super::{Asked, log_facts};
use crate::lower::llama::spec_type;
use crate::server::Server;

#[derive(Deserialize)]
struct PropsJson {
    build_info: Option<String>,
    model_path: Option<String>,
    model_alias: Option<String>,
    total_slots: Option<u32>,
}

#[derive(Deserialize)]
struct SlotJson {
    n_ctx: Option<u32>,
    speculative: Option<bool>,
    params: Option<SlotParamsJson>,
}

#[derive(Deserialize)]
struct SlotParamsJson {
    #[serde(rename = "speculative.types")]
    speculative_types: Option<String>,
}

#[derive(Deserialize)]
struct ModelsJson {
    data: Vec<ModelJson>,
}

#[derive(Deserialize)]
struct ModelJson {
    #[serde(default)]
    meta: BTreeMap<String, Value>,
}

/// Whom to ask, and what we know because we started it.
#[derive(Clone, Copy)]
pub(crate) struct Questions<'a> {
    pub(crate) kind: StackKind,
    /// What the routes begin with, for a server behind another.
    pub(crate) prefix: &'a str,
    pub(crate) asked: Option<&'a Asked>,
}

pub(crate) async fn describe(server: &Server, questions: Questions<'_>) -> Result<StackInfo, StackError> {
    let Questions { kind, prefix, asked } = questions;
    let props: PropsJson = server.get_json(&format!("{prefix}/props")).await?;
    let slots: Option<Vec<SlotJson>> = optional(server.get_json(&format!("{prefix}/slots")).await)?;
    let models: ModelsJson = server.get_json(&format!("{prefix}/v1/models")).await?;
    let slot = slots.as_deref().and_then(<[_]>::first);
    let method = asked.map(|asked| spec_type(&asked.spec));
    let speculation = slot.and_then(|slot| speculation(slot, method));
    // What was asked is in the recipe; only what the log says is in force.
    let facts = server.log().map(|log| log_facts::facts(&log)).unwrap_or_default();
    Ok(StackInfo {
        kind,
        build: props.build_info,
        model: props.model_path.or(props.model_alias),
        kv_type: facts.kv_type,
        context_tokens: slot.and_then(|slot| slot.n_ctx),
        threads: None,
        draft_max: None,
        device: facts.device,
        target_sha256: None,
        assistant_sha256: None,
        recipe: server.recipe(),
        details: details(models, props.total_slots, speculation.as_deref()),
        speculation,
    })
}

/// The method in force. A fresh slot tells only whether it speculates; the method is then the one we asked for.
fn speculation(slot: &SlotJson, asked: Option<&str>) -> Option<String> {
    if !slot.speculative? {
        return Some("none".to_owned());
    }
    let told = slot.params.as_ref().and_then(|params| params.speculative_types.as_deref());
    let method = told.filter(|types| *types != "none").or(asked);
    Some(method.unwrap_or("on, by a method the server does not tell").to_owned())
}

fn details(
    models: ModelsJson,
    total_slots: Option<u32>,
    speculation: Option<&str>,
) -> BTreeMap<String, String> {
    let meta = models.data.into_iter().next().map(|model| model.meta).unwrap_or_default();
    let mut details: BTreeMap<_, _> = meta
        .into_iter()
        .map(|(key, value)| {
            (format!("model.{key}"), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
        .collect();
    details.extend(total_slots.map(|slots| ("slots".to_owned(), slots.to_string())));
    // Not told, but known: it does not read an assistant's centroids.
    if speculation.is_some_and(|method| method.contains("draft-mtp")) {
        details.insert(DRAFT_HEAD_DETAIL.to_owned(), "dense".to_owned());
    }
    details
}

/// A server that was attached to may hide its slots (started with `--no-slots`).
fn optional<T>(result: Result<T, StackError>) -> Result<Option<T>, StackError> {
    match result {
        Err(StackError::Status { status: 404 | 501, .. }) => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(capture: &str) -> &str {
        capture.split_once("\n\n").unwrap().1
    }

    #[test]
    fn a_used_slot_tells_its_method_and_a_fresh_one_that_it_speculates() {
        let capture = include_str!("../../tests/fixtures/llama-server/slots_idle.txt");
        let used: Vec<SlotJson> = serde_json::from_str(body(capture)).unwrap();
        assert_eq!(speculation(&used[0], None).as_deref(), Some("draft-mtp"));
        let fresh = |speculative| SlotJson { n_ctx: None, speculative, params: None };
        assert_eq!(speculation(&fresh(Some(true)), Some("ngram-simple")).as_deref(), Some("ngram-simple"));
        assert!(speculation(&fresh(Some(true)), None).unwrap().starts_with("on, by"));
        assert_eq!(speculation(&fresh(Some(false)), Some("draft-mtp")).as_deref(), Some("none"));
        assert_eq!(speculation(&fresh(None), Some("draft-mtp")), None);
    }

    #[test]
    fn the_model_s_facts_are_kept() {
        let capture = include_str!("../../tests/fixtures/llama-server/v1_models.txt");
        let models = || serde_json::from_str(body(capture)).unwrap();
        let mtp = details(models(), Some(1), Some("draft-mtp"));
        assert_eq!(mtp["model.n_params"], "8678438");
        assert_eq!(mtp["model.ftype"], "F16");
        assert_eq!(mtp[DRAFT_HEAD_DETAIL], "dense", "the server reads no centroids");
        for other in [Some("none"), Some("ngram-simple"), None] {
            assert!(!details(models(), Some(1), other).contains_key(DRAFT_HEAD_DETAIL), "{other:?}");
        }
    }
}
