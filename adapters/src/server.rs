//! One HTTP server that takes requests: launched by us, and then restartable, or attached to by its address.
//!
//! What all stacks over HTTP share is here, once: the client, the key, questions and streams with their stamps, how a
//! broken connection is told from a dead server, restart and stop. HTTP/1.1, no proxy, `TCP_NODELAY`: measured streams
//! over [`crate::http1`], questions over a general client. It does not retry: a request that breaks is a result. It does
//! not know what any server's words mean.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bench_core::stack::{Ahead, Death, EventStream, Revival, StackError};
use bench_core::thinking::Splitter;
use reqwest::{Client, RequestBuilder, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::decoder::Dialect;
use crate::http1::{self, Origin, Stock};
use crate::process::{Launch, ServerProcess, free_loopback_port, is_free};
use crate::prometheus;
use crate::secret::Secret;
use crate::stream::{self, Reading, Watch};

/// A server in the middle of a batch needs a moment to see SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// For everything that generates nothing.
const QUERY_LIMIT: Duration = Duration::from_secs(10);
/// After a broken connection: how long a server's death may take to show.
const DEATH_DELAY: Duration = Duration::from_millis(200);
/// Ports to try when others keep taking them between our look and the server's bind.
const PORT_ATTEMPTS: u32 = 5;

/// How a server is started.
pub(crate) struct Recipe {
    /// The executable.
    pub(crate) program: PathBuf,
    /// Its arguments for a port.
    pub(crate) args: Box<dyn Fn(u16) -> Result<Vec<String>, StackError> + Send + Sync>,
    /// Variables of its environment beside those it inherits.
    pub(crate) env: Vec<(String, String)>,
    /// Gets its output; a server that is started again writes to `NAME-restart-N.log` beside it.
    pub(crate) log: PathBuf,
    /// Answers 200 once the server takes requests.
    pub(crate) ready_path: &'static str,
    /// Longest time until then.
    pub(crate) ready_limit: Duration,
}

/// A server that takes requests.
pub(crate) struct Server {
    client: Client,
    key: Option<Secret>,
    recipe: Option<Recipe>,
    running: Mutex<Running>,
    /// Connections opened ahead.
    stock: Stock,
    /// One restart at a time.
    restarts: tokio::sync::Mutex<u32>,
}

/// What changes when a server is started again.
#[derive(Clone)]
struct Running {
    /// `http://host:port`, without a slash at the end.
    base: String,
    /// `None` where we did not start it.
    process: Option<Arc<ServerProcess>>,
    /// Command line, or the address of a server that is not ours.
    recipe: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("base", &self.base()).finish_non_exhaustive()
    }
}

impl Server {
    /// Uses a server that runs already. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`StackError::Unreachable`] for an address that holds a user's name or password: it would stand in every record.
    pub(crate) fn attach(url: &str, key: Option<Secret>) -> Result<Self, StackError> {
        let base = url.trim_end_matches('/').to_owned();
        let authority = base.split_once("://").map_or(base.as_str(), |(_, rest)| rest);
        let authority = authority.split(['/', '?']).next().unwrap_or(authority);
        if let Some((_, host)) = authority.rsplit_once('@') {
            return Err(StackError::Unreachable {
                address: host.to_owned(),
                detail: "its address holds a user or password; set BENCH_API_KEY instead".to_owned(),
            });
        }
        let running = Running { base: base.clone(), process: None, recipe: base };
        Self::new(None, key, running)
    }

    /// Starts a server on a free loopback port and waits until it answers.
    pub(crate) async fn launch(recipe: Recipe, key: Option<Secret>) -> Result<Self, StackError> {
        let client = client()?;
        let running = start(&client, &recipe, 0).await;
        let running = running.map_err(|error| clean(key.as_ref(), error))?;
        Self::new(Some(recipe), key, running)
    }

    fn new(recipe: Option<Recipe>, key: Option<Secret>, running: Running) -> Result<Self, StackError> {
        let (client, restarts) = (client()?, tokio::sync::Mutex::new(0));
        Ok(Self { client, key, recipe, running: Mutex::new(running), stock: Stock::default(), restarts })
    }

