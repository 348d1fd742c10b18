//! Read bandwidth of the CPU's memory: a ceiling for decoding, which reads every weight once a pass.
//!
//! Every thread sums its part of one buffer, over and over; the best of a few passes counts, since a ceiling is what the
//! machine can do and every disturbance makes a pass slower. The buffer is as large as what the ceiling is for: weights
//! that fit into the caches are read from there, faster than memory could. A GPU is not probed, and a machine is probed
//! only before requests, never beside one.

use std::hint::black_box;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A buffer that no cache of common CPUs holds.
pub const BEYOND_CACHES_BYTES: u64 = 256 << 20;

/// Passes, of which the best counts.
const PASSES: u32 = 7;

/// What a pass reads at least, in as many rounds of the buffer as that takes: some milliseconds, so that waking the
/// threads is lost in it.
const PASS_BYTES: u64 = 64 << 20;

/// Bandwidth of a run's memory, and how it is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum MemoryBandwidth {
    /// Measured on this machine's CPU before the first request, by [`probe`].
    Probed {
        /// Threads that read, each its own part of the buffer.
        threads: u32,
        /// One entry a size of buffer, smallest first.
        readings: Vec<BandwidthReading>,
    },
    /// The user's word, for the device that computes.
    Given {
        /// Bytes a second.
        bytes_per_s: f64,
    },
}

/// What was read how fast.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BandwidthReading {
    /// Size of the buffer, all threads together.
    pub buffer_bytes: u64,
    /// Passes, of which the best counts.
    pub passes: u32,
    /// Bytes a second in the best pass.
    pub bytes_per_s: f64,
}

impl MemoryBandwidth {
    /// Bandwidth of an arm that reads `bytes` a pass: the user's word, or the probe's for the smallest buffer that is not
    /// smaller, the largest if all are. A probe says nothing of another device than the CPU.
    #[must_use]
    pub fn of(&self, bytes: u64, is_on_cpu: bool) -> Option<f64> {
        match self {
            Self::Given { bytes_per_s } => Some(*bytes_per_s),
            Self::Probed { readings, .. } if is_on_cpu => {
                let as_large = readings.iter().find(|reading| reading.buffer_bytes >= bytes);
                Some(as_large.or(readings.last())?.bytes_per_s)
            }
            Self::Probed { .. } => None,
        }
    }
}

