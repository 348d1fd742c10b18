//! `bench presets lower`: what a preset becomes for one stack. Looks for no file and starts nothing.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use bench_adapters::lower::llama::Dialect;
use bench_adapters::lower::{llama, llama_swap, native, openai, shell_line, vllm};
use bench_adapters::{ConnectRequest, ModelPaths};
use bench_core::preset::{HfModels, ModelSource, Preset, SpecVariant, StackKind};
use bench_core::stack::StackError;

use crate::args::{DialectArg, LowerArgs};
use crate::failure::Failure;
use crate::models;

/// Stands for the free port that a run chooses.
const PORT: u16 = 8080;

pub(crate) fn lower(args: &LowerArgs) -> Result<ExitCode, Failure> {
    let preset = bench_presets::load(&args.preset, &args.overrides)?;
    let variants = chosen(&preset, args.variant.as_deref())?;
    let source = Source {
        dialect: dialect(args)?,
        kind: args.stack,
        models: models::names(&preset.models)?,
        preset: &preset,
    };
    let lowered: Vec<_> =
        variants.iter().map(|variant| (label(args.stack, variant), source.lower(variant))).collect();
    let text = match args.stack {
        StackKind::LlamaSwap => swap_text(&lowered),
        StackKind::Native
        | StackKind::LlamaServer
        | StackKind::AtomicLlamaServer
        | StackKind::Vllm
        | StackKind::OpenAi => lines(&lowered),
    };
    // A closed pipe is no failure.
    drop(anstream::stdout().write_all(text.as_bytes()));
    let any = lowered.iter().any(|(_, result)| result.is_ok());
    Ok(if any { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a variant becomes.
struct Lowered {
    what: What,
    /// Set before the command line.
    env: Vec<(&'static str, String)>,
    /// Said above it.
    note: Option<String>,
}

enum What {
    /// Program and arguments.
    Command(Vec<String>),
    /// Our engine has no command line.
    Facts(String),
}

type Labelled = (String, Result<Lowered, StackError>);

/// What all variants of a preset have in common.
struct Source<'a> {
    preset: &'a Preset,
    kind: StackKind,
    dialect: Dialect,
    models: ModelPaths,
}

impl Source<'_> {
    fn lower(&self, variant: &SpecVariant) -> Result<Lowered, StackError> {
        let (spec, serving) = (&variant.spec, &self.preset.serving_of(&variant.label));
        let plain = |what: What| Lowered { what, env: Vec::new(), note: None };
        let command = |words: Vec<String>| plain(What::Command(words));
        match self.kind {
            StackKind::Native => self.engine(variant).map(|facts| plain(What::Facts(facts))),
            StackKind::LlamaServer | StackKind::AtomicLlamaServer => self.llama(variant, PORT).map(command),
            StackKind::LlamaSwap => self.llama(variant, llama_swap::PORT).map(command),
            StackKind::Vllm => {
                let args = vllm::args(self.hf(), spec, serving, PORT)?;
                let config = vllm::speculative_config(self.hf(), spec)?;
                Ok(Lowered {
                    what: What::Command(with_program("vllm", args)),
                    env: vllm::env(serving),
                    note: config.map(|config| format!("speculative config: {config}")),
                })
            }
            StackKind::OpenAi => self.openai(variant).map(command),
        }
    }

    fn engine(&self, variant: &SpecVariant) -> Result<String, StackError> {
        let (models, serving) = (&self.models, &self.preset.serving_of(&variant.label));
        let config = native::config(&ConnectRequest::native(models, &variant.spec, serving, Path::new("")))?;
        Ok(native::line(&config))
    }

    fn llama(&self, variant: &SpecVariant, port: impl std::fmt::Display) -> Result<Vec<String>, StackError> {
        let ModelPaths { target, assistant } = &self.models;
        let serving = &self.preset.serving_of(&variant.label);
        let args = llama::args(self.dialect, target, assistant.as_deref(), &variant.spec, serving, port)?;
        Ok(with_program("llama-server", args))
    }

    fn openai(&self, variant: &SpecVariant) -> Result<Vec<String>, StackError> {
        let stack = self.preset.stacks.iter().find(|stack| stack.kind == StackKind::OpenAi);
        let command = stack.map_or(&[][..], |stack| &stack.command);
        let files = [Some(self.models.target.as_path()), self.models.assistant.as_deref()]
            .map(|path| path.map(|path| path.to_string_lossy().into_owned()));
        let names = match self.hf() {
            Some(hf) => openai::Names { target: &hf.target, assistant: hf.assistant.as_deref() },
            None => openai::Names {
                target: files[0].as_deref().unwrap_or_default(),
                assistant: files[1].as_deref(),
            },
        };
        openai::args(command, names, &variant.spec, &self.preset.serving, PORT)
    }

    fn hf(&self) -> Option<&HfModels> {
        match &self.preset.models {
            ModelSource::Files { hf, .. } => hf.as_ref(),
            ModelSource::Bundled(_) | ModelSource::SynthTiny(_) => None,
        }
    }
}

fn chosen<'a>(preset: &'a Preset, label: Option<&str>) -> Result<Vec<&'a SpecVariant>, Failure> {
    let all = || preset.variants.iter();
    let Some(label) = label else { return Ok(all().collect()) };
    match all().find(|variant| variant.label == label) {
        Some(variant) => Ok(vec![variant]),
        None => {
            let labels: Vec<_> = all().map(|variant| format!("`{}`", variant.label)).collect();
            Err(Failure::with_hint(
                format!("the preset `{}` has no variant `{label}`", preset.name),
                format!("it has {}", labels.join(", ")),
            ))
        }
    }
}

