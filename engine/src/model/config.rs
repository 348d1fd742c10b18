//! What a file says about its model, read once and checked before any weight is touched.
//!
//! Covers the Gemma 4 text models (`gemma4`), dense or with a mixture of experts in every layer, and their MTP assistants
//! (`gemma4-assistant`). Invariant: a config that exists is coherent, so the forward pass checks nothing again.

use std::fmt::Display;

use crate::EngineError;
use crate::gguf::Gguf;
use crate::kv_cache::{AttentionKind, KvShape};

/// Layers beyond this are a damaged file, not a model.
const MAX_LAYERS: usize = 1024;

/// One layer's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerConfig {
    /// Sliding or full attention.
    pub kind: AttentionKind,
    /// Elements of a head, by kind.
    pub head_dim: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of the feed-forward block.
    pub ffn_width: usize,
}

/// A mixture of experts beside the dense feed-forward block of every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertConfig {
    /// Experts of a layer.
    pub count: usize,
    /// Experts that each row goes to.
    pub used: usize,
    /// Width of an expert.
    pub width: usize,
}

/// What target and assistant have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Query heads.
    pub heads: usize,
    /// Positions that sliding layers see, the query's own included.
    pub window: usize,
    /// Added to the mean square in every norm.
    pub rms_eps: f32,
    /// RoPE base of the full layers.
    pub rope_base_full: f32,
    /// RoPE base of the sliding layers.
    pub rope_base_sliding: f32,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// From the first to the last.
    pub layers: Vec<LayerConfig>,
    /// Absent in dense models.
    pub experts: Option<ExpertConfig>,
}

/// A target model.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetConfig {
    /// The part that an assistant has too.
    pub decoder: DecoderConfig,
    /// Layers from here on have no keys and values of their own.
    pub first_shared: usize,
    /// The layer whose cache each layer reads.
    pub kv_source: Vec<usize>,
    /// Width of the per-layer embeddings; 0 = none.
    pub ple_width: usize,
    /// `logits = cap * tanh(logits / cap)`, where there is a cap.
    pub softcap: Option<f32>,
    /// Positions the model was trained for.
    pub context_length: usize,
}

/// An MTP assistant that fits a target.
#[derive(Debug, Clone, PartialEq)]
pub struct AssistantConfig {
    /// The part that a target has too.
    pub decoder: DecoderConfig,
    /// The target's hidden size.
    pub backbone_size: usize,
    /// The target layer whose cache each layer reads.
    pub kv_source: Vec<usize>,
}

impl TargetConfig {
    /// Reads and checks a `gemma4` file.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming the key, and errors of the reader.
    pub fn read(gguf: &Gguf) -> Result<Self, EngineError> {
        require_architecture(gguf, "gemma4")?;
        let keys = Keys { gguf, arch: "gemma4" };
        let decoder = DecoderConfig::read(&keys)?;
        let layers = decoder.layers.len();
        let shared = keys.optional("attention.shared_kv_layers")?.unwrap_or(0);
        if shared >= layers {
            return Err(keys.bad(
                "attention.shared_kv_layers",
                shared,
                &format!("less than {layers} layers"),
            ));
        }
        let first_shared = layers - shared;
        let kv_source = (0..layers)
            .map(|i| if i < first_shared { Ok(i) } else { last_of_kind(&keys, &decoder, first_shared, i) })
            .collect::<Result<_, _>>()?;
        let cap_key = keys.name("final_logit_softcapping");
        let softcap = gguf.opt_f32(&cap_key)?.filter(|cap| *cap != 0.0);
        if softcap.is_some_and(|cap| !(cap.is_finite() && cap > 0.0)) {
            return Err(keys.bad("final_logit_softcapping", format!("{softcap:?}"), "a positive number"));
        }
        let ple_width = keys.size("embedding_length_per_layer_input", 0..=1 << 16)?;
        let context_length = keys.size("context_length", 1..=1 << 28)?;
        Ok(Self { decoder, first_shared, kv_source, ple_width, softcap, context_length })
    }

