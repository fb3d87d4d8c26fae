"""Owns the numbers of one page over the decoder's depth: do the tokens of highest norm get the most attention, in which
layers, and do their hidden states keep high norms?

Pure functions over arrays. As in trajectory.py M columns are M choices of tokens: the page's own, then the draws of the
null. L layers, P prunable tokens, K of them chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtprune_cli.analysis.recorder import TokenGroups, Watched
from rtprune_cli.analysis.trajectory import ALPHA, TINY, change_points, null_columns, p_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ROWS = ("prefill", "decoding")  # whose attention: the prompt's last token, or the mean over all steps
SIZES = {"1/8": 1 / 8, "1/4": 1 / 4, "3/8": 3 / 8, "1/2": 1 / 2}  # K, as a share of the prunable tokens
# What was said beforehand to count: the paper's own size, and the row that a method sees which prunes before decoding.
MAIN_ROW, MAIN_SIZE = "prefill", "3/8"
STATISTICS = ("mean", "peak", "cumulated", "fall")
PERSISTENCE = ("norm_ratio", "rank_correlation")
LEAST_LAYERS = 3  # fewer have no course to speak of


@dataclass(frozen=True)
class Overlap:
    """The K tokens of highest norm against the K with most attention in each layer.

    ``counts`` (2, L, M): how many of the first are among the second, in each layer alone, and in any layer up to it.
    ``union`` (L,): how many tokens are among those with most attention in any layer up to it.
    """

    tokens: int
    prunable: int
    counts: NDArray[np.uint16]
    union: NDArray[np.int64]

    @property
    def curves(self) -> Array:
        """(2, L, M): shares of K, layer by layer and cumulated over layers."""
        return self.counts / self.tokens

    @property
    def chance(self) -> Array:
        """(2, L): what K tokens taken by chance give on average: K / P, and cumulated the union's part of P."""
        return np.stack([np.full(len(self.union), self.tokens / self.prunable), self.union / self.prunable])

    @property
    def independent(self) -> Array:
        """(L,): cumulated, if every layer took K tokens by chance: 1 - (1 - K / P)^l."""
        found: Array = 1 - np.cumprod(np.full(len(self.union), 1 - self.tokens / self.prunable))
        return found

    @property
    def statistics(self) -> dict[str, Array]:
        """Each (M,), by :data:`STATISTICS`; see docs/analysis.md."""
        alone, cumulated = self.curves
        fall, _ = change_points(alone, LEAST_LAYERS)
        return dict(zip(STATISTICS, (alone.mean(0), alone.max(0), cumulated[-1], fall), strict=True))

    @property
    def p(self) -> dict[str, dict[str, float]]:
        """Of each statistic, by null."""
        return {name: _p_values(values) for name, values in self.statistics.items()}

    @property
    def change_layer(self) -> int | None:
        """The last layer before the sharpest fall, from 1; None where there are too few."""
        _, layers = change_points(self.curves[0, :, :1], LEAST_LAYERS)
        return int(layers[0]) or None

    @property
    def turning_layer(self) -> int | None:
        """The same, where chance gives as sharp a fall seldom."""
        return self.change_layer if self.p["fall"]["shifted"] <= ALPHA else None


@dataclass(frozen=True)
class DepthMeasures:
    """One page's numbers over depth.

    ``overlaps`` by :data:`ROWS` and :data:`SIZES`. ``norms`` (2, L + 1): mean L2 norm of the hidden states of high and
    of low tokens, before the first layer and after each. ``persistence`` by :data:`PERSISTENCE`: ``norm_ratio``
    (L + 1, M), mean norm of the choice over that of the other tokens, ``rank_correlation`` (L + 1, M), Spearman's
    between the norms before the first layer and those here.
    """

    overlaps: dict[str, dict[str, Overlap]]
    norms: Array
    persistence: dict[str, NDArray[np.float32]]

    @property
    def p(self) -> dict[str, dict[str, float]]:
        """Of each of :data:`PERSISTENCE` after the last layer, by null."""
        return {name: _p_values(values[-1]) for name, values in self.persistence.items()}


def measure_depth(
    watched: Watched, groups: TokenGroups, norms: Array, draw: Callable[[NDArray[Any]], NDArray[Any]]
) -> DepthMeasures:
    """All of a page's numbers over depth; ``norms`` (P,) of its prunable tokens, ``draw`` is of trajectory.draws."""
    ranks = np.argsort(np.argsort(-norms, kind="stable"))  # 0 is the highest
    columns = np.concatenate([ranks[None], draw(ranks)])  # (M, P)
    overlaps = {
        row: {
            name: overlap(columns, getattr(watched, row), tokens_of(share, len(norms))) for name, share in SIZES.items()
        }
        for row in ROWS
    }
    layers = np.concatenate([norms[None], watched.layer_norms.astype(np.float64)])  # (L + 1, P)
    chosen = np.concatenate([groups.high[None], groups.draws]).astype(np.float64)
    means = [layers @ each.T / each.sum(1) for each in (chosen, 1 - chosen)]
    ordered = _standard_ranks(norms)
    correlation = _standard_ranks(layers) @ np.concatenate([ordered[None], draw(ordered)]).T / len(norms)
    return DepthMeasures(
        overlaps,
        np.stack([mean[:, 0] for mean in means]),
        {
            "norm_ratio": (means[0] / means[1].clip(min=TINY)).astype(np.float32),
            "rank_correlation": correlation.astype(np.float32),
        },
    )


def tokens_of(share: float, prunable: int) -> int:
    """K, as RTPrune rounds what it keeps."""
    return max(1, int(share * prunable))


def overlap(ranks: NDArray[np.int64], attention: NDArray[Any], tokens: int) -> Overlap:
    """Of ranks by norm (M, P), 0 the highest, and attention (L, P); K is ``tokens``."""
    chosen = (ranks < tokens).astype(np.float32)
    order = np.argsort(-attention, axis=1, kind="stable")[:, :tokens]
    most = np.zeros(attention.shape, bool)
    np.put_along_axis(most, order, True, axis=1)
    so_far = np.logical_or.accumulate(most)
    counts = np.stack([each.astype(np.float32) @ chosen.T for each in (most, so_far)])
    return Overlap(tokens, attention.shape[1], counts.astype(np.uint16), so_far.sum(1))


def _standard_ranks(values: Array) -> Array:
    """Ranks along the last axis, ties shared, with mean 0 and variance 1: what Spearman correlates."""
    from scipy.stats import rankdata

    ranks = rankdata(values, axis=-1)
    ranks -= ranks.mean(-1, keepdims=True)
    found: Array = ranks / ranks.std(-1, keepdims=True).clip(min=TINY)
    return found


def _p_values(values: NDArray[Any]) -> dict[str, float]:
    """By null, of a statistic (M,)."""
    return {null: p_value(float(values[0]), values[columns]) for null, columns in null_columns().items()}
