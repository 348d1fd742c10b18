//! Whether this process, the client, could keep up with what it measured.
//!
//! A client that is late stamps late, and its delay is then reported as the server's. Here its own delay is measured
//! while it measures: a thread of its own rings every 20 ms, and a task beside those that read the streams notes how
//! long after the ring it got to run. That is how late a read was that became possible at that moment. CPU time of the
//! process tells whether it was the bottleneck. This module measures; the verdict is in the results. It costs some 50
//! wake-ups a second. It does not judge the in-process engine, whose stamps are taken in the engine's own thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::record::Phase;
use crate::runner::{Observer, RunEvent};

const INTERVAL: Duration = Duration::from_millis(20);
/// Rings that may wait for the task, some 5 s; a client that is later than that has lost its count, not its verdict.
const RINGS: usize = 256;

/// What a run knows of its own client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// One entry a measured pass, in order.
    pub passes: Vec<ClientPass>,
    /// Threads that read streams.
    pub reader_threads: u32,
    /// Most physical memory of this process until the last pass had ended, before any report was made.
    pub peak_memory_bytes: Option<u64>,
}

/// The client during one pass of one arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPass {
    /// The arm's label.
    pub arm: String,
    /// The block, from 0.
    pub block: u32,
    /// How long the pass took.
    pub wall_ns: u64,
    /// CPU time of this process in it; `None` where the system does not tell.
    pub cpu_ns: Option<u64>,
    /// How late the client was, ring by ring.
    pub late: Lateness,
}

/// A distribution of delays. All 0 without rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lateness {
    /// How many were measured.
    pub rings: u64,
    /// Median.
    pub p50_ns: u64,
    /// 99th percentile, nearest rank.
    pub p99_ns: u64,
    /// Largest.
    pub max_ns: u64,
}

impl Lateness {
    /// The distribution of these delays, in nanoseconds.
    #[must_use]
    pub fn of(mut delays: Vec<u64>) -> Self {
        delays.sort_unstable();
        let rank = |percent: usize| (delays.len() * percent).div_ceil(100).saturating_sub(1);
        let at = |index: usize| delays.get(index).copied().unwrap_or(0);
        Self {
            rings: delays.len() as u64,
            p50_ns: at(rank(50)),
            p99_ns: at(rank(99)),
            max_ns: delays.last().copied().unwrap_or(0),
        }
    }
}

/// Watches the client while a run goes on: an [`Observer`] that hands everything on to another.
#[derive(Debug)]
pub struct ClientWatch {
    bell: Bell,
    open: Option<Open>,
    passes: Vec<ClientPass>,
    reader_threads: u32,
}

#[derive(Debug)]
struct Open {
    arm: String,
    block: u32,
    started: Instant,
    cpu: Option<Duration>,
}

impl ClientWatch {
    /// Starts the bell, on the runtime that reads the streams.
    #[must_use]
    pub fn start() -> Self {
        let workers = tokio::runtime::Handle::current().metrics().num_workers();
        let reader_threads = u32::try_from(workers).unwrap_or(u32::MAX);
        Self { bell: Bell::start(), open: None, passes: Vec::new(), reader_threads }
    }

    /// Notes what happened, before anybody else is told.
    pub fn observe(&mut self, event: &RunEvent<'_>) {
        if let RunEvent::PassStarted { arm, phase, block } = event {
            self.close();
            let started = Instant::now();
            self.open = (*phase == Phase::Measured).then(|| Open {
                arm: (*arm).to_owned(),
                block: *block,
                started,
                cpu: process_cpu(),
            });
        }
    }

    /// Ends the last pass; what is known of the client.
    #[must_use]
    pub fn finish(mut self) -> ClientRecord {
        self.close();
        let peak_memory_bytes = peak_memory();
        ClientRecord {
            passes: std::mem::take(&mut self.passes),
            reader_threads: self.reader_threads,
            peak_memory_bytes,
        }
    }

    fn close(&mut self) {
        let delays = self.bell.take();
        let Some(Open { arm, block, started, cpu }) = self.open.take() else { return };
        let cpu = process_cpu().zip(cpu).map(|(now, before)| nanoseconds(now.saturating_sub(before)));
        let (wall_ns, late) = (nanoseconds(started.elapsed()), Lateness::of(delays));
        self.passes.push(ClientPass { arm, block, wall_ns, cpu_ns: cpu, late });
    }
}

/// A watch and whoever else observes.
#[derive(Debug)]
pub struct Watched<'a, O> {
    /// Told first.
    pub watch: &'a mut ClientWatch,
    /// Told then.
    pub inner: &'a mut O,
}

impl<O: Observer> Observer for Watched<'_, O> {
    fn on_event(&mut self, event: &RunEvent<'_>) {
        self.watch.observe(event);
        self.inner.on_event(event);
    }
}

/// A thread that rings, and a task that notes how late it hears it.
#[derive(Debug)]
struct Bell {
    delays: Arc<Mutex<Vec<u64>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bell {
    fn start() -> Self {
        let (ring, mut rings) = mpsc::channel::<Instant>(RINGS);
        let (delays, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (noted, over) = (delays.clone(), is_over.clone());
        drop(tokio::spawn(async move {
            while let Some(rung) = rings.recv().await {
                let delay = nanoseconds(rung.elapsed());
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(delay);
            }
        }));
        let thread = std::thread::Builder::new().name("client-bell".to_owned()).spawn(move || {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(INTERVAL);
                // A full channel holds rings that are seconds late already; a closed one has lost its runtime.
                if let Err(mpsc::error::TrySendError::Closed(_)) = ring.try_send(Instant::now()) {
                    break;
                }
            }
        });
        Self { delays, is_over, thread: thread.ok() }
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.delays.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and holds nothing.
            drop(thread.join());
        }
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of this process so far, all threads.
#[cfg(unix)]
fn process_cpu() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(unix))]
fn process_cpu() -> Option<Duration> {
    None
}

/// `VmHWM` of Linux.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(Lateness::of(Vec::new()), Lateness::default());
        let late = Lateness::of((1..=200).rev().collect());
        assert_eq!(late, Lateness { rings: 200, p50_ns: 100, p99_ns: 198, max_ns: 200 });
    }

    /// A stalled reader is seen: the one worker sleeps, and the bell rings meanwhile.
    #[tokio::test]
    async fn a_client_that_stalls_is_late_and_only_measured_passes_are_kept() {
        let mut watch = ClientWatch::start();
        let started = |phase, block| RunEvent::PassStarted { arm: "openai/none", phase, block };
        watch.observe(&started(Phase::Warmup, 0));
        tokio::time::sleep(Duration::from_millis(30)).await;
        watch.observe(&started(Phase::Measured, 0));
        tokio::time::sleep(INTERVAL * 3).await;
        std::thread::sleep(INTERVAL * 10);
        tokio::time::sleep(INTERVAL * 3).await;
        let record = watch.finish();
        let [pass] = record.passes.as_slice() else { panic!("{record:?}") };
        assert_eq!((pass.arm.as_str(), pass.block), ("openai/none", 0));
        assert!(pass.late.max_ns > 100_000_000, "{pass:?}");
        assert!(pass.late.rings >= 5 && pass.wall_ns > 200_000_000, "{pass:?}");
        assert!(pass.cpu_ns.is_some_and(|cpu| cpu < pass.wall_ns), "{pass:?}");
    }
}
