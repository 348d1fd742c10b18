//! Requests that wait for the engine: a bounded line.
//!
//! Whoever left does not count, so a line of clients that gave up refuses nobody. Invariant: at most `limit` requests
//! wait while one runs.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Something that waits, and may be given up meanwhile.
pub(super) trait Waiting {
    /// Nobody wants it any more.
    fn is_given_up(&self) -> bool;
}

/// The line.
#[derive(Debug)]
pub(super) struct Queue<J> {
    limit: usize,
    line: Mutex<Line<J>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Line<J> {
    waiting: VecDeque<J>,
    running: bool,
    closed: bool,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// As many wait as may.
    Full,
    /// The server stops.
    Closed,
}

impl<J: Waiting> Queue<J> {
    pub(super) fn new(limit: usize) -> Self {
        let line = Line { waiting: VecDeque::new(), running: false, closed: false };
        Self { limit, line: Mutex::new(line), changed: Condvar::new() }
    }

    /// Most requests that may wait.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    fn line(&self) -> MutexGuard<'_, Line<J>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request at the end of the line, if there is room.
    pub(super) fn push(&self, job: J) -> Result<(), Refusal> {
        let mut line = self.line();
        if line.closed {
            return Err(Refusal::Closed);
        }
        line.waiting.retain(|job| !job.is_given_up());
        // An idle engine takes the first one at once.
        let room = self.limit + usize::from(!line.running);
        if line.waiting.len() >= room {
            return Err(Refusal::Full);
        }
        line.waiting.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// The next request, which runs from now until the next call; `None` once the line is closed.
    pub(super) fn next(&self) -> Option<J> {
        let mut line = self.line();
        line.running = false;
        loop {
            if line.closed {
                return None;
            }
            match line.waiting.pop_front() {
                Some(job) if job.is_given_up() => {}
                Some(job) => {
                    line.running = true;
                    return Some(job);
                }
                None => line = self.changed.wait(line).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Takes no more, and drops whoever waits.
    pub(super) fn close(&self) {
        let mut line = self.line();
        line.closed = true;
        line.waiting.clear();
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.line().closed
    }

    /// How many wait, and whether one runs.
    pub(super) fn load(&self) -> (usize, bool) {
        let line = self.line();
        (line.waiting.iter().filter(|job| !job.is_given_up()).count(), line.running)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Debug, Default, Clone)]
    struct Job(Arc<AtomicBool>);

    impl Waiting for Job {
        fn is_given_up(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn one_runs_and_so_many_wait() {
        let queue = Queue::new(1);
        queue.push(Job::default()).unwrap();
        queue.push(Job::default()).unwrap();
        assert_eq!(queue.push(Job::default()), Err(Refusal::Full));
        assert!(queue.next().is_some());
        assert_eq!(queue.load(), (1, true));
        assert_eq!(queue.push(Job::default()), Err(Refusal::Full));
        assert!(queue.next().is_some());
        assert_eq!(queue.push(Job::default()), Ok(()));
    }

    #[test]
    fn who_left_makes_room() {
        let queue = Queue::new(0);
        let job = Job::default();
        queue.push(job.clone()).unwrap();
        assert_eq!(queue.push(Job::default()), Err(Refusal::Full));
        job.0.store(true, Ordering::SeqCst);
        assert_eq!(queue.push(Job::default()), Ok(()));
        assert_eq!(queue.load(), (1, false));
    }

    #[test]
    fn a_closed_line_takes_and_gives_nothing() {
        let queue = Queue::new(3);
        queue.push(Job::default()).unwrap();
        queue.close();
        assert_eq!(queue.push(Job::default()), Err(Refusal::Closed));
        assert!(queue.next().is_none());
    }
}
