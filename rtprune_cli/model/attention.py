"""What the encoder shows of a page, taken beside the ordinary work: for methods that choose by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rtprune_cli.device.graphs import send
from rtprune_cli.records import Views, VisualTokens
from rtprune_cli.views.grid import token_grid

if TYPE_CHECKING:
    from transformers import UnlimitedOcrForConditionalGeneration


@dataclass(frozen=True)
class Sights:
    """What each pass through CLIP showed of V views of T patches: that of the global views, then that of the tiles.

    ``attention`` (V, T, 1 + K) float32: the class token's attention to each patch and the patch's keys, of the
    penultimate layer and means over its heads. ``features`` (V, T, C) float32: what the last layer makes of the patch.
    What was not asked for is empty.
    """

    attention: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)


@contextmanager
def watched(
    network: UnlimitedOcrForConditionalGeneration, *, attention: bool = True, features: bool = False
) -> Iterator[Sights]:
    """What is seen while the encoder works. The layer's own way to compute (sdpa) returns no weights of attention, so
    that one row of them is made again of its queries and keys."""
    clip = network.model.vision_tower.vision_encoder
    layer = clip.encoder.layers[-2].self_attn
    seen, queries = Sights(), list[Tensor]()

    def query(_module: Any, _inputs: Any, output: Tensor) -> None:
        queries.append(output[:, 0])

    def key(_module: Any, _inputs: Any, output: Tensor) -> None:
        keys = output.unflatten(-1, (-1, layer.head_dim)).float()  # (V, 1 + T, heads, K)
        row = queries.pop().unflatten(-1, (-1, layer.head_dim)).float()  # (V, heads, K)
        weights = torch.einsum("vhk,vthk->vht", row, keys).mul(layer.scale).softmax(-1)
        seen.attention.append(torch.cat([weights.mean(1)[..., None], keys.mean(2)], dim=-1)[:, 1:])

    def last(_module: Any, _inputs: Any, output: Any) -> None:
        seen.features.append(output.last_hidden_state[:, 1:].float())

    hooks = []
    if attention:
        hooks += [layer.q_proj.register_forward_hook(query), layer.k_proj.register_forward_hook(key)]
    if features:
        hooks.append(clip.register_forward_hook(last))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def with_sights(pages: Sequence[VisualTokens], views: Sequence[Views], seen: Sights) -> list[VisualTokens]:
    """The pages with what :func:`watched` saw of their global views, then of the tiles of all of them."""
    found = list(pages)
    if seen.attention:
        tables = _tables(pages, views, seen.attention)
        found = [replace(page, cls_attention=t[:, 0], keys=t[:, 1:]) for page, t in zip(found, tables, strict=True)]
    if seen.features:
        tables = _tables(pages, views, seen.features)
        found = [replace(page, features=table) for page, table in zip(found, tables, strict=True)]
    return found


def _tables(pages: Sequence[VisualTokens], views: Sequence[Views], passes: Sequence[Tensor]) -> list[Tensor]:
    """What was seen of the patches, (V, T, W) a pass, as a table (N, W) of each page's tokens."""
    counts = [0 if v.tiles is None else len(v.tiles) for v in views]
    tiles = passes[1].split(counts) if sum(counts) else [None] * len(views)
    found = []
    for page, view, own, own_tiles in zip(pages, views, passes[0], tiles, strict=True):
        patches = own if own_tiles is None else torch.cat([own_tiles.flatten(0, 1), own])
        patches = patches[send(torch.from_numpy(token_grid(view).patch_order()), own.device)]
        places = send(page.prunable.nonzero().flatten(), own.device)
        found.append(own.new_zeros(len(page.tokens), own.shape[-1]).index_copy_(0, places, patches))
    return found