fn dialect(args: &LowerArgs) -> Result<Dialect, Failure> {
    let asked = args.dialect.map(|dialect| match dialect {
        DialectArg::Upstream => Dialect::Upstream,
        DialectArg::AtomicOld => Dialect::AtomicOld,
        DialectArg::AtomicNew => Dialect::AtomicNew,
    });
    let usual = match args.stack {
        StackKind::AtomicLlamaServer => Dialect::AtomicNew,
        StackKind::Native
        | StackKind::LlamaServer
        | StackKind::LlamaSwap
        | StackKind::Vllm
        | StackKind::OpenAi => Dialect::Upstream,
    };
    match asked {
        // llama-swap hosts either.
        Some(asked) if args.stack == StackKind::LlamaSwap || asked.stack() == args.stack => Ok(asked),
        Some(_) => Err(Failure::with_hint(
            format!("`--dialect` is no dialect of {}", args.stack),
            "llama-server speaks `upstream`, atomic-llama-server `atomic-old` and `atomic-new`, llama-swap hosts all three",
        )),
        None => Ok(usual),
    }
}

fn with_program(program: &str, args: Vec<String>) -> Vec<String> {
    std::iter::once(program.to_owned()).chain(args).collect()
}

fn label(kind: StackKind, variant: &SpecVariant) -> String {
    format!("{kind}/{}", variant.label)
}

/// A comment and a line for each variant.
fn lines(lowered: &[Labelled]) -> String {
    let mut text = String::new();
    for (label, result) in lowered {
        // Writing to a string cannot fail.
        let _infallible = match result {
            Err(error) => writeln!(text, "# {label}: {}", why_not(error)),
            Ok(Lowered { what, env, note }) => {
                let note = note.iter().map(|note| format!("# {note}\n")).collect::<String>();
                let env: String = env.iter().map(|(name, value)| format!("{name}={value} ")).collect();
                let line = match what {
                    What::Command(words) => shell_line(words),
                    What::Facts(facts) => facts.clone(),
                };
                writeln!(text, "# {label}\n{note}{env}{line}")
            }
        };
    }
    text
}

/// llama-swap's configuration of the variants it can host.
fn swap_text(lowered: &[Labelled]) -> String {
    let mut text = String::new();
    let mut models = Vec::new();
    for (label, result) in lowered {
        let id = label.trim_start_matches("llama-swap/").to_owned();
        match result {
            Ok(Lowered { what: What::Command(words), .. }) => models.push((id, words.clone())),
            Ok(Lowered { what: What::Facts(_), .. }) => {}
            Err(error) => text.push_str(&format!("# {label}: {}\n", why_not(error))),
        }
    }
    text + &llama_swap::config(&models)
}

/// `cannot ...`, without the stack that the label names already.
fn why_not(error: &StackError) -> String {
    if let StackError::Unsupported { what, .. } = error {
        format!("cannot {what}")
    } else {
        error.to_string()
    }
}
