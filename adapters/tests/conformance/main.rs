//! llama-server's stack against a scripted peer on loopback, byte by byte: what every stack has to keep, and every
//! way a stream can break.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::time::Duration;

use bench_adapters::llama_server::LlamaServer;
use bench_core::preset::{Route, SamplingParams};
use bench_core::stack::{FinishReason, GenerateRequest, Prompt, Stack, StackError, StreamEvent};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const LIMIT: Duration = Duration::from_secs(20);
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nX-Accel-Buffering: no\r\n\r\n";

/// Takes one request, answers with these bytes (one by one if asked), then closes.
async fn peer(answer: Vec<u8>, one_by_one: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        read_request(&mut socket).await;
        for piece in answer.chunks(if one_by_one { 1 } else { usize::MAX }) {
            // The client may have seen enough.
            if socket.write_all(piece).await.is_err() {
                return;
            }
        }
        drop(socket.shutdown().await);
    }));
    url
}

async fn read_request(socket: &mut TcpStream) {
    let mut seen = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let n = socket.read(&mut bytes).await.unwrap();
        seen.extend_from_slice(&bytes[..n]);
        let text = String::from_utf8_lossy(&seen).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
            return;
        }
    }
}

fn chunked(body: &[u8], ended: bool) -> Vec<u8> {
    let mut bytes = HEAD.as_bytes().to_vec();
    for part in body.chunks(100) {
        bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(if ended { b"0\r\n\r\n" } else { b"" });
    bytes
}

fn json(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The body of a recorded answer.
fn capture(text: &str) -> &str {
    text.split_once("\n\n").expect("a capture has a head").1
}

const COMPLETION: &str = include_str!("fixtures/llama-server/completion_stream_timings.txt");
const CHAT: &str = include_str!("fixtures/llama-server/v1_chat_stream_timings.txt");
const CHAT_WITHOUT_USAGE: &str = include_str!("fixtures/llama-server/v1_chat_stream.txt");
const TOO_LONG: &str = include_str!("fixtures/llama-server/err_too_long_chat_stream.txt");

fn request(route: Route) -> GenerateRequest {
    let prompt = match route {
        Route::Completion | Route::OpenAiCompletion => Prompt::Text("Once".to_owned()),
        Route::Chat => Prompt::Chat { system: None, user: "Hi".to_owned() },
    };
    let sampling = SamplingParams { temperature: 0.0, top_k: None, top_p: None, min_p: None, seed: 1 };
    GenerateRequest { prompt, max_tokens: 12, ignore_eos: true, sampling, timeout: LIMIT }
}

async fn ask(url: &str, route: Route) -> Result<Vec<Result<StreamEvent, StackError>>, StackError> {
    let stack = LlamaServer::attach(url, route)?;
    let events = stack.generate(request(route)).await?;
    Ok(tokio::time::timeout(LIMIT, events.collect()).await.expect("the stream ends"))
}

async fn answer(route: Route, bytes: Vec<u8>, one_by_one: bool) -> Vec<Result<StreamEvent, StackError>> {
    ask(&peer(bytes, one_by_one).await, route).await.unwrap()
}

/// Checks the order `Opened Tokens* Finished` and that stamps never go back; gives counts, ids and the last event.
fn finished(events: Vec<Result<StreamEvent, StackError>>) -> (Vec<Option<u32>>, Vec<u32>, StreamEvent) {
    let mut events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    let stamp = |event: &StreamEvent| match event {
        StreamEvent::Opened { at } | StreamEvent::Tokens { at, .. } | StreamEvent::Finished { at, .. } => *at,
    };
    assert!(events.windows(2).all(|pair| stamp(&pair[0]) <= stamp(&pair[1])));
    assert!(matches!(events.first(), Some(StreamEvent::Opened { .. })));
    let last = events.pop().unwrap();
    let (mut counts, mut ids) = (Vec::new(), Vec::new());
    for event in events.drain(1..) {
        let StreamEvent::Tokens { count, token_ids, .. } = event else { panic!("{event:?}") };
        counts.push(count);
        ids.extend(token_ids.unwrap_or_default());
    }
    (counts, ids, last)
}

#[tokio::test]
async fn a_recorded_completion_reads_the_same_whole_and_byte_by_byte() {
    for one_by_one in [false, true] {
        let bytes = chunked(capture(COMPLETION).as_bytes(), true);
        let (counts, ids, last) = finished(answer(Route::Completion, bytes, one_by_one).await);
        assert_eq!(counts, vec![Some(1); 12]);
        assert_eq!(ids[..3], [1979, 1790, 2018]);
        let StreamEvent::Finished { reason, usage, spec: Some(spec), stack_timings, .. } = last else {
            panic!("{last:?}")
        };
        assert_eq!(
            (reason, usage.prompt_tokens, usage.cached_tokens),
            (FinishReason::Length, Some(12), Some(0))
        );
        assert_eq!((usage.output_tokens, spec.drafted, spec.accepted), (Some(12), 31, 5));
        assert_eq!(spec.verify_steps, Some(6));
        assert_eq!(stack_timings.unwrap()["predicted_n"], 12);
    }
}

#[tokio::test]
async fn a_recorded_chat_counts_tokens_but_not_its_role() {
    let bytes = chunked(capture(CHAT).as_bytes(), true);
    let (counts, ids, last) = finished(answer(Route::Chat, bytes, true).await);
    assert_eq!((counts, ids), (vec![Some(1); 12], Vec::new()));
    let StreamEvent::Finished { usage, spec: Some(spec), .. } = last else { panic!("{last:?}") };
    assert_eq!(
        (usage.prompt_tokens, usage.cached_tokens, usage.output_tokens),
        (Some(32), Some(27), Some(12))
    );
    assert_eq!((spec.drafted, spec.accepted, spec.verify_steps), (17, 8, Some(3)));
}

#[tokio::test]
async fn without_counts_there_are_none_and_usage_comes_from_timings() {
    let bytes = chunked(capture(CHAT_WITHOUT_USAGE).as_bytes(), true);
    let (counts, _, last) = finished(answer(Route::Chat, bytes, false).await);
    assert_eq!(counts, vec![None; 8]);
    let StreamEvent::Finished { usage, .. } = last else { panic!("{last:?}") };
    assert_eq!((usage.prompt_tokens, usage.output_tokens), (Some(32), Some(8)));
}

const TOKEN: &str = "data: {\"content\":\"a\",\"tokens\":[5],\"stop\":false,\"tokens_predicted\":1}\n\n";

async fn broken(bytes: Vec<u8>) -> StackError {
    let mut events = answer(Route::Completion, bytes, false).await;
    let error = events.pop().unwrap().unwrap_err();
    assert!(events.iter().all(|event| !matches!(event, Ok(StreamEvent::Finished { .. }))));
    assert!(matches!(events[1], Ok(StreamEvent::Tokens { count: Some(1), .. })), "what came before is kept");
    error
}

#[tokio::test]
async fn a_stream_that_ends_without_a_finish_is_aborted() {
    let half = format!("{TOKEN}data: {{\"content\":\"b");
    let error_event = format!("{TOKEN}data: {{\"error\":{{\"message\":\"out of memory\"}}}}\n\n");
    let cases = [
        (chunked(TOKEN.as_bytes(), true), "neither stop nor finish_reason came"),
        (chunked(format!("{TOKEN}data: [DONE]\n\n").as_bytes(), true), "neither stop nor finish_reason came"),
        (chunked(half.as_bytes(), true), "inside an event"),
        (chunked(TOKEN.as_bytes(), false), ""),
        (chunked(half.as_bytes(), false), ""),
        (chunked(error_event.as_bytes(), true), "out of memory"),
    ];
    for (bytes, detail) in cases {
        let error = broken(bytes).await;
        assert!(matches!(error, StackError::Aborted { events: 1 | 2, .. }), "{error:?}");
        assert!(error.to_string().contains(detail), "{error}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_events_are_a_protocol_error() {
    let mut not_utf8 = TOKEN.as_bytes().to_vec();
    not_utf8.extend_from_slice(b"data: \xFF\xFE\n\n");
    let back = TOKEN.replace(":1}", ":0}");
    for body in
        [not_utf8, format!("{TOKEN}data: {{nonsense\n\n").into_bytes(), format!("{TOKEN}{back}").into_bytes()]
    {
        let error = broken(chunked(&body, true)).await;
        assert!(matches!(error, StackError::Protocol { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn refusals_carry_the_server_s_message() {
    let cases = [
        (json("500 Internal Server Error", r#"{"error":{"code":500,"message":"boom"}}"#), 500, "boom"),
        (json("400 Bad Request", capture(TOO_LONG)), 400, "request (33012 tokens) exceeds"),
        (json("502 Bad Gateway", ""), 502, ""),
        (json("503 Service Unavailable", "<html>"), 503, "<html>"),
    ];
    for (bytes, expected, words) in cases {
        let error = ask(&peer(bytes, false).await, Route::Chat).await.unwrap_err();
        let StackError::Status { status, message, .. } = error else { panic!("{error:?}") };
        assert_eq!(status, expected);
        assert!(message.starts_with(words), "{message}");
    }
    let error = ask(&peer(json("200 OK", "{}"), false).await, Route::Chat).await.unwrap_err();
    assert!(error.to_string().contains("expected text/event-stream"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let port = bench_adapters::process::free_loopback_port().unwrap();
    let error = ask(&format!("http://127.0.0.1:{port}"), Route::Chat).await.unwrap_err();
    assert!(
        matches!(&error, StackError::Unreachable { detail, .. } if detail.contains("refused")),
        "{error:?}"
    );
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (closed_tx, closed) = oneshot::channel();
    drop(tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        socket.write_all(&chunked(TOKEN.as_bytes(), false)).await.unwrap();
        // EOF, or a reset: either way the client is gone.
        let gone = !matches!(socket.read(&mut [0; 16]).await, Ok(1..));
        closed_tx.send(gone).unwrap();
    }));
    let stack = LlamaServer::attach(&url, Route::Completion).unwrap();
    let mut events = stack.generate(request(Route::Completion)).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(StreamEvent::Opened { .. }))));
    assert!(matches!(events.next().await, Some(Ok(StreamEvent::Tokens { .. }))));
    drop(events);
    assert!(tokio::time::timeout(LIMIT, closed).await.expect("the peer sees the end").unwrap());
}
