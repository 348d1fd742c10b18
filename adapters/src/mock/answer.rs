//! Answers that are no streams: models, health, counters, truth.

use serde_json::json;

use super::ask::Request;
use super::truth::{Ledger, SpecTotals};
use super::wire::whole;

const JSON: &str = "application/json";
const NAMES: &str =
    "there are /v1/chat/completions, /v1/completions, /v1/models, /health, /metrics, /truth, /reset";

/// The answer to anything but a completion. `model` is JSON.
pub(super) fn answer(
    request: &Request,
    model: &str,
    script_speculates: bool,
    ledger: &mut Ledger,
) -> Vec<u8> {
    let text =
        |body: &str| whole("200 OK", "text/plain; version=0.0.4; charset=utf-8", body, request.keep_alive);
    let json = |body: &str| whole("200 OK", JSON, body, request.keep_alive);
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/health" | "/") => json("{\"status\":\"ok\"}"),
        ("GET", "/v1/models") => {
            let model =
                format!("{{\"id\":{model},\"object\":\"model\",\"created\":0,\"owned_by\":\"mock\"}}");
            json(&format!("{{\"object\":\"list\",\"data\":[{model}]}}"))
        }
        ("GET", "/metrics") if script_speculates => text(&metrics(&ledger.spec, model)),
        ("GET", "/metrics") => text(""),
        ("GET", "/truth") => {
            json(&serde_json::to_string_pretty(&ledger.truth()).unwrap_or_else(|error| error.to_string()))
        }
        ("POST", "/reset") => {
            ledger.reset();
            json("{\"status\":\"ok\"}")
        }
        _ => error("404 Not Found", &format!("no such route; {NAMES}"), request.keep_alive),
    }
}

/// An answer that says what is wrong.
pub(super) fn error(status: &str, message: &str, keep_alive: bool) -> Vec<u8> {
    whole(status, JSON, &json!({ "error": { "message": message, "code": status } }).to_string(), keep_alive)
}

/// Counters under vLLM's names.
fn metrics(spec: &SpecTotals, model: &str) -> String {
    let mut page = String::new();
    let label = format!("model_name={model}");
    let accepted: u64 = spec.accepted_per_position.iter().sum();
    for (name, value) in
        [("num_drafts", spec.steps), ("num_draft_tokens", spec.drafted), ("num_accepted_tokens", accepted)]
    {
        page += &format!("# TYPE vllm:spec_decode_{name}_total counter\n");
        page += &format!("vllm:spec_decode_{name}_total{{{label}}} {value}\n");
    }
    page += "# TYPE vllm:spec_decode_num_accepted_tokens_per_pos_total counter\n";
    for (position, count) in spec.accepted_per_position.iter().enumerate() {
        let name = "vllm:spec_decode_num_accepted_tokens_per_pos_total";
        page += &format!("{name}{{{label},position=\"{position}\"}} {count}\n");
    }
    page
}
