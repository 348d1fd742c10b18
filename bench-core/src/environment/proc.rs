//! What Linux tells of CPU, memory, pressure and our own processes. Elsewhere everything is `None`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CpuTimes, EnvironmentSample, Moment, Pressure};
use crate::clock;

/// Ticks of `/proc` are hundredths of a second on every Linux that we run on (`USER_HZ`, part of its interface).
const MS_PER_TICK: u64 = 10;

/// Processes that one reading follows at most: a run starts a handful.
const MOST_PROCESSES: usize = 4096;

/// Reads this machine. Remembers where our control group is.
#[derive(Debug)]
pub(super) struct Reader {
    group: Option<PathBuf>,
}

impl Reader {
    pub(super) fn new() -> Self {
        let group = text("/proc/self/cgroup").and_then(|text| group_path(&text));
        Self { group: group.filter(|group| group.join("cgroup.controllers").exists()) }
    }

    /// One reading without GPUs, and the processes that are ours.
    pub(super) fn read(&self, moment: Moment) -> (EnvironmentSample, BTreeSet<u32>) {
        let stat = text("/proc/stat");
        let ours = ours(std::process::id());
        let sample = EnvironmentSample {
            at_unix_ms: clock::unix_ms(),
            moment,
            cpu: stat.as_deref().and_then(cpu_times),
            ours_cpu_ms: ours.as_ref().map(|ours| ours.cpu_ms),
            ours_memory_bytes: ours.as_ref().map(|ours| ours.memory_bytes),
            cpu_mhz: cpu_mhz(),
            load_1m: text("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
            memory_available_bytes: text("/proc/meminfo").and_then(|text| available_bytes(&text)),
            context_switches: stat.as_deref().and_then(|stat| after(stat, "ctxt ")),
            ours_preempted: text("/proc/self/status")
                .and_then(|status| after(&status, "nonvoluntary_ctxt_switches:")),
            pressure: pressure(Path::new("/proc/pressure"), ""),
            group_pressure: self.group.as_deref().and_then(|group| pressure(group, ".pressure")),
            group_throttled_us: self
                .group
                .as_deref()
                .and_then(|group| after(&text(group.join("cpu.stat"))?, "throttled_usec ")),
            gpus: None,
        };
        (sample, ours.map(|ours| ours.pids).unwrap_or_default())
    }
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The number behind the first line that begins with `key`.
fn after(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[user, nice, system, idle, waiting, irq, softirq, steal, ..] = &ticks[..] else { return None };
    let ms = |parts: &[u64]| {
        parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part))?.checked_mul(MS_PER_TICK)
    };
    Some(CpuTimes {
        busy_ms: ms(&[user, nice, system, irq, softirq])?,
        idle_ms: ms(&[idle, waiting])?,
        steal_ms: ms(&[steal])?,
    })
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    after(meminfo, "MemAvailable:")?.checked_mul(1024)
}

/// Mean over the clocks that the governor tells, else over those of `/proc/cpuinfo`.
fn cpu_mhz() -> Option<f64> {
    let policies = fs::read_dir("/sys/devices/system/cpu/cpufreq").ok();
    let khz: Vec<f64> = policies
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|policy| text(policy.path().join("scaling_cur_freq"))?.trim().parse().ok())
        .collect();
    if !khz.is_empty() {
        return Some(khz.iter().sum::<f64>() / khz.len() as f64 / 1e3);
    }
    mean_mhz(&text("/proc/cpuinfo")?)
}

fn mean_mhz(cpuinfo: &str) -> Option<f64> {
    let clocks: Vec<f64> = cpuinfo
        .lines()
        .filter(|line| line.starts_with("cpu MHz"))
        .filter_map(|line| line.split(':').nth(1)?.trim().parse().ok())
        .collect();
    (!clocks.is_empty()).then(|| clocks.iter().sum::<f64>() / clocks.len() as f64)
}

/// Where the second version of control groups keeps ours; the root's own files are the machine's.
fn group_path(cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new("/sys/fs/cgroup").join(path.trim()))
}

