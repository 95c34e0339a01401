"""The compact generator as a `transformers` model, to compare ours with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from engine.generator.model import CompactGenerator
from engine.generator.qwen3 import EPSILON, ROPE_THETA


def as_transformers(model: CompactGenerator) -> Qwen3ForCausalLM:
    """The same decoder on the CPU; feed it `soft_prompt` as `inputs_embeds`."""
    a = model.architecture
    config = Qwen3Config(
        vocab_size=a.offsets[-1],
        hidden_size=a.hidden,
        intermediate_size=a.intermediate,
        num_hidden_layers=a.layers,
        num_attention_heads=a.heads,
        num_key_value_heads=a.kv_heads,
        head_dim=a.head_dim,
        max_position_embeddings=a.prefix_tokens + a.levels,
        rms_norm_eps=EPSILON,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
    )
    twin = Qwen3ForCausalLM(config)
    state = {f"model.{name}": tensor.cpu() for name, tensor in model.model.state_dict().items()}
    twin.load_state_dict(state | {"lm_head.weight": state["model.embed_tokens.weight"]})
    return twin.eval()


@torch.inference_mode()
def soft_prompt(model: CompactGenerator, query_x: np.ndarray) -> Tensor:
    """(Q, P, hidden) float32: the soft tokens of query embeddings (Q, D)."""
    tokens = model.prefix(torch.as_tensor(query_x, dtype=torch.float32, device=model.device))
    return tokens.view(len(query_x), model.architecture.prefix_tokens, model.architecture.hidden)
