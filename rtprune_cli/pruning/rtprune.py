"""RTPrune (ICML 2026, arXiv 2605.00392): keep the high-norm visual tokens, merge the others into them.

Measuring, choosing and merging are separate functions over a batch of pages of one shape; "prune nothing" is an
ordinary value (ratio 1). None of them asks the device for a number: the host reads what was chosen once, at the end.
Letters: B pages, N visual tokens of a page, P of them prunable, D hidden size, S view side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rtprune_cli.graphs import Fetch, Graphs
from rtprune_cli.options import PruneOptions
from rtprune_cli.pruning.transport import pot_plan, sinkhorn
from rtprune_cli.records import PrunedTokens, VisualTokens

CELL = 64  # pixels of the global view behind one visual token, each way


class Merged(NamedTuple):
    """A pruned batch on its device: ``tokens`` (B, N, D), of which those in ``stay`` (B, N) are left.

    ``kept`` (B, N): the prunable ones among them; ``measures`` (B, 3) float64: ratio, r_sim, r_den.
    """

    tokens: Tensor
    stay: Tensor
    kept: Tensor
    measures: Tensor


@dataclass(frozen=True)
class PendingPrune:
    """Pages that are being pruned on the device, in order; :meth:`result` waits for them."""

    _batches: list[tuple[list[int], Tensor, Fetch, int]]

    def result(self) -> list[PrunedTokens]:
        """The pages as :func:`prune` returns them."""
        pages: dict[int, PrunedTokens] = {}
        for places, tokens, fetch, prunable in self._batches:
            for row, place in enumerate(places):
                pages[place] = _unpack(tokens[row], fetch.get()[row], prunable)
        return [pages[place] for place in sorted(pages)]


class Pruner:
    """Prunes batches of pages with one set of options; on a GPU the whole step is one recorded graph a shape."""

    def __init__(self, options: PruneOptions) -> None:
        self._options = options
        self._graphs = Graphs()
        self._inputs: dict[tuple[int, ...], tuple[Tensor, Tensor, Tensor]] = {}  # what a graph reads, by its shapes

    @torch.inference_mode()
    def start(self, pages: Sequence[VisualTokens], pixels: Sequence[Tensor] | Tensor) -> PendingPrune:
        """Begin to prune; on a GPU this only queues the work.

        Args:
            pages: visual tokens (N, D) of each page.
            pixels: the normalised global view (3, S, S) of each page, on the tokens' device.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, (page, view) in enumerate(zip(pages, pixels, strict=True)):
            # On a CPU each page alone: its caches do not hold what several pages need in between.
            alone = place if view.device.type == "cpu" else -1
            groups.setdefault((len(page.tokens), view.shape[-1], alone), []).append(place)
        batches = []
        for places in groups.values():
            newline, prunable = pages[places[0]].newline, pages[places[0]].prunable
            merged = self._run(
                torch.stack([pages[place].tokens for place in places]),
                torch.stack([pixels[place] for place in places]),
                torch.stack([newline, prunable]),
            )
            facts = torch.cat([merged.measures, merged.stay.double(), merged.kept.double()], dim=1)
            batches.append((places, merged.tokens, Fetch(facts), int(prunable.sum())))
        return PendingPrune(batches)

    def _run(self, tokens: Tensor, pixels: Tensor, masks: Tensor) -> Merged:
        masks = masks.to(tokens.device, non_blocking=True)
        if not self._graphs.recording(tokens.device) or self._options.solver == "pot":
            return rtprune(tokens, pixels, masks, self._options)
        key = (*tokens.shape, *pixels.shape)
        if key not in self._inputs:
            self._inputs[key] = torch.empty_like(tokens), torch.empty_like(pixels), torch.empty_like(masks)
        own_tokens, own_pixels, own_masks = self._inputs[key]
        for own, new in ((own_tokens, tokens), (own_pixels, pixels), (own_masks, masks)):
            own.copy_(new)
        found: Merged = self._graphs.run(key, lambda: rtprune(own_tokens, own_pixels, own_masks, self._options))
        return Merged(*(each.clone() for each in found))  # the next replay writes to the same memory


