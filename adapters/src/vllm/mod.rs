//! vLLM's OpenAI-compatible server: launched for an arm, or attached by URL. Words as in 0.32.
//!
//! One chunk holds all tokens of a step, so tokens are counted by the usage in every chunk. What speculation did comes in
//! the response where the server was started for it, and from the metrics else.

mod describe;
mod request;

use std::time::Duration;

use async_trait::async_trait;
use bench_core::acceptance::VllmSpecDecoding;
use bench_core::preset::{Route, ServingParams, SpecDecode, StackKind};
use bench_core::stack::{
    Ahead, CounterReading, EventStream, GenerateRequest, Revival, SpecCounts, Stack, StackError, StackInfo,
    Usage,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::arm::ConnectRequest;
use crate::decoder::{Chunk, Dialect, protocol};
use crate::lower;
use crate::markers::Markers;
use crate::place::{Place, find};
use crate::prometheus;
use crate::secret::Secret;
use crate::server::{Recipe, Server, metrics, samples};

const KIND: StackKind = StackKind::Vllm;
/// Three processes that import for minutes.
const READY_LIMIT: Duration = Duration::from_secs(300);
/// From the death of its engine, which it answers with 500, to its own end.
const ENGINE_DEATH_LIMIT: Duration = Duration::from_secs(15);

/// A vLLM server, ours or somebody's.
#[derive(Debug)]
pub struct Vllm {
    server: Server,
    model: String,
    route: Route,
    /// What the preset asks for; known of attached servers, too, where a preset is run.
    spec: Option<SpecDecode>,
    launched: Option<ServingParams>,
    markers: Markers,
}

#[derive(Deserialize)]
struct TokenizeJson {
    count: u32,
}

impl Vllm {
    /// Uses a server that runs already. Nothing is sent yet.
    pub fn attach(url: &str, model: &str, route: Route) -> Result<Self, StackError> {
        let server = Server::attach(url, Secret::of_stack(KIND))?;
        Ok(Self {
            server,
            model: model.to_owned(),
            route,
            spec: None,
            launched: None,
            markers: Markers::default(),
        })
    }

    pub(crate) async fn connect(request: &ConnectRequest<'_>) -> Result<Self, StackError> {
        let (spec, route) = (Some(request.spec.clone()), request.serving.route);
        let place = find(KIND, request.place)?;
        let launched = matches!(place, Place::Program(_)).then(|| request.serving.clone());
        let server = match place {
            Place::Url(url) => Server::attach(&url, Secret::of_stack(KIND))?,
            Place::Program(program) => Server::launch(recipe(request, program)?, None).await?,
        };
        let model = crate::openai::only_model(&server, KIND, "BENCH_VLLM_MODEL").await?;
        Ok(Self { server, model, route, spec, launched, markers: Markers::default() })
    }
}

fn recipe(request: &ConnectRequest<'_>, program: std::path::PathBuf) -> Result<Recipe, StackError> {
    let (hf, spec, serving) = (request.hf.cloned(), request.spec.clone(), request.serving.clone());
    // Before anything is started: what cannot be said has no port to be said on.
    lower::vllm::args(hf.as_ref(), &spec, &serving, 0)?;
    let env = lower::vllm::env(&serving).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Recipe {
        program,
        args: Box::new(move |port| lower::vllm::args(hf.as_ref(), &spec, &serving, port)),
        env,
        log: request.log_path(),
        ready_path: "/health",
        ready_limit: READY_LIMIT,
    })
}

#[async_trait]
impl Stack for Vllm {
    async fn describe(&self) -> Result<StackInfo, StackError> {
        let mut info = describe::describe(self).await?;
        self.markers.learn(&self.server, "/tokenize", |text| self.tokenize(text), &mut info).await;
        Ok(info)
    }

    async fn prepare(&self, ahead: Ahead) {
        self.server.prepare(ahead).await;
    }

    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError> {
        let body = request::body(self.route, &self.model, &request)?;
        let dialect = VllmDialect { drafts_every_step: self.drafts_every_step() };
        let (path, split) = (crate::openai::path(self.route), self.markers.splitter(&body));
        let events = self.server.stream(path, &body, Box::new(dialect), split, self.server.watch()).await;
        match events {
            Err(error @ StackError::Status { status: 500, .. }) => Err(self.with_death(error).await),
            events => events,
        }
    }

