"""Which method prunes a batch of pages: how many tokens stay is one rule for all, which and what of the rest is theirs.

Letters: B pages of one shape, N visual tokens of a page, D hidden size, S view side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rtprune_cli.options import Method, PruneOptions
from rtprune_cli.pruning import baselines, determinants, duplicates
from rtprune_cli.pruning.merging import merge
from rtprune_cli.pruning.rtprune import (
    budget,
    choose,
    cosines,
    drop_repeated_newlines,
    dynamic_ratio,
    importance,
    similarity_ratio,
    text_density,
)


class Batch(NamedTuple):
    """What a method may look at, all of it on one device.

    ``tokens`` (B, N, D); ``pixels`` the normalised global views (B, 3, S, S); ``masks`` (2, N) bool, the newline and
    the prunable tokens. ``cls_attention`` (B, N), ``keys`` (B, N, K) and ``features`` (B, N, C) as in
    :class:`VisualTokens`, and ``instruction`` (M, D), embeddings of the prompt's text, for the methods that read them.
    """

    tokens: Tensor
    pixels: Tensor
    masks: Tensor
    cls_attention: Tensor | None = None
    keys: Tensor | None = None
    instruction: Tensor | None = None
    features: Tensor | None = None


class Measured(NamedTuple):
    """A batch as all methods see it: ``values`` (B, N, D) float32, their ``norms`` (B, N) and cosines ``scores``
    (B, N, N), and the ``budget`` (B,) float64 of tokens to keep."""

    values: Tensor
    norms: Tensor
    scores: Tensor
    prunable: Tensor
    budget: Tensor


class Merged(NamedTuple):
    """A pruned batch on its device: ``tokens`` (B, N, D), of which those in ``stay`` (B, N) are left.

    ``kept`` (B, N): the prunable ones among them; ``measures`` (B, 3) float64: ratio, r_sim, r_den.
    """

    tokens: Tensor
    stay: Tensor
    kept: Tensor
    measures: Tensor

    @property
    def facts(self) -> Tensor:
        """All that the host learns of it, (B, 3 + 2N) float64: measures, what stays, what of it was kept."""
        return torch.cat([self.measures, self.stay.double(), self.kept.double()], dim=1)


# What is kept (B, N) bool, and the values after merging (B, N, D) float32
Choice = tuple[Tensor, Tensor]


def prune_batch(batch: Batch, options: PruneOptions) -> Merged:
    """Prune B pages of one shape, all of it on the tokens' device.

    Raises:
        ValueError: the batch lacks what the method looks at.
    """
    newline, prunable = batch.masks
    values = batch.tokens.float()
    norms = importance(values)
    scores = cosines(values, norms, prunable)
    r_sim, r_den = similarity_ratio(scores, prunable), text_density(batch.pixels, options.sobel_threshold)
    if options.fixed_ratio is None:
        ratio = dynamic_ratio(r_sim.double(), r_den.double(), options.ratio_terms)
    else:
        ratio = torch.full_like(r_sim, options.fixed_ratio, dtype=torch.float64)
    rounded = options.method == "divprune" and options.variant == "authors"
    seen = Measured(values, norms, scores, prunable, budget(prunable, ratio, rounded=rounded))
    kept, merged = METHODS[options.method](batch, seen, options)
    return Merged(
        merged.to(batch.tokens.dtype),
        drop_repeated_newlines(kept | ~prunable, newline),
        kept,
        torch.stack([ratio, r_sim.double(), r_den.double()], dim=1),
    )


def recordable(options: PruneOptions) -> bool:
    """Whether :func:`prune_batch` never looks at the host, as a CUDA graph needs it; that of a run does not."""
    return (
        options.method == "rtprune" and options.merge == "ot" and options.solver == "sinkhorn" and options.ot_reg >= 1
    )


def _rtprune(batch: Batch, seen: Measured, options: PruneOptions) -> Choice:
    most = seen.norms if options.importance == "norm" else importance(seen.values, options.importance)
    kept = choose(most, seen.prunable, seen.budget)
    return kept, merge(seen.values, seen.scores, kept, seen.prunable & ~kept, options, newline=batch.masks[0])


def _norm_only(batch: Batch, seen: Measured, options: PruneOptions) -> Choice:
    """RTPrune's choice; the others are lost."""
    return choose(seen.norms, seen.prunable, seen.budget), seen.values


def _random(batch: Batch, seen: Measured, options: PruneOptions) -> Choice:
    drawn = baselines.random_importance(batch.pixels, seen.norms.shape[1], options.seed)
    return choose(drawn, seen.prunable, seen.budget), seen.values


def _visionzip(batch: Batch, seen: Measured, options: PruneOptions) -> Choice:
    attention = _given(batch.cls_attention, options, ATTENTION)
    if options.variant == "authors":
        return baselines.visionzip_of_the_authors(seen.values, attention, seen.prunable, seen.budget)
    keys = _given(batch.keys, options, ATTENTION)
    return baselines.visionzip(seen.values, attention, keys, seen.prunable, seen.budget)


def _divprune(batch: Batch, seen: Measured, options: PruneOptions) -> Choice:
    return baselines.divprune(seen.scores, seen.prunable, seen.budget), seen.values


def _cdpruner(batch: Batch, seen: Measured, options: PruneOptions) -> Choice:
    authors = options.variant == "authors"
    scores = seen.scores
    if authors:
        features = _given(batch.features, options, "CLIP's features: encode(..., features=True)").float()
        scores = cosines(features, importance(features), seen.prunable)
    instruction = _given(batch.instruction, options, INSTRUCTION)
    relevance = determinants.instruction_relevance(
        seen.values, seen.norms, instruction, seen.prunable, of_the_authors=authors
    )
    return determinants.cdpruner(scores, relevance, seen.prunable, seen.budget), seen.values


def _scope(batch: Batch, seen: Measured, options: PruneOptions) -> Choice:
    attention = _given(batch.cls_attention, options, ATTENTION)
    return baselines.scope(seen.scores, attention, seen.prunable, seen.budget), seen.values


def _otprune(batch: Batch, seen: Measured, options: PruneOptions) -> Choice:
    return determinants.otprune(seen.values, seen.prunable, seen.budget), seen.values


def _vispruner(batch: Batch, seen: Measured, options: PruneOptions) -> Choice:
    attention = _given(batch.cls_attention, options, ATTENTION)
    return duplicates.vispruner(seen.values, attention, seen.prunable, seen.budget), seen.values


def _dart(batch: Batch, seen: Measured, options: PruneOptions) -> Choice:
    instruction = _given(batch.instruction, options, INSTRUCTION)
    return duplicates.dart(seen.values, seen.norms, instruction, seen.prunable, seen.budget), seen.values


ATTENTION = "the encoder's attention: encode(..., attention=True)"
INSTRUCTION = "the embeddings of the instruction: Pruner(options, instruction)"


def _given(tensor: Tensor | None, options: PruneOptions, what: str) -> Tensor:
    """What the method looks at.

    Raises:
        ValueError: it is not there; ``what`` says how to get it.
    """
    if tensor is None:
        raise ValueError(f"{options.method} needs {what}")
    return tensor


METHODS: dict[Method, Callable[[Batch, Measured, PruneOptions], Choice]] = {
    "rtprune": _rtprune,
    "norm-only": _norm_only,
    "random": _random,
    "visionzip": _visionzip,
    "divprune": _divprune,
    "cdpruner": _cdpruner,
    "scope": _scope,
    "otprune": _otprune,
    "vispruner": _vispruner,
    "dart": _dart,
}
