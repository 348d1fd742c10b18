"""The two models' shapes, as configurations of transformers' own Gemma 4 classes.

Chosen so that everything a real pair has is there: sliding layers with head_dim 256 and full ones with 512, a tail that
shares its KV, per-layer embeddings, a pattern that ends (sliding, full) twice as llama.cpp requires; on the assistant
four query heads over two KV heads, so that its full layer is the shape that began this project (512, GQA ratio 2), and
a centroid head. Every width is a multiple of 256 in the target (K-quants) and of 128 in the assistant (Q8_0).
"""
from transformers import Gemma4AssistantConfig, Gemma4AssistantForCausalLM, Gemma4ForCausalLM, Gemma4TextConfig

SLIDING, FULL = "sliding_attention", "full_attention"
VOCAB, HIDDEN, ASSISTANT_HIDDEN = 8192, 256, 128
WINDOW, CONTEXT = 128, 2048
CENTROIDS, CENTROIDS_KEPT = 128, 32
# Scores are not scaled (attention scale 1.0): keys of norm 1 keep the softmax soft at the start.
K_NORM = {256: 1 / 16, 512: 1 / 22}

COMMON = dict(
    vocab_size=VOCAB, num_attention_heads=4, num_key_value_heads=2, num_global_key_value_heads=2, head_dim=256,
    global_head_dim=512, sliding_window=WINDOW, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
    pad_token_id=0, eos_token_id=1, bos_token_id=2, attn_implementation="sdpa",
)


def target_config() -> Gemma4TextConfig:
    return Gemma4TextConfig(
        hidden_size=HIDDEN, intermediate_size=1024, num_hidden_layers=6,
        layer_types=[SLIDING, SLIDING, SLIDING, FULL, SLIDING, FULL], num_kv_shared_layers=2,
        hidden_size_per_layer_input=32, vocab_size_per_layer_input=VOCAB, final_logit_softcapping=30.0, **COMMON)


def assistant_text_config() -> Gemma4TextConfig:
    return Gemma4TextConfig(
        hidden_size=ASSISTANT_HIDDEN, intermediate_size=256, num_hidden_layers=4,
        layer_types=[SLIDING, SLIDING, SLIDING, FULL], num_kv_shared_layers=4,
        hidden_size_per_layer_input=0, vocab_size_per_layer_input=0, final_logit_softcapping=None, **COMMON)


def new_target() -> Gemma4ForCausalLM:
    model = Gemma4ForCausalLM(target_config())
    for layer in model.model.layers:
        if hasattr(layer.self_attn, "k_norm"):
            layer.self_attn.k_norm.weight.data.fill_(K_NORM[layer.self_attn.head_dim])
    return model


def new_assistant() -> Gemma4AssistantForCausalLM:
    config = Gemma4AssistantConfig(
        text_config=assistant_text_config(), backbone_hidden_size=HIDDEN, use_ordered_embeddings=True,
        num_centroids=CENTROIDS, centroid_intermediate_top_k=CENTROIDS_KEPT)
    return Gemma4AssistantForCausalLM(config)
