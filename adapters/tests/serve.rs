//! `bench serve` over a loopback socket, on a synthetic tiny pair: every route gives the engine's own tokens and counts,
//! and nothing that a client does costs more than its own request.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::net::Ipv4Addr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::ControlFlow;
use std::time::Duration;

use bench_adapters::llama_server::LlamaServer;
use bench_adapters::serve::{ApiKey, ServeConfig, Server};
use bench_adapters::{ConnectRequest, ModelPaths, connect, prometheus};
use bench_core::preset::{self, Route, ServingParams, SpecDecode};
use bench_core::stack::{GenerateRequest, Prompt, SpecCounts, Stack, StreamEvent, Usage};
use bench_engine::kv_cache::KvType;
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::spec::generation::{GenerateParams, GenerateSummary};
use bench_engine::spec::sampler::SamplingParams;
use bench_engine::synth::tiny::{TinyPair, TinyPairFiles, write_tiny_pair};
use bench_engine::tokenizer::TextDecoder;
use bench_engine::{DeviceChoice, Engine, EngineConfig, Speculation};
use futures_util::StreamExt;
use proptest::prelude::*;
use reqwest::{Client, Response};
use serde_json::{Value, json};

const PROMPT: &str = "once upon";
/// Long enough that a generation until it is full outlasts what a test does meanwhile.
const CONTEXT: u32 = 30_000;

struct Host {
    server: Server,
    client: Client,
    files: TinyPairFiles,
    _dir: tempfile::TempDir,
}

fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn mtp() -> Speculation {
    Speculation::Mtp {
        draft_max: size(3),
        acceptance: AcceptanceRule::SampleAndCompare,
        draft_head: bench_engine::model::DraftHead::Auto,
    }
}

fn ngram() -> Speculation {
    Speculation::Ngram { draft_max: size(4), ngram_min: size(1), ngram_max: size(3) }
}

fn tiny() -> TinyPair {
    TinyPair {
        vocab: 400,
        hidden: 64,
        head_dim_swa: 32,
        head_dim_full: 64,
        ffn: 64,
        assistant_hidden: 32,
        assistant_ffn: 64,
        context: CONTEXT as usize,
        cycle: Some(40),
        ..TinyPair::default()
    }
}

fn engine_config(files: &TinyPairFiles, speculation: Speculation) -> EngineConfig {
    EngineConfig {
        target: files.target.clone(),
        assistant: Some(files.assistant.clone()),
        context_tokens: CONTEXT as usize,
        kv_type: KvType::F16.into(),
        threads: size(1),
        device: DeviceChoice::Cpu,
        ple_table: bench_engine::model::PleTable::Auto,
        speculation,
    }
}

async fn host_with(speculation: Speculation, queue: usize, api_key: Option<ApiKey>) -> Host {
    let dir = tempfile::tempdir().unwrap();
    let files = write_tiny_pair(dir.path(), &tiny()).unwrap();
    let engine = engine_config(&files, speculation);
    let host = Ipv4Addr::LOCALHOST.into();
    let config = ServeConfig { engine, host, port: 0, queue, alias: Some("tiny".to_owned()), api_key };
    let mut server = Server::start(&config).await.unwrap();
    server.ready().await.unwrap();
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    Host { server, client, files, _dir: dir }
}

async fn host(speculation: Speculation) -> Host {
    host_with(speculation, 4, None).await
}

impl Host {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    async fn send(&self, path: &str, body: &Value) -> Response {
        self.client.post(self.url(path)).json(body).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let response = self.send(path, body).await;
        assert_eq!(response.status(), 200, "{path} {body}");
        response.json().await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    async fn refused(&self, path: &str, body: &Value, status: u16) -> Value {
        let response = self.send(path, body).await;
        assert_eq!(response.status(), status, "{path} {body}");
        response.json().await.unwrap()
    }