    async fn counters(&self) -> Result<CounterReading, StackError> {
        let Some((_, text)) = metrics(&self.server, "/metrics").await? else {
            return Ok(CounterReading::default());
        };
        let samples = samples(&text)?;
        Ok(CounterReading {
            spec: prometheus::spec_counts(&samples, "vllm:"),
            cached_tokens: prometheus::cached_tokens(&samples),
            process_started: prometheus::process_start(&samples),
        })
    }

    async fn count_tokens(&self, text: &str) -> Result<Option<u32>, StackError> {
        match self.server.post_json::<TokenizeJson>("/tokenize", &self.tokenize(text)).await {
            Err(StackError::Status { status: 404 | 405, .. }) => Ok(None),
            answer => answer.map(|answer| Some(answer.count)),
        }
    }

    async fn revive(&self, may_start: bool) -> Result<Revival, StackError> {
        self.server.revive(may_start).await
    }

    async fn shutdown(&self) -> Result<(), StackError> {
        self.server.shutdown().await
    }
}

impl Vllm {
    /// What `/tokenize` is sent for a text.
    fn tokenize(&self, text: &str) -> Value {
        json!({ "model": self.model, "prompt": text, "add_special_tokens": false })
    }

    /// A 500 may be about one request, or the last word of a server whose engine died: then its log has the traceback.
    async fn with_death(&self, error: StackError) -> StackError {
        match self.server.end_of_unready(ENGINE_DEATH_LIMIT).await {
            Some(death) => {
                StackError::Aborted { events: 0, detail: error.to_string(), death: Some(Box::new(death)) }
            }
            None => error,
        }
    }

    /// A drafter that is a model drafts in every step; prompt lookup only where it finds something.
    fn drafts_every_step(&self) -> bool {
        match &self.spec {
            Some(SpecDecode::Mtp { .. } | SpecDecode::Nextn { .. } | SpecDecode::DraftModel { .. }) => true,
            Some(SpecDecode::None | SpecDecode::Ngram { .. }) | None => false,
        }
    }
}

/// vLLM's JSON.
pub(crate) struct VllmDialect {
    /// Then the rounds that drafted are all verify steps; else steps without a draft are in no count of the response.
    pub(crate) drafts_every_step: bool,
}

impl Dialect for VllmDialect {
    fn parse<'a>(&self, data: &'a str) -> Result<Chunk<'a>, StackError> {
        crate::openai::parse(data)
    }

    fn spec_counts(&self, metrics: &Value) -> Result<Option<SpecCounts>, StackError> {
        let mut counts = speculative_decoding(metrics)?;
        if let Some(counts) = counts.as_mut().filter(|_| self.drafts_every_step) {
            counts.verify_steps = counts.rounds_with_draft();
        }
        Ok(counts)
    }

    fn usage_of_timings(&self, _metrics: &Value) -> Result<Usage, StackError> {
        Ok(Usage::default())
    }
}

