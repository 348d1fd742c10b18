//! Where a session's models run: targets and drafters of one kind each, driven alike.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::config::{DeviceChoice, EngineConfig, Speculation};
use super::info::Inventory;
use crate::EngineError;
use crate::backend::cpu::Isa;
#[cfg(feature = "cuda")]
use crate::backend::cuda::{Device, architecture};
use crate::gguf::Gguf;
use crate::model::{Assistant, CpuTarget, DraftHead, DraftPosition, LoadOptions, MtpProposer};
#[cfg(feature = "cuda")]
use crate::model::{CudaAssistant, CudaLoadOptions, CudaMtpProposer, CudaTarget};
use crate::spec::divergence::{self, NextToken};
use crate::spec::driver::{Drafting, Driver};
use crate::spec::follow::follow;
use crate::spec::generation::{GenerateParams, GenerateSummary, SpecTotals, StepEvent};
use crate::spec::ngram::NgramProposer;
use crate::spec::{Proposer, Target};

/// A target with its drafter.
pub(super) struct Models<T> {
    target: T,
    proposer: Option<Box<dyn Proposer<T> + Send>>,
    running: Running,
}

/// Models, by where they run.
pub(super) enum Backend {
    Cpu(Box<Models<CpuTarget>>),
    #[cfg(feature = "cuda")]
    Cuda(Box<Models<CudaTarget>>),
}

/// What a backend says of itself.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) layers: usize,
    pub(super) assistant_weight_bytes: Option<u64>,
    pub(super) draft_head: Option<String>,
    pub(super) kernels: String,
    pub(super) device: String,
    pub(super) step_bytes: Option<u64>,
    pub(super) attention_routes: Vec<String>,
    pub(super) ple_table: Option<String>,
}

