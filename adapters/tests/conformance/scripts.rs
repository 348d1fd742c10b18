//! What the scripted server does for each fault.

use serde_json::{Value, json};

use crate::server::{Reply, Site};
use crate::stacks::{Case, KEPT_EVENTS, MODEL, edited, events};

/// One run against one server.
pub(crate) struct Scenario {
    /// The server's answers.
    pub(crate) site: Site,
    /// Where the stack looks instead of at that server.
    pub(crate) url: Option<String>,
    /// Requests of the run; the row under test is the last one's.
    pub(crate) requests: usize,
    /// The requests' deadline.
    pub(crate) timeout_ms: u64,
    /// The user stops the run once the server has said all it will say.
    pub(crate) cancelled: bool,
}

/// Far beyond what any answer takes that ends.
const PATIENT_MS: u64 = 15_000;
/// Enough for what was sent at once to be read, on a busy machine too.
const SHORT_MS: u64 = 700;
const FAR_TOO_LONG: usize = 10 << 20;
/// More than any buffer between the two ends holds.
const ENDLESS: usize = 64 << 20;
const STOPPED: &str = r#"{"running":[]}"#;
const LOST: &str = "[WARN] <tiny> upstream process exited unexpectedly: signal: aborted (core dumped)\n";

impl Scenario {
    /// Every generation is answered like this.
    fn new(case: &Case, reply: Reply) -> Self {
        let mut site = Site::from([(case.path.to_owned(), vec![reply])]);
        // llama-swap tells what runs behind it.
        let running = json!({ "running": [{ "model": MODEL, "state": "ready", "cmd": "llama-server" }] });
        site.insert("/running".to_owned(), vec![Reply::json("200 OK", &running.to_string())]);
        site.insert("/logs".to_owned(), vec![Reply::whole("200 OK", "text/plain", "[INFO] fine\n")]);
        Self { site, url: None, requests: 1, timeout_ms: PATIENT_MS, cancelled: false }
    }

    /// The counters say these one after the other.
    fn counting(mut self, case: &Case, readings: Vec<Reply>) -> Self {
        self.site.insert(case.metrics.to_owned(), readings);
        self
    }

    /// llama-swap has lost the server behind it.
    fn lost(mut self) -> Self {
        self.site.insert("/running".to_owned(), vec![Reply::json("200 OK", STOPPED)]);
        self.site.insert("/logs".to_owned(), vec![Reply::whole("200 OK", "text/plain", LOST)]);
        self
    }

    fn short(self) -> Self {
        Self { timeout_ms: SHORT_MS, ..self }
    }
}

fn sse(data: &str) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

/// Each event a piece of its own.
fn pieces(events: &[String]) -> Vec<Vec<u8>> {
    events.iter().map(|data| sse(data)).collect()
}

fn body(case: &Case) -> Vec<u8> {
    pieces(&case.events()).concat()
}

/// What comes before a stream breaks.
fn beginning(case: &Case) -> Vec<Vec<u8>> {
    pieces(&case.events()[..KEPT_EVENTS])
}

/// The beginning, then this.
fn broken_by(case: &Case, bytes: &[u8]) -> Scenario {
    Scenario::new(case, Reply::stream(beginning(case).into_iter().chain([bytes.to_vec()])))
}

fn recorded(case: &Case, events: &[String]) -> Scenario {
    Scenario::new(case, Reply::stream(pieces(events)))
}

pub(crate) fn ordinary(case: &Case) -> Scenario {
    recorded(case, &case.events())
}

pub(crate) fn one_write(case: &Case) -> Scenario {
    Scenario::new(case, Reply::stream([body(case)]).at_once())
}

pub(crate) fn two_in_one_read(case: &Case) -> Scenario {
    let pairs = pieces(&case.events()).chunks(2).map(<[_]>::concat).collect::<Vec<_>>();
    Scenario::new(case, Reply::stream(pairs).paused_ms(1))
}

/// Before everything that carries output is whole.
pub(crate) const LONG_PAUSE_MS: u64 = 30;

