//! The thread that reads the machine while a run lasts.
//!
//! It reads at a low rate, and when it is told that a pass begins or ends, so that the readings cut where the arms do.
//! The file stays small however long a run lasts: after every hour's worth of readings the interval doubles.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::file::LineWriter;
use super::gpu::GpuProbe;
use super::proc::Reader;
use super::{ENVIRONMENT_SCHEMA, EnvironmentHead, EnvironmentLine, GpuHost, Moment};

/// Readings after which the interval doubles.
const BEFORE_DOUBLING: u32 = 3600;
/// Readings are never closer than this, but for the first and the last ones.
const CLOSEST: Duration = Duration::from_millis(50);
/// Span before and after the run that is looked at with nothing of ours running.
const QUIET: Duration = Duration::from_millis(250);

/// How to read.
#[derive(Debug, Clone, Copy)]
pub struct SamplerSettings {
    /// Time between two readings.
    pub interval: Duration,
}

impl Default for SamplerSettings {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1) }
    }
}

/// Reads until it is stopped. Dropped without that, it stops by itself and its file ends there.
#[derive(Debug)]
pub struct Sampler {
    signals: SyncSender<Signal>,
    thread: JoinHandle<io::Result<u64>>,
}

#[derive(Debug)]
enum Signal {
    Mark(Moment),
    Stop,
}

impl Sampler {
    /// Creates `path`, which must not exist, and begins to read. `open_gpus` runs on the sampler's thread, since a driver
    /// may take a second to answer first.
    ///
    /// # Errors
    ///
    /// Where the file or the thread cannot be made.
    pub fn start(
        path: &Path,
        settings: SamplerSettings,
        open_gpus: impl FnOnce() -> Result<Box<dyn GpuProbe>, String> + Send + 'static,
    ) -> io::Result<Self> {
        let writer = LineWriter::create(path)?;
        // One place: who marks does not wait, and a second mark before the first was seen says nothing new.
        let (signals, received) = sync_channel(1);
        let thread = std::thread::Builder::new().name("environment".to_owned()).spawn(move || {
            let mut readings = Readings { writer, reader: Reader::new(), gpus: None, count: 0, last: None };
            readings.run(settings, open_gpus, &received)?;
            Ok(readings.count)
        })?;
        Ok(Self { signals, thread })
    }

    /// A pass begins or ends now: read now. Never waits.
    pub fn mark(&self, moment: Moment) {
        // A full channel means that a reading is due anyway.
        drop(self.signals.try_send(Signal::Mark(moment)));
    }