/// The counts in a response's `metrics`; `None` where it has none.
pub(crate) fn speculative_decoding(metrics: &Value) -> Result<Option<SpecCounts>, StackError> {
    let Some(told) = metrics.get("speculative_decoding").filter(|told| !told.is_null()) else {
        return Ok(None);
    };
    let unreadable =
        |why: String| protocol(&format!("expected counts of speculation ({why})"), &told.to_string());
    let told = VllmSpecDecoding::deserialize(told).map_err(|error| unreadable(error.to_string()))?;
    told.to_counts().map(Some).map_err(|error| unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use bench_core::testing::generate_request;

    use super::*;

    const TRACEBACK: &str = "Traceback (most recent call last):\n  File \"/v/engine/core.py\", line 7, in step\n\
        IndexError: index 2048 is out of bounds\n";

    /// This very program, as a server that loses its engine with the first request of `engine`.
    async fn launch(dir: &std::path::Path, engine: &'static str) -> Vllm {
        let filter = "vllm::tests::a_server_for_the_tests_above";
        let recipe = Recipe {
            program: std::env::current_exe().unwrap(),
            args: Box::new(move |port| {
                let words = ["--ignored", "--nocapture", "--exact", filter, engine];
                Ok(words.map(str::to_owned).into_iter().chain([port.to_string()]).collect())
            }),
            env: Vec::new(),
            log: dir.join("vllm.log"),
            ready_path: "/health",
            ready_limit: Duration::from_secs(30),
        };
        let server = Server::launch(recipe, None).await.unwrap();
        Vllm {
            server,
            model: "m".to_owned(),
            route: Route::OpenAiCompletion,
            spec: None,
            launched: None,
            markers: Markers::default(),
        }
    }

    #[tokio::test]
    async fn a_500_of_a_dead_engine_comes_with_its_traceback() {
        let dir = tempfile::tempdir().unwrap();
        let vllm = launch(dir.path(), "dies").await;
        let error = vllm.generate(generate_request("Once")).await.err().unwrap();
        let death = error.death().unwrap();
        assert!(error.to_string().contains("answered 500: EngineCore encountered an issue"), "{error}");
        let site = death.abort_site.as_deref().unwrap();
        assert!(site.contains("core.py:7") && site.contains("IndexError"), "{site}");
    }

    #[tokio::test]
    async fn a_500_of_a_server_that_lives_is_the_request_s() {
        let dir = tempfile::tempdir().unwrap();
        let vllm = launch(dir.path(), "lives").await;
        let error = vllm.generate(generate_request("Once")).await.err().unwrap();
        assert!(matches!(error, StackError::Status { status: 500, .. }), "{error:?}");
        vllm.shutdown().await.unwrap();
    }

    #[test]
    #[ignore = "a server that the tests above launch"]
    fn a_server_for_the_tests_above() -> Result<(), String> {
        let words: Vec<String> = std::env::args().collect();
        let Some(port) = words.last().and_then(|port| port.parse::<u16>().ok()) else {
            return Ok(());
        };
        let dies = words.iter().any(|word| word == "dies");
        let (listener, mut dead) = (TcpListener::bind(("127.0.0.1", port)).unwrap(), false);
        loop {
            let (mut connection, _) = listener.accept().unwrap();
            let is_post = read_request(&mut BufReader::new(&connection));
            let body = r#"{"error":{"message":"EngineCore encountered an issue","code":500}}"#;
            let (status, body) = if is_post { (500, body) } else { (if dead { 503 } else { 200 }, "") };
            let length = body.len();
            write!(
                connection,
                "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
            if dead {
                return Err("engine dead".to_owned());
            }
            if is_post && dies {
                std::io::stderr().write_all(TRACEBACK.as_bytes()).unwrap();
                dead = true;
            }
        }
    }

    /// Reads a request to its end; whether it is a POST.
    fn read_request(reader: &mut impl BufRead) -> bool {
        let lines: Vec<String> =
            reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        let length =
            lines.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        lines.first().is_some_and(|line| line.starts_with("POST"))
    }

    #[test]
    fn a_drafter_that_is_a_model_drafts_in_every_step() {
        let metrics = json!({ "speculative_decoding": { "num_accepted_draft_tokens": 37, "num_draft_tokens": 37,
            "acceptance_histogram": [0, 2, 0, 1, 8] } });
        let counts = |drafts_every_step| {
            VllmDialect { drafts_every_step }.spec_counts(&metrics).unwrap().unwrap().verify_steps
        };
        assert_eq!((counts(true), counts(false)), (Some(11), None));
        let silent = json!({ "mean_itl_ms": 1.0, "speculative_decoding": null });
        assert_eq!(speculative_decoding(&silent).unwrap(), None);
        let broken = json!({ "speculative_decoding": { "num_draft_tokens": 1 } });
        assert!(matches!(speculative_decoding(&broken), Err(StackError::Protocol { .. })));
    }
}