    /// The caches to make, one a layer that has its own.
    #[must_use]
    pub fn kv_shapes(&self) -> Vec<Option<KvShape>> {
        let own = |(i, layer): (usize, &LayerConfig)| {
            let LayerConfig { kind, kv_heads, head_dim, .. } = *layer;
            (i < self.first_shared).then_some(KvShape { kind, kv_heads, head_dim })
        };
        self.decoder.layers.iter().enumerate().map(own).collect()
    }
}

impl AssistantConfig {
    /// Reads and checks a `gemma4-assistant` file against its target.
    ///
    /// # Errors
    /// [`EngineError::Model`] naming the key, and errors of the reader.
    pub fn read(gguf: &Gguf, target: &TargetConfig) -> Result<Self, EngineError> {
        require_architecture(gguf, "gemma4-assistant")?;
        let keys = Keys { gguf, arch: "gemma4-assistant" };
        let decoder = DecoderConfig::read(&keys)?;
        if decoder.experts.is_some() {
            return Err(keys.bad("expert_count", "a mixture of experts", "an assistant, which is dense"));
        }
        let backbone_size = keys.size("embedding_length_out", 1..=1 << 20)?;
        let fits = |key: &str, got: usize, expected: usize| {
            let hint = "the assistant was made for another target; take the assistant of the same model size";
            if got == expected {
                Ok(())
            } else {
                Err(keys.bad(key, got, &format!("the target's {expected}")).hint_with(hint))
            }
        };
        fits("embedding_length_out", backbone_size, target.decoder.hidden_size)?;
        fits("vocab_size (rows of token_embd.weight)", decoder.vocab_size, target.decoder.vocab_size)?;
        fits("attention.sliding_window", decoder.window, target.decoder.window)?;
        if decoder.window < 2 {
            return Err(keys.bad(
                "attention.sliding_window",
                decoder.window,
                "2 or more: a draft sees window - 1 tokens",
            ));
        }
        let mut kv_source = Vec::with_capacity(decoder.layers.len());
        for i in 0..decoder.layers.len() {
            let source = last_of_kind_in(&keys, &decoder, &target.decoder, target.first_shared, i)?;
            let (own, from) = (decoder.layers[i], target.decoder.layers[source]);
            fits("attention.head_count_kv", own.kv_heads, from.kv_heads)?;
            fits(head_dim_key(own.kind), own.head_dim, from.head_dim)?;
            kv_source.push(source);
        }
        Ok(Self { decoder, backbone_size, kv_source })
    }

    /// Whether `target` has what this assistant reads: the model it was read for, or one of the same shape.
    #[must_use]
    pub fn fits(&self, target: &TargetConfig) -> bool {
        let decoder = &target.decoder;
        let same = |(own, source): (&LayerConfig, &usize)| {
            decoder.layers.get(*source).is_some_and(|from| {
                (own.kind, own.head_dim, own.kv_heads) == (from.kind, from.head_dim, from.kv_heads)
            })
        };
        self.backbone_size == decoder.hidden_size
            && self.decoder.vocab_size == decoder.vocab_size
            && self.decoder.layers.iter().zip(&self.kv_source).all(same)
    }
}

impl ExpertConfig {
    /// Most experts that a row goes to.
    pub const MOST_USED: usize = 16;

    fn read(keys: &Keys<'_>) -> Result<Option<Self>, EngineError> {
        if keys.optional("expert_count")?.unwrap_or(0) == 0 {
            return Ok(None);
        }
        let count = keys.size("expert_count", 1..=1024)?;
        let used = keys.size("expert_used_count", 1..=count.min(Self::MOST_USED))?;
        Ok(Some(Self { count, used, width: keys.size("expert_feed_forward_length", 1..=1 << 20)? }))
    }
}

