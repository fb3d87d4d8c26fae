"""rtprune bench, statistics: values over pages, and the paired bootstrap."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from rtprune_cli.bench.accuracy.resampling import Estimate, Scores, value
from rtprune_cli.bench.accuracy.statistics import ComparisonResult, compare, page_accuracy
from rtprune_cli.bench.scoring.records import Metric, Part

CER = Metric("cer", "CER", lower=True)
TEDS = Metric("teds", "TEDS", lower=False)
SIZE = 60


def scores(values: Sequence[float], metric: str = "cer", stratum: str = "") -> Scores:
    """A page a value, with weight 1."""
    return {metric: {f"page {i:03d}": [Part(value, 1.0, stratum)] for i, value in enumerate(values)}}


def draw(seed: int, size: int = SIZE) -> list[float]:
    generator = random.Random(seed)
    return [generator.random() for _ in range(size)]


def bootstrap(
    metrics: Sequence[Metric] = (CER,), seed: int = 0, resamples: int = 2000, **configurations: Scores
) -> dict[str, ComparisonResult]:
    headline = [metric.name for metric in metrics]
    baselines = dict.fromkeys(configurations, "none")
    return compare(configurations, metrics, headline, baselines, seed=seed, resamples=resamples)


# --- Values ------------------------------------------------------------------------------------------------------


def test_a_pooled_rate_counts_characters_and_a_mean_counts_pages() -> None:
    assert value([[Part(1, 10)], [Part(90, 90)]]) == 0.91
    assert value([[Part(0.1)], [Part(1.0)]]) == 0.55


def test_strata_count_alike_whatever_their_size() -> None:
    pages = [[Part(1, 1, "small")], [Part(0, 1, "large")], [Part(0, 1, "large"), Part(1, 1, "small")]]
    assert value(pages) == 0.5


def test_without_weight_there_is_no_value() -> None:
    assert value([]) is None
    assert value([[Part(0, 0)]]) is None
    assert value([[Part(0, 0, "empty")], [Part(1, 2, "other")]]) == 0.5


def test_the_order_of_pages_does_not_change_a_bit() -> None:
    pages = [[Part(x, 1.0)] for x in draw(1, 999)]
    assert value(pages) == value(sorted(pages, key=lambda page: page[0].total))


def test_a_page_is_as_accurate_as_its_headline_metrics_together() -> None:
    marks = {"cer": [Part(2, 10)], "teds": [Part(0.6)]}
    assert page_accuracy([CER, TEDS], ["cer", "teds"], marks) == pytest.approx(0.7)
    assert page_accuracy([CER, TEDS], ["teds"], {"cer": [Part(2, 10)]}) is None


# --- Intervals ---------------------------------------------------------------------------------------------------


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400).tolist()
    found = bootstrap(none=scores(values), resamples=10_000)["none"].metrics["cer"].value
    assert found.value == pytest.approx(np.mean(values)) and found.low is not None and found.high is not None
    half = 1.96 * np.std(values) / math.sqrt(len(values))
    assert found.low == pytest.approx(found.value - half, abs=0.05 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.05 * half)


def test_a_constant_difference_has_an_interval_of_no_width() -> None:
    values = draw(1)
    found = bootstrap(none=scores(values), pruned=scores([x + 0.125 for x in values]))["pruned"].metrics["cer"]
    assert found.difference == Estimate(0.125, 0.125, 0.125)
    assert found.value.low is not None and found.value.high is not None
    assert found.value.high - found.value.low > 0.1


def test_the_same_pages_are_drawn_for_both_sides() -> None:
    values, noise = draw(1), draw(2)
    near = [x + 0.01 * y for x, y in zip(values, noise, strict=True)]
    found = bootstrap(none=scores(values), pruned=scores(near), other=scores(draw(3)))
    paired, unpaired = (found[name].metrics["cer"].difference for name in ("pruned", "other"))
    assert paired and unpaired and paired.low and paired.high and unpaired.low and unpaired.high
    half = 1.96 * 0.01 * np.std(noise) / math.sqrt(SIZE)
    assert paired.high - paired.low == pytest.approx(2 * half, rel=0.1)
    assert unpaired.high - unpaired.low > 50 * (paired.high - paired.low)


def test_two_pages_have_the_interval_that_can_be_counted() -> None:
    """Of four draws one is twice the first page, one twice the second."""
    found = bootstrap(none=scores([0.0, 1.0]))["none"].metrics["cer"].value
    assert found == Estimate(0.5, 0.0, 1.0)


def test_the_relative_accuracy_is_that_of_the_paired_pages() -> None:
    found = bootstrap(none=scores([0.1] * 9), pruned=scores([0.28] * 9))["pruned"]
    assert found.metrics["cer"].relative == found.relative == Estimate(0.8, 0.8, 0.8)


def test_the_headline_is_the_mean_of_its_metrics() -> None:
    none = {**scores([0.1] * 4), **scores([0.7] * 2, "teds")}
    pruned = {**scores([0.2] * 4), **scores([0.5] * 2, "teds")}
    found = bootstrap(metrics=(CER, TEDS), none=none, pruned=pruned)
    assert found["none"].accuracy.value == 0.8 and found["pruned"].accuracy.value == 0.65
    assert found["pruned"].relative and found["pruned"].relative.value == 0.8125


def test_metrics_share_their_draws() -> None:
    """What one metric gains on a page the other loses: their mean does not move."""
    values = draw(1)
    both = {**scores(values), **scores(values, "teds")}
    found = bootstrap(metrics=(CER, TEDS), none=both)["none"].accuracy
    assert found == Estimate(0.5, 0.5, 0.5)


def test_only_pages_that_both_have_are_compared() -> None:
    found = bootstrap(none=scores([0.5] * 10), pruned=scores([0.75] * 4 + [0.0] * 8))["pruned"].metrics["cer"]
    assert found.pages == 12 and found.value.value == 0.25
    assert found.paired == 10 and found.difference and found.difference.value == pytest.approx(-0.2)


def test_strata_are_drawn_from_apart() -> None:
    """Drawn from together, the number of pages in a stratum, and so the value, would vary."""
    pages = {f"a{i}": [Part(0.0, 1, "a")] for i in range(4)} | {f"b{i}": [Part(1.0, 1, "b")] for i in range(2)}
    assert bootstrap(none={"cer": pages})["none"].metrics["cer"].value == Estimate(0.5, 0.5, 0.5)


def test_a_page_in_two_strata_is_one_page() -> None:
    """What it gains in one stratum it loses in the other."""
    pages = {f"{i}": [Part(x, 1, "a"), Part(1 - x, 1, "b")] for i, x in enumerate(draw(1))}
    assert bootstrap(none={"cer": pages})["none"].metrics["cer"].value == Estimate(0.5, 0.5, 0.5)


# --- The same numbers --------------------------------------------------------------------------------------------


def test_neither_the_order_nor_the_company_changes_the_numbers() -> None:
    none, pruned, other = scores(draw(1)), scores(draw(2)), scores(draw(3))
    backwards = {"cer": dict(reversed(list(pruned["cer"].items())))}
    first = bootstrap(none=none, pruned=pruned)
    assert bootstrap(other=other, pruned=backwards, none=none)["pruned"] == first["pruned"]


def test_another_seed_draws_other_pages() -> None:
    first, second = (bootstrap(seed=seed, none=scores(draw(1)))["none"] for seed in (0, 1))
    assert first.metrics["cer"].value.value == second.metrics["cer"].value.value
    assert first != second and first == bootstrap(none=scores(draw(1)))["none"]


# --- Little or nothing -------------------------------------------------------------------------------------------


def test_one_page_has_no_interval() -> None:
    found = bootstrap(none=scores([0.5]), pruned=scores([0.75]))["pruned"]
    assert found.metrics["cer"].value == Estimate(0.75) and found.metrics["cer"].difference == Estimate(0.25)
    assert found.relative == Estimate(0.5)


def test_no_pages_have_no_value() -> None:
    found = bootstrap(none=scores([0.5] * 3), pruned={})["pruned"]
    assert found.metrics["cer"].value == Estimate(None) and found.metrics["cer"].difference is None
    assert found.accuracy == Estimate(None) and found.relative is None
    assert bootstrap(none={})["none"].accuracy == Estimate(None)


def test_pages_without_weight_have_no_value() -> None:
    found = bootstrap(none={"cer": {"a": [Part(0, 0)], "b": [Part(0, 0)]}})["none"].metrics["cer"]
    assert found.value == Estimate(None) and found.pages == 2


def test_resamples_without_weight_are_left_out() -> None:
    """The one page with weight is drawn or not."""
    pages = {"a": [Part(1, 2)], "b": [Part(0, 0)]}
    assert bootstrap(none={"cer": pages})["none"].metrics["cer"].value == Estimate(0.5, 0.5, 0.5)


def test_nothing_is_relative_to_an_accuracy_of_zero() -> None:
    found = bootstrap(none=scores([1.0] * 5), pruned=scores([0.5] * 5))["pruned"]
    assert found.relative is None and found.metrics["cer"].relative is None
    assert found.metrics["cer"].difference == Estimate(-0.5, -0.5, -0.5)


def test_without_a_baseline_nothing_is_compared() -> None:
    found = bootstrap(a=scores([0.5] * 3))["a"]
    assert found.metrics["cer"].value.value == 0.5 and found.metrics["cer"].difference is None and not found.relative
