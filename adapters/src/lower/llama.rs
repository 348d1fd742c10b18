//! Command lines of llama.cpp's server, of its fork with turbo KV caches, and of that fork before its flags were renamed.
//!
//! Upstream's names are those of builds since b10434 (`--spec-synth-rates` since b11434); older builds refuse them with a
//! message that names the flag, which then stands in the row.
//!
//! N-grams differ, and a reader of results should know: `ngram-simple` looks up one length, where our engine falls back
//! to shorter ones down to `ngram_min`; it drafts exactly `draft_max` tokens or fewer at the end of its match. It throws
//! away drafts that are shorter than the n-gram, so the length it gets is `ngram_max` or `draft_max`, whichever is less
//! (seen with build b11549: 4-grams never drafted 3 tokens, but did draft 8).

use std::fmt::Display;
use std::path::Path;

use bench_core::preset::{AcceptanceRule, Device, KvType, KvTypes, ServingParams, SpecDecode, StackKind};
use bench_core::stack::StackError;

use super::{Args, draft_length, unsupported};

/// All layers of any model: llama.cpp takes a number that is too large for "all".
const ALL_LAYERS: u32 = 99;

/// Which words a server understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// llama.cpp.
    Upstream,
    /// The fork before b10018: block sizes instead of draft lengths.
    AtomicOld,
    /// The fork since b10018: upstream's words and turbo KV caches.
    AtomicNew,
}

impl Dialect {
    /// Which server it is, by what it prints for `--help`.
    #[must_use]
    pub fn detect(help_text: &str) -> Self {
        if help_text.contains("--draft-block-size") {
            Self::AtomicOld
        } else if help_text.contains(KvType::Turbo3.as_str()) {
            Self::AtomicNew
        } else {
            Self::Upstream
        }
    }

    /// The stack that speaks it.
    #[must_use]
    pub fn stack(self) -> StackKind {
        match self {
            Self::Upstream => StackKind::LlamaServer,
            Self::AtomicOld | Self::AtomicNew => StackKind::AtomicLlamaServer,
        }
    }

    fn cannot(self, what: impl Into<String>) -> StackError {
        unsupported(self.stack(), what)
    }
}

/// llama-server's name of a way of speculating, as its `/slots` and `--spec-type` word it.
#[must_use]
pub fn spec_type(spec: &SpecDecode) -> &'static str {
    match spec {
        SpecDecode::None => "none",
        SpecDecode::Mtp { .. } | SpecDecode::Nextn { .. } => "draft-mtp",
        SpecDecode::DraftModel { .. } => "draft-simple",
        SpecDecode::Ngram { .. } => "ngram-simple",
    }
}

/// The fork's names before b10018.
fn old_spec_type(spec: &SpecDecode) -> &'static str {
    match spec {
        SpecDecode::None => "none",
        SpecDecode::Mtp { .. } => "mtp",
        SpecDecode::Nextn { .. } => "nextn",
        SpecDecode::DraftModel { .. } => "draft",
        SpecDecode::Ngram { .. } => "ngram-simple",
    }
}

/// Arguments of a server on loopback `port` (a number, or a proxy's placeholder for one) with the slots asked for,
/// metrics and the list of slots on.
///
/// # Errors
///
/// [`StackError::Unsupported`], for what the dialect has no words for.
pub fn args(
    dialect: Dialect,
    target: &Path,
    assistant: Option<&Path>,
    spec: &SpecDecode,
    serving: &ServingParams,
    port: impl Display,
) -> Result<Vec<String>, StackError> {
    if let Some(what) = super::refused_ple_table(serving) {
        return Err(dialect.cannot(what));
    }
    let mut args = Args::default();
    args.pair("-m", path(dialect, target)?);
    let drafter = drafter(dialect, target, assistant, spec)?;
    if let Some(drafter) = drafter {
        args.pair("-md", path(dialect, drafter)?);
    }
    speculation(&mut args, dialect, spec)?;
    let has_draft_context = spec.needs_assistant() || matches!(spec, SpecDecode::Nextn { .. });
    if has_draft_context {
        draft_threads(&mut args, dialect, serving);
    }
    // The server divides its context among its slots.
    let slots = serving.slots.get();
    args.pair("-c", u64::from(serving.context_tokens.get()) * u64::from(slots));
    args.pair("-np", slots);
    kv_cache(&mut args, dialect, serving.kv_type, has_draft_context)?;
    device(&mut args, serving.device, has_draft_context);
    args.pair("-t", serving.threads);
    args.pair("-tb", serving.threads);
    args.pair("--host", "127.0.0.1");
    args.pair("--port", port);
    args.flag("--metrics");
    args.flag("--slots");
    Ok(args.0)
}

/// The file that drafts. Next-token layers are the target's own; the fork before b10018 wants its file named again, and
/// then shares the loaded model.
fn drafter<'a>(
    dialect: Dialect,
    target: &'a Path,
    assistant: Option<&'a Path>,
    spec: &SpecDecode,
) -> Result<Option<&'a Path>, StackError> {
    match spec {
        SpecDecode::Mtp { .. } | SpecDecode::DraftModel { .. } => match assistant {
            Some(assistant) => Ok(Some(assistant)),
            None => {
                Err(dialect.cannot(format!("draft with {}: no assistant model was given", spec.method())))
            }
        },
        SpecDecode::Nextn { .. } => Ok((dialect == Dialect::AtomicOld).then_some(target)),
        SpecDecode::None | SpecDecode::Ngram { .. } => Ok(None),
    }
}

