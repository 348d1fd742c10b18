//! A server that plays scripts on loopback: every path has its answers, each cut, delayed and ended as it says.
//!
//! It speaks just enough HTTP/1.1 to be answered to, one request a connection, so that a script has every byte in its
//! hands. It is no test of an HTTP library.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const CLOSED_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
/// Between two bytes of a trickle.
const TRICKLE: Duration = Duration::from_millis(5);

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    steps: Vec<Step>,
    end: End,
}

#[derive(Debug, Clone)]
enum Step {
    /// One write.
    Send(Vec<u8>),
    Wait(Duration),
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// An orderly close.
    Close,
    /// A reset.
    Reset,
    /// Nothing more, and no close either.
    Hold,
    /// This byte, again and again.
    Trickle(u8),
}

impl Reply {
    /// A stream whose body comes in these pieces: one chunk of the transfer coding and one write each, which is as
    /// they reach the reader. It ends as it should.
    pub(crate) fn stream(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self::cut(pieces).then(b"0\r\n\r\n")
    }

    /// The same without the last chunk: whoever sent it is gone.
    pub(crate) fn cut(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut reply = Self::raw(STREAM_HEAD);
        for piece in pieces {
            let mut coded = format!("{:x}\r\n", piece.len()).into_bytes();
            coded.extend_from_slice(&piece);
            coded.extend_from_slice(b"\r\n");
            reply = reply.then(&coded);
        }
        reply
    }

    /// A stream without a length: its end is that of the connection.
    pub(crate) fn until_close(body: &[u8]) -> Self {
        Self::raw(CLOSED_HEAD).then(body)
    }

    /// A whole answer.
    pub(crate) fn whole(status: &str, content_type: &str, body: &str) -> Self {
        Self::with_header(status, content_type, "X-None: 0", body)
    }

    /// A whole answer with one more header.
    pub(crate) fn with_header(status: &str, content_type: &str, header: &str, body: &str) -> Self {
        let length = body.len();
        Self::raw(&format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{header}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// A whole answer of JSON.
    pub(crate) fn json(status: &str, body: &str) -> Self {
        Self::whole(status, "application/json", body)
    }

    /// These bytes, then a close.
    pub(crate) fn raw(text: &str) -> Self {
        Self { steps: vec![Step::Send(text.as_bytes().to_vec())], end: End::Close }
    }

    /// One more write.
    pub(crate) fn then(mut self, bytes: &[u8]) -> Self {
        self.steps.push(Step::Send(bytes.to_vec()));
        self
    }

    /// A pause before the end.
    pub(crate) fn wait_ms(mut self, ms: u64) -> Self {
        self.steps.push(Step::Wait(Duration::from_millis(ms)));
        self
    }

    /// A pause after each write.
    pub(crate) fn paused_ms(mut self, ms: u64) -> Self {
        let pause = Step::Wait(Duration::from_millis(ms));
        self.steps = self.steps.into_iter().flat_map(|step| [step, pause.clone()]).collect();
        self
    }

    /// Everything in one write.
    pub(crate) fn at_once(mut self) -> Self {
        let sends = self.steps.into_iter().filter_map(|step| match step {
            Step::Send(bytes) => Some(bytes),
            Step::Wait(_) => None,
        });
        self.steps = vec![Step::Send(sends.flatten().collect())];
        self
    }

    /// Ends with a reset instead of an orderly close.
    pub(crate) fn reset(self) -> Self {
        Self { end: End::Reset, ..self }
    }

    /// Keeps the connection open and says nothing more.
    pub(crate) fn held(self) -> Self {
        Self { end: End::Hold, ..self }
    }

    /// Goes on with this byte, slowly and without end.
    pub(crate) fn trickling(self, byte: u8) -> Self {
        Self { end: End::Trickle(byte), ..self }
    }
}

/// Answers by path, in the order they are given; the last of a path is given again and again. Any other path is not
/// found.
pub(crate) type Site = BTreeMap<String, Vec<Reply>>;

/// A server that plays a site until it is dropped.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// What it saw.
    pub(crate) seen: Arc<Seen>,
    accepting: AbortHandle,
}

/// What a server saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    requests: Mutex<BTreeMap<String, usize>>,
    /// Bytes that the system took of all answers.
    pub(crate) sent_bytes: AtomicU64,
    /// An answer reached its `held` end.
    pub(crate) holding: Notify,
    /// A client left before its answer was over.
    pub(crate) left: Notify,
}

impl Server {
    /// Begins to answer.
    pub(crate) async fn start(site: Site) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, site) = (Arc::<Seen>::default(), Arc::new(site));
        let for_task = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                drop(tokio::spawn(answer(socket, Arc::clone(&site), Arc::clone(&for_task))));
            }
        });
        Self { url, seen, accepting: accepting.abort_handle() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Seen {
    /// How many requests a path got before this one, which is counted.
    fn count(&self, path: &str) -> usize {
        let mut requests = self.requests.lock().unwrap();
        let count = requests.entry(path.to_owned()).or_default();
        *count += 1;
        *count - 1
    }

    /// Requests that a path got.
    pub(crate) fn requests(&self, path: &str) -> usize {
        self.requests.lock().unwrap().get(path).copied().unwrap_or_default()
    }
}

async fn answer(mut socket: TcpStream, site: Arc<Site>, seen: Arc<Seen>) {
    let Some(path) = read_request(&mut socket).await else { return };
    let nth = seen.count(&path);
    let reply = match site.get(&path) {
        Some(replies) => replies[nth.min(replies.len() - 1)].clone(),
        None => Reply::json("404 Not Found", r#"{"error":{"message":"not scripted"}}"#),
    };
    for step in reply.steps {
        match step {
            Step::Wait(pause) => tokio::time::sleep(pause).await,
            Step::Send(bytes) => {
                if !send(&mut socket, &bytes, &seen).await {
                    return seen.left.notify_one();
                }
            }
        }
    }
    match reply.end {
        End::Close => drop(socket.shutdown().await),
        End::Reset => socket.set_zero_linger().unwrap(),
        End::Hold => {
            seen.holding.notify_one();
            // EOF, or a reset: either way the client is gone.
            while matches!(socket.read(&mut [0; 16]).await, Ok(1..)) {}
            seen.left.notify_one();
        }
        End::Trickle(byte) => {
            while send(&mut socket, &[byte], &seen).await {
                tokio::time::sleep(TRICKLE).await;
            }
            seen.left.notify_one();
        }
    }
}

/// Whether the client was there to take it.
async fn send(socket: &mut TcpStream, bytes: &[u8], seen: &Seen) -> bool {
    for part in bytes.chunks(1 << 16) {
        if socket.write_all(part).await.is_err() {
            return false;
        }
        seen.sent_bytes.fetch_add(part.len() as u64, Ordering::Relaxed);
    }
    true
}

/// Reads head and body; the path. `None` if the client left.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let n = socket.read(&mut bytes).await.ok().filter(|n| *n > 0)?;
        seen.extend_from_slice(&bytes[..n]);
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
            return head.split(' ').nth(1).map(str::to_owned);
        }
    }
}
