"""Owns what is said of the probed pages: error rates of glyphs by place, differences, movement, all with intervals.

The unit is the page, as in :mod:`rtprune_cli.bench.accuracy.statistics`, whose bootstrap this is. A rate is wrong
glyphs over glyphs, both summed over pages. Differences are of the same glyphs: pruned cells are those of low norm,
blank or with thin content, and so the glyphs on them are others than those on kept cells. What tells is the rise of
each group over the same glyphs unpruned, not one group's rate beside the other's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from rtprune_cli.bench.accuracy.resampling import Estimate
from rtprune_cli.bench.accuracy.statistics import ComparisonResult, compare
from rtprune_cli.bench.glyphs.places import PLACES, Place
from rtprune_cli.bench.glyphs.plan import PRUNED, READINGS, GlyphPlan, Reading
from rtprune_cli.bench.glyphs.probe import UNPRUNED, PageProbe
from rtprune_cli.bench.scoring.records import Metric, Part

# Which rises are set beside each other: where a glyph lies, by its centre and by all that it touches
OPPOSITES: tuple[tuple[Place, Place], ...] = (("pruned", "kept"), ("only pruned", "only kept"))
QUANTILES = {"p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}

Probes = Sequence[PageProbe]
Parts = dict[str, tuple[Part]]  # by page


def figures(pages: Probes, plan: GlyphPlan) -> dict[str, Any]:
    """``rates``, ``contrasts`` and ``movement``, lists of records in the order of the plan."""
    of_words = {words: [page for page in pages if page.words == words] for words in plan.words}
    pairs = [(words, ratio) for words in plan.words for ratio in plan.ratios]
    return {
        "rates": [row for words, ratio in pairs for row in rates(of_words[words], words, ratio, plan)],
        "contrasts": [
            *(row for words, ratio in pairs for row in place_contrasts(of_words[words], words, ratio, plan)),
            *(row for ratio in plan.ratios for row in word_contrasts(of_words, ratio, plan)),
        ],
        "movement": [moved(of_words[words], words, ratio, plan) for words, ratio in pairs if of_words[words]],
    }


def rates(pages: Probes, words: str, ratio: str, plan: GlyphPlan) -> Iterator[dict[str, Any]]:
    """A record for each place in which there are glyphs.

    ``unpruned``, ``dropped`` and ``merged`` are error rates of the glyphs in this place; the ``_rise`` of the latter
    two is over the same glyphs unpruned, and ``merging`` is merged less dropped: what merging does for them.
    """
    scores: dict[str, dict[str, Parts]] = {
        reading: {place: _wrong(pages, reading, ratio, place) for place in PLACES} for reading in READINGS
    }
    metrics = [Metric(place, place, lower=True) for place in PLACES]
    over_none = _compare(scores, metrics, "unpruned", plan)
    both = {str(reading): scores[reading] for reading in PRUNED}
    over_dropped = _compare(both, metrics, "dropped", plan)
    total = sum(len(page.boxes) for page in pages)
    for place in PLACES:
        glyphs = sum(int(page.places[ratio][place].sum()) for page in pages)
        if not glyphs:
            continue
        of_place = {reading: over_none[reading].metrics[place] for reading in READINGS}
        yield {
            "words": words,
            "ratio": ratio,
            "place": place,
            "glyphs": glyphs,
            "share": round(glyphs / total, 6),
            "pages": of_place["unpruned"].pages,
            **{reading: asdict(result.value) for reading, result in of_place.items()},
            **{f"{reading}_rise": _record(of_place[reading].difference) for reading in PRUNED},
            "merging": _record(over_dropped["merged"].metrics[place].difference),
        }


def place_contrasts(pages: Probes, words: str, ratio: str, plan: GlyphPlan) -> Iterator[dict[str, Any]]:
    """How much more the error rises on pruned cells than on kept ones, over the pages that have both."""
    for reading in PRUNED:
        for one, other in OPPOSITES:
            sides: dict[str, Parts] = {place: _rise(pages, reading, ratio, place) for place in (one, other)}
            if all(sides.values()):
                yield {
                    "words": words,
                    "ratio": ratio,
                    "reading": reading,
                    "of": one,
                    "over": other,
                    **_difference(sides, one, other, plan),
                }


def word_contrasts(of_words: Mapping[str, Probes], ratio: str, plan: GlyphPlan) -> Iterator[dict[str, Any]]:
    """How much more the error of all glyphs rises on random words than on natural ones, paired by page: pages of one
    name are the same but for the order of their letters."""
    one, other = "random", "natural"
    if not (of_words.get(one) and of_words.get(other)):
        return
    for reading in PRUNED:
        sides = {words: _rise(of_words[words], reading, ratio, "all") for words in (one, other)}
        found = _difference(sides, one, other, plan)
        yield {"words": None, "ratio": ratio, "reading": reading, "of": one, "over": other, **found}


def moved(pages: Probes, words: str, ratio: str, plan: GlyphPlan) -> dict[str, Any]:
    """The distribution of :class:`~rtprune_cli.bench.glyphs.probe.Movement` over the kept tokens of all pages."""
    changes = np.concatenate([page.movement[ratio].change for page in pages])
    cosines = np.concatenate([page.movement[ratio].cosine for page in pages])
    medians: Parts = {page.name: (Part(float(np.median(page.movement[ratio].change))),) for page in pages}
    metric = Metric("median", "median", lower=True)
    found = _compare({"merged": {"median": medians}}, [metric], "merged", plan)
    kept = sum(int(page.stays[ratio].sum()) for page in pages)
    return {
        "words": words,
        "ratio": ratio,
        "tokens": len(changes),
        "retention": round(kept / sum(len(page.stays[ratio]) for page in pages), 6),
        "change": spread(changes),
        "cosine": {"min": round(float(cosines.min()), 6), **spread(cosines)},
        "page_median_change": asdict(found["merged"].metrics["median"].value),
    }


def spread(numbers: Any) -> dict[str, float]:
    """Mean and quantiles."""
    quantiles = np.quantile(numbers, list(QUANTILES.values()))
    found = {"mean": float(np.mean(numbers)), **dict(zip(QUANTILES, map(float, quantiles), strict=True))}
    return {name: round(number, 6) for name, number in found.items()}


def _wrong(pages: Probes, reading: Reading, ratio: str, place: Place) -> Parts:
    """Of each page that has glyphs in a place: how many are wrong, of how many."""
    config = UNPRUNED if reading == "unpruned" else (reading, ratio)
    found: Parts = {}
    for page in pages:
        own = page.places[ratio][place]
        if own.any():
            found[page.name] = (Part(float((~page.right[config][own]).sum()), float(own.sum())),)
    return found


def _rise(pages: Probes, reading: Reading, ratio: str, place: Place) -> Parts:
    """Of each page that has glyphs in a place: how many more are wrong than unpruned, of how many."""
    before, after = _wrong(pages, "unpruned", ratio, place), _wrong(pages, reading, ratio, place)
    return {name: (Part(part.total - before[name][0].total, part.weight),) for name, (part,) in after.items()}


def _difference(sides: Mapping[str, Parts], one: str, other: str, plan: GlyphPlan) -> dict[str, Any]:
    scores = {side: {"rise": parts} for side, parts in sides.items()}
    metric = Metric("rise", "rise", lower=True)
    result = _compare(scores, [metric], other, plan)[one].metrics["rise"]
    return {"pages": result.paired, "difference": _record(result.difference)}


def _compare(
    scores: Mapping[str, Mapping[str, Parts]], metrics: Sequence[Metric], baseline: str, plan: GlyphPlan
) -> dict[str, ComparisonResult]:
    baselines = dict.fromkeys(scores, baseline)
    return compare(scores, metrics, (), baselines, seed=plan.seed, resamples=plan.resamples)


def _record(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate)