    /// A streamed answer's objects; the end marker of `/v1` routes is checked and left out.
    async fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let response = self.send(path, &body).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let text = response.text().await.unwrap();
        let mut data: Vec<_> =
            text.split_terminator("\n\n").map(|e| e.strip_prefix("data: ").unwrap()).collect();
        if path.starts_with("/v1") {
            assert_eq!(data.pop(), Some("[DONE]"));
        }
        data.into_iter().map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// A counter, all of which are whole here.
    async fn metric(&self, name: &str) -> u64 {
        let text = self.client.get(self.url("/metrics")).send().await.unwrap().text().await.unwrap();
        let samples = prometheus::parse(&text).unwrap();
        samples.iter().find(|sample| sample.name == name).unwrap().value.to_string().parse().unwrap()
    }

    async fn wait_for(&self, name: &str, value: u64) {
        for _ in 0..2000 {
            if self.metric(name).await == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{name} did not become {value}");
    }
}

/// What the engine itself does: ids, text, summary.
fn direct(
    host: &Host,
    speculation: Speculation,
    params: &GenerateParams,
) -> (Vec<u32>, String, GenerateSummary) {
    let mut engine = Engine::load(&engine_config(&host.files, speculation)).unwrap();
    let prompt = engine.encode_prompt(PROMPT);
    let mut ids = Vec::new();
    let summary = engine.generate(&prompt, params, &mut |step| {
        ids.extend_from_slice(step.tokens);
        ControlFlow::Continue(())
    });
    let mut decoder = TextDecoder::new();
    let mut text: String = ids.iter().map(|&id| decoder.push(engine.tokenizer(), id)).collect();
    text.push_str(&decoder.finish());
    (ids, text, summary.unwrap())
}

fn sampled(max_tokens: usize) -> GenerateParams {
    let sampling =
        SamplingParams { temperature: 0.9, top_k: NonZeroU32::new(20), seed: 7, ..SamplingParams::greedy() };
    GenerateParams { max_tokens, ignore_eos: true, sampling }
}

fn greedy(max_tokens: usize) -> GenerateParams {
    GenerateParams { max_tokens, ignore_eos: true, sampling: SamplingParams::greedy() }
}

fn body(params: &GenerateParams) -> Value {
    json!({
        "prompt": PROMPT,
        "max_tokens": params.max_tokens,
        "temperature": params.sampling.temperature,
        "top_k": params.sampling.top_k.map_or(0, NonZeroU32::get),
        "seed": params.sampling.seed,
        "ignore_eos": true,
        "return_token_ids": true,
        "stream_options": { "include_usage": true, "continuous_usage_stats": true },
    })
}

fn texts(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect()
}

#[tokio::test]
async fn streamed_and_whole_answers_are_the_engine_s_own() {
    for speculation in [Speculation::None, mtp(), ngram()] {
        let host = host(speculation.clone()).await;
        for params in [greedy(50), sampled(50)] {
            let (ids, text, summary) = direct(&host, speculation.clone(), &params);
            let whole = host.post("/v1/completions", &body(&params)).await;
            let choice = &whole["choices"][0];
            assert_eq!((&choice["text"], &choice["token_ids"]), (&json!(text), &json!(ids)), "{speculation}");
            assert_eq!(
                (&choice["finish_reason"], &whole["usage"]["completion_tokens"]),
                (&json!("length"), &json!(50))
            );
            assert_eq!(whole["usage"]["prompt_tokens"], summary.prompt_tokens);

            let chunks = host.stream("/v1/completions", &body(&params)).await;
            assert_eq!(texts(&chunks), text);
            let streamed = chunks.iter().filter_map(|c| c["choices"][0]["token_ids"].as_array());
            let rounds: Vec<_> = streamed.collect();
            assert_eq!(rounds.len() as u64, summary.totals.verify_steps + 1, "one chunk a round");
            let streamed: Vec<_> = rounds.into_iter().flatten().cloned().collect();
            assert_eq!(json!(streamed), json!(ids));
            let last = chunks.last().unwrap();
            assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
            for answer in [&whole, last] {
                spec_fields_match(answer, &summary);
            }
            let native = host.post("/completion", &body(&params)).await;
            assert_eq!((&native["content"], &native["tokens"]), (&json!(text), &json!(ids)));
            assert_eq!((&native["stop_type"], &native["tokens_predicted"]), (&json!("limit"), &json!(50)));
        }
        host.server.stop().await;
    }
}

/// llama.cpp's and vLLM's words for what the engine counted.
fn spec_fields_match(answer: &Value, summary: &GenerateSummary) {
    let (timings, totals) = (&answer["timings"], &summary.totals);
    assert_eq!((&timings["cache_n"], &timings["predicted_n"]), (&json!(0), &json!(summary.output_tokens)));
    let drafted = (totals.drafted > 0).then_some(totals.drafted);
    let accepted = (totals.drafted > 0).then_some(totals.accepted);
    assert_eq!((&timings["draft_n"], &timings["draft_n_accepted"]), (&json!(drafted), &json!(accepted)));
    let metrics = &answer["metrics"]["speculative_decoding"];
    if totals.drafted_per_position.is_empty() {
        assert_eq!(*metrics, Value::Null);
        return;
    }
    assert_eq!(
        (&metrics["num_draft_tokens"], &metrics["num_accepted_draft_tokens"]),
        (&json!(totals.drafted), &json!(totals.accepted))
    );
    assert_eq!(metrics["num_spec_steps"], totals.drafted_per_position[0]);
    let histogram: Vec<u64> = serde_json::from_value(metrics["acceptance_histogram"].clone()).unwrap();
    assert_eq!(histogram.iter().sum::<u64>(), totals.drafted_per_position[0]);
    assert_eq!(histogram.iter().zip(0..).map(|(n, j)| n * j).sum::<u64>(), totals.accepted);
}

#[tokio::test]
async fn greedy_drafting_changes_nothing_but_the_counts() {
    let (plain, drafting) = (host(Speculation::None).await, host(mtp()).await);
    let body = body(&greedy(80));
    let (a, b) = (plain.post("/v1/completions", &body).await, drafting.post("/v1/completions", &body).await);
    assert_eq!((&a["choices"], &a["usage"]), (&b["choices"], &b["usage"]));
    assert!(b["timings"]["draft_n_accepted"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_chat_has_a_role_first_and_history() {
    let host = host(mtp()).await;
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let messages =
        [message("system", "brief"), message("user", "a"), message("assistant", "b"), message("user", "c")];
    let body = json!({ "model": "tiny", "messages": messages, "max_tokens": 12, "temperature": 0, "ignore_eos": true });
    let whole = host.post("/v1/chat/completions", &body).await;
    assert_eq!(
        (&whole["object"], &whole["choices"][0]["message"]["role"]),
        (&json!("chat.completion"), &json!("assistant"))
    );
    let chunks = host.stream("/v1/chat/completions", &body).await;
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(whole["choices"][0]["message"]["content"], text);
    // Without include_usage the last chunk carries timings and no usage.
    let last = chunks.last().unwrap();
    assert_eq!((&last["choices"][0]["finish_reason"], last.get("usage")), (&json!("length"), None));
    assert_eq!(last["timings"]["predicted_n"], 12);
    let short = json!({ "messages": [message("user", "c")], "max_tokens": 1 });
    let short = host.post("/v1/chat/completions", &short).await;
    assert!(short["usage"]["prompt_tokens"].as_u64() < whole["usage"]["prompt_tokens"].as_u64());
}

#[tokio::test]
async fn stop_strings_end_the_text_wherever_tokens_are_cut() {
    let host = host(mtp()).await;
    let params = greedy(60);
    let (_, text, _) = direct(&host, mtp(), &params);
    let letters: Vec<_> = text.char_indices().map(|(at, _)| at).collect();
    for from in [3, 10, 17, 25, 31] {
        let stop = &text[letters[from]..letters[from + 4]];
        let expected = &text[..text.find(stop).unwrap()];
        let mut body = body(&params);
        body["stop"] = json!(["not there", stop]);
        let whole = host.post("/v1/completions", &body).await;
        let choice = &whole["choices"][0];
        assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!(expected), &json!("stop")), "{stop}");
        assert_eq!(choice["stop_reason"], stop);
        let used = whole["usage"]["completion_tokens"].as_u64().unwrap();
        assert_eq!((used, used < 60), (choice["token_ids"].as_array().unwrap().len() as u64, true));
        let chunks = host.stream("/v1/completions", &body).await;
        assert_eq!(texts(&chunks), expected);
        assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);
        let native = host.post("/completion", &body).await;
        assert_eq!((&native["stop_type"], &native["stopping_word"]), (&json!("word"), &json!(stop)));
    }
}

#[tokio::test]
async fn the_server_describes_itself() {
    let host = host(mtp()).await;
    assert_eq!(host.get("/health").await, json!({ "status": "ok" }));
    assert_eq!(host.get("/version").await["version"], env!("CARGO_PKG_VERSION"));
    let models = host.get("/v1/models").await;
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][0]["meta"]["n_ctx"]),
        (&json!("tiny"), &json!(CONTEXT))
    );
    let props = host.get("/props").await;
    assert_eq!(
        (&props["total_slots"], &props["model_alias"], &props["bos_token"]),
        (&json!(1), &json!("tiny"), &json!("<bos>"))
    );
    assert_eq!(host.get("/slots").await[0]["speculative"], true);
    let tokens = host.post("/tokenize", &json!({ "content": PROMPT, "add_special": true })).await;
    let prompt = Engine::load(&engine_config(&host.files, Speculation::None)).unwrap().encode_prompt(PROMPT);
    assert_eq!(tokens["tokens"], json!(prompt));
    assert_eq!(host.post("/detokenize", &tokens).await["content"], PROMPT);
    // A list of ids is the same prompt.
    let body = |prompt: Value| json!({ "prompt": prompt, "max_tokens": 5, "temperature": 0 });
    let by_ids = host.post("/v1/completions", &body(tokens["tokens"].clone())).await;
    let by_text = host.post("/v1/completions", &body(json!(PROMPT))).await;
    assert_eq!(by_ids["choices"], by_text["choices"]);
}

