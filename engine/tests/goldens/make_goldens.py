#!/usr/bin/env python3
"""Write small random Gemma 4 pairs and what transformers computes with them.

The architecture is transformers' own (Gemma4ForCausalLM, Gemma4AssistantForCausalLM); only the weights are ours,
drawn from a seed and rounded to f16 so that the GGUF files hold them exactly. Everything runs in f32 on the CPU.

    python3 make_goldens.py OUTDIR          # needs torch and transformers (made with 2.11.0 and 5.17.0)

For each case CASE it writes
    CASE-target.gguf, CASE-assistant.gguf   the models (matrices F16, the rest F32)
    CASE.json                               prompt, drafted tokens and settings
    CASE-logits.f32                         target logits, [prompt, vocab], little-endian f32
    CASE-hidden.f32                         post-norm hidden rows, [prompt, hidden]
    CASE-draft-logits.f32                   assistant logits of the chained drafts, dense head, [drafts, vocab]

Drafting follows llama.cpp: position n for every draft, KV 0..n-1, the sliding layers see the last window-1 of them.
"""
import json
import math
import os
import struct
import sys

import torch
import transformers
from transformers import Gemma4AssistantConfig, Gemma4AssistantForCausalLM, Gemma4ForCausalLM, Gemma4TextConfig

SLIDING, FULL = "sliding_attention", "full_attention"
VOCAB, PROMPT, DRAFTS = 320, 70, 4