impl DecoderConfig {
    fn read(keys: &Keys<'_>) -> Result<Self, EngineError> {
        let gguf = keys.gguf;
        let hidden_size = keys.size("embedding_length", 1..=1 << 20)?;
        let count = keys.size("block_count", 1..=MAX_LAYERS)?;
        let heads = keys.size("attention.head_count", 1..=1 << 12)?;
        let head_dims = [AttentionKind::Sliding, AttentionKind::Full].map(|kind| keys.head_dim(kind));
        let [sliding_dim, full_dim] = head_dims;
        let (sliding_dim, full_dim) = (sliding_dim?, full_dim?);
        let kv_heads = keys.per_layer("attention.head_count_kv", count)?;
        let ffn_widths = keys.per_layer("feed_forward_length", count)?;
        let pattern = gguf.bool_array(&keys.name("attention.sliding_window_pattern"))?;
        if pattern.len() != count {
            let got = format!("{} entries", pattern.len());
            return Err(keys.bad(
                "attention.sliding_window_pattern",
                got,
                &format!("one for each of {count} layers"),
            ));
        }
        let mut layers = Vec::with_capacity(count);
        for ((sliding, kv_heads), ffn_width) in pattern.iter().zip(kv_heads).zip(ffn_widths) {
            if kv_heads == 0 || heads % kv_heads != 0 {
                let expected = format!("a divisor of the {heads} query heads");
                return Err(keys.bad("attention.head_count_kv", kv_heads, &expected));
            }
            if ffn_width == 0 {
                return Err(keys.bad("feed_forward_length", ffn_width, "at least 1"));
            }
            let (kind, head_dim) = if *sliding {
                (AttentionKind::Sliding, sliding_dim)
            } else {
                (AttentionKind::Full, full_dim)
            };
            layers.push(LayerConfig { kind, head_dim, kv_heads, ffn_width });
        }
        Ok(Self {
            hidden_size,
            heads,
            window: keys.size("attention.sliding_window", 1..=1 << 28)?,
            rms_eps: keys.positive("attention.layer_norm_rms_epsilon")?,
            rope_base_full: keys.positive("rope.freq_base")?,
            rope_base_sliding: keys.positive("rope.freq_base_swa")?,
            vocab_size: vocab_size(gguf, hidden_size)?,
            layers,
            experts: ExpertConfig::read(keys)?,
        })
    }

    /// Elements of the heads of one kind of layer; 0 where there is no such layer.
    #[must_use]
    pub fn head_dim(&self, kind: AttentionKind) -> usize {
        self.layers.iter().find(|layer| layer.kind == kind).map_or(0, |layer| layer.head_dim)
    }
}

/// The last layer before `first_shared` of the same kind as layer `i` of the same model.
fn last_of_kind(
    keys: &Keys<'_>,
    decoder: &DecoderConfig,
    first_shared: usize,
    i: usize,
) -> Result<usize, EngineError> {
    let source = last_of_kind_in(keys, decoder, decoder, first_shared, i)?;
    let (own, from) = (decoder.layers[i], decoder.layers[source]);
    if own.kv_heads != from.kv_heads {
        let expected = format!("the {} of layer {source}, whose keys layer {i} reads", from.kv_heads);
        return Err(keys.bad("attention.head_count_kv", own.kv_heads, &expected));
    }
    Ok(source)
}

fn last_of_kind_in(
    keys: &Keys<'_>,
    decoder: &DecoderConfig,
    target: &DecoderConfig,
    first_shared: usize,
    i: usize,
) -> Result<usize, EngineError> {
    let kind = decoder.layers[i].kind;
    target.layers[..first_shared].iter().rposition(|layer| layer.kind == kind).ok_or_else(|| {
        let got = format!("layer {i} is {kind:?}");
        let expected = format!("a {kind:?} layer among the target's first {first_shared} to read keys from");
        keys.bad("attention.sliding_window_pattern", got, &expected)
    })
}