#[tokio::test]
async fn errors_name_what_was_wrong() {
    let host = host(Speculation::None).await;
    let long = json!({ "prompt": vec![5; CONTEXT as usize + 1], "stream": true });
    let error = host.refused("/v1/completions", &long, 400).await;
    assert_eq!(error["error"]["type"], "exceed_context_size_error");
    assert_eq!(
        (&error["error"]["n_prompt_tokens"], &error["error"]["n_ctx"]),
        (&json!(CONTEXT + 1), &json!(CONTEXT))
    );
    let much = json!({ "prompt": [5, 6], "max_tokens": CONTEXT });
    assert_eq!(host.refused("/v1/completions", &much, 400).await["error"]["param"], "max_tokens");
    let other = json!({ "prompt": "a", "model": "gpt" });
    assert_eq!(host.refused("/v1/completions", &other, 404).await["error"]["param"], "model");
    let unknown = host.refused("/completion", &json!({ "prompt": [400] }), 400).await;
    assert!(unknown["error"]["message"].as_str().unwrap().contains("below 400"), "{unknown}");
    assert_eq!(host.refused("/v1/chat/completions", &json!({}), 400).await["error"]["param"], "messages");
    assert_eq!(host.refused("/nowhere", &json!({}), 404).await["error"]["type"], "not_found_error");
    assert_eq!(host.refused("/health", &json!({}), 405).await["error"]["code"], 405);
}