pub(crate) fn long_pause_in_first_output(case: &Case) -> Scenario {
    let body = body(case);
    let (first, second) = body.split_at(30);
    let reply = Reply::cut([first.to_vec()]).wait_ms(LONG_PAUSE_MS);
    let rest = format!("{:x}\r\n", second.len());
    let reply = reply.then(&[rest.as_bytes(), second, b"\r\n0\r\n\r\n"].concat());
    Scenario::new(case, reply)
}

pub(crate) fn every_byte(case: &Case) -> Scenario {
    Scenario::new(case, Reply::stream(body(case).chunks(1).map(<[u8]>::to_vec)).at_once())
}

pub(crate) fn pauses(case: &Case) -> Scenario {
    let halves = case.events().into_iter().flat_map(|data| {
        let event = sse(&data);
        let (first, second) = event.split_at(event.len() / 2);
        [first.to_vec(), second.to_vec()]
    });
    Scenario::new(case, Reply::stream(halves).paused_ms(1))
}

pub(crate) fn crlf(case: &Case) -> Scenario {
    let lines = String::from_utf8(body(case)).expect("captures are text").replace('\n', "\r\n");
    // Cut between CR and LF, which is one end of line and not two.
    let pieces = lines.split_inclusive('\r').map(|piece| piece.as_bytes().to_vec());
    Scenario::new(case, Reply::stream(pieces))
}

pub(crate) fn comments(case: &Case) -> Scenario {
    let commented = case.events().into_iter().map(|data| {
        let ping = b": ping\n\n".to_vec();
        [ping, b": in front of an event\nid: 7\nretry: 10\n".to_vec(), sse(&data)].concat()
    });
    Scenario::new(case, Reply::stream(commented))
}

pub(crate) fn many_lines(case: &Case) -> Scenario {
    let split = |data: &str| data.replacen('{', "{\ndata: ", 1).replacen(',', ",\ndata:", 1);
    let pieces = case.events().into_iter().map(|data| sse(&split(&data)));
    Scenario::new(case, Reply::stream(pieces))
}

pub(crate) fn no_length(case: &Case) -> Scenario {
    Scenario::new(case, Reply::until_close(&body(case)))
}

pub(crate) fn no_length_no_finish(case: &Case) -> Scenario {
    Scenario::new(case, Reply::until_close(&beginning(case).concat()))
}

pub(crate) fn no_done(case: &Case) -> Scenario {
    let mut events = case.events();
    events.retain(|data| data != "[DONE]");
    recorded(case, &events)
}

pub(crate) fn done_without_finish(case: &Case) -> Scenario {
    broken_by(case, &sse("[DONE]"))
}

pub(crate) fn more_after_the_end(case: &Case) -> Scenario {
    let mut events = case.events();
    events.push("{nonsense".to_owned());
    recorded(case, &events)
}

pub(crate) fn half_line(case: &Case) -> Scenario {
    let next = sse(&case.events()[KEPT_EVENTS]);
    broken_by(case, &next[..next.len() / 2])
}

pub(crate) fn half_event(case: &Case) -> Scenario {
    let next = sse(&case.events()[KEPT_EVENTS]);
    // The line is whole; the blank line that would have dispatched it did not come.
    broken_by(case, &next[..next.len() - 1])
}

pub(crate) fn cut_body(case: &Case) -> Scenario {
    Scenario::new(case, Reply::cut(beginning(case)))
}

pub(crate) fn reset(case: &Case) -> Scenario {
    // A reset throws away what was not read yet.
    Scenario::new(case, Reply::cut(beginning(case)).wait_ms(200).reset())
}

pub(crate) fn tidy_end(case: &Case) -> Scenario {
    Scenario::new(case, Reply::stream(beginning(case)))
}

pub(crate) fn tidy_end_and_lost(case: &Case) -> Scenario {
    Scenario::new(case, Reply::stream(beginning(case))).lost()
}

pub(crate) fn nothing_at_all(case: &Case) -> Scenario {
    Scenario::new(case, Reply::stream([]))
}