# ------------------------------------------------------------------ GGUF v3
class Gguf:
    """Just enough of a GGUF v3 writer."""

    U32, I32, F32, BOOL, STR, ARR = 4, 5, 6, 7, 8, 9

    def __init__(self):
        self.values, self.tensors = [], []

    @staticmethod
    def _str(s):
        b = s.encode()
        return struct.pack("<Q", len(b)) + b

    def _scalar(self, kind, v):
        if kind == self.STR:
            return self._str(v)
        return struct.pack({self.U32: "<I", self.I32: "<i", self.F32: "<f", self.BOOL: "<?"}[kind], v)

    def add(self, key, kind, value):
        self.values.append(self._str(key) + struct.pack("<I", kind) + self._scalar(kind, value))

    def add_array(self, key, kind, values):
        body = b"".join(self._scalar(kind, v) for v in values)
        self.values.append(self._str(key) + struct.pack("<IIQ", self.ARR, kind, len(values)) + body)

    def tensor(self, name, t):
        t = t.detach().float().contiguous()
        f16 = t.dim() >= 2
        data = (t.half() if f16 else t).numpy().tobytes()
        if f16:
            assert torch.equal(t.half().float(), t), name
        self.tensors.append((name, list(reversed(t.shape)), 1 if f16 else 0, data))

    def int_tensor(self, name, t):
        self.tensors.append((name, list(reversed(t.shape)), 26, t.to(torch.int32).numpy().tobytes()))

    def write(self, path):
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.values)) + b"".join(self.values)
        at, blobs = 0, []
        for name, dims, ty, data in self.tensors:
            head += self._str(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
            head += struct.pack("<IQ", ty, at)
            padded = data + b"\0" * (-len(data) % 32)
            blobs.append(padded)
            at += len(padded)
        with open(path, "wb") as f:
            f.write(head + b"\0" * (-len(head) % 32))
            f.writelines(blobs)


def add_tokenizer(w):
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>"]
    kinds = [3, 3, 3, 2, 3, 3, 3] + [6] * 256
    tokens += [f"<0x{b:02X}>" for b in range(256)]
    tokens += ["a", "b", "ab"]
    kinds += [1, 1, 1]
    while len(tokens) < VOCAB:
        tokens.append(f"\u2581w{len(tokens)}")
        kinds.append(1)
    w.add("tokenizer.ggml.model", w.STR, "gemma4")
    w.add_array("tokenizer.ggml.tokens", w.STR, tokens)
    w.add_array("tokenizer.ggml.scores", w.F32, [0.0] * VOCAB)
    w.add_array("tokenizer.ggml.token_type", w.I32, kinds)
    w.add_array("tokenizer.ggml.merges", w.STR, ["a b"])
    for key, token in (("bos", 2), ("eos", 1), ("unknown", 3), ("padding", 0), ("mask", 4)):
        w.add(f"tokenizer.ggml.{key}_token_id", w.U32, token)
    w.add("tokenizer.ggml.add_bos_token", w.BOOL, True)
    w.add("tokenizer.ggml.add_space_prefix", w.BOOL, False)


def add_config(w, arch, c, kv_per_layer, ffn_per_layer):
    full, sliding = c.layer_types.index(FULL), c.layer_types.index(SLIDING)
    w.add("general.architecture", w.STR, arch)
    w.add("general.name", w.STR, "random weights, made for a golden test")
    w.add("general.file_type", w.U32, 1)
    w.add(f"{arch}.context_length", w.U32, c.max_position_embeddings)
    w.add(f"{arch}.embedding_length", w.U32, c.hidden_size)
    w.add(f"{arch}.block_count", w.U32, c.num_hidden_layers)
    w.add_array(f"{arch}.feed_forward_length", w.I32, ffn_per_layer)
    w.add(f"{arch}.attention.head_count", w.U32, c.num_attention_heads)
    w.add_array(f"{arch}.attention.head_count_kv", w.I32, kv_per_layer)
    for name in ("key", "value"):
        w.add(f"{arch}.attention.{name}_length", w.U32, c.per_layer_config[full].head_dim)
        w.add(f"{arch}.attention.{name}_length_swa", w.U32, c.per_layer_config[sliding].head_dim)
    w.add(f"{arch}.attention.layer_norm_rms_epsilon", w.F32, c.rms_norm_eps)
    w.add(f"{arch}.attention.sliding_window", w.U32, c.sliding_window)
    w.add_array(f"{arch}.attention.sliding_window_pattern", w.BOOL, [t == SLIDING for t in c.layer_types])
    w.add(f"{arch}.attention.shared_kv_layers", w.U32, c.num_kv_shared_layers)
    w.add(f"{arch}.embedding_length_per_layer_input", w.U32, c.hidden_size_per_layer_input)
    if getattr(c, "enable_moe_block", False):
        w.add(f"{arch}.expert_count", w.U32, c.num_experts)
        w.add(f"{arch}.expert_used_count", w.U32, c.top_k_experts)
        w.add(f"{arch}.expert_feed_forward_length", w.U32, c.moe_intermediate_size)
    if c.final_logit_softcapping:
        w.add(f"{arch}.final_logit_softcapping", w.F32, c.final_logit_softcapping)
    w.add(f"{arch}.rope.freq_base", w.F32, 1e6)
    w.add(f"{arch}.rope.freq_base_swa", w.F32, 1e4)
    w.add(f"{arch}.rope.dimension_count", w.U32, c.per_layer_config[full].head_dim)
    w.add(f"{arch}.rope.dimension_count_swa", w.U32, c.per_layer_config[sliding].head_dim)


LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
    "layer_scalar": "layer_output_scale.weight",
    "per_layer_input_gate.weight": "inp_gate.weight",
    "per_layer_projection.weight": "proj.weight",
    "post_per_layer_input_norm.weight": "post_norm.weight",
    "router.proj.weight": "ffn_gate_inp.weight",
    "router.scale": "ffn_gate_inp.scale",
    "router.per_expert_scale": "ffn_down_exps.scale",
    "pre_feedforward_layernorm_2.weight": "pre_ffw_norm_2.weight",
    "post_feedforward_layernorm_1.weight": "post_ffw_norm_1.weight",
    "post_feedforward_layernorm_2.weight": "post_ffw_norm_2.weight",
    "experts.gate_up_proj": "ffn_gate_up_exps.weight",
    "experts.down_proj": "ffn_down_exps.weight",
}
GLOBAL_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "model.embed_tokens_per_layer.weight": "per_layer_token_embd.weight",
    "model.per_layer_model_projection.weight": "per_layer_model_proj.weight",
    "model.per_layer_projection_norm.weight": "per_layer_proj_norm.weight",
    "pre_projection.weight": "nextn.pre_projection.weight",
    "post_projection.weight": "nextn.post_projection.weight",
    "masked_embedding.centroids.weight": "masked_embd_centroids.weight",
    "masked_embedding.token_ordering": "masked_embd_ordering",
}