#[tokio::test]
async fn a_full_line_refuses_and_a_client_that_leaves_frees_the_engine() {
    let host = host_with(Speculation::None, 1, None).await;
    let long = json!({ "prompt": PROMPT, "ignore_eos": true, "temperature": 0, "stream": true });
    let short = json!({ "prompt": PROMPT, "max_tokens": 2, "temperature": 0 });
    let mut running = host.send("/v1/completions", &long).await;
    assert!(running.chunk().await.unwrap().is_some());
    // One that waits and gives up, without a stream, makes room again.
    let given_up =
        tokio::time::timeout(Duration::from_millis(50), host.send("/v1/completions", &short)).await;
    assert!(given_up.is_err());
    host.wait_for("llamacpp:requests_deferred", 0).await;
    let (url, client, waits) = (host.url("/v1/completions"), host.client.clone(), short.clone());
    let waiting = tokio::spawn(async move { client.post(url).json(&waits).send().await.unwrap().status() });
    host.wait_for("llamacpp:requests_deferred", 1).await;
    let refused = host.send("/v1/completions", &short).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["type"], "unavailable_error");
    drop(running);
    assert_eq!(waiting.await.unwrap(), 200);
    assert_eq!(host.metric("bench_requests_cancelled_total").await, 1);
    assert_eq!(host.metric("bench_requests_refused_total").await, 1);
    assert!(host.metric("llamacpp:tokens_predicted_total").await < u64::from(CONTEXT));
    host.server.stop().await;
}

