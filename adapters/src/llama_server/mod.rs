//! llama.cpp's HTTP server, and its fork with turbo KV caches: launched for an arm, or attached by URL.

mod centroids;
pub(crate) mod describe;
mod log_facts;
pub(crate) mod request;
pub(crate) mod response;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use bench_core::preset::{Route, ServingParams, SpecDecode, StackKind};
use bench_core::stack::{
    CounterReading, Death, EventStream, GenerateRequest, Revival, Stack, StackError, StackInfo,
};
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::centroids::without_centroids;
use self::describe::Questions;
use self::response::LlamaDialect;
use crate::arm::ModelPaths;
use crate::lower::llama::{self, Dialect};
use crate::markers::Markers;
use crate::prometheus;
use crate::secret::Secret;
use crate::server::{Recipe, Server, metrics, samples};

/// Loading tens of gigabytes from a slow disk takes minutes.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(600);
/// The header of `/metrics` that changes with the process.
const STARTED_HEADER: &str = "process-start-time-unix";

/// What a launch needs to know.
#[derive(Debug, Clone)]
pub struct LlamaLaunch<'a> {
    /// llama.cpp's own server, or the fork's.
    pub kind: StackKind,
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
    kind: StackKind,
    server: Server,
    route: Route,
    asked: Option<Asked>,
    markers: Markers,
}

/// What we know of a server because we started it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) spec: SpecDecode,
    pub(crate) serving: ServingParams,
}

impl LlamaServer {
    /// Uses a server that runs already. Nothing is sent yet.
    pub fn attach(url: &str, route: Route) -> Result<Self, StackError> {
        Self::attach_as(StackKind::LlamaServer, url, route)
    }

    /// The same under another name.
    pub(crate) fn attach_as(kind: StackKind, url: &str, route: Route) -> Result<Self, StackError> {
        Ok(Self {
            kind,
            server: Server::attach(url, Secret::of_stack(kind))?,
            route,
            asked: None,
            markers: Markers::default(),
        })
    }

    /// Starts a server on a free loopback port and waits until it answers. An assistant with a centroid head, which
    /// no server loads, is copied without it, beside the log.
    pub async fn launch(launch: &LlamaLaunch<'_>) -> Result<Self, StackError> {
        let dialect = dialect(launch.kind, &launch.program)?;
        let models = loadable(launch.models, launch.spec, &launch.log)?;
        let asked = Asked { spec: launch.spec.clone(), serving: launch.serving.clone() };
        let Asked { spec, serving } = asked.clone();
        let recipe = Recipe {
            program: launch.program.clone(),
            args: Box::new(move |port| {
                llama::args(dialect, &models.target, models.assistant.as_deref(), &spec, &serving, port)
            }),
            env: Vec::new(),
            log: launch.log.clone(),
            ready_path: "/health",
            ready_limit: READY_LIMIT,
        };
        let server = Server::launch(recipe, None).await?;
        let (route, markers) = (launch.serving.route, Markers::default());
        Ok(Self { kind: launch.kind, server, route, asked: Some(asked), markers })
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

/// The models with an assistant that llama.cpp loads.
pub(crate) fn loadable(models: &ModelPaths, spec: &SpecDecode, log: &Path) -> Result<ModelPaths, StackError> {
    let assistant = match (spec, &models.assistant) {
        (SpecDecode::Mtp { .. }, Some(assistant)) => {
            Some(without_centroids(assistant, log.parent().unwrap_or(Path::new("")))?)
        }
        (_, assistant) => assistant.clone(),
    };
    Ok(ModelPaths { target: models.target.clone(), assistant })
}

/// Which words the program understands. Only the fork has changed its own, so only it is asked.
fn dialect(kind: StackKind, program: &Path) -> Result<Dialect, StackError> {
    if kind != StackKind::AtomicLlamaServer {
        return Ok(Dialect::Upstream);
    }
    let failed = |status: String| {
        StackError::Exited(Box::new(Death {
            program: program.display().to_string(),
            status,
            abort_site: None,
            log_tail: Vec::new(),
        }))
    };
    let help = Command::new(program).arg("--help").stdin(Stdio::null()).output();
    let help = help.map_err(|error| failed(format!("could not be asked for --help: {error}")))?;
    let text = String::from_utf8_lossy(&help.stdout) + String::from_utf8_lossy(&help.stderr);
    match Dialect::detect(&text) {
        Dialect::Upstream => Err(StackError::Unsupported {
            stack: kind,
            what: format!(
                "run {}: its --help knows neither turbo KV caches nor block sizes, so it is llama.cpp's own",
                program.display()
            ),
        }),
        fork @ (Dialect::AtomicOld | Dialect::AtomicNew) => Ok(fork),
    }
}

#[derive(Deserialize)]
struct TokensJson {
    tokens: Vec<u32>,
}

/// Counters of a llama.cpp server whose routes begin with `prefix`; from its log where its metrics have none.
pub(crate) async fn counters(server: &Server, prefix: &str) -> Result<CounterReading, StackError> {
    let Some((head, text)) = metrics(server, &format!("{prefix}/metrics")).await? else {
        return Ok(CounterReading::default());
    };
    let spec = prometheus::spec_counts(&samples(&text)?, "llamacpp:");
    let spec = spec.or_else(|| log_facts::spec_counts(&server.log()?));
    let started = head.get(STARTED_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // Each answer counts its own cached tokens.
    Ok(CounterReading { spec, cached_tokens: None, process_started: started })
}

/// What `/tokenize` is sent for a text. Texts of special tokens become these.
pub(crate) fn tokenize(text: &str) -> Value {
    json!({ "content": text, "add_special": false, "parse_special": true })
}

/// How many tokens a llama.cpp server makes of a text.
pub(crate) async fn count_tokens(
    server: &Server,
    prefix: &str,
    text: &str,
) -> Result<Option<u32>, StackError> {
    let answer: TokensJson = match server.post_json(&format!("{prefix}/tokenize"), &tokenize(text)).await {
        Err(StackError::Status { status: 404, .. }) => return Ok(None),
        answer => answer?,
    };
    Ok(u32::try_from(answer.tokens.len()).ok())
}

#[async_trait]
impl Stack for LlamaServer {
    async fn describe(&self) -> Result<StackInfo, StackError> {
        let questions = Questions { kind: self.kind, prefix: "", asked: self.asked.as_ref() };
        let mut info = describe::describe(&self.server, questions).await?;
        self.markers.learn(&self.server, "/tokenize", tokenize, &mut info).await;
        Ok(info)
    }

    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError> {
        let sent = request::body(self.kind, self.route, &request)?;
        let dialect = LlamaDialect { route: self.route, sent: sent.clone() };
        let (path, split) = (request::path(self.route), self.markers.splitter(&sent));
        self.server.stream(path, &sent, Box::new(dialect), split, self.server.watch()).await
    }

    async fn counters(&self) -> Result<CounterReading, StackError> {
        counters(&self.server, "").await
    }

    async fn count_tokens(&self, text: &str) -> Result<Option<u32>, StackError> {
        count_tokens(&self.server, "", text).await
    }

    async fn revive(&self, may_start: bool) -> Result<Revival, StackError> {
        self.server.revive(may_start).await
    }

    async fn shutdown(&self) -> Result<(), StackError> {
        self.server.shutdown().await
    }
}