    fn running(&self) -> Running {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server's address, `http://host:port`.
    pub(crate) fn base(&self) -> String {
        self.running().base
    }

    /// Command line, or the address of a server that is not ours.
    pub(crate) fn recipe(&self) -> String {
        self.running().recipe
    }

    /// What a server of ours has written so far; `None` where it is not ours.
    pub(crate) fn log(&self) -> Option<String> {
        let bytes = std::fs::read(self.running().process?.log_path()).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Its process id, if we started it and it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running().process?.pid()
    }

    /// The body of a GET.
    pub(crate) async fn get_text(&self, path: &str) -> Result<String, StackError> {
        Ok(self.get(path).await?.1)
    }

    /// Head and body of a GET.
    pub(crate) async fn get(&self, path: &str) -> Result<(header::HeaderMap, String), StackError> {
        self.get_within(path, QUERY_LIMIT).await
    }

    /// Head and body of a GET that may take long.
    pub(crate) async fn get_within(
        &self,
        path: &str,
        limit: Duration,
    ) -> Result<(header::HeaderMap, String), StackError> {
        let request = self.client.get(format!("{}{path}", self.base()));
        self.query(request, limit).await
    }

    /// The JSON of a GET.
    pub(crate) async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, StackError> {
        self.json(path, &self.get_text(path).await?)
    }

    /// The JSON that answers a POST.
    pub(crate) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, StackError> {
        let request = self.client.post(format!("{}{path}", self.base())).json(body);
        let (_, text) = self.query(request, QUERY_LIMIT).await?;
        self.json(path, &text)
    }

    /// Posts a streaming request; its events are stamped when they are read.
    pub(crate) async fn stream(
        &self,
        path: &str,
        body: &Value,
        dialect: Box<dyn Dialect>,
        split: Splitter,
        watch: Arc<dyn Watch>,
    ) -> Result<EventStream, StackError> {
        let events = async {
            let (base, origin) = self.origin()?;
            let authorization = self.key.as_ref().and_then(Secret::header);
            let authorization = authorization.as_ref().map(header::HeaderValue::as_bytes);
            let body = body.to_string();
            let sent = http1::post(&self.stock, &origin, path, authorization, body.as_bytes()).await;
            let reading = Reading { dialect, split, watch, key: self.key.clone() };
            match sent {
                Ok(response) => stream::events(response, &format!("{base}{path}"), reading).await,
                Err(error) => Err(self.broken(&error).await),
            }
        };
        events.await.map_err(|error| clean(self.key.as_ref(), error))
    }

    /// Opens connections before the clock starts. One that cannot be opened now is tried again by its request, which
    /// then says why.
    pub(crate) async fn prepare(&self, ahead: Ahead) {
        let Ok((_, origin)) = self.origin() else { return };
        match ahead {
            Ahead::Pass { concurrency } => self.stock.fill(&origin, concurrency).await,
            Ahead::Request => drop(self.stock.promise(&origin).await),
        }
    }

    fn origin(&self) -> Result<(String, Origin), StackError> {
        let base = self.base();
        match Origin::parse(&base) {
            Some(origin) => Ok((base, origin)),
            None => Err(StackError::Unreachable {
                address: base,
                detail: "expected an address like http://127.0.0.1:8080 (TLS is not supported)".to_owned(),
            }),
        }
    }

    /// Tells how our process ended when a stream breaks.
    pub(crate) fn watch(&self) -> Arc<dyn Watch> {
        Arc::new(ProcessWatch(self.running().process))
    }

    /// Whether the server still runs; if it is ours, does not, and `may_start`, starts it again. A server that does
    /// not answer in time is taken for dead.
    pub(crate) async fn revive(&self, may_start: bool) -> Result<Revival, StackError> {
        let mut restarts = self.restarts.lock().await;
        let running = self.running();
        let Some(recipe) = &self.recipe else {
            let answers = self.client.get(&running.base).timeout(QUERY_LIMIT).send().await.is_ok();
            return Ok(if answers { Revival::Alive } else { Revival::Dead });
        };
        let has_ended = match &running.process {
            Some(process) => process.wait_end(DEATH_DELAY).await.is_some(),
            None => true,
        };
        if !has_ended && probe(&self.client, &format!("{}{}", running.base, recipe.ready_path)).await {
            return Ok(Revival::Alive);
        }
        if !may_start {
            return Ok(Revival::Dead);
        }
        if let Some(process) = &running.process {
            process.stop(STOP_GRACE).await?;
        }
        *restarts += 1;
        let started = start(&self.client, recipe, *restarts).await;
        let started = started.map_err(|error| clean(self.key.as_ref(), error))?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = started;
        Ok(Revival::Restarted)
    }

    /// How a server of ours ended that answers for now but is no longer ready: it gets `limit` to end by itself. `None`
    /// for one that is ready, that does not end, or that is not ours.
    pub(crate) async fn end_of_unready(&self, limit: Duration) -> Option<Death> {
        let (running, recipe) = (self.running(), self.recipe.as_ref()?);
        let process = running.process?;
        if probe(&self.client, &format!("{}{}", running.base, recipe.ready_path)).await {
            return None;
        }
        process.wait_end(limit).await?;
        process.death()
    }

    /// Stops it, if it is ours.
    pub(crate) async fn shutdown(&self) -> Result<(), StackError> {
        match self.running().process {
            Some(process) => process.stop(STOP_GRACE).await,
            None => Ok(()),
        }
    }

    async fn query(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<(header::HeaderMap, String), StackError> {
        let answer = async {
            let sent = self.authorised(request).timeout(limit).send().await;
            let response = match sent {
                Ok(response) => expect_ok(response).await?,
                Err(error) => return Err(self.broken(&error).await),
            };
            let head = response.headers().clone();
            match response.text().await {
                Ok(text) => Ok((head, text)),
                Err(error) => Err(self.broken(&error).await),
            }
        };
        answer.await.map_err(|error| clean(self.key.as_ref(), error))
    }

    fn json<T: DeserializeOwned>(&self, path: &str, text: &str) -> Result<T, StackError> {
        serde_json::from_str(text).map_err(|error| {
            let what = format!("expected JSON of {path} ({error})");
            let excerpt = text.chars().take(200).collect();
            clean(self.key.as_ref(), StackError::Protocol { what, excerpt })
        })
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match self.key.as_ref().and_then(Secret::header) {
            Some(value) => request.header(header::AUTHORIZATION, value),
            None => request,
        }
    }

    /// Why there was no answer: our server's end, if it ended.
    async fn broken(&self, error: &(dyn std::error::Error + Send + Sync)) -> StackError {
        let detail = stream::causes(error);
        match self.watch().death().await {
            Some(death) => StackError::Exited(Box::new(death)),
            None => StackError::Unreachable { address: self.base(), detail },
        }
    }
}

/// The body of `/metrics`; `None` from a server that was started without, which says so with 404 or 501.
pub(crate) async fn metrics(
    server: &Server,
    path: &str,
) -> Result<Option<(header::HeaderMap, String)>, StackError> {
    match server.get(path).await {
        Err(StackError::Status { status: 404 | 501, .. }) => Ok(None),
        answer => answer.map(Some),
    }
}

/// Samples out of the body of `/metrics`.
pub(crate) fn samples(text: &str) -> Result<Vec<prometheus::Sample<'_>>, StackError> {
    prometheus::parse(text).map_err(|error| StackError::Protocol {
        what: "expected metrics as text".to_owned(),
        excerpt: error.to_string(),
    })
}

/// The response, if its status is 200; otherwise the server's message.
async fn expect_ok(response: reqwest::Response) -> Result<reqwest::Response, StackError> {
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    let (address, status) = (response.url().to_string(), response.status().as_u16());
    // A body that breaks is no message.
    let body = response.text().await.unwrap_or_default();
    Err(stream::refused(&address, status, &body))
}

/// Watches the process that ran when it was made.
struct ProcessWatch(Option<Arc<ServerProcess>>);

#[async_trait]
impl Watch for ProcessWatch {
    async fn death(&self) -> Option<Death> {
        let process = self.0.as_ref()?;
        process.wait_end(DEATH_DELAY).await?;
        process.death()
    }
}

/// For questions. A connection serves one request: llama-server closes it after a stream without saying so, and a next request that
/// crosses with that close fails; opening one on loopback costs some 50 microseconds.
fn client() -> Result<Client, StackError> {
    let builder = Client::builder().no_proxy().tcp_nodelay(true).pool_max_idle_per_host(0);
    builder.build().map_err(|error| StackError::Unreachable {
        address: "any server".to_owned(),
        detail: stream::causes(&error),
    })
}

fn clean(key: Option<&Secret>, error: StackError) -> StackError {
    match key {
        Some(key) => key.redact_error(error),
        None => error,
    }
}

async fn probe(client: &Client, url: &str) -> bool {
    let answer = client.get(url).timeout(QUERY_LIMIT).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// Starts the server, on another port if somebody takes ours first.
async fn start(client: &Client, recipe: &Recipe, restarts: u32) -> Result<Running, StackError> {
    let log = match restarts {
        0 => recipe.log.clone(),
        n => {
            let stem = recipe.log.file_stem().unwrap_or_default().to_string_lossy();
            recipe.log.with_file_name(format!("{stem}-restart-{n}.log"))
        }
    };
    let mut attempt = 1;
    loop {
        let port = free_loopback_port()?;
        let launch = Launch {
            program: recipe.program.clone(),
            args: (recipe.args)(port)?,
            env: recipe.env.clone(),
            log: log.clone(),
        };
        match start_on(client, recipe, &launch, port).await {
            Err(StackError::Exited(_)) if attempt < PORT_ATTEMPTS && !is_free(port) => attempt += 1,
            started => return started,
        }
    }
}

async fn start_on(
    client: &Client,
    recipe: &Recipe,
    launch: &Launch,
    port: u16,
) -> Result<Running, StackError> {
    let base = format!("http://127.0.0.1:{port}");
    let process = ServerProcess::start(launch)?;
    let url = format!("{base}{}", recipe.ready_path);
    process.wait_ready(recipe.ready_limit, || probe(client, &url)).await?;
    Ok(Running { base, process: Some(Arc::new(process)), recipe: launch.command_line() })
}
