//! From our request to vLLM's JSON.
//!
//! Everything that has a server-side default is said, and what is unset in a preset is switched off, since a server takes
//! defaults from the model's `generation_config.json`. The cache salt is fresh each time: a prompt of another request is
//! never found in the prefix cache, be it on or off.

use bench_core::clock;
use bench_core::preset::Route;
use bench_core::stack::{GenerateRequest, StackError};
use serde_json::{Value, json};

use super::KIND;
use crate::openai;

/// The body of a streaming request.
pub(super) fn body(route: Route, model: &str, request: &GenerateRequest) -> Result<Value, StackError> {
    let mut body = openai::body(KIND, route, model, request)?;
    let sampling = &request.sampling;
    // -1 is "all" in every version; 0 was refused by older ones.
    body["top_k"] = json!(sampling.top_k.map_or(-1, |k| i64::from(k.get())));
    body["min_p"] = json!(sampling.min_p.unwrap_or(0.0));
    body["repetition_penalty"] = json!(1.0);
    body["ignore_eos"] = json!(request.ignore_eos);
    body["return_token_ids"] = json!(true);
    // More would hold tokens back and change every latency.
    body["stream_interval"] = json!(1);
    body["cache_salt"] = json!(clock::new_run_id(clock::unix_ms()));
    Ok(body)
}

#[cfg(test)]
mod tests {
    use bench_core::testing::generate_request;

    use super::*;

    #[test]
    fn every_parameter_is_said_and_the_salt_is_fresh() {
        let asked = generate_request("Once");
        let bodies = [(); 2].map(|()| body(Route::OpenAiCompletion, "m", &asked).unwrap());
        assert_ne!(bodies[0]["cache_salt"], bodies[1]["cache_salt"]);
        let mut shown = bodies[0].clone();
        shown["cache_salt"] = json!("fresh");
        insta::assert_snapshot!(shown, @r#"{"cache_salt":"fresh","ignore_eos":true,"max_tokens":8,"min_p":0.0,"model":"m","prompt":"Once","repetition_penalty":1.0,"return_token_ids":true,"seed":42,"stream":true,"stream_interval":1,"stream_options":{"continuous_usage_stats":true,"include_usage":true},"temperature":0.0,"top_k":-1,"top_p":1.0}"#);
    }
}
