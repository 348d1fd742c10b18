//! llama.cpp's HTTP server: launched for an arm, or attached by URL.

mod centroids;
mod describe;
mod lower;
mod request;
mod response;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bench_core::preset::{Route, ServingParams, SpecDecode, StackKind};
use bench_core::stack::{
    CounterReading, EventStream, GenerateRequest, Revival, Stack, StackError, StackInfo,
};
use serde::Deserialize;
use serde_json::json;

pub use self::centroids::without_centroids;
pub use self::lower::{lower, spec_type};
use self::response::LlamaDialect;
use crate::arm::ModelPaths;
use crate::prometheus;
use crate::secret::Secret;
use crate::server::{Recipe, Server};

/// Loading tens of gigabytes from a slow disk takes minutes.
const READY_LIMIT: Duration = Duration::from_secs(600);
/// The header of `/metrics` that changes with the process.
const STARTED_HEADER: &str = "process-start-time-unix";

/// What a launch needs to know.
#[derive(Debug, Clone)]
pub struct LlamaLaunch<'a> {
    /// The executable.
    pub program: PathBuf,
    /// The weights.
    pub models: &'a ModelPaths,
    /// How to speculate.
    pub spec: &'a SpecDecode,
    /// How to serve.
    pub serving: &'a ServingParams,
    /// Gets the server's output.
    pub log: PathBuf,
}

/// A llama-server, ours or somebody's.
#[derive(Debug)]
pub struct LlamaServer {
    server: Server,
    route: Route,
    asked: Option<Asked>,
}

/// What we know of a server because we started it.
#[derive(Debug)]
struct Asked {
    spec: SpecDecode,
    serving: ServingParams,
}

impl LlamaServer {
    /// Uses a server that runs already. Nothing is sent yet.
    pub fn attach(url: &str, route: Route) -> Result<Self, StackError> {
        let server = Server::attach(url, Secret::of_stack(StackKind::LlamaServer))?;
        Ok(Self { server, route, asked: None })
    }

    /// Starts a server on a free loopback port and waits until it answers. An assistant with a centroid head, which
    /// no server loads, is copied without it, beside the log.
    pub async fn launch(launch: &LlamaLaunch<'_>) -> Result<Self, StackError> {
        let mut models = launch.models.clone();
        if let (SpecDecode::Mtp { .. }, Some(assistant)) = (launch.spec, &models.assistant) {
            let dir = launch.log.parent().unwrap_or(Path::new(""));
            models.assistant = Some(without_centroids(assistant, dir)?);
        }
        let asked = Asked { spec: launch.spec.clone(), serving: launch.serving.clone() };
        let (spec, serving) = (launch.spec.clone(), launch.serving.clone());
        let recipe = Recipe {
            program: launch.program.clone(),
            args: Box::new(move |port| lower(&models, &spec, &serving, port)),
            env: Vec::new(),
            log: launch.log.clone(),
            ready_path: "/health",
            ready_limit: READY_LIMIT,
        };
        let server = Server::launch(recipe, None).await?;
        Ok(Self { server, route: launch.serving.route, asked: Some(asked) })
    }

    /// The server's address, `http://host:port`.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.server.base()
    }

    /// Its process id, if we started it and it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }
}

#[derive(Deserialize)]
struct TokensJson {
    tokens: Vec<u32>,
}

#[async_trait]
impl Stack for LlamaServer {
    async fn describe(&self) -> Result<StackInfo, StackError> {
        describe::describe(self).await
    }

    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError> {
        let sent = request::body(self.route, &request)?;
        let dialect = LlamaDialect { route: self.route, sent: sent.clone() };
        let path = request::path(self.route);
        self.server.stream(path, &sent, Box::new(dialect), self.server.watch()).await
    }

    async fn counters(&self) -> Result<CounterReading, StackError> {
        let (head, text) = match self.server.get("/metrics").await {
            // A server that was attached to may run without --metrics, and says so with one of these.
            Err(StackError::Status { status: 404 | 501, .. }) => return Ok(CounterReading::default()),
            answer => answer?,
        };
        let samples = prometheus::parse(&text).map_err(|error| StackError::Protocol {
            what: "expected metrics as text".to_owned(),
            excerpt: error.to_string(),
        })?;
        let started = head.get(STARTED_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(CounterReading { spec: prometheus::spec_counts(&samples, "llamacpp:"), process_started: started })
    }

    async fn count_tokens(&self, text: &str) -> Result<Option<u32>, StackError> {
        let body = json!({ "content": text, "add_special": false });
        let answer: TokensJson = match self.server.post_json("/tokenize", &body).await {
            Err(StackError::Status { status: 404, .. }) => return Ok(None),
            answer => answer?,
        };
        Ok(u32::try_from(answer.tokens.len()).ok())
    }

    async fn revive(&self, may_start: bool) -> Result<Revival, StackError> {
        self.server.revive(may_start).await
    }

    async fn shutdown(&self) -> Result<(), StackError> {
        self.server.shutdown().await
    }
}