/// Reads the keys of one architecture.
struct Keys<'a> {
    gguf: &'a Gguf,
    arch: &'static str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    fn bad(&self, key: &str, got: impl Display, expected: &str) -> EngineError {
        bad_model(format!("key `{}`", self.name(key)), got, expected)
    }

    fn optional(&self, key: &str) -> Result<Option<usize>, EngineError> {
        Ok(self.gguf.opt_u32(&self.name(key))?.map(|v| v as usize))
    }

    fn size(&self, key: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize, EngineError> {
        let value = self.gguf.u32(&self.name(key))? as usize;
        if range.contains(&value) {
            return Ok(value);
        }
        Err(self.bad(key, value, &format!("{} to {}", range.start(), range.end())))
    }

    fn positive(&self, key: &str) -> Result<f32, EngineError> {
        let value = self.gguf.f32(&self.name(key))?;
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(self.bad(key, value, "a positive number"))
        }
    }

    fn per_layer(&self, key: &str, layers: usize) -> Result<Vec<usize>, EngineError> {
        let values = self.gguf.u32_per_layer(&self.name(key), layers)?;
        Ok(values.into_iter().map(|v| v as usize).collect())
    }

    /// Head size of a kind; keys, values and rotated elements must agree.
    fn head_dim(&self, kind: AttentionKind) -> Result<usize, EngineError> {
        let key = head_dim_key(kind);
        let (value_key, rope_key) = match kind {
            AttentionKind::Sliding => ("attention.value_length_swa", "rope.dimension_count_swa"),
            AttentionKind::Full => ("attention.value_length", "rope.dimension_count"),
        };
        let head_dim = self.size(key, 8..=1 << 14)?;
        if head_dim % 8 != 0 {
            return Err(self.bad(key, head_dim, "a multiple of 8"));
        }
        for other in [value_key, rope_key] {
            if let Some(value) = self.optional(other)?.filter(|v| *v != head_dim) {
                return Err(self.bad(other, value, &format!("{head_dim}, as `{key}`")));
            }
        }
        Ok(head_dim)
    }
}

const fn head_dim_key(kind: AttentionKind) -> &'static str {
    match kind {
        AttentionKind::Sliding => "attention.key_length_swa",
        AttentionKind::Full => "attention.key_length",
    }
}

fn require_architecture(gguf: &Gguf, expected: &str) -> Result<(), EngineError> {
    let got = gguf.str("general.architecture")?;
    if got == expected {
        return Ok(());
    }
    let error = bad_model("key `general.architecture`".to_owned(), got, expected);
    Err(match got {
        "gemma4_assistant" | "gemma4_mtp" => error.hint_with(
            "this is an assistant in an old layout; convert it again with a current llama.cpp converter",
        ),
        "gemma4-assistant" => {
            error.hint_with("this is an assistant; give it as the assistant, and a target beside it")
        }
        "gemma4" => error.hint_with("this is a target; the assistant is the small file made for it"),
        _ => error.hint_with("this engine runs Gemma 4 text models"),
    })
}

fn vocab_size(gguf: &Gguf, hidden_size: usize) -> Result<usize, EngineError> {
    let name = "token_embd.weight";
    let Some(tensor) = gguf.tensor(name) else {
        return Err(bad_model(format!("tensor `{name}`"), "nothing", "the embedding table"));
    };
    let rows = match tensor.dims {
        [width, rows] if usize::try_from(*width) == Ok(hidden_size) => usize::try_from(*rows).ok(),
        _ => None,
    };
    rows.filter(|rows| (1..=1 << 24).contains(rows)).ok_or_else(|| {
        let expected = format!("[{hidden_size}, vocabulary of up to 16777216]");
        bad_model(format!("shape of tensor `{name}`"), format!("{:?}", tensor.dims), &expected)
    })
}

/// The error for something in a file that the model cannot use.
pub(super) fn bad_model(what: String, got: impl Display, expected: &str) -> EngineError {
    EngineError::Model { what, got: got.to_string(), expected: expected.to_owned(), hint: None }
}