def write_gguf(path, arch, model, config, extra=()):
    w = Gguf()
    layers = range(config.num_hidden_layers)
    kv = [config.per_layer_config[i].num_key_value_heads for i in layers]
    ffn = [model.model.layers[i].mlp.gate_proj.out_features for i in layers]
    add_config(w, arch, config, kv, ffn)
    for key, value in extra:
        w.add(f"{arch}.{key}", w.U32, value)
    add_tokenizer(w)
    head = config.per_layer_config[config.layer_types.index(FULL)].head_dim
    rotated = head // 8
    w.tensor("rope_freqs.weight", torch.tensor([1.0] * rotated + [1e30] * (head // 2 - rotated)))
    for name, t in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        if name in GLOBAL_NAMES:
            (w.int_tensor if name.endswith("token_ordering") else w.tensor)(GLOBAL_NAMES[name], t)
            continue
        index, rest = name.removeprefix("model.layers.").split(".", 1)
        w.tensor(f"blk.{index}.{LAYER_NAMES[rest]}", t)
    w.write(path)


# ------------------------------------------------------------------- models
def randomise(model, seed, k_norm):
    """Scales that keep every part of the graph visible in the logits: an embedding small beside what the layers
    add, and logits of about 7, well below the softcap."""
    g = torch.Generator().manual_seed(seed)
    normal = lambda shape: torch.randn(shape, generator=g)
    with torch.no_grad():
        for name, p in list(model.named_parameters()) + list(model.named_buffers()):
            if "inv_freq" in name or "embed_scale" in name:
                continue
            if name.endswith("token_ordering"):
                p.copy_(torch.randperm(p.numel(), generator=g))
            elif name.endswith("layer_scalar"):
                p.copy_(0.9 + 0.2 * torch.rand(1, generator=g))
            elif p.dim() == 1:
                scale = k_norm if "k_norm" in name else 3.0 if name == "model.norm.weight" else 1.0
                p.copy_(scale * (1.0 + 0.2 * normal(p.shape)))
            elif "embed" in name and "masked" not in name:
                p.copy_(0.3 * normal(p.shape) / (1.0 if "per_layer" not in name else math.sqrt(p.shape[1])))
            else:
                p.copy_(normal(p.shape) / math.sqrt(p.shape[-1]))
            if p.dim() >= 2:
                p.copy_(p.half().float())


def text_config(**kw):
    base = dict(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=1, head_dim=32, global_head_dim=64, sliding_window=16, max_position_embeddings=512,
        layer_types=[SLIDING, SLIDING, FULL] * 2, final_logit_softcapping=30.0, tie_word_embeddings=True,
        hidden_size_per_layer_input=16, vocab_size_per_layer_input=VOCAB, num_kv_shared_layers=3,
        use_double_wide_mlp=True, pad_token_id=0, eos_token_id=1, bos_token_id=2, attn_implementation="eager",
    )
    return Gemma4TextConfig(**{**base, **kw})


CASES = {
    # shared KV, per-layer embeddings, double-wide MLP on the shared layers, centroid head
    "shared-kv": dict(target={}, kv_heads=dict(num_key_value_heads=1), centroids=40),
    # k_eq_v on the full layers, another number of KV heads there, no sharing, no per-layer embeddings, dense head
    "k-eq-v": dict(
        target=dict(attention_k_eq_v=True, num_key_value_heads=2, num_global_key_value_heads=1,
                    num_kv_shared_layers=0, use_double_wide_mlp=False, hidden_size_per_layer_input=0,
                    vocab_size_per_layer_input=0),
        kv_heads=dict(num_key_value_heads=2, num_global_key_value_heads=1, attention_k_eq_v=True),
        centroids=None),
    # a mixture of experts in every layer, as the 26B-A4B has it; experts of 48 columns, so that groups are cut off
    "experts": dict(
        target=dict(attention_k_eq_v=True, num_key_value_heads=2, num_global_key_value_heads=1,
                    num_kv_shared_layers=0, use_double_wide_mlp=False, hidden_size_per_layer_input=0,
                    vocab_size_per_layer_input=0, enable_moe_block=True, num_experts=8, top_k_experts=2,
                    moe_intermediate_size=48),
        kv_heads=dict(num_key_value_heads=2, num_global_key_value_heads=1, attention_k_eq_v=True),
        centroids=None),
}


def draft(assistant, target, token, hidden, shared_kv, window):
    """Chained drafts at the constant position n; returns tokens, logits and dense logits."""
    n = shared_kv[FULL][0].shape[2]
    seen = {k: tuple(t[:, :, -(window - 1):] if k == SLIDING else t for t in kv) for k, kv in shared_kv.items()}
    tokens, dense_rows = [], []
    grabbed = {}
    hook = assistant.model.register_forward_hook(lambda m, a, out: grabbed.update(y=out.last_hidden_state))
    for _ in range(DRAFTS):
        embedding = target.model.embed_tokens(torch.tensor([[token]]))
        out = assistant(inputs_embeds=torch.cat([embedding, hidden], dim=-1),
                        position_ids=torch.tensor([[n]]), shared_kv_states=seen)
        dense_rows.append(assistant.lm_head(grabbed["y"])[0, 0])
        token, hidden = int(out.logits[0, 0].argmax()), out.last_hidden_state
        tokens.append(token)
    hook.remove()
    return tokens, torch.stack(dense_rows)


def make(case, spec, outdir, seed):
    config = text_config(**spec["target"])
    target = Gemma4ForCausalLM(config).eval()
    randomise(target, seed, k_norm=0.3)
    a_text = text_config(hidden_size=32, intermediate_size=64, num_hidden_layers=4,
                         layer_types=[SLIDING, SLIDING, SLIDING, FULL], num_kv_shared_layers=4,
                         use_double_wide_mlp=False, hidden_size_per_layer_input=0, vocab_size_per_layer_input=0,
                         final_logit_softcapping=None, num_attention_heads=2 * spec["kv_heads"]["num_key_value_heads"],
                         **spec["kv_heads"])
    centroids = spec["centroids"]
    a_config = Gemma4AssistantConfig(text_config=a_text, backbone_hidden_size=config.hidden_size,
                                     use_ordered_embeddings=centroids is not None,
                                     num_centroids=centroids or 1, centroid_intermediate_top_k=32)
    assistant = Gemma4AssistantForCausalLM(a_config).eval()
    randomise(assistant, seed + 1, k_norm=0.3)

    g = torch.Generator().manual_seed(seed + 2)
    prompt = torch.cat([torch.tensor([2]), torch.randint(7, VOCAB, (PROMPT - 1,), generator=g)])
    with torch.no_grad():
        out = target(input_ids=prompt[None], use_cache=False, output_hidden_states=True, return_shared_kv_states=True)
        logits, hidden = out.logits[0], out.hidden_states[-1][0]
        kv = {k: (v[0], v[1]) for k, v in out.shared_kv_states.items()}
        first = int(logits[-1].argmax())
        drafts, draft_logits = draft(assistant, target, first, hidden[None, -1:], kv, config.sliding_window)

    write_gguf(f"{outdir}/{case}-target.gguf", "gemma4", target, config)
    write_gguf(f"{outdir}/{case}-assistant.gguf", "gemma4-assistant", assistant, a_text,
               [("embedding_length_out", config.hidden_size), ("nextn_predict_layers", 4)])
    for name, t in (("logits", logits), ("hidden", hidden), ("draft-logits", draft_logits)):
        with open(f"{outdir}/{case}-{name}.f32", "wb") as f:
            f.write(t.contiguous().numpy().astype("<f4").tobytes())
    top2 = torch.topk(logits, 2).values
    with open(f"{outdir}/{case}.json", "w") as f:
        json.dump(dict(made_with=dict(torch=torch.__version__, transformers=transformers.__version__),
                       prompt=prompt.tolist(), next_token=first, drafts=drafts, vocab=VOCAB,
                       hidden=config.hidden_size, window=config.sliding_window,
                       centroid_head=centroids is not None), f, indent=1)
    print(case, "logit scale", float(logits.abs().max()), "smallest top-2 gap", float((top2[:, 0] - top2[:, 1]).min()),
          "drafts", drafts, "assistant scale", float(draft_logits.abs().max()))


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    torch.manual_seed(0)
    for i, (case, spec) in enumerate(CASES.items()):
        make(case, spec, sys.argv[1], seed=100 * (i + 1))
