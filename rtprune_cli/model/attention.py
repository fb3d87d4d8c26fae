"""What the encoder's attention shows of a page, taken beside the ordinary work: for methods that choose by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rtprune_cli.device.graphs import send
from rtprune_cli.records import Views, VisualTokens
from rtprune_cli.views.grid import token_grid

if TYPE_CHECKING:
    from transformers import UnlimitedOcrForConditionalGeneration


@contextmanager
def watched(network: UnlimitedOcrForConditionalGeneration) -> Iterator[list[Tensor]]:
    """What each pass through the penultimate CLIP layer shows: (V, T, 1 + K) float32, V views of T patches.

    First the class token's attention to each patch, then the patch's keys, both means over the heads. The layer's own
    way to compute (sdpa) returns no weights, so that one row of them is made again of its queries and keys.
    """
    attention = network.model.vision_tower.vision_encoder.encoder.layers[-2].self_attn
    seen: list[Tensor] = []
    queries: list[Tensor] = []

    def query(_module: Any, _inputs: Any, output: Tensor) -> None:
        queries.append(output[:, 0])

    def key(_module: Any, _inputs: Any, output: Tensor) -> None:
        keys = output.unflatten(-1, (-1, attention.head_dim)).float()  # (V, 1 + T, heads, K)
        row = queries.pop().unflatten(-1, (-1, attention.head_dim)).float()  # (V, heads, K)
        weights = torch.einsum("vhk,vthk->vht", row, keys).mul(attention.scale).softmax(-1)
        seen.append(torch.cat([weights.mean(1)[..., None], keys.mean(2)], dim=-1)[:, 1:])

    hooks = [attention.q_proj.register_forward_hook(query), attention.k_proj.register_forward_hook(key)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def with_attention(pages: Sequence[VisualTokens], views: Sequence[Views], seen: Sequence[Tensor]) -> list[VisualTokens]:
    """The pages with what :func:`watched` saw of their global views, then of the tiles of all of them."""
    counts = [0 if v.tiles is None else len(v.tiles) for v in views]
    tiles = seen[1].split(counts) if sum(counts) else [None] * len(views)
    found = []
    for page, view, own, own_tiles in zip(pages, views, seen[0], tiles, strict=True):
        patches = own if own_tiles is None else torch.cat([own_tiles.flatten(0, 1), own])
        patches = patches[send(torch.from_numpy(token_grid(view).patch_order()), own.device)]
        places = send(page.prunable.nonzero().flatten(), own.device)
        table = own.new_zeros(len(page.tokens), own.shape[-1]).index_copy_(0, places, patches)
        found.append(replace(page, cls_attention=table[:, 0], keys=table[:, 1:]))
    return found
