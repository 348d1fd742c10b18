//! One connection: bytes in, requests, the chunks of its stream, bytes out.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bench_core::clock;

use super::answer;
use super::ask::{self, Body, Reading, Request};
use super::script::Script;
use super::truth::Ledger;
use crate::arrival;

use super::wire::{LAST_PIECE, STREAM_HEAD, SpecWords, Words, piece};

/// Bytes a client may leave unread before its stream waits.
const BACKLOG_BYTES: usize = 256 << 10;
/// How long it then waits.
const BACKLOG_DELAY: Duration = Duration::from_millis(1);
/// Most chunks of one send: some 4 KiB.
const SEND_CHUNKS: usize = 16;

/// What has to happen next for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing before the client sends something.
    Idle,
    /// A chunk at this moment.
    Due(Instant),
    /// It is over.
    Closed,
}

#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    /// Unique among connections.
    number: u64,
    input: Vec<u8>,
    /// When the last bytes of it came.
    arrived: Instant,
    /// What the socket has not taken yet.
    output: Vec<u8>,
    stream: Option<Stream>,
    closing: bool,
    scratch: Vec<u8>,
    pub(super) is_waiting_to_write: bool,
}

/// An answer in progress.
#[derive(Debug)]
struct Stream {
    words: Words,
    started: Instant,
    last_write: Option<Instant>,
    /// Of the chunk that is next.
    index: u32,
    tokens: u32,
    emitted: u32,
    finish_reason: &'static str,
    include_usage: bool,
    /// `histogram[j]`: steps that accepted exactly j drafts.
    histogram: Vec<u64>,
}

