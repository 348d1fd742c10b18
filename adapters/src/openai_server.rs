//! Any OpenAI-compatible server: attached by URL, or launched by the preset's own command.
//!
//! Only what the protocol has is relied upon; extensions are read where they come: usage in every chunk, token ids,
//! llama.cpp's `timings`, vLLM's `metrics`. What a server does not tell stays unknown, and an arm whose tokens cannot be
//! counted is invalid.

use std::time::Duration;

use async_trait::async_trait;
use bench_core::preset::{Route, StackKind};
use bench_core::stack::{
    Ahead, CounterReading, EventStream, GenerateRequest, Revival, SpecCounts, Stack, StackError, StackInfo,
    Usage,
};
use bench_core::thinking::Splitter;
use serde_json::{Value, json};

use crate::arm::ConnectRequest;
use crate::decoder::{Chunk, Dialect};
use crate::llama_server::response;
use crate::lower;
use crate::openai;
use crate::place::{Place, find, is_said};
use crate::prometheus;
use crate::secret::Secret;
use crate::server::{Recipe, Server, metrics, samples};
use crate::vllm::speculative_decoding;

const KIND: StackKind = StackKind::OpenAi;
const READY_LIMIT: Duration = Duration::from_secs(300);
/// What names of counters of speculation begin with, as far as servers share their words.
const PREFIXES: [&str; 2] = ["llamacpp:", "vllm:"];

/// An OpenAI-compatible server, ours or somebody's.
#[derive(Debug)]
pub struct OpenAiServer {
    server: Server,
    model: String,
    route: Route,
}

impl OpenAiServer {
    /// Uses a server that runs already. Nothing is sent yet.
    pub fn attach(url: &str, model: &str, route: Route) -> Result<Self, StackError> {
        let server = Server::attach(url, Secret::of_stack(KIND))?;
        Ok(Self { server, model: model.to_owned(), route })
    }

    pub(crate) async fn connect(request: &ConnectRequest<'_>) -> Result<Self, StackError> {
        // A server that runs already wins over a command that would start another.
        let server = match find(KIND, request.place) {
            Ok(Place::Url(url)) => Server::attach(&url, Secret::of_stack(KIND))?,
            Ok(Place::Program(program)) => {
                return Err(StackError::Unsupported {
                    stack: KIND,
                    what: format!("launch `{}`: write its whole command into the preset", program.display()),
                });
            }
            Err(_) if !request.command.is_empty() && !is_said(KIND, request.place) => {
                Server::launch(recipe(request)?, None).await?
            }
            Err(error) => return Err(error),
        };
        let model = openai::only_model(&server, KIND, "BENCH_OPENAI_MODEL").await?;
        Ok(Self { server, model, route: request.serving.route })
    }
}

fn recipe(request: &ConnectRequest<'_>) -> Result<Recipe, StackError> {
    let (spec, serving, command) = (request.spec.clone(), request.serving.clone(), request.command.to_vec());
    let target =
        request.hf.map_or_else(|| request.models.target.display().to_string(), |hf| hf.target.clone());
    let file = request.models.assistant.as_ref().map(|path| path.display().to_string());
    let assistant = request.hf.map_or(file, |hf| hf.assistant.clone());
    let argv = move |port: &str| {
        let names = lower::openai::Names { target: &target, assistant: assistant.as_deref() };
        lower::openai::args(&command, names, &spec, &serving, port)
    };
    let program = argv("0")?.into_iter().next().unwrap_or_default().into();
    Ok(Recipe {
        program,
        args: Box::new(move |port| Ok(argv(&port.to_string())?.split_off(1))),
        env: Vec::new(),
        log: request.log_path(),
        ready_path: "/v1/models",
        ready_limit: READY_LIMIT,
    })
}

#[async_trait]
impl Stack for OpenAiServer {
    async fn describe(&self) -> Result<StackInfo, StackError> {
        Ok(StackInfo {
            kind: KIND,
            build: None,
            model: Some(self.model.clone()),
            speculation: None,
            kv_type: None,
            context_tokens: None,
            threads: None,
            draft_max: None,
            device: None,
            target_sha256: None,
            assistant_sha256: None,
            recipe: self.server.recipe(),
            details: std::collections::BTreeMap::new(),
        })
    }

    async fn prepare(&self, ahead: Ahead) {
        self.server.prepare(ahead).await;
    }

    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError> {
        let mut body = openai::body(KIND, self.route, &self.model, &request)?;
        // Extensions only where the preset asks for them: a strict server refuses what it does not know.
        if let Some(top_k) = request.sampling.top_k {
            body["top_k"] = json!(top_k);
        }
        if let Some(min_p) = request.sampling.min_p {
            body["min_p"] = json!(min_p);
        }
        if request.ignore_eos {
            body["ignore_eos"] = json!(true);
        }
        let path = openai::path(self.route);
        let split = Splitter::default();
        self.server.stream(path, &body, Box::new(OpenAiDialect), split, self.server.watch()).await
    }

    async fn counters(&self) -> Result<CounterReading, StackError> {
        let Some((_, text)) = metrics(&self.server, "/metrics").await? else {
            return Ok(CounterReading::default());
        };
        // A page that is no metrics is a server without them.
        let Ok(samples) = samples(&text) else { return Ok(CounterReading::default()) };
        let spec = PREFIXES.into_iter().find_map(|prefix| prometheus::spec_counts(&samples, prefix));
        Ok(CounterReading {
            spec,
            cached_tokens: prometheus::cached_tokens(&samples),
            process_started: prometheus::process_start(&samples),
        })
    }

    /// `None`: the protocol has no such question.
    async fn count_tokens(&self, _text: &str) -> Result<Option<u32>, StackError> {
        Ok(None)
    }

    async fn revive(&self, may_start: bool) -> Result<Revival, StackError> {
        self.server.revive(may_start).await
    }

    async fn shutdown(&self) -> Result<(), StackError> {
        self.server.shutdown().await
    }
}

/// OpenAI's JSON with whatever extensions come.
pub(crate) struct OpenAiDialect;

impl Dialect for OpenAiDialect {
    fn parse<'a>(&self, data: &'a str) -> Result<Chunk<'a>, StackError> {
        openai::parse(data)
    }

    fn spec_counts(&self, timings: &Value) -> Result<Option<SpecCounts>, StackError> {
        if timings.get("draft_n").is_some() {
            response::spec_counts(timings)
        } else {
            speculative_decoding(timings)
        }
    }

    fn usage_of_timings(&self, _timings: &Value) -> Result<Usage, StackError> {
        Ok(Usage::default())
    }
}

#[cfg(test)]
mod tests {
    use bench_core::preset::SpecDecode;

    use super::*;
    use crate::arm::ModelPaths;

    #[tokio::test]
    async fn a_wrong_address_is_an_error_even_where_a_command_is_given() {
        let (dir, serving) = (tempfile::tempdir().unwrap(), bench_core::testing::preset().serving);
        let models = ModelPaths { target: "m.gguf".into(), assistant: None };
        let command = ["/bin/false".to_owned(), "{port}".to_owned()];
        let request = ConnectRequest {
            kind: KIND,
            label: "arm",
            models: &models,
            hf: None,
            spec: &SpecDecode::None,
            serving: &serving,
            command: &command,
            place: Some("htp://127.0.0.1:1"),
            log_dir: dir.path(),
        };
        let error = OpenAiServer::connect(&request).await.unwrap_err();
        assert!(matches!(error, StackError::NotInstalled { .. }), "{error:?}");
        assert!(error.to_string().contains("htp://127.0.0.1:1"), "{error}");
    }
}
