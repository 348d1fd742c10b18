//! The mock server by its own truth, and our client by the mock server. Wall time has lower bounds only: a busy machine
//! may be late, and never early.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not take for tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::time::Duration;

use bench_adapters::mock::{self, Mock, MockConfig, Pace, Script, Speculation, Stall};
use bench_adapters::openai_server::OpenAiServer;
use bench_core::preset::Route;
use bench_core::runner::{Collected, Collector};
use bench_core::stack::{Ahead, FinishReason, Stack};
use bench_core::testing::generate_request;
use futures_util::StreamExt;
use tokio::time::Instant;

fn script() -> Script {
    let pace = Pace { ttft: Duration::from_millis(20), itl: Duration::from_millis(2), stall: None };
    Script { pace, tokens: 16, cap: None, speculation: None, timings: false, role_chunk: true }
}

/// A mock that serves until the test's process ends.
fn serve(script: Script) -> SocketAddr {
    let config = MockConfig { host: [127, 0, 0, 1].into(), port: 0, model: "mo\"ck".to_owned(), script };
    let mock = Mock::bind(config).unwrap();
    let address = mock.address();
    drop(std::thread::spawn(move || mock.run()));
    address
}

/// The whole answer to a request, head included, as text.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: m\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

async fn generate(address: SocketAddr, tokens: u32) -> Collected {
    let stack = OpenAiServer::attach(&format!("http://{address}"), "mock", Route::OpenAiCompletion).unwrap();
    stack.prepare(Ahead::Request).await;
    let mut request = generate_request("a b c");
    request.max_tokens = tokens;
    let mut collector = Collector::new(Instant::now(), tokens);
    let mut events = stack.generate(request).await.unwrap();
    while let Some(event) = events.next().await {
        collector.push(event.unwrap()).unwrap();
    }
    collector.finish(Instant::now())
}

async fn truth(address: SocketAddr) -> mock::Truth {
    mock::truth(&format!("http://{address}")).await.unwrap()
}

#[tokio::test]
async fn chunks_come_in_number_and_never_early() {
    let address = serve(script());
    let got = generate(address, 16).await;
    assert_eq!((got.timing.chunks.len(), got.output.tokens, got.output.disputed), (16, Some(16), false));
    assert_eq!(got.reason, Some(FinishReason::Length));
    assert_eq!(got.text, " mock".repeat(16));
    for (index, chunk) in (0_u64..).zip(&got.timing.chunks) {
        assert_eq!(chunk.tokens, Some(1));
        assert!(chunk.at_ns >= 20_000_000 + index * 2_000_000, "chunk {index} at {} ns", chunk.at_ns);
    }
    let truth = truth(address).await;
    assert_eq!((truth.requests, truth.completed, truth.chunks, truth.tokens), (1, 1, 16, 16));
    assert_eq!((truth.ttft.count, truth.itl.count, truth.e2e.count, truth.late.count), (1, 15, 1, 16));
    assert!(truth.ttft.p50_ms >= Some(20.0) && truth.e2e.p50_ms >= Some(50.0), "{truth:?}");
    assert_eq!(truth.streams_peak, 1);
}

#[tokio::test]
async fn many_streams_each_get_their_own() {
    let address = serve(script());
    let all = futures_util::future::join_all((0..64).map(|_| generate(address, 16))).await;
    assert!(all.iter().all(|got| got.output.tokens == Some(16) && got.timing.chunks.len() == 16));
    let truth = truth(address).await;
    assert_eq!((truth.completed, truth.chunks, truth.aborted), (64, 64 * 16, 0));
    assert!(truth.streams_peak > 1, "{truth:?}");
}

#[tokio::test]
async fn planted_stalls_are_in_the_gaps_that_the_client_sees() {
    let stall = Stall { every: NonZeroU32::new(5).unwrap(), extra: Duration::from_millis(60) };
    let mut script = script();
    script.pace.stall = Some(stall);
    let got = generate(serve(script), 16).await;
    // Chunks 5, 10 and 15 are due 60 ms later than pace alone says.
    let at = |index: usize| got.timing.chunks[index].at_ns;
    assert!(at(5) >= 90_000_000 && at(10) >= 160_000_000 && at(15) >= 230_000_000, "{:?}", got.timing.chunks);
}

#[tokio::test]
async fn the_planted_pattern_is_counted_exactly() {
    let mut script = script();
    script.pace.itl = Duration::from_micros(200);
    script.speculation = Some(Speculation::new(vec![3, 1, 2, 0], 3).unwrap());
    let address = serve(script);
    let got = generate(address, 128).await;
    let spec = got.spec.expect("the answer tells");
    assert_eq!((got.timing.chunks.len(), got.output.tokens), (51, Some(128)));
    assert_eq!((spec.drafted, spec.accepted, spec.rounds_with_draft()), (153, 77, Some(51)));
    assert_eq!(spec.accepted_per_position, Some(vec![39, 25, 13]));
    let page = ask(address, "GET", "/metrics", "");
    for line in [
        "vllm:spec_decode_num_drafts_total{model_name=\"mo\\\"ck\"} 51",
        "vllm:spec_decode_num_accepted_tokens_total{model_name=\"mo\\\"ck\"} 77",
        "position=\"0\"} 39",
        "position=\"1\"} 25",
        "position=\"2\"} 13",
    ] {
        assert!(page.contains(line), "{line} not in {page}");
    }
}

#[test]
fn endpoints_answer_and_say_what_is_wrong() {
    let address = serve(script());
    let models = ask(address, "GET", "/v1/models", "");
    assert!(models.starts_with("HTTP/1.1 200") && models.contains("\"id\":\"mo\\\"ck\""), "{models}");
    assert!(ask(address, "GET", "/health", "").starts_with("HTTP/1.1 200"));
    assert!(ask(address, "GET", "/nothing", "").starts_with("HTTP/1.1 404"));
    let whole = ask(address, "POST", "/v1/completions", "{\"prompt\":\"a\"}");
    assert!(whole.starts_with("HTTP/1.1 400") && whole.contains("stream"), "{whole}");
    assert!(ask(address, "POST", "/v1/completions", "nonsense").starts_with("HTTP/1.1 400"));
    let chat = r#"{"messages":[{"role":"user","content":"a b c"}],"stream":true,"max_tokens":2,
        "stream_options":{"include_usage":true}}"#;
    let stream = ask(address, "POST", "/v1/chat/completions", chat);
    let order = [
        "\"role\":\"assistant\"",
        "\" mock\"",
        "\"finish_reason\":\"length\"",
        "\"prompt_tokens\":3",
        "[DONE]",
    ];
    let places: Vec<_> = order.iter().map(|word| stream.find(word).expect(word)).collect();
    assert!(places.is_sorted(), "{stream}");
    assert!(ask(address, "POST", "/reset", "").starts_with("HTTP/1.1 200"));
    assert!(ask(address, "GET", "/truth", "").contains("\"requests\": 0"));
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_and_the_cap_ends_a_request() {
    let mut script = script();
    script.cap = Some(4);
    let address = serve(script);
    let got = generate(address, 16).await;
    assert_eq!((got.output.tokens, got.reason), (Some(4), Some(FinishReason::Stop)));
    let mut socket = TcpStream::connect(address).unwrap();
    let body = r#"{"prompt":"a","stream":true}"#;
    write!(socket, "POST /v1/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut byte = [0];
    socket.read_exact(&mut byte).unwrap();
    drop(socket);
    while truth(address).await.aborted == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(truth(address).await.completed, 1);
}
