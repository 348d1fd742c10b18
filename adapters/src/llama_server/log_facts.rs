//! What llama.cpp's log says and its routes do not: where the layers are, the type of the KV cache, and, in old builds,
//! what was drafted.
//!
//! Pure. A log is anybody's text: what is not recognised is `None`. The target is loaded before the assistant, so the
//! first line of a kind is the target's.

use bench_core::stack::{SpecCounts, SpecSource};

/// Facts of one server's log.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct LogFacts {
    /// `cpu`, or the share of layers on GPUs and their names.
    pub(super) device: Option<String>,
    /// llama.cpp's name of the type; `K/V` where both differ.
    pub(super) kv_type: Option<String>,
}

pub(super) fn facts(log: &str) -> LogFacts {
    LogFacts { device: device(log), kv_type: log.lines().find_map(kv_type) }
}

/// `load_tensors: offloaded 43/43 layers to GPU`, `using device CUDA0 (NVIDIA H200)`; buffers on the CPU alone tell a
/// build without GPUs.
fn device(log: &str) -> Option<String> {
    let names: Vec<_> = log.lines().filter_map(|line| Some(line.split_once("using device ")?.1)).collect();
    let name = names.first().map(|name| name.split(" - ").next().unwrap_or(name).trim());
    let offloaded = log.lines().find_map(|line| {
        let counts = line.split_once("offloaded ")?.1.split_once(" layers to GPU")?.0;
        counts.split_once('/')
    });
    match offloaded {
        Some(("0", _)) => Some("cpu".to_owned()),
        Some((some, all)) => Some(format!(
            "gpu ({some} of {all} layers{})",
            name.map_or_else(String::new, |name| format!(", {name}"))
        )),
        None => {
            let mut buffers = log.lines().filter(|line| line.contains("model buffer size")).peekable();
            (buffers.peek().is_some() && buffers.all(|line| line.contains("CPU"))).then(|| "cpu".to_owned())
        }
    }
}

/// `llama_kv_cache: size = 12.00 MiB (...), K (f16): 6.00 MiB, V (f16): 6.00 MiB`.
fn kv_type(line: &str) -> Option<String> {
    let of = |which: &str| Some(line.split_once(which)?.1.split_once(')')?.0.to_owned());
    let (keys, values) = (of(" K (")?, of(" V (")?);
    Some(if keys == values { keys } else { format!("{keys}/{values}") })
}

/// The sum of all lines `draft acceptance = 0.69 ( 109 accepted / 158 generated), mean len = ...`; `None` without one.
pub(super) fn spec_counts(log: &str) -> Option<SpecCounts> {
    let line = |line: &str| {
        let (_, rest) = line.split_once("draft acceptance")?;
        let (accepted, rest) = rest.split_once('(')?.1.split_once(" accepted")?;
        let (drafted, _) = rest.split_once('/')?.1.split_once(" generated")?;
        Some((accepted.trim().parse::<u64>().ok()?, drafted.trim().parse::<u64>().ok()?))
    };
    let mut told = log.lines().filter_map(line).peekable();
    told.peek()?;
    let (accepted, drafted) = told.fold((0_u64, 0_u64), |(accepted, drafted), (more, most)| {
        (accepted.saturating_add(more), drafted.saturating_add(most))
    });
    Some(SpecCounts {
        drafted,
        accepted,
        verify_steps: None,
        accepted_per_position: None,
        drafted_per_position: None,
        accepted_histogram: None,
        source: SpecSource::Log,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_s_layers_and_name() {
        let log = "llama_model_load_from_file_impl: using device CUDA0 (NVIDIA H200) - 140000 MiB free\n\
            load_tensors: offloaded 43/43 layers to GPU\n\
            llama_kv_cache: size =  12.00 MiB (  1024 cells,   7 layers,  1/1 seqs), K (turbo3):    6.00 MiB, V (f16):    6.00 MiB\n\
            load_tensors: offloaded 0/5 layers to GPU\n\
            llama_kv_cache: size = 1 MiB, K (f32): 1 MiB, V (f32): 1 MiB\n";
        let facts = facts(log);
        assert_eq!(facts.device.as_deref(), Some("gpu (43 of 43 layers, CUDA0 (NVIDIA H200))"));
        assert_eq!(facts.kv_type.as_deref(), Some("turbo3/f16"), "the target's come first");
    }

    #[test]
    fn a_fall_back_to_the_cpu_is_seen() {
        assert_eq!(facts("load_tensors: offloaded 0/43 layers to GPU\n").device.as_deref(), Some("cpu"));
        assert_eq!(
            facts("load_tensors:   CPU_Mapped model buffer size = 14.6 MiB\n").device.as_deref(),
            Some("cpu")
        );
        let mixed = "load_tensors: CPU_Mapped model buffer size = 1 MiB\nload_tensors: CUDA0 model buffer size = 9 MiB\n";
        assert_eq!(facts(mixed).device, None);
        assert_eq!(facts("main: server is listening"), LogFacts::default());
    }

    #[test]
    fn drafts_are_summed_over_requests() {
        let line = |a, d| {
            format!(
                "slot print_timing: id  0 | task 3 | draft acceptance = 0.69 ( {a} accepted / {d} generated), mean len = 2.1\n"
            )
        };
        let counts = spec_counts(&(line(109, 158) + "other\n" + &line(3, 5))).unwrap();
        assert_eq!((counts.accepted, counts.drafted, counts.source), (112, 163, SpecSource::Log));
        assert_eq!(spec_counts("draft acceptance = none\n"), None);
    }
}
