"""What the prune step costs: its floating-point operations, counted from sizes, for RTPrune and what it is compared
with.

Letters: N visual tokens of a page, P of them prunable, K kept, D hidden size, S side in pixels of the view that the
density is measured on. Two operations a multiply-add, one for each element of a step element by element, as this
package computes it: over all N tokens, of which those of the other side are 0. Sorting and what is of the order of N
alone is left out. A test holds the figures to what torch does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rtprune_cli.options import Merge, Method, PruneOptions
from rtprune_cli.pruning.duplicates import AT_A_TIME, IMPORTANT, PIVOTS
from rtprune_cli.records import PrunedTokens, VisualTokens


class PruneSizes(NamedTuple):
    """The letters above; ``keys`` and ``features`` are the sizes of what some methods read of CLIP, or 0."""

    n: int
    p: int
    k: int
    d: int
    s: int
    keys: int = 0
    features: int = 0


def prune_flops(options: PruneOptions, tokens: VisualTokens, pruned: PrunedTokens, side: int) -> int:
    """Floating-point operations of one page's prune step; 0 where pruning is off, which then measures for the report
    alone. ``side``: of the global view, in pixels."""
    if options.fixed_ratio == 1:
        return 0
    count, hidden = tokens.tokens.shape
    sizes = PruneSizes(
        count, pruned.prunable, pruned.kept, hidden, side,
        0 if tokens.keys is None else tokens.keys.shape[-1],
        0 if tokens.features is None else tokens.features.shape[-1],
    )  # fmt: skip
    return measuring(sizes) + METHODS[options.method](sizes, options)


def measuring(z: PruneSizes) -> int:
    """Of every method: norms, cosines and their mean square, and Sobel's edges."""
    return 4 * z.n * z.d + 2 * z.n**2 * z.d + 3 * z.n**2 + 18 * z.s**2


def _rtprune(z: PruneSizes, options: PruneOptions) -> int:
    own = {"norm": 0, "variance": 4, "entropy": 6}[options.importance] * z.n * z.d
    return own + MERGES[options.merge](z, options)


def _visionzip(z: PruneSizes, options: PruneOptions) -> int:
    metric = z.d if options.variant == "authors" else z.keys
    return 2 * z.n**2 * metric + 3 * z.n * metric + _applied(z) + 4 * z.n**2


def _divprune(z: PruneSizes, options: PruneOptions) -> int:
    return 3 * z.n**2 + 3 * z.n * z.k


def _cdpruner(z: PruneSizes, options: PruneOptions) -> int:
    cosines = 2 * z.n**2 * z.features + 4 * z.n * z.features if options.variant == "authors" else 0
    return cosines + 2 * z.n * z.d + 2 * z.n**2 + _largest_determinant(z)


def _scope(z: PruneSizes, options: PruneOptions) -> int:
    return 3 * z.n**2 * z.k + 4 * z.n * z.k


def _otprune(z: PruneSizes, options: PruneOptions) -> int:
    return 4 * z.n * z.d + 2 * z.n**2 * z.d + 2 * z.n**3 + 2 * z.n**2 + _largest_determinant(z)


def _vispruner(z: PruneSizes, options: PruneOptions) -> int:
    important = int(z.k * IMPORTANT)
    rounds = -(-(z.p - z.k) // AT_A_TIME) if z.k > important else 0
    return 3 * z.n * z.d + 2 * z.n**2 * z.d + rounds * z.n**2 // 2


def _dart(z: PruneSizes, options: PruneOptions) -> int:
    return 3 * z.n * z.d + 2 * (2 * PIVOTS) * z.n * z.d


def _largest_determinant(z: PruneSizes) -> int:
    """The k-th token chosen is taken out of all others by the factors of those before it."""
    return z.n * z.k**2 + 9 * z.n * z.k


def _applied(z: PruneSizes) -> int:
    """A plan times the values, whose share is added to them."""
    return 2 * z.n**2 * z.d + 2 * z.n * z.d


def _ot(z: PruneSizes, options: PruneOptions) -> int:
    """Below a regularisation of 1 the iterations go on until they converge, which is not known here: it is more."""
    return z.n**2 + options.iterations * 4 * z.n**2 + z.n * z.d + _applied(z)


METHODS: dict[Method, Callable[[PruneSizes, PruneOptions], int]] = {
    "rtprune": _rtprune,
    "norm-only": lambda z, options: 0,
    "random": lambda z, options: 9 * z.s**2,
    "visionzip": _visionzip,
    "divprune": _divprune,
    "cdpruner": _cdpruner,
    "scope": _scope,
    "otprune": _otprune,
    "vispruner": _vispruner,
    "dart": _dart,
}

MERGES: dict[Merge, Callable[[PruneSizes, PruneOptions], int]] = {
    "ot": _ot,
    "mean": lambda z, options: 4 * z.n * z.d,
    "nearest": lambda z, options: _applied(z) + 2 * z.n**2,
    "gtp": lambda z, options: _applied(z) + 8 * z.n**2,
    "sparsevlm": lambda z, options: _applied(z) + 2 * z.n**2 * z.d + 7 * z.n**2,
    "nuwa": lambda z, options: _applied(z) + 12 * z.n**2 + 2 * z.n * z.d,
    "visionzip": lambda z, options: _applied(z) + 4 * z.n**2,
    "none": lambda z, options: 0,
}
