//! From an arm of a preset to a stack that is ready for requests.
//!
//! A server that is attached to runs whatever it runs: [`Stack::describe`] tells, and what contradicts the preset makes
//! the arm invalid.

use std::sync::Arc;

use bench_core::preset::StackKind;
use bench_core::stack::{Stack, StackError};

use crate::arm::ConnectRequest;
use crate::llama_server::{LlamaLaunch, LlamaServer};
use crate::llama_swap::LlamaSwap;
use crate::openai_server::OpenAiServer;
use crate::place::{Place, find};
use crate::vllm::Vllm;

/// Starts, loads or attaches to the arm's stack. Returns when it takes requests.
pub async fn connect(request: &ConnectRequest<'_>) -> Result<Arc<dyn Stack>, StackError> {
    match request.kind {
        StackKind::Native => crate::native::connect(request).await,
        StackKind::LlamaServer | StackKind::AtomicLlamaServer => llama_server(request).await,
        StackKind::LlamaSwap => Ok(Arc::new(LlamaSwap::connect(request).await?)),
        StackKind::Vllm => Ok(Arc::new(Vllm::connect(request).await?)),
        StackKind::OpenAi => Ok(Arc::new(OpenAiServer::connect(request).await?)),
    }
}

/// Where a stack was found, or how to get it.
pub fn availability(kind: StackKind) -> Result<String, StackError> {
    match kind {
        StackKind::Native => Ok("built in".to_owned()),
        kind @ (StackKind::LlamaServer
        | StackKind::AtomicLlamaServer
        | StackKind::LlamaSwap
        | StackKind::Vllm
        | StackKind::OpenAi) => find(kind, None).map(|place| match place {
            Place::Program(path) => path.display().to_string(),
            Place::Url(url) => format!("attached to {url}"),
        }),
    }
}

/// Whether an arm of this stack would be a server that runs already. Such a server has its own files.
#[must_use]
pub fn is_attached(kind: StackKind, place: Option<&str>) -> bool {
    kind != StackKind::Native && matches!(find(kind, place), Ok(Place::Url(_)))
}

async fn llama_server(request: &ConnectRequest<'_>) -> Result<Arc<dyn Stack>, StackError> {
    let program = match find(request.kind, request.place)? {
        Place::Url(url) => {
            return Ok(Arc::new(LlamaServer::attach_as(request.kind, &url, request.serving.route)?));
        }
        Place::Program(program) => program,
    };
    let launch = LlamaLaunch {
        kind: request.kind,
        program,
        models: request.models,
        spec: request.spec,
        serving: request.serving,
        log: request.log_path(),
    };
    Ok(Arc::new(LlamaServer::launch(&launch).await?))
}
