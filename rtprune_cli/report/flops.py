"""Owns the decoder's arithmetic, counted from its sizes."""

from __future__ import annotations

from typing import Any


def prefill_flops(text_config: Any, tokens: int) -> int:
    """Floating-point operations of the decoder's prefill over ``tokens``, counted from its sizes.

    Two per multiply-add: attention projections, causal scores and their weighted sum, the dense or the routed and
    shared expert MLPs with the router, and the output layer for the last token only. The paper's Table 4 is 0.4 to
    1.4 % off: it counts scores as if they were not causal, and neither router nor output layer.
    """
    hidden, layers = text_config.hidden_size, text_config.num_hidden_layers
    key_value = text_config.num_key_value_heads * text_config.head_dim
    projections = 2 * tokens * hidden * (2 * hidden + 2 * key_value)
    attention = 2 * tokens * (tokens + 1) * hidden
    dense = 6 * tokens * hidden * text_config.intermediate_size
    experts = text_config.num_experts_per_tok + text_config.n_shared_experts
    sparse = 6 * tokens * hidden * text_config.moe_intermediate_size * experts
    sparse += 2 * tokens * hidden * text_config.n_routed_experts
    kinds = text_config.mlp_layer_types
    mlp = kinds.count("dense") * dense + kinds.count("sparse") * sparse
    return int(layers * (projections + attention) + mlp + 2 * hidden * text_config.vocab_size)
