#!/usr/bin/env python3
"""The bundled pair for transformers and vLLM: folders with config.json, model.safetensors and tokenizer files.

    python3 to_transformers.py OUT_DIR [--dtype float32|bfloat16]     # needs gguf, safetensors, tokenizers, transformers 5.17

Reads the GGUF files beside this script, so that every stack computes with the same (once quantised) weights, and writes
OUT_DIR/target and OUT_DIR/assistant. float32 holds the weights exactly; bfloat16 is what vLLM prefers.
"""
import argparse
import json
import sys
from pathlib import Path

import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "training"))
from export_gguf import gguf_name  # noqa: E402
from shapes import new_assistant, new_target  # noqa: E402
from vocabulary import CHAT_TEMPLATE, assemble  # noqa: E402


def weights(reader: GGUFReader, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state dict, each tensor under transformers' name and in its shape."""
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    state = {}
    for name, like in model.state_dict().items():
        written = gguf_name(name)
        if written is None:
            continue
        tensor = tensors[written]
        integers = written == "masked_embd_ordering"
        values = tensor.data if integers else dequantize(tensor.data, tensor.tensor_type)
        value = torch.from_numpy(values.copy()).reshape(like.shape)
        state[name] = value.long() if integers else value
    return state


def strings(reader: GGUFReader, key: str) -> list[str]:
    return reader.fields[key].contents()


def tokenizer(reader: GGUFReader) -> PreTrainedTokenizerFast:
    vocab = {text: number for number, text in enumerate(strings(reader, "tokenizer.ggml.tokens"))}
    merges = [split(merge) for merge in strings(reader, "tokenizer.ggml.merges")]
    inner = assemble({"vocab": vocab, "merges": merges})
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
                                   unk_token="<unk>", chat_template=CHAT_TEMPLATE)


def split(merge: str) -> tuple[str, str]:
    """At the first space that is not the first character (llama.cpp's rule)."""
    at = merge.index(" ", 1)
    return merge[:at], merge[at + 1:]


def write(out: Path, gguf: Path, model: torch.nn.Module, dtype: torch.dtype) -> None:
    out.mkdir(parents=True, exist_ok=True)
    reader = GGUFReader(gguf)
    state = {name: value.to(dtype) if value.is_floating_point() else value
             for name, value in weights(reader, model).items()}
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.dtype = dtype
    model.config.save_pretrained(out)
    generation = {"bos_token_id": 2, "pad_token_id": 0, "eos_token_id": [1, 16], "do_sample": False}
    (out / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")
    tokenizer(reader).save_pretrained(out)
    print(out, sum(value.numel() for value in state.values()), "values")


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("out", type=Path)
    p.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    a = p.parse_args()
    kind = getattr(torch, a.dtype)
    write(a.out / "target", HERE / "nano-target-q8_0.gguf", new_target(), kind)
    write(a.out / "assistant", HERE / "nano-assistant-q8_0.gguf", new_assistant(), kind)
