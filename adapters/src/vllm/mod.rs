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
    CounterReading, EventStream, GenerateRequest, Revival, SpecCounts, Stack, StackError, StackInfo, Usage,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::arm::ConnectRequest;
use crate::decoder::{Chunk, Dialect, protocol};
use crate::lower;
use crate::place::{Place, find};
use crate::prometheus;
use crate::secret::Secret;
use crate::server::{Recipe, Server, metrics, samples};

const KIND: StackKind = StackKind::Vllm;
/// Three processes that import for minutes.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// A vLLM server, ours or somebody's.
#[derive(Debug)]
pub struct Vllm {
    server: Server,
    model: String,
    route: Route,
    /// What the preset asks for; known of attached servers, too, where a preset is run.
    spec: Option<SpecDecode>,
    launched: Option<ServingParams>,
}

#[derive(Deserialize)]
struct TokenizeJson {
    count: u32,
}

impl Vllm {
    /// Uses a server that runs already. Nothing is sent yet.
    pub fn attach(url: &str, model: &str, route: Route) -> Result<Self, StackError> {
        let server = Server::attach(url, Secret::of_stack(KIND))?;
        Ok(Self { server, model: model.to_owned(), route, spec: None, launched: None })
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
        Ok(Self { server, model, route, spec, launched })
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
        describe::describe(self).await
    }

    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError> {
        let body = request::body(self.route, &self.model, &request)?;
        let dialect = VllmDialect { drafts_every_step: self.drafts_every_step() };
        let path = crate::openai::path(self.route);
        self.server.stream(path, &body, Box::new(dialect), self.server.watch()).await
    }

    async fn counters(&self) -> Result<CounterReading, StackError> {
        let Some((_, text)) = metrics(&self.server, "/metrics").await? else {
            return Ok(CounterReading::default());
        };
        let samples = samples(&text)?;
        Ok(CounterReading {
            spec: prometheus::spec_counts(&samples, "vllm:"),
            process_started: prometheus::process_start(&samples),
        })
    }

    async fn count_tokens(&self, text: &str) -> Result<Option<u32>, StackError> {
        let body = json!({ "model": self.model, "prompt": text, "add_special_tokens": false });
        match self.server.post_json::<TokenizeJson>("/tokenize", &body).await {
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
    fn parse(&self, data: &str) -> Result<Chunk, StackError> {
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
    use super::*;

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
