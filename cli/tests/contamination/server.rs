//! A scripted llama.cpp server with faults that can be planted, and a proxy that changes what passes through it. Both on
//! loopback; their threads end with the test's process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// What a server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Nothing,
    /// It keeps prompts in a cache, whatever the request asks.
    PrefixCache,
    /// It does not say what it found in its cache.
    SilentCache,
    /// Its first answers are ten times slower than the others.
    ColdStart(usize),
    /// One answer in three ends before its length.
    EarlyStop,
    /// Another model answers from the third request on.
    SwappedModel,
    /// It drafts, and was asked not to.
    Drafts,
    /// It sends text, and neither ids nor counts.
    CountsNothing,
}

/// A server with a model file and a fault.
#[derive(Debug)]
struct Site {
    model: PathBuf,
    fault: Fault,
    /// Prompts answered so far.
    prompts: Mutex<Vec<String>>,
}

/// Starts a server; its address.
pub(crate) fn start(model: PathBuf, fault: Fault) -> String {
    let site = Arc::new(Site { model, fault, prompts: Mutex::default() });
    listen(move |stream| site.serve(stream))
}

/// Starts a proxy that passes requests on to `upstream` with every `from` in their bodies replaced; its address.
pub(crate) fn start_proxy(upstream: &str, from: &'static str, to: &'static str) -> String {
    let upstream = upstream.trim_start_matches("http://").to_owned();
    // A connection that breaks is what the client then sees.
    listen(move |stream| drop(pass_on(stream, &upstream, from, to)))
}

fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serve = Arc::new(serve);
    drop(std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            drop(std::thread::spawn(move || serve(stream)));
        }
    }));
    format!("http://{address}")
}

struct Request {
    first_line: String,
    path: String,
    body: String,
}

fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut first_line = String::new();
    reader.read_line(&mut first_line).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = first_line.split(' ').nth(1)?.to_owned();
    Some(Request { first_line, path, body: String::from_utf8(body).ok()? })
}

fn pass_on(mut stream: TcpStream, upstream: &str, from: &str, to: &str) -> std::io::Result<u64> {
    let Some(request) = read_request(&mut stream) else { return Ok(0) };
    let body = request.body.replace(from, to);
    let mut behind = TcpStream::connect(upstream)?;
    let head = format!(
        "{}Host: {upstream}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        request.first_line,
        body.len()
    );
    behind.write_all(head.as_bytes())?;
    // The server closes after each answer.
    std::io::copy(&mut behind, &mut stream)
}

impl Site {
    fn serve(&self, mut stream: TcpStream) {
        let Some(request) = read_request(&mut stream) else { return };
        let body = match request.path.as_str() {
            "/health" => json!({"status": "ok"}),
            "/props" => json!({
                "default_generation_settings": {"n_ctx": 1024, "params": {}}, "total_slots": 1,
                "model_path": self.model, "build_info": "scripted",
            }),
            "/slots" => {
                json!([{"id": 0, "n_ctx": 1024, "speculative": false, "is_processing": false}])
            }
            "/v1/models" => json!({"data": [{"id": "scripted", "meta": {"n_ctx": 1024}}]}),
            "/completion" => {
                self.complete(&mut stream, &request.body);
                return;
            }
            _ => {
                let error =
                    json!({"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}});
                return respond(&mut stream, "404 Not Found", &error);
            }
        };
        respond(&mut stream, "200 OK", &body);
    }

    /// Streams an answer, a token an event.
    fn complete(&self, stream: &mut TcpStream, body: &str) {
        let Ok(asked) = serde_json::from_str::<Value>(body) else { return };
        let prompt = asked["prompt"].as_str().unwrap_or_default();
        let (nth, cached) = self.remember(prompt);
        let mut tokens = asked["n_predict"].as_u64().unwrap_or(1);
        let stops = self.fault == Fault::EarlyStop && nth % 3 == 1;
        if stops {
            tokens -= 2;
        }
        let cold = matches!(self.fault, Fault::ColdStart(answers) if nth < answers);
        let pace = Duration::from_millis(if cold { 40 } else { 4 });
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        drop(stream.write_all(head.as_bytes()));
        for token in 1..=tokens {
            std::thread::sleep(pace);
            event(stream, &self.token_event(token));
        }
        event(stream, &self.last_event(&asked, nth, tokens, stops, cached));
    }

    fn token_event(&self, token: u64) -> Value {
        if self.fault == Fault::CountsNothing {
            return json!({"content": "x", "stop": false});
        }
        json!({"content": "x", "tokens": [token], "stop": false, "tokens_predicted": token})
    }

    fn last_event(&self, asked: &Value, nth: usize, tokens: u64, stops: bool, cached: u64) -> Value {
        let prompt_tokens = asked["prompt"].as_str().unwrap_or_default().split(' ').count() as u64;
        let counts = (self.fault != Fault::CountsNothing).then_some(tokens);
        let mut timings = json!({"prompt_n": prompt_tokens - cached, "predicted_n": counts});
        if self.fault != Fault::SilentCache {
            timings["cache_n"] = json!(cached);
        }
        if self.fault == Fault::Drafts {
            (timings["draft_n"], timings["draft_n_accepted"]) = (json!(6), json!(3));
        }
        let model = if self.fault == Fault::SwappedModel && nth > 2 { "other.gguf" } else { "scripted.gguf" };
        json!({
            "content": "", "tokens": [], "stop": true, "stop_type": if stops { "eos" } else { "limit" },
            "model": model, "tokens_evaluated": prompt_tokens, "tokens_predicted": counts, "timings": timings,
            "generation_settings": settings(asked),
        })
    }

    /// How many prompts came before, and how many words of this one are the beginning of one of them.
    fn remember(&self, prompt: &str) -> (usize, u64) {
        let mut prompts = self.prompts.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = |known: &String| {
            let pairs = known.split(' ').zip(prompt.split(' '));
            pairs.take_while(|(known, word)| known == word).count() as u64
        };
        let most = prompts.iter().map(shared).max().unwrap_or_default();
        prompts.push(prompt.to_owned());
        let caches = self.fault == Fault::PrefixCache;
        (prompts.len() - 1, if caches { most } else { 0 })
    }
}

/// What llama.cpp says of the sampling in force: what came in the body.
fn settings(asked: &Value) -> Value {
    let keys = ["temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed"];
    keys.into_iter().map(|key| (key.to_owned(), asked[key].clone())).collect::<serde_json::Map<_, _>>().into()
}

fn event(stream: &mut TcpStream, event: &Value) {
    drop(write!(stream, "data: {event}\n\n").and_then(|()| stream.flush()));
}

fn respond(stream: &mut TcpStream, status: &str, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    drop(stream.write_all(head.as_bytes()));
}