fn speculation(args: &mut Args, dialect: Dialect, spec: &SpecDecode) -> Result<(), StackError> {
    let draft_min = match spec {
        SpecDecode::None => return Ok(()),
        SpecDecode::Ngram { draft_max, ngram_min: _, ngram_max } => {
            let names = match dialect {
                Dialect::Upstream | Dialect::AtomicNew => {
                    ["--spec-ngram-simple-size-n", "--spec-ngram-simple-size-m"]
                }
                Dialect::AtomicOld => ["--spec-ngram-size-n", "--spec-ngram-size-m"],
            };
            args.pair("--spec-type", spec_type(spec));
            args.pair(names[0], ngram_max.min(draft_max));
            args.pair(names[1], draft_max);
            return Ok(());
        }
        // It reads no centroids: both draft heads are its dense one, and the read-back says so.
        SpecDecode::Mtp { .. } | SpecDecode::DraftModel { .. } => 0,
        SpecDecode::Nextn { draft_min, .. } => *draft_min,
    };
    let Some(draft_max) = spec.draft_max() else { return Ok(()) };
    match dialect {
        Dialect::Upstream | Dialect::AtomicNew => {
            args.pair("--spec-type", spec_type(spec));
            args.pair("--spec-draft-n-max", draft_max);
            if draft_min > 0 {
                args.pair("--spec-draft-n-min", draft_min);
            }
        }
        Dialect::AtomicOld => {
            args.pair("--spec-type", old_spec_type(spec));
            if matches!(spec, SpecDecode::Mtp { .. }) {
                args.pair("--draft-block-size", draft_length::block_size(draft_max));
            }
            // Caps the block, too, and is 16 where it is not given.
            args.pair("--draft-max", draft_max);
            args.pair("--draft-min", draft_min);
        }
    }
    acceptance(args, dialect, spec)
}

fn acceptance(args: &mut Args, dialect: Dialect, spec: &SpecDecode) -> Result<(), StackError> {
    match spec.acceptance() {
        None | Some(AcceptanceRule::SampleAndCompare) => Ok(()),
        Some(AcceptanceRule::Rejection) => {
            Err(dialect
                .cannot("accept drafts by rejection sampling: it samples from the target and compares"))
        }
        Some(AcceptanceRule::Synthetic(rates)) => match dialect {
            Dialect::Upstream => {
                let rates: Vec<_> = rates.marginal().iter().map(f64::to_string).collect();
                args.pair("--spec-synth-rates", rates.join(","));
                Ok(())
            }
            Dialect::AtomicOld | Dialect::AtomicNew => Err(dialect.cannot(
                "accept drafts by coin flips: the fork has no synthetic acceptance, llama-server has",
            )),
        },
    }
}

fn draft_threads(args: &mut Args, dialect: Dialect, serving: &ServingParams) {
    let names = match dialect {
        Dialect::Upstream | Dialect::AtomicNew => ["--spec-draft-threads", "--spec-draft-threads-batch"],
        Dialect::AtomicOld => ["-td", "-tbd"],
    };
    names.into_iter().for_each(|name| args.pair(name, serving.threads));
}

fn kv_cache(
    args: &mut Args,
    dialect: Dialect,
    kv: KvTypes,
    has_draft_context: bool,
) -> Result<(), StackError> {
    let [k, v] = [cache_type(dialect, kv.k)?, cache_type(dialect, kv.v)?];
    args.pair("-ctk", k);
    args.pair("-ctv", v);
    // The drafter's own cache is f16 unless told.
    if has_draft_context && kv != KvTypes::same(KvType::F16) {
        args.pair("-ctkd", k);
        args.pair("-ctvd", v);
    }
    // A quantised V cache needs flash attention; elsewhere the build's own choice is what users get.
    args.pair("-fa", if kv.is_quantised() { "on" } else { "auto" });
    Ok(())
}

/// The fork's word of a type, which is upstream's where upstream has it.
fn cache_type(dialect: Dialect, ty: KvType) -> Result<&'static str, StackError> {
    if ty.is_turbo() && dialect == Dialect::Upstream {
        let what =
            format!("keep a {} KV cache: only the fork has it, the stack `atomic-llama-server`", ty.as_str());
        return Err(dialect.cannot(what));
    }
    // Its one turbo4 has its own codebook; a preset's `turbo4` asks it for what it calls so, as ever.
    Ok(if ty == KvType::Turbo4Atomic { KvType::Turbo4.as_str() } else { ty.as_str() })
}

/// Without layers on it a GPU would still get the KV cache and large products: `none` leaves it out.
fn device(args: &mut Args, device: Device, has_draft_context: bool) {
    match device {
        Device::Auto => {}
        Device::Cpu => {
            args.pair("-ngl", 0);
            args.pair("-dev", "none");
            if has_draft_context {
                args.pair("-ngld", 0);
                args.pair("-devd", "none");
            }
        }
        Device::Gpu => {
            args.pair("-ngl", ALL_LAYERS);
            if has_draft_context {
                args.pair("-ngld", ALL_LAYERS);
            }
        }
    }
}

fn path(dialect: Dialect, path: &Path) -> Result<&str, StackError> {
    path.to_str().ok_or_else(|| dialect.cannot(format!("open `{}`: the path is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests;
