//! What the sampler asks of GPUs: one trait, so that tests need no GPU, and the words of NVML's throttle reasons.

use std::collections::BTreeSet;

use super::{GpuDevice, GpuSample};

/// Reads the GPUs of this machine. Lives on the sampler's thread.
pub trait GpuProbe {
    /// Version of the driver, and the CUDA version that it offers.
    fn versions(&self) -> (Option<String>, Option<String>);

    /// All GPUs, as far as they do not change.
    fn devices(&self) -> Vec<GpuDevice>;

    /// One reading of each, in the same order. `ours` are the processes that are not foreign.
    fn read(&self, ours: &BTreeSet<u32>) -> Vec<GpuSample>;
}

/// Bits of `nvmlDeviceGetCurrentClocksEventReasons` that mean that something holds the clock down. Idle, and clocks that
/// were set on purpose, do not.
const THROTTLES: [(u64, &str); 6] = [
    (0x04, "power cap"),
    (0x08, "hardware slowdown"),
    (0x20, "thermal, by software"),
    (0x40, "thermal, by hardware"),
    (0x80, "power brake"),
    (0x10, "clocks tied to another GPU's"),
];

/// Reasons that slow a GPU down, in words; empty if none does.
#[must_use]
pub fn throttle_words(reasons: u64) -> Vec<&'static str> {
    THROTTLES.iter().filter(|(bit, _)| reasons & bit != 0).map(|(_, word)| *word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_chosen_clocks_are_no_throttle() {
        assert_eq!(throttle_words(0x1 | 0x2 | 0x100), Vec::<&str>::new());
        assert_eq!(throttle_words(0x44), ["power cap", "thermal, by hardware"]);
    }
}
