"""The decoder's attention in training: its weights are read by the loss, and it stays in the step's own precision.

transformers' eager attention raises (B, heads, L, L) weights to float32 for the softmax and lowers them again, which
took a third of a training step on a CPU. A softmax of bfloat16 sums in float32 inside.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NAME = "rtprune_training"


def register() -> str:
    """Make the attention known to transformers; its name for ``set_attn_implementation``."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, eager_mask)
    return NAME


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, Tensor]:
    """Mixed values (B, L, heads, d) and weights (B, heads, L, L)."""
    b, heads, length, _width = query.shape
    mask = attention_mask.to(query.dtype).expand(b, heads, length, length).reshape(-1, length, length)
    scores = torch.baddbmm(mask, query.flatten(0, 1), key.flatten(0, 1).mT, alpha=scaling)
    weights = scores.softmax(-1)
    mixed = (weights @ value.flatten(0, 1)).unflatten(0, (b, heads))
    return mixed.transpose(1, 2).contiguous(), weights.unflatten(0, (b, heads))
