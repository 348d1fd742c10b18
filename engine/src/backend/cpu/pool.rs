//! A few threads that share the chunks of one job at a time.
//!
//! Decoding a small model starts thousands of jobs of some ten microseconds a second, so waking must be cheap: a
//! worker spins for a moment before it sleeps, and the caller works too. A worker that comes late (other programs want
//! the core) is not waited for: the job is closed once its chunks are given out. One thread means no threads: the job runs in
//! the caller, nothing is spawned and nothing synchronises.
//! Invariant: [`Pool::run`] returns only when every chunk is done and no worker holds the job any more.

#![expect(unsafe_code, reason = "lends a borrowed closure to threads that outlive the call")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A job: called with a worker number below [`Pool::threads`] and a chunk number.
type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Turns of the wait loop before a worker sleeps or the caller gives its core away: about the time between two jobs
/// of a small model. More would take the core from the very thread that is waited for when cores are short.
const SPINS: u32 = 1_000;

/// Threads that run jobs together; dropped with all its threads.
#[derive(Debug)]
pub struct Pool {
    shared: Option<Arc<Shared>>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Number of the current job; a worker that sees a new one joins in.
    epoch: AtomicUsize,
    next_chunk: AtomicUsize,
    /// Workers that hold the current job; only grows under the lock of `job`, while there is one.
    busy: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    job: Mutex<Option<Lent>>,
    wake: Condvar,
}

/// A borrowed job whose lifetime [`Pool::run`] guards.
#[derive(Clone, Copy)]
struct Lent {
    task: *const Task<'static>,
    chunks: usize,
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lent({} chunks)", self.chunks)
    }
}

// SAFETY: the task is Sync, so calling it from another thread is allowed.
unsafe impl Send for Lent {}

impl Pool {
    /// A pool of `threads` threads, the caller included.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        if threads <= 1 {
            return Ok(Self { shared: None, workers: Vec::new() });
        }
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            next_chunk: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            job: Mutex::new(None),
            wake: Condvar::new(),
        });
        let mut pool = Self { shared: Some(Arc::clone(&shared)), workers: Vec::new() };
        for worker in 1..threads {
            let shared = Arc::clone(&shared);
            let name = format!("engine-cpu-{worker}");
            pool.workers.push(std::thread::Builder::new().name(name).spawn(move || shared.work(worker))?);
        }
        Ok(pool)
    }

    /// Threads that share a job, the caller included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(worker, chunk)` for every chunk below `chunks`, in any order, on any worker.
    ///
    /// # Panics
    /// When the task panicked on some thread.
    pub fn run(&mut self, chunks: usize, task: &Task<'_>) {
        let Some(shared) = self.shared.as_ref().filter(|_| chunks > 1) else {
            (0..chunks).for_each(|chunk| task(0, chunk));
            return;
        };
        // SAFETY: only the lifetime changes; `Finish` below waits for every worker before this frame ends, also
        // when the task panics here, and `&mut self` keeps a second job out.
        let task: &Task<'static> = unsafe { std::mem::transmute::<&Task<'_>, &Task<'static>>(task) };
        let lent = Lent { task: &raw const *task, chunks };
        shared.start(lent);
        let finish = Finish(shared);
        shared.drain(task, chunks, 0);
        drop(finish);
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a task panicked on a worker thread");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.stop.store(true, Ordering::Release);
            drop(shared.job.lock().unwrap_or_else(PoisonError::into_inner));
            shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its tasks, so joining cannot fail; there is nobody to tell if it did.
            drop(worker.join());
        }
    }
}

/// Closes the job and waits until no worker holds it, however the scope is left.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        *self.0.job.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut spins = 0_u32;
        while self.0.busy.load(Ordering::Acquire) != 0 {
            pause(&mut spins);
        }
    }
}

/// One turn of a wait: busy at first, then giving the core away (there may be fewer cores than threads).
fn pause(spins: &mut u32) {
    *spins = spins.saturating_add(1);
    if *spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
}

impl Shared {
    fn start(&self, lent: Lent) {
        let mut job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        *job = Some(lent);
        self.next_chunk.store(0, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::Release);
        drop(job);
        self.wake.notify_all();
    }

    /// Runs chunks until none is left.
    fn drain(&self, task: &Task<'_>, chunks: usize, worker: usize) {
        loop {
            let chunk = self.next_chunk.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                return;
            }
            task(worker, chunk);
        }
    }

    fn work(&self, worker: usize) {
        let mut seen = 0;
        while let Some(lent) = self.next_job(&mut seen) {
            // SAFETY: this worker is counted in `busy`, and `Pool::run` keeps the task alive until it is not.
            let task = unsafe { &*lent.task };
            let run = std::panic::AssertUnwindSafe(|| self.drain(task, lent.chunks, worker));
            if std::panic::catch_unwind(run).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open job this worker has not seen and joins it; `None` when the pool goes.
    fn next_job(&self, seen: &mut usize) -> Option<Lent> {
        for _ in 0..SPINS {
            if self.epoch.load(Ordering::Acquire) != *seen || self.stop.load(Ordering::Relaxed) {
                break;
            }
            std::hint::spin_loop();
        }
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |job: &mut Option<Lent>| {
            let known = self.epoch.load(Ordering::Acquire) == *seen;
            (known || job.is_none()) && !self.stop.load(Ordering::Acquire)
        };
        let job = self.wake.wait_while(job, idle).unwrap_or_else(PoisonError::into_inner);
        if self.stop.load(Ordering::Acquire) {
            return None;
        }
        *seen = self.epoch.load(Ordering::Acquire);
        self.busy.fetch_add(1, Ordering::Relaxed);
        *job
    }
}
