//! llama-swap in front of llama.cpp's server: launched with one model, or attached by URL.
//!
//! It hands requests on untouched, and hides the death of the server behind it: the stream of a killed server ends tidily
//! with status 200, another request gets 502 without a body, and the next one finds a fresh server. All three are
//! recognised here: by the missing finish, by the status, and by the start time of the process that answers
//! `/upstream/MODEL/metrics`.

mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bench_core::preset::{Route, StackKind};
use bench_core::stack::{
    CounterReading, EventStream, GenerateRequest, Revival, SpecCounts, Stack, StackError, StackInfo, Usage,
};
use serde::Deserialize;
use serde_json::{Value, json};

use self::watch::SwapWatch;
use crate::arm::ConnectRequest;
use crate::decoder::{Chunk, Dialect};
use crate::llama_server::describe::{Questions, describe};
use crate::llama_server::response::LlamaDialect;
use crate::llama_server::{Asked, READY_LIMIT, count_tokens, counters, loadable, request, tokenize};
use crate::lower::{llama, llama_swap};
use crate::markers::Markers;
use crate::place::{Place, find};
use crate::process::free_loopback_port;
use crate::secret::Secret;
use crate::server::{Recipe, Server};
use crate::stream::Watch;

const KIND: StackKind = StackKind::LlamaSwap;
/// It answers `/health` as soon as it runs; its models load with their first request.
const START_LIMIT: Duration = Duration::from_secs(30);

/// llama-swap, ours or somebody's, and one model behind it.
#[derive(Debug)]
pub struct LlamaSwap {
    server: Arc<Server>,
    model: String,
    route: Route,
    asked: Option<Asked>,
    /// The server behind it was found dead, and has not been asked anything since.
    upstream_died: Arc<AtomicBool>,
    markers: Markers,
}

#[derive(Deserialize)]
struct RunningJson {
    running: Vec<RunningModelJson>,
}

#[derive(Deserialize)]
struct RunningModelJson {
    model: String,
    state: Option<String>,
    /// The command line of the server behind it, every macro expanded.
    cmd: Option<String>,
}

#[derive(Deserialize)]
struct VersionJson {
    version: Option<String>,
}

impl LlamaSwap {
    /// Uses one model of a llama-swap that runs already. Nothing is sent yet.
    pub fn attach(url: &str, model: &str, route: Route) -> Result<Self, StackError> {
        let server = Arc::new(Server::attach(url, Secret::of_stack(KIND))?);
        Ok(Self::new(server, model.to_owned(), route, None))
    }

    pub(crate) async fn connect(request: &ConnectRequest<'_>) -> Result<Self, StackError> {
        let route = request.serving.route;
        match find(KIND, request.place)? {
            Place::Program(program) => Self::launch(request, program).await,
            Place::Url(url) => {
                let server = Arc::new(Server::attach(&url, Secret::of_stack(KIND))?);
                let model = crate::openai::only_model(&server, KIND, "BENCH_LLAMA_SWAP_MODEL").await?;
                Ok(Self::new(server, model, route, None))
            }
        }
    }

    /// Starts llama-swap with one model: the arm's llama-server, found as for the stack `llama-server`.
    async fn launch(request: &ConnectRequest<'_>, program: std::path::PathBuf) -> Result<Self, StackError> {
        let Place::Program(upstream) = find(StackKind::LlamaServer, None)? else {
            return Err(StackError::Unsupported {
                stack: KIND,
                what: "start a llama-server that is given by its address: name the program".to_owned(),
            });
        };
        let asked = Asked { spec: request.spec.clone(), serving: request.serving.clone() };
        let (log, model) = (request.log_path(), "arm".to_owned());
        let models = loadable(request.models, request.spec, &log)?;
        let args = llama::args(
            llama::Dialect::Upstream,
            &models.target,
            models.assistant.as_deref(),
            request.spec,
            request.serving,
            llama_swap::PORT,
        )?;
        let argv = std::iter::once(upstream.display().to_string()).chain(args).collect();
        let config = log.with_extension("yaml");
        // A port of its own for the model: several llama-swaps run side by side, one for each arm.
        let yaml = llama_swap::config(&[(model.clone(), argv)]);
        let yaml = format!("startPort: {}\n{yaml}", free_loopback_port()?);
        std::fs::write(&config, yaml).map_err(|error| StackError::Engine {
            detail: format!("cannot write `{}`: {error}", config.display()),
            hint: None,
        })?;
        let recipe = Recipe {
            program,
            args: Box::new(move |port| {
                let listen = format!("127.0.0.1:{port}");
                Ok(["-config", &config.display().to_string(), "-listen", &listen].map(str::to_owned).to_vec())
            }),
            env: Vec::new(),
            log,
            ready_path: "/health",
            ready_limit: START_LIMIT,
        };
        let server = Arc::new(Server::launch(recipe, None).await?);
        Ok(Self::new(server, model, request.serving.route, Some(asked)))
    }

