//! What our own engine is told: plain data instead of flags.

use bench_core::stack::StackError;
use bench_engine::model::{DraftHead, PleTable};
use bench_engine::spec::accept::AcceptanceRule;
use bench_engine::{DeviceChoice, EngineConfig, Speculation};

use crate::arm::ConnectRequest;

/// The engine's words for an arm.
///
/// # Errors
///
/// [`StackError::Unsupported`], for what the engine cannot do.
pub fn config(request: &ConnectRequest<'_>) -> Result<EngineConfig, StackError> {
    crate::native::config(request)
}

/// All of it in one line.
#[must_use]
pub fn line(config: &EngineConfig) -> String {
    let EngineConfig { target, assistant, context_tokens, kv_type, threads, speculation, device, ple_table } =
        config;
    let mut facts = vec![format!("target {}", target.display())];
    if let (Speculation::Mtp { .. }, Some(path)) = (speculation, assistant) {
        facts.push(format!("assistant {}", path.display()));
    }
    facts.push(format!("context {context_tokens}"));
    facts.push(format!("KV {}", kv_type.name()));
    facts.push(format!("threads {threads}"));
    match device {
        DeviceChoice::Auto => {}
        DeviceChoice::Cpu => facts.push("on the CPU".to_owned()),
        DeviceChoice::Gpu(ordinal) => facts.push(format!("on GPU {ordinal}")),
    }
    match ple_table {
        PleTable::Auto => {}
        PleTable::Device => facts.push("per-layer embeddings on the device".to_owned()),
        PleTable::Host => facts.push("per-layer embeddings on the host".to_owned()),
    }
    facts.push(format!("speculation {speculation}"));
    if let Speculation::Mtp { acceptance, draft_head, .. } = speculation {
        if let AcceptanceRule::Synthetic(rates) = acceptance {
            facts.push(format!("conditional rates {rates:?}"));
        }
        if *draft_head == DraftHead::Dense {
            facts.push("dense draft head".to_owned());
        }
    }
    facts.join(", ")
}
