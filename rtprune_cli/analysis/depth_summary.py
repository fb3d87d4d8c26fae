"""Owns what is written of the decoder's depth: of a page for pages.jsonl, of a group of pages for analysis.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rtprune_cli.analysis.depth import LEAST_LAYERS, PERSISTENCE, ROWS, SIZES, STATISTICS, DepthMeasures, Overlap
from rtprune_cli.analysis.estimates import TAILS, against, estimate, mean_of, null_range, plain, resampled, statistic
from rtprune_cli.analysis.trajectory import change_points, null_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CURVES = ("overlap", "cumulated")  # the first axis of an overlap's counts


def depth_record(page: DepthMeasures) -> dict[str, Any]:
    """A page's part of its line."""
    p = page.p
    return {
        "norms": {
            "high": page.norms[0].tolist(),
            "low": page.norms[1].tolist(),
            **{name: {"value": page.persistence[name][:, 0].tolist(), "p": p[name]} for name in PERSISTENCE},
        },
        **{row: {size: _overlap_record(found) for size, found in page.overlaps[row].items()} for row in ROWS},
    }


def _overlap_record(found: Overlap) -> dict[str, Any]:
    p, curves, chance = found.p, found.curves[..., 0], found.chance
    return {
        "tokens": found.tokens,
        **{name: curve.tolist() for name, curve in zip(CURVES, curves, strict=True)},
        "cumulated_chance": chance[1].tolist(),
        "statistics": {name: {"value": float(each[0]), "p": p[name]} for name, each in found.statistics.items()},
        "change_layer": found.change_layer,
        "turning_layer": found.turning_layer,
    }


def summarise_depth(pages: Sequence[DepthMeasures], seed: int) -> dict[str, Any]:
    """A group's numbers over depth, means over its pages."""
    return {
        "layers": len(pages[0].norms[0]) - 1,
        "norms": _norms(pages, seed),
        **{
            row: {size: _overlaps([page.overlaps[row][size] for page in pages], seed) for size in SIZES} for row in ROWS
        },
    }


def _norms(pages: Sequence[DepthMeasures], seed: int) -> dict[str, Any]:
    def mean(find: Callable[[DepthMeasures], Array]) -> dict[str, Any]:
        return estimate(np.array([find(page) for page in pages], dtype=np.float64), seed)

    found: dict[str, Any] = {"high": mean(lambda page: page.norms[0]), "low": mean(lambda page: page.norms[1])}
    for name in PERSISTENCE:
        all_columns = mean_of([page.persistence[name] for page in pages])
        last = np.array([page.persistence[name][-1] for page in pages], dtype=np.float64)  # (n, M)
        found[name] = {
            **mean(lambda page, name=name: page.persistence[name][:, 0]),  # type: ignore[misc]
            "null": {null: null_range(all_columns[:, columns].T) for null, columns in null_columns().items()},
            "after_last": statistic(last[:, 0], _nulls(last), seed),
        }
    return found


def _overlaps(pages: Sequence[Overlap], seed: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "tokens": estimate(np.array([page.tokens for page in pages], dtype=np.float64), seed),
        "independent": estimate(np.array([page.independent for page in pages]), seed),
    }
    own = np.array([page.curves[..., 0] for page in pages])  # (n, 2, L)
    chance = np.array([page.chance for page in pages])
    means = mean_of([page.curves for page in pages])  # (2, L, M)
    # Of other tokens anywhere the mean is known; of the same pattern moved it is that of the draws.
    shifted = null_columns()["shifted"]
    expected = {"shuffled": chance, "shifted": np.array([page.curves[..., shifted].mean(-1) for page in pages])}
    for i, name in enumerate(CURVES):
        found[name] = {
            **estimate(own[:, i], seed),
            "chance": estimate(chance[:, i], seed),
            "null": {null: null_range(means[i, :, columns].T) for null, columns in null_columns().items()},
            "excess": {null: estimate((own - each)[:, i], seed) for null, each in expected.items()},
        }
    statistics = [page.statistics for page in pages]
    for name in STATISTICS:
        columns = np.array([each[name] for each in statistics])  # (n, M)
        found.setdefault("statistics", {})[name] = statistic(columns[:, 0], _nulls(columns), seed)
    turning = np.array([page.turning_layer or np.nan for page in pages], dtype=np.float64)
    found["turned"] = {"pages": int(np.isfinite(turning).sum()), "layer": estimate(turning, seed)}
    found["curve"] = _curve(own[:, 0], {null: means[0][:, each] for null, each in null_columns().items()}, seed)
    return found


def _nulls(columns: Array) -> dict[str, Array]:
    """By null, of columns (n, M)."""
    return {null: columns[:, some] for null, some in null_columns().items()}


def _curve(curves: Array, nulls: Mapping[str, Array], seed: int) -> dict[str, Any]:
    """Where the mean of curves (n, L) is highest, and where it falls most sharply; ``nulls`` (L, R) are mean curves."""
    fall, layer = change_points(curves.mean(0)[:, None], LEAST_LAYERS)
    falls = layers = peaks = None
    if len(curves) > 1:
        drawn = (resampled(len(curves), seed) @ curves / len(curves)).T
        (falls, layers), peaks = change_points(drawn, LEAST_LAYERS), drawn.argmax(0) + 1
    against_null = {null: against(float(fall[0]), change_points(each, LEAST_LAYERS)[0]) for null, each in nulls.items()}
    return {
        "peak_layer": _interval(int(curves.mean(0).argmax()) + 1, peaks),
        "change_layer": _interval(int(layer[0]) or None, layers),
        "fall": {**_interval(float(fall[0]), falls), "null": against_null},
    }


def _interval(value: float | None, drawn: NDArray[Any] | None) -> dict[str, Any]:
    """A value and the interval of what its resamples gave: of layers, layers."""
    low = high = None
    if drawn is not None and value is not None and np.isfinite(drawn).all():
        low, high = (each.item() for each in np.quantile(drawn, TAILS, method="inverted_cdf"))
    return plain({"value": value, "low": low, "high": high})