def prune(
    pages: Sequence[VisualTokens], pixels: Sequence[Tensor] | Tensor, options: PruneOptions
) -> list[PrunedTokens]:
    """Prune each page of a batch: :meth:`Pruner.start`, and wait."""
    return Pruner(options).start(pages, pixels).result()


def untouched(tokens: VisualTokens) -> PrunedTokens:
    """All of a page's tokens, as they are."""
    count = len(tokens.tokens)
    prunable = int(tokens.prunable.sum())
    return PrunedTokens(tokens.tokens, torch.arange(count), count, prunable, prunable, 0, 1.0, 0.0, 0.0)


def rtprune(tokens: Tensor, pixels: Tensor, masks: Tensor, options: PruneOptions) -> Merged:
    """The method on B pages of one shape, all of it on the tokens' device.

    Args:
        tokens: (B, N, D).
        pixels: normalised global views (B, 3, S, S).
        masks: (2, N) bool, the newline and the prunable tokens.
        options: ratio and the method's constants.
    """
    newline, prunable = masks
    values = tokens.float()
    norms = values.norm(dim=-1)
    scores = cosines(values, norms, prunable)
    r_sim, r_den = similarity_ratio(scores, prunable), text_density(pixels, options.sobel_threshold)
    if options.ratio is None:
        ratio = dynamic_ratio(r_sim.double(), r_den.double())
    else:
        ratio = torch.full_like(r_sim, options.ratio, dtype=torch.float64)
    kept = choose(norms, prunable, ratio)
    pruned = prunable & ~kept
    merge = merge_by_pot if options.solver == "pot" else merge_by_sinkhorn
    stay = drop_repeated_newlines(kept | ~prunable, newline)
    return Merged(
        merge(values, scores, kept, pruned, options).to(tokens.dtype),
        stay,
        kept,
        torch.stack([ratio, r_sim.double(), r_den.double()], dim=1),
    )


def cosines(values: Tensor, norms: Tensor, prunable: Tensor) -> Tensor:
    """Cosines between the tokens of each page, (B, N, N); 0 where a token is not prunable."""
    unit = values / norms.clamp_min(1e-12)[..., None] * prunable[:, None]
    return unit @ unit.transpose(1, 2)


def similarity_ratio(scores: Tensor, prunable: Tensor) -> Tensor:
    """r_sim (B,) of cosines (B, N, N): 1 less the mean squared cosine between different tokens (section 4)."""
    count = prunable.sum()
    squares = scores.square()
    others = squares.sum((1, 2)) - squares.diagonal(dim1=1, dim2=2).sum(1)
    return 1 - others / (count * (count - 1)).clamp_min(1)


def text_density(pixels: Tensor, threshold: float) -> Tensor:
    """r_den (B,) of normalised views (B, 3, S, S): the share of pixels whose Sobel magnitude exceeds ``threshold``.

    Each 64-pixel cell is zero-padded on its own, as in the authors' code. Zero is mid-gray in [-1, 1], so cell borders
    count as edges and blank white paper scores about 0.06; the published numbers have it, so it stays.
    """
    gray = pixels[:, 0] * 0.299
    gray.add_(pixels[:, 1], alpha=0.587).add_(pixels[:, 2], alpha=0.114)
    cells = gray.shape[-1] // CELL
    blocks = F.pad(gray.reshape(-1, cells, CELL, cells, CELL).transpose(2, 3), (1, 1, 1, 1))
    # Sobel's kernels are a smoothing one way and a difference the other. (A convolution would run in TF32 on a GPU.)
    # Memory bounds all of this: the fewer passes over the pixels, the better.
    down = (blocks[..., :-2, :] + blocks[..., 2:, :]).add_(blocks[..., 1:-1, :], alpha=2)
    across = (blocks[..., :-2] + blocks[..., 2:]).add_(blocks[..., 1:-1], alpha=2)
    gx, gy = down[..., 2:] - down[..., :-2], across[..., 2:, :] - across[..., :-2, :]
    edges = gx.square_().addcmul_(gy, gy) > threshold**2
    return edges.flatten(1).sum(1) / gray[0].numel()


