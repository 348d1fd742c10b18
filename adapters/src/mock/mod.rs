//! A paced server whose truth is known: what `bench mock` runs, and what a client is measured against.
//!
//! It speaks OpenAI's streaming routes and writes chunk k of a request at an absolute deadline, `TTFT + k * ITL` after
//! the moment the request was whole, so that no delay of one chunk moves the next. What it really did, lateness
//! included, it tells at `/truth`. Speculation and stalls are planted by a pattern, hence countable by hand. It computes
//! nothing and knows no model: text and counts are the script's. Invariant: one thread and one clock do everything, so
//! what `/truth` says was seen by whoever wrote the bytes.
//!
//! Deadlines: `epoll_pwait2` takes nanoseconds (Linux 5.11) where timers of the async runtime have 1 ms; the thread's
//! timer slack, 50 us by default, is set to 1 us.

mod answer;
mod ask;
mod connection;
mod script;
mod truth;
mod wire;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bench_core::stack::StackError;
use nix::sys::socket::Backlog;
use rustix::event::{Timespec, epoll};

pub use self::script::{Pace, Script, Speculation, Stall};
pub use self::truth::{Spread, Truth};

use self::connection::{Connection, Progress};
use self::truth::Ledger;
use crate::server::Server;

/// Readiness reports taken at once.
const EVENTS: usize = 1024;
/// Chunks written between two looks at the sockets, so that a flood of chunks cannot keep a request waiting.
const WRITES: usize = 128;
/// `EventData` of the listener; connections count from 0.
const LISTENER: u64 = u64::MAX;
const TIMER_SLACK_NS: u64 = 1_000;

/// What the server is to be.
#[derive(Debug, Clone)]
pub struct MockConfig {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port, 0 for any that is free.
    pub port: u16,
    /// The model's name for clients.
    pub model: String,
    /// What a request gets, and when.
    pub script: Script,
}

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
#[error("the mock server cannot {what}: {source}")]
pub struct MockError {
    what: &'static str,
    source: io::Error,
}

impl MockError {
    fn new(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what, source }
    }
}

/// A mock server that listens.
#[derive(Debug)]
pub struct Mock {
    listener: TcpListener,
    address: SocketAddr,
    config: MockConfig,
}

impl Mock {
    /// Listens; nothing is answered before [`Mock::run`].
    ///
    /// # Errors
    ///
    /// The port is taken, or the address is not this machine's.
    pub fn bind(config: MockConfig) -> Result<Self, MockError> {
        let listener =
            TcpListener::bind((config.host, config.port)).map_err(MockError::new("listen on its address"))?;
        // std asks for 128: of 512 clients that come at once the kernel would turn most away, to try again a second later.
        nix::sys::socket::listen(&listener, Backlog::MAXCONN)
            .map_err(|errno| MockError { what: "listen for many at once", source: errno.into() })?;
        listener.set_nonblocking(true).map_err(MockError::new("listen without blocking"))?;
        let address = listener.local_addr().map_err(MockError::new("tell its address"))?;
        Ok(Self { listener, address, config })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on this thread, for as long as the process lives.
    ///
    /// # Errors
    ///
    /// Only what ends it: the system refuses to wait for sockets. A broken connection ends itself alone.
    pub fn run(self) -> Result<Infallible, MockError> {
        rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS))
            .map_err(|errno| MockError { what: "set its timer slack", source: errno.into() })?;
        EventLoop::new(self)?.run()
    }
}

/// Asks a mock server what it did.
///
/// # Errors
///
/// It does not answer, or is no mock server.
pub async fn truth(url: &str) -> Result<Truth, StackError> {
    Server::attach(url, None)?.get_json("/truth").await
}

/// When to write for which connection. Ordered by time, then by the order in which it was asked for.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: Instant,
    sequence: u64,
    slot: usize,
    /// A slot may have been given to another connection meanwhile.
    generation: u64,
}

struct EventLoop {
    listener: TcpListener,
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    deadlines: BinaryHeap<Reverse<Deadline>>,
    sequence: u64,
    ledger: Ledger,
    script: Script,
    /// As JSON.
    model: String,
}