pub(crate) fn no_answer(case: &Case) -> Scenario {
    Scenario::new(case, Reply::raw(""))
}

pub(crate) fn refused_connection(case: &Case) -> Scenario {
    let port = bench_adapters::process::free_loopback_port().expect("a free port");
    Scenario { url: Some(format!("http://127.0.0.1:{port}")), ..ordinary(case) }
}

pub(crate) fn no_http(case: &Case) -> Scenario {
    Scenario::new(case, Reply::raw("SSH-2.0-OpenSSH_9.6\r\n"))
}

pub(crate) fn error_event(case: &Case) -> Scenario {
    broken_by(case, &sse(r#"{"error":{"code":500,"message":"out of memory","type":"server_error"}}"#))
}

pub(crate) fn no_json(case: &Case) -> Scenario {
    broken_by(case, &sse("{nonsense"))
}

pub(crate) fn invalid_utf8(case: &Case) -> Scenario {
    broken_by(case, b"data: \xFF\xFE\n\n")
}

pub(crate) fn big_event(case: &Case) -> Scenario {
    let event = sse(&json!({ "content": "a".repeat(FAR_TOO_LONG) }).to_string());
    let rest = pieces(&case.events()[KEPT_EVENTS..]);
    Scenario::new(case, Reply::stream(beginning(case).into_iter().chain([event]).chain(rest)))
}

pub(crate) fn endless_event(case: &Case) -> Scenario {
    let megabytes = (0..ENDLESS >> 20).map(|_| vec![b'a'; 1 << 20]);
    let pieces = beginning(case).into_iter().chain([b"data: ".to_vec()]).chain(megabytes);
    Scenario::new(case, Reply::stream(pieces))
}

/// Sums that all events of a stream share, as each dialect has them.
fn set_running_sum(json: &mut Value, sum: u64) {
    for (object, key) in
        [("", "tokens_predicted"), ("/timings", "predicted_n"), ("/usage", "completion_tokens")]
    {
        if let Some(field) = json.pointer_mut(object).and_then(|object| object.get_mut(key)) {
            *field = json!(sum);
        }
    }
}

pub(crate) fn count_goes_back(case: &Case) -> Scenario {
    let mut events = case.events();
    let last = edited(vec![events[KEPT_EVENTS].clone()], |json| set_running_sum(json, 0));
    events.truncate(KEPT_EVENTS);
    events.extend(last);
    recorded(case, &events)
}

pub(crate) fn unknown_reason(case: &Case) -> Scenario {
    let changed = edited(case.events(), |json| {
        for pointer in ["/stop_type", "/choices/0/finish_reason"] {
            if let Some(reason) = json.pointer_mut(pointer).filter(|reason| !reason.is_null()) {
                *reason = json!("mood");
            }
        }
    });
    recorded(case, &changed)
}

pub(crate) fn usage_missing(case: &Case) -> Scenario {
    let changed = edited(case.events(), |json| remove(json, &["usage"]));
    recorded(case, &changed)
}

pub(crate) fn all_counts_missing(case: &Case) -> Scenario {
    let keys = ["usage", "timings", "metrics", "tokens", "tokens_predicted", "tokens_evaluated"];
    let changed = edited(case.events(), |json| remove(json, &keys));
    recorded(case, &changed)
}

fn remove(json: &mut Value, keys: &[&str]) {
    if let Some(object) = json.as_object_mut() {
        object.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

pub(crate) fn usage_wrong(case: &Case) -> Scenario {
    let mut events = case.events();
    let last = events.iter().rposition(|data| data.contains("\"usage\"")).unwrap_or(events.len() - 1);
    let wrong = |json: &mut Value| {
        let counts =
            if json.get("usage").is_some() { "/usage/completion_tokens" } else { "/tokens_predicted" };
        let count = json.pointer_mut(counts).expect("the last event counts");
        *count = json!(count.as_u64().expect("a number") + 5);
    };
    events[last] = edited(vec![events[last].clone()], wrong).remove(0);
    recorded(case, &events)
}

pub(crate) fn refusal(case: &Case) -> Scenario {
    Scenario::new(case, Reply::json(case.refusal.0, &case.refusal_body()))
}

pub(crate) fn server_error(case: &Case) -> Scenario {
    let body = r#"{"error":{"code":500,"message":"EngineCore encountered an issue","type":"server_error"}}"#;
    Scenario::new(case, Reply::json("500 Internal Server Error", body))
}

pub(crate) fn loading(case: &Case) -> Scenario {
    let body = r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#;
    Scenario::new(case, Reply::json("503 Service Unavailable", body))
}

pub(crate) fn html_error(case: &Case) -> Scenario {
    let page = "<html><body>Service Unavailable</body></html>";
    Scenario::new(case, Reply::whole("503 Service Unavailable", "text/html", page))
}

pub(crate) fn bad_gateway(case: &Case) -> Scenario {
    Scenario::new(case, Reply::raw("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")).lost()
}

pub(crate) fn no_stream(case: &Case) -> Scenario {
    Scenario::new(case, Reply::json("200 OK", r#"{"choices":[{"text":"all at once"}]}"#))
}

pub(crate) fn silence(case: &Case) -> Scenario {
    Scenario::new(case, Reply::cut(beginning(case)).held()).short()
}

pub(crate) fn slow_head(case: &Case) -> Scenario {
    Scenario::new(case, Reply::raw("HTTP/1.1 200 OK\r\nX-Slow: ").trickling(b'a')).short()
}

pub(crate) fn slow_event(case: &Case) -> Scenario {
    // A chunk of the transfer coding that never gets full.
    Scenario::new(case, Reply::cut(beginning(case)).then(b"ffffff\r\n").trickling(b':')).short()
}

pub(crate) fn cancelled(case: &Case) -> Scenario {
    Scenario { cancelled: true, ..Scenario::new(case, Reply::cut(beginning(case)).held()) }
}

/// A metrics page of a process that began then.
fn page(process_start: u32, counters: &str) -> Reply {
    let text = format!("process_start_time_seconds {process_start}\n{counters}");
    let header = format!("Process-Start-Time-Unix: {process_start}");
    Reply::with_header("200 OK", "text/plain; version=0.0.4", &header, &text)
}

/// The same with counters, in the words of both kinds of server.
fn counted(process_start: u32, drafted: u32, accepted: u32) -> Reply {
    let line = |prefix, name, value| format!("{prefix}spec_decode_num_{name}_tokens_total {value}\n");
    let both = ["llamacpp:", "vllm:"]
        .map(|prefix| line(prefix, "draft", drafted) + &line(prefix, "accepted", accepted));
    page(process_start, &both.concat())
}

pub(crate) fn restarted_between(case: &Case) -> Scenario {
    // Each request is read before and after.
    let readings = [100, 100, 200, 200].map(|start| page(start, ""));
    Scenario { requests: 2, ..ordinary(case).counting(case, readings.to_vec()) }
}

pub(crate) fn only_counters(case: &Case) -> Scenario {
    all_counts_missing(case).counting(case, vec![counted(100, 500, 70), counted(100, 531, 75)])
}

pub(crate) fn restarted_within(case: &Case) -> Scenario {
    ordinary(case).counting(case, vec![counted(100, 500, 70), counted(200, 3, 1)])
}

pub(crate) fn counters_disagree(case: &Case) -> Scenario {
    ordinary(case).counting(case, vec![counted(100, 500, 70), counted(100, 540, 71)])
}

pub(crate) fn counters_broken(case: &Case) -> Scenario {
    ordinary(case).counting(case, vec![Reply::whole("200 OK", "text/plain", "no sample at all {\n")])
}

pub(crate) fn counters_refused(case: &Case) -> Scenario {
    ordinary(case).counting(case, vec![Reply::json("500 Internal Server Error", "{}")])
}

pub(crate) fn loading_state(case: &Case) -> Scenario {
    recorded(case, &events(include_str!("../fixtures/llama-swap/chat_stream_loading_state.txt")))
}
