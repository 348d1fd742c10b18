#!/usr/bin/env python3
"""What transformers makes of the bundled pair, for engine/tests/golden_nano.rs; ids of prompts for tests with servers.

    python3 make_goldens.py HF_DIR REPOSITORY     # HF_DIR from ../to_transformers.py

Writes engine/tests/goldens/nano.json and adapters/tests/fixtures/nano-prompts.json (ids of six rendered chats a category
of the preset nano-held-out). For the former: of three prompts the ids of the rendered chat, greedy continuation, the five largest logits of every position, and five chained drafts after the prompt with the dense head (position n, keys 0..n-1, the sliding
layer sees the last window-1 of them, as llama.cpp draws it). f32 on the CPU.
"""
import json
import sys
import tomllib
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma4AssistantForCausalLM

from shapes import SLIDING, WINDOW

PROMPTS, CONTINUED, TOP, DRAFTS = ["json-01", "code-01", "prose-01"], 64, 5, 5
SERVED_EACH = 6
PRESET = Path(__file__).parent / "../../../presets/nano-held-out.toml"


def drafts(assistant, target, ids: torch.Tensor, token: int) -> list[int]:
    """Chained drafts of the dense head after `ids`, of which `token` is what the target answered."""
    out = target(input_ids=ids, use_cache=False, output_hidden_states=True, return_shared_kv_states=True)
    kv = {name: tuple(t[:, :, -(WINDOW - 1):] if name == SLIDING else t for t in pair)
          for name, pair in out.shared_kv_states.items()}
    state, tokens, n = out.hidden_states[-1][:, -1:], [], ids.shape[1]
    for _ in range(DRAFTS):
        embedding = target.model.embed_tokens(torch.tensor([[token]]))
        z = assistant.pre_projection(torch.cat([embedding, state], dim=-1))
        y = assistant.model(inputs_embeds=z, attention_mask={name: None for name in kv}, shared_kv_states=kv,
                            position_ids=torch.tensor([[n]]), use_cache=False).last_hidden_state
        token, state = int(assistant.lm_head(y)[0, 0].argmax()), assistant.post_projection(y)
        tokens.append(token)
    return tokens


def rendered(prompt: dict, tokenizer) -> torch.Tensor:
    messages = [{"role": "system", "content": prompt["system"]}] if "system" in prompt else []
    messages.append({"role": "user", "content": prompt["text"]})
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt",
                                         return_dict=True)["input_ids"]


def case(prompt: dict, target, assistant, tokenizer) -> dict:
    ids = rendered(prompt, tokenizer)
    whole = target.generate(ids, max_new_tokens=CONTINUED, do_sample=False, eos_token_id=None)
    top = target(input_ids=whole, use_cache=False).logits[0].topk(TOP)
    return {"id": prompt["id"], "system": prompt.get("system"), "user": prompt["text"], "prompt": ids[0].tolist(),
            "continuation": whole[0, ids.shape[1]:].tolist(), "top_ids": top.indices.tolist(),
            "top_logits": [[round(float(v), 5) for v in row] for row in top.values],
            "drafts": drafts(assistant, target, ids, int(whole[0, ids.shape[1]]))}


if __name__ == "__main__":
    folder, repository = Path(sys.argv[1]), Path(sys.argv[2])
    target = AutoModelForCausalLM.from_pretrained(folder / "target", dtype=torch.float32).eval()
    assistant = Gemma4AssistantForCausalLM.from_pretrained(folder / "assistant", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "target")
    prompts = {p["id"]: p for p in tomllib.loads(PRESET.read_text())["workload"]["prompts"]}
    with torch.no_grad():
        cases = [case(prompts[name], target, assistant, tokenizer) for name in PROMPTS]
    made_with = {"torch": torch.__version__, "transformers": transformers.__version__}
    goldens = {"made_with": made_with, "cases": cases}
    (repository / "engine/tests/goldens/nano.json").write_text(json.dumps(goldens) + "\n")
    served = [{"id": name, "prompt": rendered(prompt, tokenizer)[0].tolist()} for name, prompt in prompts.items()
              if int(name.rsplit("-", 1)[1]) <= SERVED_EACH]
    (repository / "adapters/tests/fixtures/nano-prompts.json").write_text(json.dumps(served) + "\n")