/// Reads buffers of these sizes with so many threads, each size at most [`BEYOND_CACHES_BYTES`] and at least one word a
/// thread; equal sizes once. Takes some 50 ms a size of common models and half a second for the largest.
///
/// # Errors
///
/// What the system refuses: memory, or a thread.
pub fn probe(threads: u32, sizes: &[u64]) -> io::Result<MemoryBandwidth> {
    let threads = threads.max(1);
    let smallest = u64::from(threads) * 8;
    let mut sizes: Vec<_> = sizes.iter().map(|&size| size.clamp(smallest, BEYOND_CACHES_BYTES)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let readings = sizes.into_iter().map(|size| read_buffer(threads, size));
    Ok(MemoryBandwidth::Probed { threads, readings: readings.collect::<io::Result<_>>()? })
}

/// One size of buffer.
fn read_buffer(threads: u32, bytes: u64) -> io::Result<BandwidthReading> {
    let words = usize::try_from(bytes / 8 / u64::from(threads)).map_err(io::Error::other)?;
    let buffer_bytes = words as u64 * 8 * u64::from(threads);
    let rounds = PASS_BYTES.div_ceil(buffer_bytes);
    let best = best_pass(threads, words, rounds)?;
    let read = (buffer_bytes * rounds) as f64;
    Ok(BandwidthReading { buffer_bytes, passes: PASSES, bytes_per_s: read / best.as_secs_f64() })
}

/// Shortest time in which all threads read their words, so many rounds. Threads that cannot be started end those that
/// were, as nobody tells them to read any more.
fn best_pass(threads: u32, words: usize, rounds: u64) -> io::Result<Duration> {
    std::thread::scope(|scope| {
        let (done, finished) = channel();
        let mut starts = Vec::new();
        for _ in 0..threads {
            let (start, started) = channel();
            let done = done.clone();
            drop(
                std::thread::Builder::new()
                    .name("bandwidth".to_owned())
                    .spawn_scoped(scope, move || reader(words, rounds, &started, &done))?,
            );
            starts.push(start);
        }
        drop(done);
        let mut best = Duration::MAX;
        // The first pass is the one that touches the memory.
        for pass in 0..=PASSES {
            let time = one_pass(&starts, &finished)?;
            if pass > 0 {
                best = best.min(time);
            }
        }
        Ok(best.max(Duration::from_nanos(1)))
    })
}

/// From the first thread that began to the last that ended.
fn one_pass(starts: &[Sender<()>], finished: &Receiver<io::Result<[Instant; 2]>>) -> io::Result<Duration> {
    for start in starts {
        start.send(()).map_err(io::Error::other)?;
    }
    let mut span: Option<[Instant; 2]> = None;
    for _ in starts {
        let [began, ended] = finished.recv().map_err(io::Error::other)??;
        span = Some(span.map_or([began, ended], |[first, last]| [first.min(began), last.max(ended)]));
    }
    Ok(span.map_or(Duration::ZERO, |[first, last]| last - first))
}

/// Sums its words whenever it is told to.
fn reader(words: usize, rounds: u64, start: &Receiver<()>, done: &Sender<io::Result<[Instant; 2]>>) {
    let mut part: Vec<u64> = Vec::new();
    if let Err(error) = part.try_reserve_exact(words) {
        drop(done.send(Err(io::Error::other(error))));
        return;
    }
    // Not zeros: pages of zeros may be one page of the system's.
    part.extend(0..words as u64);
    while start.recv().is_ok() {
        let began = Instant::now();
        for _ in 0..rounds {
            black_box(sum(black_box(&part)));
        }
        if done.send(Ok([began, Instant::now()])).is_err() {
            return;
        }
    }
}

/// Eight sums side by side, which the compiler turns into wide loads.
fn sum(words: &[u64]) -> u64 {
    let (blocks, rest) = words.as_chunks::<32>();
    let mut sums = [0_u64; 32];
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().chain(rest).fold(0, |sum, word| sum.wrapping_add(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(bandwidth: &MemoryBandwidth) -> Vec<BandwidthReading> {
        match bandwidth {
            MemoryBandwidth::Probed { readings, .. } => readings.clone(),
            MemoryBandwidth::Given { .. } => Vec::new(),
        }
    }

    #[test]
    fn memory_is_read_faster_than_a_disk_and_slower_than_light() {
        let probed = probe(2, &[4 << 20, 1 << 20, 4 << 20]).unwrap();
        let readings = readings(&probed);
        assert_eq!(
            readings.iter().map(|reading| reading.buffer_bytes).collect::<Vec<_>>(),
            [1 << 20, 4 << 20]
        );
        for reading in readings {
            assert!((2e8..1e14).contains(&reading.bytes_per_s), "{reading:?}");
        }
    }

    #[test]
    fn every_word_is_read() {
        let words: Vec<u64> = (0..1000).collect();
        assert_eq!(sum(&words), 999 * 500);
        assert_eq!((sum(&[]), sum(&[u64::MAX, 2])), (0, 1));
    }

    #[test]
    fn sizes_beyond_bounds_are_brought_within() {
        let probed = probe(3, &[0, 1]).unwrap();
        assert_eq!(readings(&probed)[0].buffer_bytes, 24);
        assert_eq!(readings(&probed).len(), 1);
    }

    #[test]
    fn a_ceiling_is_that_of_the_weights_own_size() {
        let reading = |buffer_bytes, bytes_per_s| BandwidthReading { buffer_bytes, passes: 7, bytes_per_s };
        let probed = MemoryBandwidth::Probed {
            threads: 2,
            readings: vec![reading(1 << 20, 4e10), reading(1 << 28, 1e10)],
        };
        assert_eq!(probed.of(1 << 20, true), Some(4e10));
        assert_eq!(probed.of((1 << 20) + 1, true), Some(1e10));
        assert_eq!(probed.of(1 << 33, true), Some(1e10));
        assert_eq!(probed.of(1 << 20, false), None, "of a GPU the CPU's memory says nothing");
        assert_eq!(MemoryBandwidth::Given { bytes_per_s: 4.8e12 }.of(1, false), Some(4.8e12));
        assert_eq!(MemoryBandwidth::Probed { threads: 1, readings: Vec::new() }.of(1, true), None);
    }
}
