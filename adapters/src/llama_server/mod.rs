//! llama.cpp's HTTP server: launched for an arm, or attached by URL.
//!
//! One HTTP/1.1 client an arm, no proxy, `TCP_NODELAY`; connections are given up before the server's keep-alive limit
//! of 5 s would close them under a request. It does not retry: a request that breaks is a result.

mod centroids;
mod describe;
mod lower;
mod request;
mod response;
mod stream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bench_core::preset::{Route, ServingParams, SpecDecode};
use bench_core::stack::{EventStream, GenerateRequest, SpecCounts, Stack, StackError, StackInfo};
use reqwest::{Client, Response};
use tokio::time::Instant;

pub use self::centroids::without_centroids;
pub use self::lower::{lower, spec_type};
use crate::arm::ModelPaths;
use crate::process::{Launch, ServerProcess, free_loopback_port, is_free};
use crate::prometheus;

/// Loading tens of gigabytes from a slow disk takes minutes.
const READY_LIMIT: Duration = Duration::from_secs(600);
/// A server in the middle of a batch needs a moment to see SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// For everything that generates nothing.
const QUERY_LIMIT: Duration = Duration::from_secs(10);
/// After a broken connection: how long a server's death may take to show.
const DEATH_DELAY: Duration = Duration::from_millis(200);
/// Ports to try when others keep taking them between our look and the server's bind.
const PORT_ATTEMPTS: u32 = 5;

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
    client: Client,
    /// `http://host:port`, without a slash at the end.
    base: String,
    route: Route,
    launched: Option<Launched>,
}

/// What we know of a server because we started it.
#[derive(Debug)]
struct Launched {
    process: ServerProcess,
    command_line: String,
    spec_type: &'static str,
    serving: ServingParams,
}

impl LlamaServer {
    /// Uses a server that runs already. Nothing is sent yet.
    pub fn attach(url: &str, route: Route) -> Result<Self, StackError> {
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { client: client(&base)?, base, route, launched: None })
    }

    /// Starts a server on a free loopback port and waits until it answers. An assistant with a centroid head, which
    /// no server loads, is copied without it, beside the log.
    pub async fn launch(launch: &LlamaLaunch<'_>) -> Result<Self, StackError> {
        let mut models = launch.models.clone();
        if let (SpecDecode::Mtp { .. }, Some(assistant)) = (launch.spec, &models.assistant) {
            let dir = launch.log.parent().unwrap_or(Path::new(""));
            models.assistant = Some(without_centroids(assistant, dir)?);
        }
        let launch = &LlamaLaunch { models: &models, ..launch.clone() };
        let mut attempt = 1;
        loop {
            let port = free_loopback_port()?;
            match Self::launch_on(launch, port).await {
                Err(StackError::Exited { .. }) if attempt < PORT_ATTEMPTS && !is_free(port) => attempt += 1,
                launched => return launched,
            }
        }
    }

    async fn launch_on(launch: &LlamaLaunch<'_>, port: u16) -> Result<Self, StackError> {
        let args = lower(launch.models, launch.spec, launch.serving, port)?;
        let command = Launch { program: launch.program.clone(), args, log: launch.log.clone() };
        let base = format!("http://127.0.0.1:{port}");
        let client = client(&base)?;
        let process = ServerProcess::start(&command)?;
        let health = format!("{base}/health");
        let probe = async || {
            let answer = client.get(&health).timeout(QUERY_LIMIT).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        process.wait_ready(READY_LIMIT, probe).await?;
        let launched = Launched {
            process,
            command_line: command.command_line(),
            spec_type: spec_type(launch.spec),
            serving: launch.serving.clone(),
        };
        Ok(Self { client, base, route: launch.serving.route, launched: Some(launched) })
    }

    /// The server's address, `http://host:port`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// Its process id, if we started it and it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.launched.as_ref()?.process.pid()
    }

    async fn get(&self, path: &str) -> Result<Response, StackError> {
        let sent = self.client.get(format!("{}{path}", self.base)).timeout(QUERY_LIMIT).send().await;
        match sent {
            Ok(response) => stream::expect_ok(response).await,
            Err(error) => Err(self.broken(&error).await),
        }
    }

    async fn get_text(&self, path: &str) -> Result<String, StackError> {
        match self.get(path).await?.text().await {
            Ok(text) => Ok(text),
            Err(error) => Err(self.broken(&error).await),
        }
    }

    /// Why there was no answer: our server's end, if it ended.
    async fn broken(&self, error: &reqwest::Error) -> StackError {
        if let Some(launched) = &self.launched
            && launched.process.wait_end(DEATH_DELAY).await.is_some()
            && let Some(exited) = launched.process.exited()
        {
            return exited;
        }
        StackError::Unreachable { address: self.base.clone(), detail: stream::causes(error) }
    }
}

/// A connection serves one request. The server closes it after a stream without saying so, and a next request that
/// crosses with that close fails; opening one on loopback costs some 50 microseconds.
fn client(base: &str) -> Result<Client, StackError> {
    let builder = Client::builder().no_proxy().tcp_nodelay(true).pool_max_idle_per_host(0);
    builder
        .build()
        .map_err(|error| StackError::Unreachable { address: base.to_owned(), detail: stream::causes(&error) })
}

#[async_trait]
impl Stack for LlamaServer {
    async fn describe(&self) -> Result<StackInfo, StackError> {
        describe::describe(self).await
    }

    async fn generate(&self, request: GenerateRequest) -> Result<EventStream, StackError> {
        let body = request::body(self.route, &request)?;
        let url = format!("{}{}", self.base, request::path(self.route));
        let sent = self.client.post(url).json(&body).send().await;
        let opened = Instant::now();
        match sent {
            Ok(response) => stream::events(self.route, response, opened).await,
            Err(error) => Err(self.broken(&error).await),
        }
    }

    async fn spec_counters(&self) -> Result<Option<SpecCounts>, StackError> {
        let text = match self.get_text("/metrics").await {
            // A server that was attached to may run without --metrics, and says so with one of these.
            Err(StackError::Status { status: 404 | 501, .. }) => return Ok(None),
            text => text?,
        };
        let samples = prometheus::parse(&text).map_err(|error| StackError::Protocol {
            what: "expected metrics as text".to_owned(),
            excerpt: error.to_string(),
        })?;
        Ok(prometheus::spec_counts(&samples, "llamacpp:"))
    }

    async fn shutdown(&self) -> Result<(), StackError> {
        match &self.launched {
            Some(launched) => launched.process.stop(STOP_GRACE).await,
            None => Ok(()),
        }
    }
}
