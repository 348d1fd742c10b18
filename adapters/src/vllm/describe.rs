//! What a vLLM server says of itself: `/version`, `/v1/models`, and the configuration among its metrics.
//!
//! Paths of the model on the server are left out: they are nobody's business. Whether it speculates shows in its metrics,
//! which have counters of speculation only then; the method is what we asked for, if we asked.

use std::collections::BTreeMap;

use bench_core::stack::{StackError, StackInfo};
use serde::Deserialize;

use super::{KIND, Vllm};
use crate::prometheus::Sample;
use crate::server::{metrics, samples};

#[derive(Deserialize)]
struct VersionJson {
    version: String,
}

#[derive(Deserialize)]
struct ModelsJson {
    data: Vec<ModelJson>,
}

#[derive(Deserialize)]
struct ModelJson {
    id: String,
    max_model_len: Option<u32>,
}

/// Labels of `cache_config_info` that matter to a reader of results.
const CACHE_LABELS: [&str; 4] = ["cache_dtype", "enable_prefix_caching", "block_size", "num_gpu_blocks"];

pub(super) async fn describe(vllm: &Vllm) -> Result<StackInfo, StackError> {
    let version: VersionJson = vllm.server.get_json("/version").await?;
    let models: ModelsJson = vllm.server.get_json("/v1/models").await?;
    let model = models.data.into_iter().find(|model| model.id == vllm.model);
    let body = metrics(&vllm.server, "/metrics").await?;
    let samples = body.as_ref().map(|(_, text)| samples(text)).transpose()?.unwrap_or_default();
    let details = details(&samples);
    let asked = vllm.spec.as_ref().filter(|_| vllm.launched.is_some());
    Ok(StackInfo {
        kind: KIND,
        speculation: speculation(&samples, asked.map(|spec| spec.method())),
        kv_type: details.get("cache_dtype").and_then(|dtype| kv_type(dtype)),
        context_tokens: model.as_ref().and_then(|model| model.max_model_len),
        model: model.map(|model| model.id),
        threads: None,
        draft_max: draft_max(&samples),
        // Builds are for one kind of device, and say so behind their version.
        device: version.version.ends_with("+cpu").then(|| "cpu".to_owned()),
        build: Some(version.version),
        target_sha256: None,
        assistant_sha256: None,
        recipe: vllm.server.recipe(),
        details,
    })
}

/// `None` without metrics: then nothing is known.
fn speculation(samples: &[Sample<'_>], asked: Option<&str>) -> Option<String> {
    if samples.is_empty() {
        return None;
    }
    let speculates = samples.iter().any(|sample| sample.name.starts_with("vllm:spec_decode_num_draft"));
    Some(match (speculates, asked) {
        (false, _) => "none".to_owned(),
        (true, Some(method)) => method.to_owned(),
        (true, None) => "on, by a method the server does not tell".to_owned(),
    })
}

/// The counters by position exist for every position that may be drafted.
fn draft_max(samples: &[Sample<'_>]) -> Option<u32> {
    let per_position = "vllm:spec_decode_num_accepted_tokens_per_pos_total";
    let positions = samples.iter().filter(|sample| sample.name == per_position);
    let labels = positions.filter_map(|sample| sample.labels.iter().find(|(name, _)| *name == "position"));
    labels.filter_map(|(_, position)| position.parse::<u32>().ok()?.checked_add(1)).max()
}

fn details(samples: &[Sample<'_>]) -> BTreeMap<String, String> {
    let config = samples.iter().find(|sample| sample.name == "vllm:cache_config_info");
    let labels = config.map(|sample| sample.labels.as_slice()).unwrap_or_default();
    let wanted = labels.iter().filter(|(name, _)| CACHE_LABELS.contains(name));
    wanted.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// Our name of vLLM's type; `auto` is the model's own type, which it does not tell.
fn kv_type(dtype: &str) -> Option<String> {
    match dtype {
        "auto" => None,
        "float16" | "half" => Some("f16".to_owned()),
        "bfloat16" => Some("bf16".to_owned()),
        other => Some(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prometheus::parse;

    #[test]
    fn counters_of_speculation_exist_only_where_it_is_on() {
        let off = parse("vllm:num_requests_running{engine=\"0\"} 0\n").unwrap();
        let on = parse("vllm:spec_decode_num_draft_tokens_total{engine=\"0\"} 0\n").unwrap();
        assert_eq!(speculation(&off, Some("mtp")).as_deref(), Some("none"), "asked for and not there");
        assert_eq!(speculation(&on, Some("mtp")).as_deref(), Some("mtp"));
        assert!(speculation(&on, None).unwrap().starts_with("on, by"));
        assert_eq!(speculation(&[], Some("mtp")), None);
        let positions = "vllm:spec_decode_num_accepted_tokens_per_pos_total{position=\"0\"} 7\n\
            vllm:spec_decode_num_accepted_tokens_per_pos_total{position=\"2\"} 0\n";
        assert_eq!(draft_max(&parse(positions).unwrap()), Some(3));
        assert_eq!(draft_max(&off), None);
    }

    #[test]
    fn the_cache_s_configuration_is_kept() {
        let text = "vllm:cache_config_info{block_size=\"16\",cache_dtype=\"bfloat16\",enable_prefix_caching=\"True\",swap=\"0\"} 1.0\n";
        let details = details(&parse(text).unwrap());
        assert_eq!(details.len(), 3);
        assert_eq!(kv_type(&details["cache_dtype"]).as_deref(), Some("bf16"));
        assert_eq!(kv_type("auto"), None);
    }
}