/// `None` where the system keeps no pressure stall information at all.
fn pressure(folder: &Path, ending: &str) -> Option<Pressure> {
    let total = |what: &str| some_total(&text(folder.join(format!("{what}{ending}")))?);
    let found =
        Pressure { cpu_some_us: total("cpu"), memory_some_us: total("memory"), io_some_us: total("io") };
    (found != Pressure::default()).then_some(found)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`: the total, microseconds.
fn some_total(pressure: &str) -> Option<u64> {
    let line = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_ascii_whitespace().find_map(|part| part.strip_prefix("total="))?.parse().ok()
}

/// Our process and everything below it.
struct Ours {
    pids: BTreeSet<u32>,
    /// With children that have ended and were waited for, so that the sum never falls when one ends.
    cpu_ms: u64,
    memory_bytes: u64,
}

fn ours(root: u32) -> Option<Ours> {
    let mut found = Ours { pids: BTreeSet::new(), cpu_ms: 0, memory_bytes: 0 };
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        if found.pids.len() >= MOST_PROCESSES || !found.pids.insert(pid) {
            continue;
        }
        // A process may end between two reads; our own may not.
        match text(format!("/proc/{pid}/stat")).as_deref().and_then(process_ticks) {
            Some(ticks) => {
                found.cpu_ms += ticks * MS_PER_TICK;
                let status = text(format!("/proc/{pid}/status"));
                let resident = status.and_then(|status| after(&status, "VmRSS:"));
                found.memory_bytes += resident.unwrap_or_default() * 1024;
            }
            None if pid == root => return None,
            None => {}
        }
        waiting.extend(children(pid).unwrap_or_default());
    }
    // Where the kernel lists no children, a sum without them would be a claim.
    children(root).map(|_| found)
}

/// Children of all threads of a process; `None` where the kernel does not list them.
fn children(pid: u32) -> Option<Vec<u32>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut all = None;
    for thread in threads.flatten() {
        if let Some(list) = text(thread.path().join("children")) {
            let pids = list.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
            all.get_or_insert_with(Vec::new).extend(pids);
        }
    }
    all
}

/// Fields 14 to 17 of `/proc/PID/stat`: time of the process, and of children that ended and were waited for. The name in
/// field 2 may hold anything, brackets included: fields are counted behind its end.
fn process_ticks(stat: &str) -> Option<u64> {
    let mut times = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(14 - 3).take(4);
    let all: [u64; 4] =
        std::array::from_fn(|_| times.next().and_then(|time| time.parse().ok()).unwrap_or(u64::MAX));
    all.into_iter().try_fold(0_u64, u64::checked_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_texts_are_read() {
        let stat = "cpu  100 20 30 400 50 6 7 8 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nctxt 12345\n";
        let expected = CpuTimes { busy_ms: 1630, idle_ms: 4500, steal_ms: 80 };
        assert_eq!(cpu_times(stat), Some(expected));
        assert_eq!(after(stat, "ctxt "), Some(12_345));
        assert_eq!(cpu_times("cpu  1 2 3\n"), None);
        assert_eq!(cpu_times("cpu  1 2 x 4 5 6 7 8\n"), None);
        assert_eq!(cpu_times(&format!("cpu  {} 1 1 1 1 1 1 1\n", u64::MAX)), None);

        assert_eq!(
            some_total("some avg10=0.04 avg60=0.08 avg300=1.16 total=7716\nfull total=3\n"),
            Some(7716)
        );
        assert_eq!(some_total("full avg10=0.00 total=3\n"), None);
        assert_eq!(available_bytes("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(mean_mhz("cpu MHz\t\t: 2000.0\nmodel\t: x\ncpu MHz\t\t: 3000.0\n"), Some(2500.0));
        assert_eq!(mean_mhz("processor: 0\n"), None);
        assert_eq!(group_path("1:cpu:/\n0::/a/b\n"), Some(PathBuf::from("/sys/fs/cgroup/a/b")));
        assert_eq!(group_path("1:cpu:/\n"), None);
    }

    #[test]
    fn a_process_may_have_any_name() {
        let stat =
            "7 (a) b (c) S 1 7 7 0 -1 4194304 10 0 0 0 5 6 70 80 20 0 3 0 100 4096 25 18446744073709551615";
        assert_eq!(process_ticks(stat), Some(161));
        assert_eq!(process_ticks("7 (a) S 1"), None);
        assert_eq!(process_ticks(&stat.replace("70", "-1")), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_is_read_and_a_child_is_ours() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let (sample, ours) = Reader::new().read(Moment::Before);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(sample.cpu.is_some() && sample.memory_available_bytes.is_some_and(|bytes| bytes > 1 << 20));
        if sample.ours_cpu_ms.is_some() {
            assert!(ours.contains(&std::process::id()) && ours.contains(&child.id()), "{ours:?}");
            assert!(sample.ours_memory_bytes.is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
