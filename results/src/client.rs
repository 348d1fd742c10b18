//! Whether the client kept up: if it did not, an arm's figures are the client's, not the server's.
//!
//! The limits are stated in docs/metrics.md. Each asks for an error that could be seen in what the arm reports, so that
//! a client that is late by little beside what it measures stays valid. The in-process engine stamps in its own thread,
//! and is not asked.

use bench_core::client::ClientPass;
use bench_core::record::ArmManifest;

use crate::load::Loaded;
use crate::row::Row;
use crate::samples::completed_rows;

/// A median delay below this is the system's own way of waking threads.
const USUAL_DELAY_NS: u64 = 1_000_000;
/// Largest share of the median TTFT that may be the client's median delay.
const DELAY_SHARE: f64 = 0.02;
/// Largest delay of 1 in 100 reads.
const STALL_NS: u64 = 100_000_000;
/// Rings from which on a 99th percentile says something.
const MANY_RINGS: u64 = 100;
/// Busier reading threads are the bottleneck.
const CPU_SHARE: f64 = 0.85;
/// A pass that is shorter says nothing of CPU.
const LONG_PASS_NS: u64 = 500_000_000;

/// The worst median and 99th percentile of the client's delays in this arm's passes; `None` if none were recorded.
pub(crate) fn lateness(loaded: &Loaded, arm: &ArmManifest) -> Option<(u64, u64)> {
    let clients = loaded.manifests.iter().filter_map(|manifest| manifest.client.as_ref());
    let passes = clients.flat_map(|client| &client.passes).filter(|pass| pass.arm == arm.label);
    passes.map(|pass| (pass.late.p50_ns, pass.late.p99_ns)).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))
}

/// Why the client's part in this arm's figures is too large; empty if it is not. Of a stack outside this process.
pub(crate) fn reasons(loaded: &Loaded, arm: &ArmManifest) -> Vec<String> {
    let ttft_ns = median_ttft_ns(&completed_rows(loaded, &arm.label));
    let mut found = Vec::new();
    for client in loaded.manifests.iter().filter_map(|manifest| manifest.client.as_ref()) {
        let threads = f64::from(client.reader_threads.max(1));
        let passes: Vec<_> = client.passes.iter().filter(|pass| pass.arm == arm.label).collect();
        found.extend(worst(&passes, |pass| late(pass, ttft_ns)));
        found.extend(worst(&passes, stalled));
        found.extend(worst(&passes, |pass| busy(pass, threads)));
    }
    found
}

/// The words of the worst of the passes that are at fault, and how many are.
fn worst(passes: &[&ClientPass], fault: impl Fn(&ClientPass) -> Option<(f64, String)>) -> Option<String> {
    let faults: Vec<_> = passes.iter().filter_map(|pass| fault(pass)).collect();
    let worst = faults.iter().max_by(|one, other| one.0.total_cmp(&other.0))?;
    Some(format!("{} (in {} of {} passes)", worst.1, faults.len(), passes.len()))
}

fn late(pass: &ClientPass, ttft_ns: Option<u64>) -> Option<(f64, String)> {
    let (p50_ns, ttft_ns) = (pass.late.p50_ns, ttft_ns.filter(|&ns| ns > 0)?);
    let share = p50_ns as f64 / ttft_ns as f64;
    (p50_ns > USUAL_DELAY_NS && share > DELAY_SHARE).then(|| {
        let (late, ttft) = (ms(p50_ns), ms(ttft_ns));
        (share, format!("the client was late: {late:.1} ms at the median, of a TTFT of {ttft:.1} ms"))
    })
}

fn stalled(pass: &ClientPass) -> Option<(f64, String)> {
    let late = &pass.late;
    (late.rings >= MANY_RINGS && late.p99_ns > STALL_NS).then(|| {
        let (p99, max) = (ms(late.p99_ns), ms(late.max_ns));
        (p99, format!("the client stalled: {p99:.0} ms late at the 99th percentile, {max:.0} ms at most"))
    })
}

fn busy(pass: &ClientPass, threads: f64) -> Option<(f64, String)> {
    let share = pass.cpu_ns? as f64 / pass.wall_ns as f64;
    (pass.wall_ns > LONG_PASS_NS && share > CPU_SHARE * threads).then(|| {
        let percent = share * 100.0;
        (share, format!("the client was the bottleneck: it used {percent:.0} % of a CPU, with {threads} reading threads"))
    })
}

fn median_ttft_ns(rows: &[&Row]) -> Option<u64> {
    let mut ttft: Vec<_> = rows.iter().filter_map(|row| row.timing.first_token_ns).collect();
    ttft.sort_unstable();
    ttft.get(ttft.len() / 2).copied()
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use bench_core::client::Lateness;

    use super::*;

    fn pass(p50_ns: u64, p99_ns: u64, cpu_ns: u64) -> ClientPass {
        let late = Lateness { rings: 200, p50_ns, p99_ns, max_ns: p99_ns };
        ClientPass {
            arm: "openai/none".to_owned(),
            block: 0,
            wall_ns: 4_000_000_000,
            cpu_ns: Some(cpu_ns),
            late,
        }
    }

    #[test]
    fn a_client_that_keeps_up_has_no_reason() {
        let good = pass(50_000, 4_000_000, 800_000_000);
        assert_eq!((late(&good, Some(50_000_000)), stalled(&good), busy(&good, 1.0)), (None, None, None));
        let short_ttft = pass(900_000, 1_000_000, 1);
        assert_eq!(late(&short_ttft, Some(2_000_000)), None, "below the system's usual delay");
        let few = ClientPass { late: Lateness { rings: 5, ..pass(0, 900_000_000, 1).late }, ..pass(0, 0, 1) };
        assert_eq!(stalled(&few), None, "too few to speak of a percentile");
    }

    #[test]
    fn each_fault_is_told_with_its_figures() {
        let slow = pass(3_000_000, 150_000_000, 3_900_000_000);
        let words = |fault: Option<(f64, String)>| fault.unwrap().1;
        assert_eq!(
            words(late(&slow, Some(50_000_000))),
            "the client was late: 3.0 ms at the median, of a TTFT of 50.0 ms"
        );
        assert!(words(stalled(&slow)).contains("150 ms late at the 99th percentile"));
        assert!(words(busy(&slow, 1.0)).contains("98 % of a CPU"));
        assert_eq!(busy(&slow, 2.0), None);
        let told = worst(&[&pass(0, 0, 0), &slow], stalled).unwrap();
        assert!(told.ends_with("(in 1 of 2 passes)"), "{told}");
    }
}
