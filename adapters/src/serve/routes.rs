//! Routes: from HTTP to the engine's line, and back.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Response, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bench_core::clock;
use bench_engine::spec::generation::GenerateParams;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::ask::{Ask, Prompt};
use super::error::{ApiError, json_response};
use super::fields::Fields;
use super::model::Model;
use super::queue::Refusal;
use super::reply::{Form, Reply};
use super::worker::{Done, Event, Job};
use super::{Shared, describe};

/// Bytes of a request's body: far beyond any context we run.
const BODY_BYTES: usize = 16 << 20;

type Answer = Result<Response<Body>, ApiError>;
type Incoming = Result<Bytes, BytesRejection>;

/// All routes.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/health", get(health))
        .route("/version", get(version))
        .route("/v1/models", get(models))
        .route("/props", get(props))
        .route("/slots", get(slots))
        .route("/metrics", get(metrics))
        .route("/v1/completions", post(text))
        .route("/v1/chat/completions", post(chat))
        .route("/completion", post(native))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .fallback(async |uri: Uri| ApiError::no_such_route(uri.path()))
        .method_not_allowed_fallback(async || ApiError::wrong_method())
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit))
        .with_state(shared)
}

/// Who may come in: nobody while the model loads, and without the key only who asks for the health.
async fn admit(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Answer {
    let is_health = request.uri().path().ends_with("/health");
    if let Some(key) = shared.api_key.as_ref().filter(|_| !is_health) {
        let given = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        if !given.and_then(|value| value.strip_prefix(b"Bearer ")).is_some_and(|given| key.is(given)) {
            return Err(ApiError::no_key());
        }
    }
    if shared.queue.is_closed() {
        return Err(ApiError::unavailable("the server is stopping"));
    }
    if shared.model.borrow().is_none() {
        return Err(ApiError::loading());
    }
    Ok(next.run(request).await)
}

fn ok(body: &Value) -> Answer {
    Ok(json_response(StatusCode::OK, body))
}

async fn health() -> Answer {
    ok(&json!({ "status": "ok" }))
}

async fn version() -> Answer {
    ok(&json!({ "version": env!("CARGO_PKG_VERSION") }))
}

async fn models(State(shared): State<Arc<Shared>>) -> Answer {
    ok(&describe::models(&shared, &*shared.loaded()?))
}

async fn props(State(shared): State<Arc<Shared>>) -> Answer {
    ok(&describe::props(&shared, &*shared.loaded()?))
}

async fn slots(State(shared): State<Arc<Shared>>) -> Answer {
    ok(&describe::slots(&shared, &*shared.loaded()?))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let (waiting, running) = shared.queue.load();
    let page = shared.counters().text(waiting, running);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page)
}

async fn native(State(shared): State<Arc<Shared>>, body: Incoming) -> Answer {
    generate(&shared, Form::Native, body).await
}

async fn text(State(shared): State<Arc<Shared>>, body: Incoming) -> Answer {
    generate(&shared, Form::Text, body).await
}

async fn chat(State(shared): State<Arc<Shared>>, body: Incoming) -> Answer {
    generate(&shared, Form::Chat, body).await
}

async fn tokenize(State(shared): State<Arc<Shared>>, body: Incoming) -> Answer {
    let (fields, model) = (fields(body)?, shared.loaded()?);
    // llama.cpp's name, and vLLM's.
    let name = if fields.get("prompt").is_some() { "prompt" } else { "content" };
    let Some(text) = fields.opt::<String>(name, "a string")? else {
        return Err(ApiError::bad_field(name, &Value::Null, "a string"));
    };
    if let Some(wanted) = fields.get("with_pieces").filter(|wanted| **wanted == true) {
        return Err(ApiError::unsupported("with_pieces", wanted));
    }
    let add_bos = fields.flag("add_special")?;
    let parse_special = fields.opt("parse_special", "true or false")?.unwrap_or(true);
    let context = model.info.context_tokens;
    let tokens = off_the_reactor(move || Ok(model.tokenizer.encode(&text, parse_special, add_bos))).await?;
    ok(&json!({ "tokens": tokens, "count": tokens.len(), "max_model_len": context }))
}

async fn detokenize(State(shared): State<Arc<Shared>>, body: Incoming) -> Answer {
    const EXPECTED: &str = "a list of token ids";
    let (fields, model) = (fields(body)?, shared.loaded()?);
    let ids = fields.opt("tokens", EXPECTED)?;
    let ids = ids.ok_or_else(|| ApiError::bad_field("tokens", &Value::Null, EXPECTED))?;
    let text = model.decode(&model.known(ids, "tokens")?);
    ok(&json!({ "content": text, "prompt": text }))
}