    /// Reads a last time, ends the thread, and says how many readings were written.
    ///
    /// # Errors
    ///
    /// The first line that could not be written; what came before it is in the file.
    pub fn stop(self) -> io::Result<u64> {
        // The thread may have ended by an error, which joining tells.
        drop(self.signals.send(Signal::Stop));
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The state of the thread.
struct Readings {
    writer: LineWriter,
    reader: Reader,
    gpus: Option<Box<dyn GpuProbe>>,
    count: u64,
    last: Option<Instant>,
}

impl Readings {
    fn run(
        &mut self,
        settings: SamplerSettings,
        open_gpus: impl FnOnce() -> Result<Box<dyn GpuProbe>, String>,
        received: &Receiver<Signal>,
    ) -> io::Result<()> {
        let mut moment = Moment::Before;
        self.read(moment)?;
        self.open(settings, open_gpus)?;
        let (mut interval, mut until_doubling) = (settings.interval, BEFORE_DOUBLING);
        // Short at first: the span before anything of ours runs is a short one.
        let mut wait = QUIET.min(interval);
        loop {
            match received.recv_timeout(wait) {
                Ok(Signal::Mark(marked)) => moment = marked,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Signal::Stop) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if self.last.is_none_or(|last| last.elapsed() >= CLOSEST) {
                self.read(moment)?;
            }
            wait = interval;
            until_doubling -= 1;
            if until_doubling == 0 {
                (interval, until_doubling) = (interval * 2, BEFORE_DOUBLING);
            }
        }
        self.read(Moment::After)?;
        std::thread::sleep(QUIET);
        self.read(Moment::After)
    }

    /// Opens the GPUs and writes the head.
    fn open(
        &mut self,
        settings: SamplerSettings,
        open_gpus: impl FnOnce() -> Result<Box<dyn GpuProbe>, String>,
    ) -> io::Result<()> {
        let gpu = match open_gpus() {
            Ok(probe) => {
                let ((driver, cuda), devices) = (probe.versions(), probe.devices());
                self.gpus = Some(probe);
                GpuHost::Present { driver, cuda, devices }
            }
            Err(reason) => GpuHost::Absent { reason },
        };
        let cpu_count = std::thread::available_parallelism().ok();
        self.writer.write(&EnvironmentLine::Head(EnvironmentHead {
            schema: ENVIRONMENT_SCHEMA,
            interval_ms: u64::try_from(settings.interval.as_millis()).unwrap_or(u64::MAX),
            cpu_count: cpu_count.and_then(|count| u32::try_from(count.get()).ok()),
            gpu,
        }))
    }

    fn read(&mut self, moment: Moment) -> io::Result<()> {
        let (mut sample, ours) = self.reader.read(moment);
        sample.gpus = self.gpus.as_ref().map(|gpus| gpus.read(&ours));
        self.writer.write(&EnvironmentLine::Sample(Box::new(sample)))?;
        self.count += 1;
        self.last = Some(Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{GpuDevice, GpuSample, parse_environment};
    use super::*;

    struct OneGpu;

    impl GpuProbe for OneGpu {
        fn versions(&self) -> (Option<String>, Option<String>) {
            (Some("1.2".to_owned()), None)
        }
        fn devices(&self) -> Vec<GpuDevice> {
            vec![GpuDevice {
                name: Some("G".to_owned()),
                uuid: None,
                memory_bytes: None,
                sm_clock_max_mhz: None,
            }]
        }
        fn read(&self, ours: &BTreeSet<u32>) -> Vec<GpuSample> {
            let processes = u32::try_from(ours.len()).ok();
            vec![GpuSample { power_mw: Some(70_000), processes, ..GpuSample::default() }]
        }
    }

    fn sampled(
        open: impl FnOnce() -> Result<Box<dyn GpuProbe>, String> + Send + 'static,
    ) -> super::super::EnvironmentRead {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("environment.jsonl");
        let settings = SamplerSettings { interval: Duration::from_millis(60) };
        let sampler = Sampler::start(&path, settings, open).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        sampler.mark(Moment::During);
        std::thread::sleep(Duration::from_millis(200));
        let written = sampler.stop().unwrap();
        let read = parse_environment(&std::fs::read(&path).unwrap());
        assert_eq!((read.samples.len() as u64, read.unreadable), (written, 0));
        read
    }

    #[test]
    fn a_run_is_seen_before_during_and_after() {
        let read = sampled(|| Ok(Box::new(OneGpu)));
        let count = |moment| read.samples.iter().filter(|sample| sample.moment == moment).count();
        assert!(count(Moment::Before) >= 2 && count(Moment::During) >= 1, "{:?}", read.samples);
        assert_eq!(count(Moment::After), 2);
        let last = read.samples.last().unwrap();
        assert_eq!(last.gpus.as_ref().unwrap()[0].power_mw, Some(70_000));
        assert_eq!(read.samples[0].gpus, None, "the first reading does not wait for a driver");
        let GpuHost::Present { driver, cuda, devices } = read.head.unwrap().gpu else { panic!("absent") };
        assert_eq!((driver.as_deref(), cuda, devices.len()), (Some("1.2"), None, 1));
    }

    #[test]
    fn absence_has_its_reason() {
        let read = sampled(|| Err("no such library".to_owned()));
        assert!(read.samples.iter().all(|sample| sample.gpus.is_none()));
        assert_eq!(read.head.unwrap().gpu, GpuHost::Absent { reason: "no such library".to_owned() });
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let start = |path: &Path| Sampler::start(path, SamplerSettings::default(), || Err(String::new()));
        assert!(start(&dir.path().join("no/such/folder")).is_err());
    }
}
