"""RTPrune of one page for those who have its tokens as a tensor: the whole step in one call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rtprune_cli.options import DYNAMIC, Dynamic, PruneOptions
from rtprune_cli.pruning.methods import Batch, prune_batch
from rtprune_cli.pruning.pruner import unpack
from rtprune_cli.records import PrunedTokens
from rtprune_cli.views.grid import CELL


@torch.inference_mode()
def prune(
    tokens: Tensor,
    *,
    ratio: float | Dynamic = DYNAMIC,
    pixels: Tensor | None = None,
    newline: Tensor | None = None,
    prunable: Tensor | None = None,
    **options: Any,
) -> PrunedTokens:
    """Prune the visual tokens of one page: measure, choose the tokens that stay, merge the others into them.

    The tokens are not changed, and nothing is computed in less than float32. RTPrune, arXiv 2605.00392, section 4.

    Args:
        tokens: (N, D), of any float dtype, on any device.
        ratio: share of the prunable tokens to keep, 0.05 to 1, or ``"dynamic"``.
        pixels: the page's normalised view (3, S, S), RGB from -1 to 1, S a multiple of 64, on the tokens' device; what
            the density of the dynamic ratio is measured on. It may be left out where that is not asked for.
        newline: (N,) bool, the tokens that end a row; of several in a row one stays. None: there are none.
        prunable: (N,) bool, the tokens that may be pruned. None: all but the newlines.
        options: other fields of :class:`rtprune_cli.PruneOptions`, such as ``alpha``, ``merge="nearest"`` or
            ``method="divprune"``.

    Returns:
        ``tokens`` (K, D) as they are after merging, ``keep`` (K,) their original indices on the CPU, counts, the ratio
        and both measures; ``r_density`` is nan without ``pixels``.

    Raises:
        ValueError: a shape does not fit, or the ratio or the method needs what was not given.
        UsageError: an option is out of range.
        TypeError: there is no such option.
    """
    chosen = PruneOptions(ratio=ratio, **options)
    if tokens.ndim != 2 or not tokens.is_floating_point():
        raise ValueError(f"tokens are {tuple(tokens.shape)} of {tokens.dtype}: give (N, D) of floats")
    newline = _mask(newline, tokens, "newline") if newline is not None else _nothing(tokens)
    prunable = _mask(prunable, tokens, "prunable") & ~newline if prunable is not None else ~newline
    if not prunable.any():
        raise ValueError("no token is prunable")
    needs_pixels = (chosen.fixed_ratio is None and chosen.ratio_terms != "similarity") or chosen.method == "random"
    if pixels is None and needs_pixels:
        raise ValueError("the dynamic ratio and the method random look at the page: give pixels, or a ratio")
    if pixels is not None and (pixels.ndim != 3 or pixels.shape != (3, side := pixels.shape[-1], side) or side % CELL):
        raise ValueError(f"pixels are {tuple(pixels.shape)}: give (3, S, S), S a multiple of {CELL}")
    view = tokens.new_zeros(3, CELL, CELL, dtype=torch.float32) if pixels is None else pixels
    merged = prune_batch(Batch(tokens[None], view[None], torch.stack([newline, prunable])), chosen)
    found = unpack(merged.tokens[0], merged.facts[0].cpu(), int(prunable.sum()))
    return found if pixels is not None else replace(found, r_density=float("nan"))


def _nothing(tokens: Tensor) -> Tensor:
    return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)


def _mask(mask: Tensor, tokens: Tensor, name: str) -> Tensor:
    if mask.dtype != torch.bool or mask.shape != tokens.shape[:1]:
        raise ValueError(f"{name} is {tuple(mask.shape)} of {mask.dtype}: give ({len(tokens)},) of torch.bool")
    return mask.to(tokens.device)