#[tokio::test]
async fn a_stop_ends_what_runs_and_says_so() {
    let host = host(mtp()).await;
    let long = json!({ "prompt": PROMPT, "ignore_eos": true, "temperature": 0, "stream": true });
    let mut running = host.send("/v1/completions", &long).await;
    assert!(running.chunk().await.unwrap().is_some());
    host.server.stop().await;
    let text = running.text().await.unwrap();
    let last = text.split_terminator("\n\n").last().unwrap().strip_prefix("data: ").unwrap();
    let error: Value = serde_json::from_str(last).unwrap();
    assert_eq!(error["error"]["message"], "the server is stopping");
}

#[tokio::test]
async fn with_a_key_only_the_health_is_public() {
    let host = host_with(Speculation::None, 1, ApiKey::new("secret".to_owned())).await;
    assert_eq!(host.get("/health").await["status"], "ok");
    let get = |key: Option<&str>| {
        let request = host.client.get(host.url("/v1/models"));
        key.map_or(request.try_clone().unwrap(), |key| request.bearer_auth(key)).send()
    };
    for wrong in [None, Some("secre"), Some("other!")] {
        let answer = get(wrong).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["www-authenticate"]),
            (401, &"Bearer".parse().unwrap())
        );
        assert!(!answer.text().await.unwrap().contains("secret"));
    }
    assert_eq!(get(Some("secret")).await.unwrap().status(), 200);
}

#[test]
fn no_body_is_too_strange_for_an_error_of_the_client() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let host = runtime.block_on(host(Speculation::None));
    let paths = ["/v1/completions", "/v1/chat/completions", "/completion", "/tokenize", "/detokenize"];
    let names = "n|stop|seed|prompt|messages|tokens|content|stream|top_p|logprobs|stream_options|max_tokens";
    let values =
        r#"-?[0-9]{1,25}|-?[0-9]\.[0-9]e[0-9]{1,3}|"[a-z]{0,3}"|\[\]|\{\}|\[[0-9]{1,12}\]|\[\[\]\]|true"#;
    let field = (names, values).prop_map(|(name, value)| format!(",\"{name}\":{value}"));
    // One token, should a request be right by chance.
    let object = prop::collection::vec(field, 0..4).prop_map(|fields| {
        (false, format!("{{\"max_completion_tokens\":1{}}}", fields.concat()).into_bytes())
    });
    let noise = prop::collection::vec(any::<u8>(), 0..64).prop_map(|bytes| (true, bytes));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let strategy = (0..paths.len(), prop_oneof![noise, object]);
    let result = proptest::test_runner::TestRunner::new(config).run(&strategy, |(path, (noise, body))| {
        let sent = async { host.client.post(host.url(paths[path])).body(body.clone()).send().await.unwrap() };
        let status = runtime.block_on(sent).status();
        let fine = status.is_client_error() || (!noise && status == 200);
        prop_assert!(fine, "{}: {} for {}", paths[path], status, String::from_utf8_lossy(&body));
        Ok(())
    });
    result.unwrap();
    assert_eq!(runtime.block_on(host.get("/health"))["status"], "ok");
}