fn fields(body: Incoming) -> Result<Fields, ApiError> {
    Fields::parse(&body.map_err(|error| ApiError::body(error.status(), error.body_text()))?)
}

/// A long prompt takes milliseconds to encode, and a template may take longer.
async fn off_the_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::internal(format!("encoding failed: {error}")))?
}

/// One generation, streamed or whole.
async fn generate(shared: &Shared, form: Form, body: Incoming) -> Answer {
    let (fields, model) = (fields(body)?, shared.loaded()?);
    check_model(&fields, &model)?;
    let ask = Ask::parse(&fields, form == Form::Chat)?;
    let reply = reply(shared, form, &ask, &model);
    let (streams, shape_needs_ids) = (ask.stream, ask.shape.token_ids);
    let mut events = enqueue(shared, ask, model).await?;
    // An answer that cannot begin is an error with a status, streamed or not.
    let first = match events.recv().await {
        Some(Event::Failed(error)) => return Err(error),
        Some(first) => first,
        None => return Err(ApiError::unavailable("the server is stopping")),
    };
    if streams {
        return Ok(event_stream(reply, first, events));
    }
    let (text, ids, done) = collect(first, events).await?;
    ok(&reply.whole(&text, if shape_needs_ids { &ids } else { &[] }, &done))
}

fn check_model(fields: &Fields, model: &Model) -> Result<(), ApiError> {
    match fields.opt::<String>("model", "a string")? {
        Some(name) if !name.is_empty() && name != model.alias => {
            Err(ApiError::unknown_model(&name, &model.alias))
        }
        Some(_) | None => Ok(()),
    }
}

fn reply(shared: &Shared, form: Form, ask: &Ask, model: &Model) -> Reply {
    let prefix = if form == Form::Chat { "chatcmpl" } else { "cmpl" };
    let created = clock::unix_ms() / 1000;
    Reply {
        form,
        shape: ask.shape,
        id: format!("{prefix}-{:x}-{}", shared.started_unix_s, shared.next_request()),
        created,
        model: model.alias.clone(),
        fingerprint: describe::build_info(model),
        settings: describe::settings(shared, &ask.sampling, ask.max_tokens, ask.ignore_eos, &ask.stops),
        begun: false,
    }
}

/// Encodes, checks and puts into the line.
async fn enqueue(shared: &Shared, ask: Ask, model: Arc<Model>) -> Result<mpsc::Receiver<Event>, ApiError> {
    let Ask { prompt, max_tokens, ignore_eos, sampling, stops, .. } = ask;
    let (prompt, max_tokens) = off_the_reactor(move || encode(&model, prompt, max_tokens)).await?;
    // One event a round, and the last.
    let (sender, events) = mpsc::channel(max_tokens + 1);
    let params = GenerateParams { max_tokens, ignore_eos, sampling };
    match shared.queue.push(Job { prompt, params, stops, events: sender }) {
        Ok(()) => Ok(events),
        Err(Refusal::Full) => {
            shared.counters().refused += 1;
            let limit = shared.queue.limit();
            Err(ApiError::unavailable(format!("one request runs and {limit} wait: no more are taken")))
        }
        Err(Refusal::Closed) => Err(ApiError::unavailable("the server is stopping")),
    }
}

fn encode(model: &Model, prompt: Prompt, asked: Option<usize>) -> Result<(Vec<u32>, usize), ApiError> {
    let ids = model.encode(prompt)?;
    if ids.is_empty() {
        return Err(ApiError::bad_request("the prompt has no tokens"));
    }
    let max_tokens = model.output_room(ids.len(), asked)?;
    Ok((ids, max_tokens))
}

/// All of an answer: text, ids, and its end.
async fn collect(
    first: Event,
    mut events: mpsc::Receiver<Event>,
) -> Result<(String, Vec<u32>, Done), ApiError> {
    let (mut text, mut ids) = (String::new(), Vec::new());
    let mut next = Some(first);
    loop {
        match next {
            Some(Event::Round(round)) => {
                text.push_str(&round.text);
                ids.extend(round.ids);
            }
            Some(Event::Done(done)) => {
                text.push_str(&done.rest);
                return Ok((text, ids, done));
            }
            Some(Event::Failed(error)) => return Err(error),
            None => return Err(ApiError::internal("the engine stopped before the answer was complete")),
        }
        next = events.recv().await;
    }
}

fn event_stream(reply: Reply, first: Event, events: mpsc::Receiver<Event>) -> Response<Body> {
    let chunks = stream::unfold((reply, Some(first), events), async |(mut reply, first, mut events)| {
        let event = match first {
            Some(first) => first,
            None => events.recv().await?,
        };
        Some((Ok::<_, Infallible>(reply.frames(&event)), (reply, None, events)))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies (nginx, llama-swap's like) must not collect chunks.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
