//! The memory bandwidth of a run: the user's word, or a probe of the CPU before the first request.

use bench_core::bandwidth::{MemoryBandwidth, probe};
use bench_core::record::{ArmManifest, RunManifest};
use bench_core::stack::STEP_BYTES_DETAIL;

/// Reads as many bytes as the arms' weights with as many threads. `None` where no arm computes on this CPU in this
/// process, as others do not tell what a pass reads.
pub(crate) fn known(manifest: &RunManifest, given: Option<f64>) -> std::io::Result<Option<MemoryBandwidth>> {
    if let Some(bytes_per_s) = given {
        return Ok(Some(MemoryBandwidth::Given { bytes_per_s }));
    }
    let arms: Vec<_> = manifest.arms.iter().filter_map(on_cpu).collect();
    let Some(threads) = arms.iter().map(|(_, threads)| *threads).max() else { return Ok(None) };
    let sizes: Vec<_> = arms.into_iter().map(|(bytes, _)| bytes).collect();
    probe(threads, &sizes).map(Some)
}

/// Bytes of a pass and threads of an arm that runs here.
fn on_cpu(arm: &ArmManifest) -> Option<(u64, u32)> {
    let info = arm.info.as_ref().filter(|info| info.device.as_deref() == Some("cpu"))?;
    Some((info.details.get(STEP_BYTES_DETAIL)?.parse().ok()?, info.threads?))
}
