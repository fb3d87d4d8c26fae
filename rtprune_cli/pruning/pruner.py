"""Owns pages on their way through a method: batches of one shape, recorded work, and what the host learns of them.

The host reads what was chosen once, at the end. Letters: N visual tokens of a page, K of a CLIP head, D hidden size,
S view side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rtprune_cli.device.graphs import Fetch, Graphs, send
from rtprune_cli.options import PruneOptions
from rtprune_cli.pruning.methods import Batch, Merged, prune_batch, recordable
from rtprune_cli.records import PrunedTokens, VisualTokens


@dataclass(frozen=True)
class PendingPrune:
    """Pages that are being pruned on the device, in order; :meth:`result` waits for them."""

    _batches: list[tuple[list[int], Tensor, Fetch, int]]

    def result(self) -> list[PrunedTokens]:
        """The pages as :func:`prune_pages` returns them."""
        pages: dict[int, PrunedTokens] = {}
        for places, tokens, fetch, prunable in self._batches:
            for row, place in enumerate(places):
                pages[place] = unpack(tokens[row], fetch.get()[row], prunable)
        return [pages[place] for place in sorted(pages)]


class Pruner:
    """Prunes batches of pages with one set of options; on a GPU RTPrune's whole step is one recorded graph a shape.

    ``instruction``: embeddings (M, D) of the prompt's text, which some methods look at. ``graphs``: where the step is
    recorded; None: nowhere.
    """

    def __init__(
        self, options: PruneOptions, instruction: Tensor | None = None, *, graphs: Graphs | None = None
    ) -> None:
        self.options = options
        self._instruction = instruction
        self._graphs = graphs

    @torch.inference_mode()
    def start(self, pages: Sequence[VisualTokens], pixels: Sequence[Tensor] | Tensor) -> PendingPrune:
        """Begin to prune; on a GPU this only queues the work, but for the methods that have to wait (baselines.py).

        Args:
            pages: visual tokens (N, D) of each page, with what the method looks at of the encoder (``reads_...`` of
                the options).
            pixels: the normalised global view (3, S, S) of each page, on the tokens' device.

        Raises:
            ValueError: the method looks at something of the encoder or at the instruction, and was not given it.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, (page, view) in enumerate(zip(pages, pixels, strict=True)):
            # On a CPU each page alone: its caches do not hold what several pages need in between.
            alone = place if view.device.type == "cpu" else -1
            groups.setdefault((len(page.tokens), view.shape[-1], alone), []).append(place)
        batches = []
        for places in groups.values():
            group = [pages[place] for place in places]
            newline, prunable = group[0].newline, group[0].prunable
            merged = self._run(
                Batch(
                    torch.stack([page.tokens for page in group]),
                    torch.stack([pixels[place] for place in places]),
                    torch.stack([newline, prunable]),
                    _stack([page.cls_attention for page in group]),
                    _stack([page.keys for page in group]),
                    self._instruction,
                    _stack([page.features for page in group]),
                )
            )
            batches.append((places, merged.tokens, Fetch(merged.facts), int(prunable.sum())))
        return PendingPrune(batches)

    def _run(self, batch: Batch) -> Merged:
        tokens, pixels, masks = batch.tokens, batch.pixels, send(batch.masks, batch.tokens.device)
        if self._graphs is None or not self._graphs.recording(tokens.device) or not recordable(self.options):
            return prune_batch(batch._replace(masks=masks), self.options)
        key = (self.options, tokens.shape, pixels.shape)
        found: Merged = self._graphs.run(
            key, lambda *own: prune_batch(Batch(*own), self.options), tokens, pixels, masks
        )
        return Merged(*(each.clone() for each in found))


def prune_pages(
    pages: Sequence[VisualTokens],
    pixels: Sequence[Tensor] | Tensor,
    options: PruneOptions,
    instruction: Tensor | None = None,
) -> list[PrunedTokens]:
    """Prune each page of a batch: :meth:`Pruner.start`, and wait."""
    return Pruner(options, instruction).start(pages, pixels).result()


def untouched(tokens: VisualTokens) -> PrunedTokens:
    """All of a page's tokens, as they are."""
    count = len(tokens.tokens)
    prunable = int(tokens.prunable.sum())
    return PrunedTokens(tokens.tokens, torch.arange(count), count, prunable, prunable, 0, 1.0, 0.0, 0.0)


def _stack(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """One tensor of a batch's; None where a page has none."""
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(present) if len(present) == len(tensors) else None


def unpack(tokens: Tensor, facts: Tensor, prunable: int) -> PrunedTokens:
    """One page; ``facts`` (3 + 2N,) on the CPU: ratio, r_sim, r_den, what stays, what of it was kept."""
    (ratio, r_sim, r_den), stay, kept = facts[:3].tolist(), *facts[3:].bool().chunk(2)
    keep = stay.nonzero().flatten()
    count = int(kept.sum())
    return PrunedTokens(
        tokens=tokens if len(keep) == len(tokens) else tokens[send(keep, tokens.device)],
        keep=keep,
        total=len(tokens),
        prunable=prunable,
        kept=count,
        newlines_dropped=len(tokens) - prunable - int((stay & ~kept).sum()),
        ratio=ratio,
        r_similarity=r_sim,
        r_density=r_den,
    )