impl Connection {
    pub(super) fn new(socket: TcpStream, number: u64) -> Self {
        arrival::stamp_arrivals(&socket);
        Self {
            socket,
            number,
            input: Vec::new(),
            arrived: Instant::now(),
            output: Vec::new(),
            stream: None,
            closing: false,
            scratch: Vec::with_capacity(1024),
            is_waiting_to_write: false,
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn generation(&self) -> u64 {
        self.number
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn wants_to_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Takes what came. A peer that closed gets nothing more.
    pub(super) fn receive(&mut self) -> Progress {
        let mut buffer = [0; 16 << 10];
        loop {
            match arrival::receive(&self.socket, &mut buffer) {
                Ok((0, _)) => return Progress::Closed,
                Ok((count, at)) => {
                    self.arrived = at.into_std();
                    self.input.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        return Progress::Idle;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Idle,
                Err(_) => return Progress::Closed,
            }
        }
    }

    /// Answers the requests that are whole, up to the first that streams.
    pub(super) fn take_requests(&mut self, script: &Script, model: &str, ledger: &mut Ledger) -> Progress {
        while self.stream.is_none() && !self.closing {
            let (request, length) = match ask::read(&self.input) {
                Reading::Partial => break,
                Reading::Whole(request, length) => (request, length),
                Reading::Bad(why) => {
                    self.closing = true;
                    self.send(&answer::error("400 Bad Request", why, false));
                    break;
                }
            };
            self.input.drain(..length);
            self.closing = !request.keep_alive;
            let is_chat = request.path == "/v1/chat/completions";
            if request.method == "POST" && (is_chat || request.path == "/v1/completions") {
                match self.open_stream(&request, is_chat, script, ledger) {
                    Ok(due) => return Progress::Due(due),
                    Err(why) => self.send(&answer::error("400 Bad Request", &why, request.keep_alive)),
                }
            } else {
                self.send(&answer::answer(&request, model, script.speculation.is_some(), ledger));
            }
        }
        self.after_write()
    }

    fn open_stream(
        &mut self,
        request: &Request,
        is_chat: bool,
        script: &Script,
        ledger: &mut Ledger,
    ) -> Result<Instant, String> {
        let started = self.arrived;
        let body: Body = serde_json::from_slice(&request.body)
            .map_err(|error| format!("the body is no request of a completion: {error}"))?;
        if !body.stream {
            return Err("only streams are paced: set \"stream\": true".to_owned());
        }
        let (tokens, is_cut) = script.tokens_for(body.tokens());
        let options = body.stream_options();
        ledger.started();
        let draft_max = script.speculation.as_ref().map_or(0, |speculation| speculation.draft_max());
        self.stream = Some(Stream {
            words: Words {
                id: self.number,
                is_chat,
                created: clock::unix_ms() / 1000,
                prompt_tokens: body.prompt_words(),
                continuous_usage: options.continuous_usage_stats,
            },
            started,
            last_write: None,
            index: 0,
            tokens,
            emitted: 0,
            finish_reason: if is_cut { "stop" } else { "length" },
            include_usage: options.include_usage,
            histogram: vec![0; usize::try_from(draft_max).unwrap_or(0) + 1],
        });
        self.send(STREAM_HEAD);
        Ok(started + script.due(0))
    }

    /// Writes what is due in one send: a chunk of a stream that is on time, more of one that is behind.
    pub(super) fn write_due(&mut self, script: &Script, model: &str, ledger: &mut Ledger) -> Progress {
        if self.output.len() > BACKLOG_BYTES {
            return Progress::Due(Instant::now() + BACKLOG_DELAY);
        }
        let Some(stream) = &mut self.stream else { return Progress::Idle };
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        let (first, mut tokens) = (stream.index, [0; SEND_CHUNKS]);
        let now = Instant::now();
        for written in &mut tokens {
            *written = piece(&mut payload, |out| stream.next_chunk(script, model, ledger, out));
            stream.index += 1;
            if stream.is_over() || stream.started + script.due(stream.index) > now {
                break;
            }
        }
        if stream.is_over() {
            payload.extend_from_slice(LAST_PIECE);
        }
        self.send(&payload);
        self.scratch = payload;
        let Some(stream) = &mut self.stream else { return Progress::Closed };
        let now = Instant::now();
        for (index, tokens) in (first..stream.index).zip(tokens) {
            let late = now.saturating_duration_since(stream.started + script.due(index));
            let gap = stream.last_write.map(|last| now - last);
            ledger.wrote(tokens, now - stream.started, gap, late);
            stream.last_write = Some(now);
        }
        if stream.is_over() {
            ledger.finished(now - stream.started);
            self.stream = None;
            return self.after_write();
        }
        // A chunk that is late already stands behind those of others that were due before now.
        Progress::Due((stream.started + script.due(stream.index)).max(now))
    }

    /// Sends what the socket had not taken.
    pub(super) fn flush(&mut self) -> Progress {
        let pending = std::mem::take(&mut self.output);
        self.send(&pending);
        self.after_write()
    }

    fn after_write(&mut self) -> Progress {
        if self.closing && self.output.is_empty() && self.stream.is_none() {
            Progress::Closed
        } else {
            Progress::Idle
        }
    }

    /// Sends, and keeps what the socket does not take. A connection that broke closes.
    fn send(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.output.is_empty() && !rest.is_empty() {
            match self.socket.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The read side tells the same at the next wait, and ends it there.
                Err(_) => return,
            }
        }
        self.output.extend_from_slice(rest);
    }
}

impl Stream {
    fn is_over(&self) -> bool {
        self.emitted == self.tokens
    }

    /// Writes the next chunk's events; its tokens.
    fn next_chunk(&mut self, script: &Script, model: &str, ledger: &mut Ledger, out: &mut Vec<u8>) -> u32 {
        if self.index == 0 && script.role_chunk {
            self.words.role(out, model);
        }
        let tokens = script.chunk_tokens(self.index, self.tokens - self.emitted);
        self.emitted += tokens;
        if let Some(speculation) = &script.speculation {
            let accepted = tokens - 1;
            ledger.stepped(speculation.draft_max(), accepted);
            self.histogram[usize::try_from(accepted).unwrap_or(0)] += 1;
        }
        let is_last = self.emitted == self.tokens;
        self.words.content(out, model, tokens, self.emitted, is_last.then_some(self.finish_reason));
        if is_last {
            if self.include_usage {
                let spec = SpecWords::new(script, &self.histogram, self.tokens);
                self.words.usage(out, model, self.emitted, &spec);
            }
            out.extend_from_slice(b"data: [DONE]\n\n");
        }
        tokens
    }
}