impl Backend {
    /// Loads the models where they are to run.
    pub(super) fn load(
        config: &EngineConfig,
        gguf: &Arc<Gguf>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, EngineError> {
        match config.device {
            DeviceChoice::Cpu => load_cpu(config, gguf),
            #[cfg(feature = "cuda")]
            DeviceChoice::Gpu(ordinal) => load_cuda(config, gguf, Device::open(ordinal)?, progress),
            #[cfg(feature = "cuda")]
            DeviceChoice::Auto => match Device::open_any()? {
                Some(device) => load_cuda(config, gguf, device, progress),
                None => load_cpu(config, gguf),
            },
            #[cfg(not(feature = "cuda"))]
            DeviceChoice::Auto => load_cpu(config, gguf),
            #[cfg(not(feature = "cuda"))]
            DeviceChoice::Gpu(ordinal) => Err(EngineError::InvalidArgument {
                what: "device",
                got: format!("GPU {ordinal}"),
                expected: "the CPU: this program was built without CUDA".to_owned(),
            }),
        }
    }

    /// What is in force.
    pub(super) fn describe(&self) -> Running {
        match self {
            Self::Cpu(models) => models.running.clone(),
            #[cfg(feature = "cuda")]
            Self::Cuda(models) => models.running.clone(),
        }
    }

    /// Generates from empty caches.
    pub(super) fn generate(
        &mut self,
        speculation: &Speculation,
        eog: &[u32],
        prompt: &[u32],
        params: &GenerateParams,
        on_step: &mut dyn FnMut(&StepEvent<'_>) -> ControlFlow<()>,
    ) -> Result<GenerateSummary, EngineError> {
        match self {
            Self::Cpu(models) => models.generate(speculation, eog, prompt, params, on_step),
            #[cfg(feature = "cuda")]
            Self::Cuda(models) => models.generate(speculation, eog, prompt, params, on_step),
        }
    }

    /// Counts what is accepted along a text; `None` without a drafter.
    pub(super) fn follow(
        &mut self,
        speculation: &Speculation,
        prompt: &[u32],
        text: (&[u32], usize),
    ) -> Result<Option<SpecTotals>, EngineError> {
        match self {
            Self::Cpu(models) => models.follow(speculation, prompt, text),
            #[cfg(feature = "cuda")]
            Self::Cuda(models) => models.follow(speculation, prompt, text),
        }
    }

    /// Shows the target's logits position by position.
    pub(super) fn walk(&mut self, prompt: &[u32], next: &mut NextToken<'_>) -> Result<(), EngineError> {
        match self {
            Self::Cpu(models) => divergence::walk(&mut models.target, prompt, next),
            #[cfg(feature = "cuda")]
            Self::Cuda(models) => divergence::walk(&mut models.target, prompt, next),
        }
    }
}

impl<T: Target> Models<T> {
    fn follow(
        &mut self,
        speculation: &Speculation,
        prompt: &[u32],
        text: (&[u32], usize),
    ) -> Result<Option<SpecTotals>, EngineError> {
        let Self { target, proposer, .. } = self;
        let Some(proposer) = proposer.as_mut() else { return Ok(None) };
        let mut drafting = Drafting {
            proposer: &mut **proposer,
            draft_max: speculation.draft_max(),
            acceptance: speculation.acceptance(),
        };
        follow(target, &mut drafting, prompt, text).map(Some)
    }

    fn generate(
        &mut self,
        speculation: &Speculation,
        eog: &[u32],
        prompt: &[u32],
        params: &GenerateParams,
        on_step: &mut dyn FnMut(&StepEvent<'_>) -> ControlFlow<()>,
    ) -> Result<GenerateSummary, EngineError> {
        let Self { target, proposer, .. } = self;
        let drafting = proposer.as_mut().map(|proposer| Drafting {
            proposer: &mut **proposer,
            draft_max: speculation.draft_max(),
            acceptance: speculation.acceptance(),
        });
        Driver { target, drafting, eog }.generate(prompt, params, on_step)
    }
}

/// An assistant's file, only where it will draft.
struct AssistantFile<'a> {
    path: &'a Path,
    gguf: Arc<Gguf>,
    head: DraftHead,
}

impl<'a> AssistantFile<'a> {
    fn open(config: &'a EngineConfig) -> Result<Option<Self>, EngineError> {
        let Speculation::Mtp { draft_head: head, .. } = config.speculation else { return Ok(None) };
        let Some(path) = config.assistant.as_deref() else {
            return Err(EngineError::MissingAssistant { target: config.target.clone() });
        };
        Ok(Some(Self { path, gguf: Arc::new(Gguf::open(path)?), head }))
    }
}

/// The drafter: the assistant's, prompt lookup, or none.
fn make_proposer<T: Target>(
    speculation: &Speculation,
    assistant: Option<Box<dyn Proposer<T> + Send>>,
) -> Result<Option<Box<dyn Proposer<T> + Send>>, EngineError> {
    Ok(match speculation {
        Speculation::None => None,
        Speculation::Mtp { .. } => assistant,
        Speculation::Ngram { ngram_min, ngram_max, .. } => {
            Some(Box::new(NgramProposer::new(*ngram_min, *ngram_max)?))
        }
    })
}

fn load_cpu(config: &EngineConfig, gguf: &Arc<Gguf>) -> Result<Backend, EngineError> {
    let options = LoadOptions {
        context_tokens: config.context_tokens,
        kv_type: config.kv_type,
        threads: config.threads.get(),
        max_verify_rows: config.speculation.draft_max() + 1,
    };
    let in_target = |error: EngineError| error.in_file(&config.target);
    let target = CpuTarget::load(Arc::clone(gguf), &options).map_err(in_target)?;
    let mut running = Running {
        layers: target.config().decoder.layers.len(),
        assistant_weight_bytes: None,
        draft_head: None,
        kernels: Isa::detect().name().to_owned(),
        device: "cpu".to_owned(),
        step_bytes: u64::try_from(target.step_bytes()).ok(),
        attention_routes: Vec::new(),
        ple_table: None,
    };
    let mut drafter: Option<Box<dyn Proposer<CpuTarget> + Send>> = None;
    if let Some(AssistantFile { path, gguf, head }) = AssistantFile::open(config)? {
        let assistant = Assistant::load(&gguf, &target, head).map_err(|error| error.in_file(path))?;
        running.assistant_weight_bytes = Some(Inventory::of(&gguf).bytes);
        running.draft_head = Some(assistant.draft_head());
        drafter = Some(Box::new(MtpProposer::new(assistant, DraftPosition::AtN)));
    }
    let proposer = make_proposer(&config.speculation, drafter)?;
    Ok(Backend::Cpu(Box::new(Models { target, proposer, running })))
}

#[cfg(feature = "cuda")]
fn load_cuda(
    config: &EngineConfig,
    gguf: &Arc<Gguf>,
    device: Device,
    progress: &mut dyn FnMut(usize),
) -> Result<Backend, EngineError> {
    let options = CudaLoadOptions {
        context_tokens: config.context_tokens,
        k: config.kv_type.k.format(),
        v: config.kv_type.v.format(),
        max_verify_rows: config.speculation.draft_max() + 1,
        ple_table: config.ple_table,
    };
    let kernels = format!("cuda {}", architecture(device.caps().compute));
    let name = device.name().to_owned();
    let in_target = |error: EngineError| error.in_file(&config.target);
    let target = CudaTarget::load(Arc::new(device), gguf, &options, progress).map_err(in_target)?;
    let mut running = Running {
        layers: target.config().decoder.layers.len(),
        assistant_weight_bytes: None,
        draft_head: None,
        kernels,
        device: name,
        step_bytes: u64::try_from(target.step_bytes()).ok(),
        attention_routes: target.routes().to_vec(),
        ple_table: target.ple_table(),
    };
    let mut drafter: Option<Box<dyn Proposer<CudaTarget> + Send>> = None;
    if let Some(AssistantFile { path, gguf, head }) = AssistantFile::open(config)? {
        let assistant = CudaAssistant::load(&gguf, &target, head, config.speculation.draft_max())
            .map_err(|error| error.in_file(path))?;
        running.assistant_weight_bytes = Some(Inventory::of(&gguf).bytes);
        running.draft_head = Some(assistant.draft_head());
        let of_assistant = |route: &String| format!("assistant, {route}");
        running.attention_routes.extend(assistant.routes().iter().map(of_assistant));
        drafter = Some(Box::new(CudaMtpProposer::new(assistant)));
    }
    let proposer = make_proposer(&config.speculation, drafter)?;
    Ok(Backend::Cuda(Box::new(Models { target, proposer, running })))
}