impl EventLoop {
    fn new(mock: Mock) -> Result<Self, MockError> {
        let failed = |errno: rustix::io::Errno| MockError { what: "wait for sockets", source: errno.into() };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &mock.listener, data, epoll::EventFlags::IN).map_err(failed)?;
        Ok(Self {
            listener: mock.listener,
            epoll,
            connections: Vec::new(),
            free: Vec::new(),
            deadlines: BinaryHeap::new(),
            sequence: 0,
            ledger: Ledger::default(),
            script: mock.config.script,
            model: serde_json::Value::String(mock.config.model).to_string(),
        })
    }

    fn run(mut self) -> Result<Infallible, MockError> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            let timeout = self.next_deadline().map(timespec);
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(MockError { what: "wait for sockets", source: errno.into() }),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    slot => self.on_ready(usize::try_from(slot).unwrap_or(usize::MAX), event.flags),
                }
            }
            self.write_what_is_due();
        }
    }

    /// Time until somebody is owed a chunk; `None` if nobody is.
    fn next_deadline(&self) -> Option<Duration> {
        let Reverse(next) = self.deadlines.peek()?;
        Some(next.at.saturating_duration_since(Instant::now()))
    }

    fn accept(&mut self) {
        // What fails here is the peer's connection, or a limit of the system that its next try will meet again.
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_err() {
                continue;
            }
            let slot = self.free.pop().unwrap_or(self.connections.len());
            let data = epoll::EventData::new_u64(slot as u64);
            if epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).is_err() {
                self.free.push(slot);
                continue;
            }
            self.ledger.connected();
            let connection = Connection::new(stream, self.ledger.connections());
            match self.connections.get_mut(slot) {
                Some(place) => *place = Some(connection),
                None => self.connections.push(Some(connection)),
            }
        }
    }

    fn on_ready(&mut self, slot: usize, flags: epoll::EventFlags) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else { return };
        let mut progress = Progress::Idle;
        if flags.contains(epoll::EventFlags::OUT) {
            progress = connection.flush();
        }
        if progress != Progress::Closed && flags.intersects(!epoll::EventFlags::OUT) {
            progress = connection.receive();
        }
        if progress != Progress::Closed {
            progress = connection.take_requests(&self.script, &self.model, &mut self.ledger);
        }
        self.settle(slot, progress);
    }

    fn write_what_is_due(&mut self) {
        for _ in 0..WRITES {
            let now = Instant::now();
            if self.deadlines.peek().is_none_or(|Reverse(next)| next.at > now) {
                return;
            }
            let Some(Reverse(due)) = self.deadlines.pop() else { return };
            let Some(connection) = self.connections.get_mut(due.slot).and_then(Option::as_mut) else {
                continue;
            };
            if connection.generation() != due.generation {
                continue;
            }
            let mut progress = connection.write_due(&self.script, &self.model, &mut self.ledger);
            if progress == Progress::Idle {
                // The answer is whole: a request that came behind it is next.
                progress = connection.take_requests(&self.script, &self.model, &mut self.ledger);
            }
            self.settle(due.slot, progress);
        }
    }

    /// What follows from what a connection did.
    fn settle(&mut self, slot: usize, progress: Progress) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else { return };
        match progress {
            Progress::Idle => {}
            Progress::Due(at) => {
                self.sequence += 1;
                let generation = connection.generation();
                self.deadlines.push(Reverse(Deadline { at, sequence: self.sequence, slot, generation }));
            }
            Progress::Closed => {
                if connection.is_streaming() {
                    self.ledger.aborted();
                }
                self.connections[slot] = None;
                self.free.push(slot);
                return;
            }
        }
        let wants = connection.wants_to_write();
        if wants != connection.is_waiting_to_write {
            let out = if wants { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(slot as u64);
            connection.is_waiting_to_write = wants;
            if epoll::modify(&self.epoll, connection.socket(), data, epoll::EventFlags::IN | out).is_err() {
                self.settle(slot, Progress::Closed);
            }
        }
    }
}

fn timespec(wait: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    }
}
