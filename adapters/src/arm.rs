//! What an arm needs, for whichever stack.

use std::path::{Path, PathBuf};

use bench_core::preset::{HfModels, ServingParams, SpecDecode, StackKind};

/// Files of an arm's models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPaths {
    /// The model whose output counts, GGUF.
    pub target: PathBuf,
    /// The drafter, GGUF.
    pub assistant: Option<PathBuf>,
}

/// What an arm needs.
#[derive(Debug, Clone, Copy)]
pub struct ConnectRequest<'a> {
    /// Which stack.
    pub kind: StackKind,
    /// The arm's label; names its log.
    pub label: &'a str,
    /// The weights, as GGUF.
    pub models: &'a ModelPaths,
    /// The weights as transformers keeps them, for stacks that read no GGUF.
    pub hf: Option<&'a HfModels>,
    /// How to speculate.
    pub spec: &'a SpecDecode,
    /// How to serve.
    pub serving: &'a ServingParams,
    /// The preset's command for a server the suite does not know; empty without one.
    pub command: &'a [String],
    /// Program or address from the command line; wins over the environment.
    pub place: Option<&'a str>,
    /// An existing directory for logs of servers.
    pub log_dir: &'a Path,
}

impl<'a> ConnectRequest<'a> {
    /// An arm of our own engine, which needs no more.
    #[must_use]
    pub fn native(
        models: &'a ModelPaths,
        spec: &'a SpecDecode,
        serving: &'a ServingParams,
        log_dir: &'a Path,
    ) -> Self {
        Self {
            kind: StackKind::Native,
            label: "native",
            models,
            hf: None,
            spec,
            serving,
            command: &[],
            place: None,
            log_dir,
        }
    }

    /// Where a server of this arm writes.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.log_dir.join(format!("{}.log", self.label.replace('/', "-")))
    }
}