def dynamic_ratio(r_similarity: Tensor, r_density: Tensor) -> Tensor:
    """The share of tokens to keep: the probabilistic sum of both measures, at most 1."""
    return (r_similarity + r_density - r_similarity * r_density).clamp(max=1)


def choose(norms: Tensor, prunable: Tensor, ratio: Tensor) -> Tensor:
    """The floor(P * ratio) prunable tokens of highest norm, at least one: (B, N) bool.

    Of tokens of one norm, as blank paper has them, the later stay, whatever the device: ``topk`` makes no promise.

    Args:
        norms: (B, N) importance.
        prunable: (N,) bool.
        ratio: (B,) float64, share to keep, in (0, 1].
    """
    count = (prunable.sum() * ratio).floor().clamp_min(1)
    order = norms.masked_fill(~prunable, -1).argsort(dim=-1, stable=True)
    places = torch.arange(norms.shape[1], device=norms.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)
    return rank >= norms.shape[1] - count[:, None]


def drop_repeated_newlines(stay: Tensor, newline: Tensor) -> Tensor:
    """``stay`` (B, N) less each newline token that follows another among those that stay: its text row is gone."""
    place = torch.arange(len(newline), device=stay.device)
    latest = torch.where(stay, place, -1).cummax(dim=1).values
    before = F.pad(latest[:, :-1], (1, 0), value=-1)
    return stay & ~(newline & newline[before.clamp_min(0)] & (before >= 0))


def merge_by_sinkhorn(values: Tensor, scores: Tensor, kept: Tensor, pruned: Tensor, options: PruneOptions) -> Tensor:
    """Tokens (B, N, D) float32 with a share ``alpha`` of the transported mass of pruned tokens added to the kept ones.

    With nothing pruned the tokens come back as they are, to the bit.
    """
    u, kernel, v = sinkhorn(scores, kept.float(), pruned.float(), options.dustbin_score, options.iterations)
    return torch.addcmul(values, u[..., None], kernel @ (v[..., None] * values), value=options.alpha)


def merge_by_pot(values: Tensor, scores: Tensor, kept: Tensor, pruned: Tensor, options: PruneOptions) -> Tensor:
    """:func:`merge_by_sinkhorn` with the plan of the reference solver, page by page."""
    merged = values.clone()
    for page in range(len(values)):
        rows, columns = kept[page].nonzero()[:, 0], pruned[page].nonzero()[:, 0]
        if len(columns):
            plan = pot_plan(scores[page][rows][:, columns], options.dustbin_score)
            merged[page, rows] += options.alpha * (plan @ values[page, columns])
    return merged


def _unpack(tokens: Tensor, facts: Tensor, prunable: int) -> PrunedTokens:
    """One page; ``facts`` (3 + 2N,) on the CPU: ratio, r_sim, r_den, what stays, what of it was kept."""
    (ratio, r_sim, r_den), stay, kept = facts[:3].tolist(), *facts[3:].bool().chunk(2)
    keep = stay.nonzero().flatten()
    count = int(kept.sum())
    return PrunedTokens(
        tokens=tokens if len(keep) == len(tokens) else tokens[keep.to(tokens.device, non_blocking=True)],
        keep=keep,
        total=len(tokens),
        prunable=prunable,
        kept=count,
        newlines_dropped=len(tokens) - prunable - int((stay & ~kept).sum()),
        ratio=ratio,
        r_similarity=r_sim,
        r_density=r_den,
    )