/// Text, ids, usage and counts, as a stack's events tell them.
async fn told(stack: &dyn Stack, prompt: Prompt) -> (String, Vec<u32>, Usage, Option<SpecCounts>) {
    let sampling =
        preset::SamplingParams { temperature: 0.0, top_k: None, top_p: None, min_p: None, seed: 42 };
    let request = GenerateRequest {
        prompt,
        max_tokens: 60,
        ignore_eos: true,
        sampling,
        timeout: Duration::from_secs(30),
    };
    let mut events = stack.generate(request).await.unwrap();
    let (mut all, mut ids) = (String::new(), Vec::new());
    while let Some(event) = events.next().await {
        match event.unwrap() {
            StreamEvent::Opened { .. } => {}
            StreamEvent::Tokens { text, token_ids, .. } => {
                all.push_str(&text);
                ids.extend(token_ids.unwrap_or_default());
            }
            StreamEvent::Finished { usage, spec, .. } => return (all, ids, usage, spec),
        }
    }
    panic!("no end")
}

#[tokio::test]
async fn our_adapter_of_llama_server_finds_the_native_stack_s_tokens_and_counts() {
    let host = host(mtp()).await;
    let n = |n| NonZeroU32::new(n).unwrap();
    let models =
        ModelPaths { target: host.files.target.clone(), assistant: Some(host.files.assistant.clone()) };
    let spec = SpecDecode::Mtp {
        draft_max: n(3),
        acceptance: preset::AcceptanceRule::SampleAndCompare,
        draft_head: preset::DraftHead::Auto,
    };
    let chat = || Prompt::Chat { system: Some("s".to_owned()), history: Vec::new(), user: "u".to_owned() };
    for (route, prompt) in [(Route::Completion, Prompt::Text(PROMPT.to_owned())), (Route::Chat, chat())] {
        let serving = ServingParams {
            context_tokens: n(CONTEXT),
            kv_type: preset::KvType::F16.into(),
            threads: n(1),
            route,
            device: preset::Device::Auto,
            ple_table: preset::PleTable::Auto,
            slots: NonZeroU32::MIN,
        };
        let dir = std::env::temp_dir();
        let request = ConnectRequest::native(&models, &spec, &serving, &dir);
        let native = connect(&request).await.unwrap();
        let attached = LlamaServer::attach(&host.url(""), route).unwrap();
        let info = attached.describe().await.unwrap();
        assert_eq!((info.speculation.as_deref(), info.context_tokens), (Some("draft-mtp"), Some(CONTEXT)));
        let before = attached.counters().await.unwrap().spec.unwrap();
        let (a, b) = (told(&*native, prompt.clone()).await, told(&attached, prompt).await);
        assert_eq!((&a.0, &a.2), (&b.0, &b.2));
        // The chat route does not tell ids.
        assert_eq!(if route == Route::Completion { &a.1[..] } else { &[] }, b.1);
        let (a, b) = (a.3.unwrap(), b.3.unwrap());
        assert!(a.accepted > 0);
        assert_eq!((a.drafted, a.accepted, a.verify_steps), (b.drafted, b.accepted, b.verify_steps));
        let after = attached.counters().await.unwrap().spec.unwrap();
        assert_eq!(
            (after.drafted - before.drafted, after.accepted - before.accepted),
            (a.drafted, a.accepted)
        );
        let (before, after) = (before.accepted_per_position.unwrap(), after.accepted_per_position.unwrap());
        let per_position: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(Some(per_position), a.accepted_per_position);
    }
}
