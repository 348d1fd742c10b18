//! Our engine behind an OpenAI-compatible endpoint, so that other tools can measure it and llama-swap can host it.
//!
//! One engine, one thread, one request at a time; a bounded number wait. Tokenizer and chat template are shared, so
//! that a bad request is answered while the engine works. It does not batch, cache prompts, or do logprobs, tools or
//! grammars: what would change the output and is not there is refused, not ignored.
//!
//! Invariants: no input but a dead engine gives a 5xx other than 503; a client that is gone ends its generation; the
//! tokens are those of [`Engine::generate`], whichever route they are asked by.

mod ask;
mod describe;
mod error;
mod fields;
mod metrics;
mod model;
mod queue;
mod reply;
mod routes;
mod stop;
mod tally;
#[cfg(test)]
mod tests;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::serve::ListenerExt;
use bench_core::clock;
use bench_core::stack::StackError;
use bench_engine::{Engine, EngineConfig, EngineError, Speculation};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use error::ApiError;
use metrics::Counters;
use model::Model;
use queue::Queue;
use worker::Job;

/// How long clients may take to read their last bytes when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Models and speculation.
    pub engine: EngineConfig,
    /// Address to listen on.
    pub host: IpAddr,
    /// Port, 0 for any that is free.
    pub port: u16,
    /// Requests that may wait while one runs.
    pub queue: usize,
    /// The model's name for clients; `None`: its file's name.
    pub alias: Option<String>,
    /// If set, every request but `/health` needs it.
    pub api_key: Option<ApiKey>,
}

/// A key that is never printed.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key, if it is not empty.
    #[must_use]
    pub fn new(key: String) -> Option<Self> {
        (!key.is_empty()).then_some(Self(key))
    }

    /// Compares in a time that does not tell how much was right.
    fn is(&self, given: &[u8]) -> bool {
        let key = self.0.as_bytes();
        let differences = key.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
        key.len() == given.len() && differences == 0
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// What handlers and the engine's thread share.
#[derive(Debug)]
struct Shared {
    queue: Queue<Job>,
    /// `None` while it loads.
    model: watch::Sender<Option<Arc<Model>>>,
    counters: Mutex<Counters>,
    requests: AtomicU64,
    alias: String,
    model_path: String,
    /// llama.cpp's word for the way of speculating.
    spec_type: &'static str,
    draft_max: usize,
    api_key: Option<ApiKey>,
    started_unix_s: u64,
}

impl Shared {
    fn new(config: &ServeConfig) -> Self {
        let engine = &config.engine;
        let draft_max = engine.speculation.draft_max();
        let file_name = || engine.target.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self {
            queue: Queue::new(config.queue),
            model: watch::Sender::new(None),
            counters: Mutex::new(Counters::new(draft_max)),
            requests: AtomicU64::new(0),
            alias: config.alias.clone().unwrap_or_else(file_name),
            model_path: engine.target.display().to_string(),
            spec_type: match engine.speculation {
                Speculation::None => "none",
                Speculation::Mtp { .. } => "draft-mtp",
                Speculation::Ngram { .. } => "ngram",
            },
            draft_max,
            api_key: config.api_key.clone(),
            started_unix_s: clock::unix_ms() / 1000,
        }
    }

    fn loaded(&self) -> Result<Arc<Model>, ApiError> {
        self.model.borrow().clone().ok_or_else(ApiError::loading)
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }
}

/// A server that listens. Dropping it closes the line; [`Self::stop`] also waits for its clients.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// How the engine's thread ended.
    engine: oneshot::Receiver<Result<(), EngineError>>,
    stop: watch::Sender<bool>,
    http: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Listens, and begins to load: until [`Self::ready`] every request is answered with 503.
    ///
    /// # Errors
    /// [`StackError::Engine`] if the address cannot be had.
    pub async fn start(config: &ServeConfig) -> Result<Self, StackError> {
        let engine = config.engine.clone();
        Self::start_with(config, move || Engine::load(&engine)).await
    }

    async fn start_with(
        config: &ServeConfig,
        load: impl FnOnce() -> Result<Engine, EngineError> + Send + 'static,
    ) -> Result<Self, StackError> {
        let wanted = SocketAddr::new(config.host, config.port);
        let no_address = |error: std::io::Error| StackError::Engine {
            detail: format!("cannot listen on {wanted}: {error}"),
            hint: Some("choose another port, or 0 for any that is free".to_owned()),
        };
        let listener = TcpListener::bind(wanted).await.map_err(no_address)?;
        let address = listener.local_addr().map_err(no_address)?;
        let shared = Arc::new(Shared::new(config));
        let engine = start_thread(Arc::clone(&shared), load)?;
        let (stop, mut stopped) = watch::channel(false);
        // A round's tokens must not wait for the acknowledgement of the last ones.
        let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
        let serving = axum::serve(listener, routes::router(Arc::clone(&shared)))
            .with_graceful_shutdown(async move { drop(stopped.wait_for(|stop| *stop).await) });
        let http = tokio::spawn(async move { serving.await });
        Ok(Self { address, shared, engine, stop, http })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the model is loaded.
    ///
    /// # Errors
    /// Why it could not be.
    pub async fn ready(&mut self) -> Result<(), StackError> {
        let mut model = self.shared.model.subscribe();
        tokio::select! {
            biased;
            loaded = model.wait_for(Option::is_some) => {
                drop(loaded);
                Ok(())
            }
            error = ended(&mut self.engine) => Err(error),
        }
    }

    /// Returns when the engine's thread has died, which it does not by itself.
    pub async fn died(&mut self) -> StackError {
        ended(&mut self.engine).await
    }

    /// Ends what runs and waits, and closes the connections.
    pub async fn stop(mut self) {
        self.shared.queue.close();
        self.stop.send_replace(true);
        // A client that does not read its last bytes holds up nobody for longer.
        drop(tokio::time::timeout(STOP_GRACE, &mut self.http).await);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.http.abort();
    }
}

fn start_thread(
    shared: Arc<Shared>,
    load: impl FnOnce() -> Result<Engine, EngineError> + Send + 'static,
) -> Result<oneshot::Receiver<Result<(), EngineError>>, StackError> {
    let (ended, engine) = oneshot::channel();
    let run = move || drop(ended.send(worker::run(&shared, load)));
    let thread = std::thread::Builder::new().name("engine".to_owned()).spawn(run);
    drop(thread.map_err(|error| StackError::Engine {
        detail: format!("cannot start the engine's thread: {error}"),
        hint: None,
    })?);
    Ok(engine)
}

async fn ended(engine: &mut oneshot::Receiver<Result<(), EngineError>>) -> StackError {
    match engine.await {
        Ok(Err(error)) => StackError::Engine { hint: error.hint(), detail: error.to_string() },
        Ok(Ok(())) => StackError::Engine { detail: "the engine was stopped".to_owned(), hint: None },
        Err(_) => StackError::Engine { detail: "the engine's thread panicked".to_owned(), hint: None },
    }
}
