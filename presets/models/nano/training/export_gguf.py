#!/usr/bin/env python3
"""Write the trained checkpoints as GGUF files that llama.cpp and this project's engine load.

    python3 export_gguf.py RUN_DIR TOKENIZER.json OUT_DIR     # RUN_DIR holds target.pt and assistant.pt

Matrices become Q8_0; `per_layer_model_proj` stays F16 and vectors F32, as llama-quantize leaves them. The assistant's
centroid head goes along as `masked_embd_centroids` and `masked_embd_ordering`.
"""
import json
import sys
from pathlib import Path

import numpy as np
import checkpoint
from gguf_file import BOOL, F32, I32, STR, U32, GgufFile
from shapes import CONTEXT, FULL, HIDDEN, SLIDING, WINDOW, assistant_text_config, target_config
from vocabulary import BYTES, CHAT_TEMPLATE, SPECIAL

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
# Recomputed from the configuration, or tied to another tensor.
NOT_WRITTEN = ("lm_head.weight", "inv_freq", "embed_scale")


def gguf_name(name: str) -> str | None:
    """llama.cpp's name of a tensor of transformers' state dict; None for what is not written."""
    if any(part in name for part in NOT_WRITTEN):
        return None
    if name in GLOBAL_NAMES:
        return GLOBAL_NAMES[name]
    index, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{index}.{LAYER_NAMES[rest]}"


def add_config(file: GgufFile, arch: str, name: str, config) -> None:
    file.set("general.architecture", STR, arch)
    file.set("general.name", STR, name)
    file.set("general.license", STR, "MIT OR Apache-2.0")
    file.set("general.file_type", U32, 7)
    file.set("general.quantization_version", U32, 2)
    layers = range(config.num_hidden_layers)
    full, sliding = config.layer_types.index(FULL), config.layer_types.index(SLIDING)
    number = {
        "context_length": CONTEXT, "embedding_length": config.hidden_size, "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size, "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.per_layer_config[full].num_key_value_heads,
        "attention.key_length": config.per_layer_config[full].head_dim,
        "attention.value_length": config.per_layer_config[full].head_dim,
        "attention.key_length_swa": config.per_layer_config[sliding].head_dim,
        "attention.value_length_swa": config.per_layer_config[sliding].head_dim,
        "attention.sliding_window": WINDOW, "attention.shared_kv_layers": config.num_kv_shared_layers,
        "embedding_length_per_layer_input": config.hidden_size_per_layer_input,
        "rope.dimension_count": config.per_layer_config[full].head_dim,
        "rope.dimension_count_swa": config.per_layer_config[sliding].head_dim,
    }
    for key, value in number.items():
        file.set(f"{arch}.{key}", U32, value)
    file.set(f"{arch}.attention.layer_norm_rms_epsilon", F32, config.rms_norm_eps)
    file.set(f"{arch}.attention.sliding_window_pattern", BOOL, [config.layer_types[i] == SLIDING for i in layers])
    if config.final_logit_softcapping:
        file.set(f"{arch}.final_logit_softcapping", F32, config.final_logit_softcapping)
    file.set(f"{arch}.rope.freq_base", F32, 1e6)
    file.set(f"{arch}.rope.freq_base_swa", F32, 1e4)


def add_tokenizer(file: GgufFile, path: str) -> None:
    model = json.loads(Path(path).read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    normal, unknown, control, user_defined, byte = 1, 2, 3, 4, 6
    visible = {"<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>",
               '<|"|>'}
    kinds = {text: control for text in SPECIAL} | {text: user_defined for text in visible} | \
        {text: byte for text in BYTES} | {"<unk>": unknown}
    file.set("tokenizer.ggml.model", STR, "gemma4")
    file.set("tokenizer.ggml.tokens", STR, tokens)
    file.set("tokenizer.ggml.scores", F32, [0.0] * len(tokens))
    file.set("tokenizer.ggml.token_type", I32, [kinds.get(text, normal) for text in tokens])
    file.set("tokenizer.ggml.merges", STR, [" ".join(merge) for merge in model["merges"]])
    for key, text in (("bos", "<bos>"), ("eos", "<eos>"), ("unknown", "<unk>"), ("padding", "<pad>"),
                      ("mask", "<mask>"), ("eot", "<turn|>")):
        file.set(f"tokenizer.ggml.{key}_token_id", U32, model["vocab"][text])
    file.set("tokenizer.ggml.add_bos_token", BOOL, True)
    file.set("tokenizer.ggml.add_space_prefix", BOOL, False)
    file.set("tokenizer.chat_template", STR, CHAT_TEMPLATE)


def add_tensors(file: GgufFile, state: dict, head_dim_full: int) -> None:
    rotated = head_dim_full // 8
    file.tensor("rope_freqs.weight", np.array([1.0] * rotated + [1e30] * (head_dim_full // 2 - rotated)), "f32")
    for name, value in state.items():
        written = gguf_name(name)
        if written is None:
            continue
        array = value.detach().cpu().float().numpy() if value.is_floating_point() else value.cpu().numpy()
        if written == "masked_embd_ordering":
            kind = "i32"
        elif array.ndim < 2:
            kind, array = "f32", array.reshape(-1)
        else:
            kind = "f16" if written == "per_layer_model_proj.weight" else "q8_0"
        file.tensor(written, array, kind)


def main(run: str, tokenizer: str, out: str) -> None:
    pairs = [
        ("target", "gemma4", "nano", target_config(), {}),
        ("assistant", "gemma4-assistant", "nano assistant", assistant_text_config(),
         {"embedding_length_out": HIDDEN, "nextn_predict_layers": assistant_text_config().num_hidden_layers}),
    ]
    for which, arch, name, config, extra in pairs:
        file = GgufFile()
        add_config(file, arch, name, config)
        for key, value in extra.items():
            file.set(f"{arch}.{key}", U32, value)
        add_tokenizer(file, tokenizer)
        state, _ = checkpoint.load(str(Path(run) / which))
        add_tensors(file, state, config.per_layer_config[config.layer_types.index(FULL)].head_dim)
        path = Path(out) / f"nano-{which}-q8_0.gguf"
        file.write(path)
        print(path, path.stat().st_size)


if __name__ == "__main__":
    main(*sys.argv[1:])