    fn new(server: Arc<Server>, model: String, route: Route, asked: Option<Asked>) -> Self {
        Self { server, model, route, asked, upstream_died: Arc::default(), markers: Markers::default() }
    }

    fn upstream(&self) -> String {
        format!("/upstream/{}", self.model)
    }
}

#[async_trait]
impl Stack for LlamaSwap {
    /// Asks the server behind it, which loads the model if it does not run.
    async fn describe(&self) -> Result<StackInfo, StackError> {
        let prefix = self.upstream();
        self.server.get_within(&format!("{prefix}/health"), READY_LIMIT).await?;
        let questions = Questions { kind: KIND, prefix: &prefix, asked: self.asked.as_ref() };
        let mut info = describe(&self.server, questions).await?;
        self.markers.learn(&self.server, &format!("{prefix}/tokenize"), tokenize, &mut info).await;
        let running: RunningJson = self.server.get_json("/running").await?;
        let command = running.running.into_iter().find(|running| running.model == self.model);
        if let Some(command) = command.and_then(|running| running.cmd) {
            // The recipe of the arm is the command behind it; what stands in front of it is a detail.
            let front = std::mem::replace(&mut info.recipe, command);
            info.details.insert("llama-swap".to_owned(), front);
        }
        if let Ok(version) = self.server.get_json::<VersionJson>("/api/version").await {
            let version = version.version.unwrap_or_else(|| "unknown".to_owned());
            info.details.insert("llama-swap version".to_owned(), version);
        }
        Ok(info)
    }

    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError> {
        let mut sent = request::body(KIND, self.route, &request)?;
        sent["model"] = json!(self.model);
        let dialect = SwapDialect(LlamaDialect { route: self.route, sent: sent.clone() });
        let died = Arc::clone(&self.upstream_died);
        let watch = SwapWatch::new(Arc::clone(&self.server), self.model.clone(), died);
        let (path, split) = (request::path(self.route), self.markers.splitter(&sent));
        let events = self.server.stream(path, &sent, Box::new(dialect), split, Arc::new(watch.clone())).await;
        match events {
            // Its own errors have words; this is how it hands on that the server behind it is gone.
            Err(StackError::Status { status: 502, message, .. }) if message.is_empty() => {
                Err(StackError::Aborted {
                    events: 0,
                    detail: "llama-swap answered 502 without a body: the server behind it is gone".to_owned(),
                    death: watch.death().await.map(Box::new),
                })
            }
            events => events,
        }
    }

    async fn counters(&self) -> Result<CounterReading, StackError> {
        counters(&self.server, &self.upstream()).await
    }

    async fn count_tokens(&self, text: &str) -> Result<Option<u32>, StackError> {
        count_tokens(&self.server, &self.upstream(), text).await
    }

    /// llama-swap starts the server behind it again with the next request, whether we want it or not: it counts as a
    /// restart, and what comes next has to be warmed up.
    async fn revive(&self, may_start: bool) -> Result<Revival, StackError> {
        let died = self.upstream_died.swap(false, Ordering::SeqCst);
        let revival = self.server.revive(may_start).await?;
        Ok(match (revival == Revival::Alive && died, may_start) {
            (true, true) => Revival::Restarted,
            (true, false) => Revival::Dead,
            (false, _) => revival,
        })
    }

    async fn shutdown(&self) -> Result<(), StackError> {
        self.server.shutdown().await
    }
}

/// llama.cpp's words, but for what llama-swap puts in front of them while a model loads: chunks of "reasoning" without
/// id and model, which are no output.
pub(crate) struct SwapDialect(pub(crate) LlamaDialect);

impl Dialect for SwapDialect {
    fn parse<'a>(&self, data: &'a str) -> Result<Chunk<'a>, StackError> {
        if is_loading_message(data) { Ok(Chunk::default()) } else { self.0.parse(data) }
    }

    fn spec_counts(&self, timings: &Value) -> Result<Option<SpecCounts>, StackError> {
        self.0.spec_counts(timings)
    }

    fn usage_of_timings(&self, timings: &Value) -> Result<Usage, StackError> {
        self.0.usage_of_timings(timings)
    }
}

fn is_loading_message(data: &str) -> bool {
    // Most chunks have an id: the JSON of the others is read twice.
    if data.contains("\"id\"") || !data.contains("reasoning_content") {
        return false;
    }
    let json: Value = serde_json::from_str(data).unwrap_or_default();
    json.get("id").is_none() && json.get("model").is_none() && json.get("choices").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_messages_are_no_output() {
        let dialect = SwapDialect(LlamaDialect { route: Route::Chat, sent: json!({}) });
        let loading = r#"{"choices":[{"delta":{"reasoning_content":"Done! (1.45s)\n"}}]}"#;
        assert_eq!(dialect.parse(loading).unwrap(), Chunk::default());
        let thought = r#"{"id":"c","model":"m","choices":[{"delta":{"reasoning_content":"hm"}}]}"#;
        assert_eq!(dialect.parse(thought).unwrap().text, "hm");
    }
}
