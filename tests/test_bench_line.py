"""rtprune bench, several modes: the line of unpruned modes, what is best at a budget, and what a page costs."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DOCS
from test_bench_summary import make, page, row

from rtprune_cli.bench.accuracy.costs import costs, visual_tokens
from rtprune_cli.bench.accuracy.line import LineComparison, LineResult, beside_line
from rtprune_cli.bench.accuracy.plan import AccuracyPlan, Configuration
from rtprune_cli.bench.accuracy.plots import pictures
from rtprune_cli.bench.accuracy.resampling import Estimate
from rtprune_cli.bench.accuracy.rows import Row
from rtprune_cli.bench.accuracy.timing import PageTimes
from rtprune_cli.bench.scoring.records import Metric, Part
from rtprune_cli.errors import UsageError

TEDS = Metric("teds", "TEDS", lower=False)
CER = Metric("cer", "CER", lower=True)


def compare(
    values: Mapping[str, Sequence[float | None]],
    tokens: Mapping[str, float | Sequence[float]],
    unpruned: Sequence[str],
    resamples: int = 2000,
) -> LineComparison:
    """Pages with an accuracy each, None where there is none; tokens of a configuration, or of each of its pages."""
    scores = {
        name: {"teds": {f"{i:03d}": [Part(value)] for i, value in enumerate(some) if value is not None}}
        for name, some in values.items()
    }
    each = {
        name: {
            f"{i:03d}": float(counts[i] if isinstance(counts, Sequence) else counts) for i in range(len(values[name]))
        }
        for name, counts in tokens.items()
    }
    return beside_line(scores, [TEDS], ["teds"], each, unpruned, seed=0, resamples=resamples)


def draw(seed: int, low: float, high: float, size: int = 60) -> list[float]:
    generator = random.Random(seed)
    return [generator.uniform(low, high) for _ in range(size)]


# --- The line ----------------------------------------------------------------------------------------------------


def test_a_point_half_way_is_compared_with_half_of_both_neighbours() -> None:
    low, high = draw(1, 0.2, 0.4), draw(2, 0.6, 0.8)
    pruned = [(a + b) / 2 - 0.125 for a, b in zip(low, high, strict=True)]
    found = compare({"a": low, "b": high, "p": pruned}, {"a": 16, "b": 64, "p": 40}, ["b", "a"]).beside["p"]
    assert found.between == ("a", "b") and found.pages == 60
    assert found.difference == Estimate(-0.125, -0.125, -0.125)  # however hard the pages drawn: all three move alike
    assert found.accuracy == pytest.approx((np.mean(low) + np.mean(high)) / 2)


def test_the_place_on_the_line_moves_with_the_tokens_of_the_pages_drawn() -> None:
    """Against a bootstrap of another hand, with other draws."""
    size, resamples = 300, 3000
    low, high, pruned = (np.array(draw(n, *ends, size)) for n, ends in enumerate([(0, 0.6), (0.4, 1), (0, 1)]))
    counts = np.array(draw(4, 16, 64, size)).round()
    values = {"a": low.tolist(), "b": high.tolist(), "p": pruned.tolist()}
    found = compare(values, {"a": 16, "b": 64, "p": counts.tolist()}, ["a", "b"], resamples).beside["p"].difference
    assert found is not None and found.low is not None and found.high is not None
    pages = np.random.default_rng(9).integers(size, size=(resamples, size))
    share = (counts[pages].mean(1) - 16) / 48
    line = low[pages].mean(1) + share * (high[pages].mean(1) - low[pages].mean(1))
    differences = pruned[pages].mean(1) - line
    low_end, high_end = np.quantile(differences, [0.025, 0.975])
    assert found.low == pytest.approx(low_end, abs=0.06 * (high_end - low_end))
    assert found.high == pytest.approx(high_end, abs=0.06 * (high_end - low_end))


def test_a_point_is_compared_with_its_own_stretch_of_the_line() -> None:
    values = {"a": [0.0] * 4, "b": [0.8] * 4, "c": [0.9] * 4, "p": [0.85] * 4, "q": [0.8] * 4}
    found = compare(values, {"a": 0, "b": 100, "c": 200, "p": 150, "q": 100}, ["a", "b", "c"]).beside
    assert found["p"].between == ("b", "c") and found["p"].difference == Estimate(0.0, 0.0, 0.0)
    assert found["q"].difference == Estimate(0.0, 0.0, 0.0)  # as many tokens as an unpruned mode has: on its point


@pytest.mark.parametrize("tokens", [9, 101])
def test_nothing_is_said_beyond_the_ends_of_the_line(tokens: int) -> None:
    found = compare({"a": [0.1], "b": [0.2], "p": [0.3]}, {"a": 10, "b": 100, "p": tokens}, ["a", "b"])
    assert found.beside == {"p": LineResult()}


def test_one_mode_is_no_line_and_two_with_as_many_tokens_are_one() -> None:
    values = {"a": [0.1, 0.2], "b": [0.2, 0.3], "p": [0.3, 0.3]}
    assert compare(values, {"a": 10, "p": 10}, ["a"]).beside == {}
    assert compare(values, {"a": 10, "b": 10, "p": 10}, ["a", "b"]).beside == {}


def test_only_pages_count_that_the_point_and_both_neighbours_have() -> None:
    values = {"a": [0.0, 0.0, None], "b": [1.0, 1.0, 1.0], "p": [0.5, None, 0.0]}
    found = compare(values, {"a": 0, "b": 100, "p": 50}, ["a", "b"]).beside["p"]
    assert found.pages == 1 and found.difference == Estimate(0.0)


def test_the_paper_s_points_lie_on_or_below_the_line_of_its_modes() -> None:
    """Overall of OmniDocBench v1.5 per notes on v2; docs/accuracy.md has the same differences."""
    unpruned = {"tiny": (64, 68.59), "small": (100, 79.61), "base": (256, 84.83), "large": (400, 85.55)}
    pruned = {"small 75": (75, 59.08), "small 83": (83, 67.26), "base 192": (192, 77.37), "base 214": (214, 81.48),
              "large 300": (300, 83.60), "large 337": (337, 85.10)}  # fmt: skip
    points = unpruned | pruned
    found = compare(
        {name: [overall / 100] for name, (_, overall) in points.items()},
        {name: tokens for name, (tokens, _) in points.items()},
        list(unpruned),
    )
    table = (DOCS / "accuracy.md").read_text(encoding="utf-8")
    for name, (tokens, overall) in pruned.items():
        result = found.beside[name]
        assert result.difference is not None and result.difference.value is not None and result.accuracy is not None
        told = re.search(rf"\| {tokens} \| {overall:.2f} \| ([\d.]+) \| (-[\d.]+) \|", table)
        assert told and [float(number) for number in told.groups()] == pytest.approx(
            [100 * result.accuracy, 100 * result.difference.value], abs=0.0051
        )
        assert result.difference.value < 0
    assert [each.best for each in found.best] == ["tiny", "small", "base 214", "base", "large 337", "large"]
    choosing = (DOCS / "choosing.md").read_text(encoding="utf-8")
    for best in found.best:
        name, ratio = best.best.split(" ")[0], "" if " " in best.best else " --ratio 1"
        accuracy = 100 * (best.accuracy.value or 0)
        budget = f"{best.tokens:.0f}" + ("" if best.end is None else f" to {best.end - 1:.0f}")
        assert f"| {budget} | `--mode {name}{ratio}` | {accuracy:.2f} |" in choosing


# --- Budgets -----------------------------------------------------------------------------------------------------


def test_the_best_at_a_budget_is_the_most_accurate_that_it_can_pay() -> None:
    hard = draw(1, 0.0, 0.4)
    values = {
        "a": [x + 0.1 for x in hard],
        "worse": [x + 0.05 for x in hard],  # and dearer: best at no budget
        "b": [x + 0.3 for x in hard],
        "near": [x + 0.3 + (0.02 if i % 2 else -0.021) for i, x in enumerate(hard)],
    }
    found = compare(values, {"a": 10, "worse": 20, "b": 30, "near": 25}, ["a", "b"]).best
    assert [(each.best, each.tokens, each.end) for each in found] == [("a", 10, 25), ("near", 25, 30), ("b", 30, None)]
    assert [name for name, _ in found[0].equal] == [] and [name for name, _ in found[2].equal] == ["near"]
    (_, difference) = found[2].equal[0]
    assert difference.value == pytest.approx(-0.0005) and difference.low and difference.low < 0
    assert found[0].accuracy.value == pytest.approx(np.mean(hard) + 0.1)


@pytest.fixture
def several() -> tuple[list[Configuration], list[Row]]:
    """Two modes, each unpruned and pruned, over 8 pages; the finer one pruned lies under the line."""
    configurations = AccuracyPlan(modes=("tiny", "side-1024"), ratios=("0.5",)).configurations()
    errors = {"tiny none": 3, "tiny rtprune 0.5": 4, "base none": 1, "base rtprune 0.5": 3}
    tokens = {"tiny none": 64, "tiny rtprune 0.5": 32, "base none": 256, "base rtprune 0.5": 128}
    rows = []
    for each in configurations:
        count = tokens[each.name]
        record = replace(
            page(count, kept=count, prefill_flops=count * 10**9, prune_flops=0),
            visual_tokens_before=tokens[each.baseline],
        )  # fmt: skip
        rows += [row(each, f"p{i}", errors[each.name] + i % 2, record=record) for i in range(8)]
    return configurations, rows


def test_modes_are_compared_with_their_own_unpruned_pages(several: Any) -> None:
    configurations, rows = several
    timings = {each.name: {"p0": PageTimes(5.0, 1000.0 * (1 + ("base" in each.name)))} for each in configurations}
    found = {each["name"]: each for each in make(rows, configurations, timings=timings)["configurations"]}
    assert list(found) == ["tiny none", "tiny rtprune 0.5", "base none", "base rtprune 0.5"]
    pruned = found["base rtprune 0.5"]
    assert pruned["mode"] == "base" and pruned["baseline"] == "base none"
    assert pruned["metrics"]["cer"]["difference"]["value"] == pytest.approx(0.2)
    assert pruned["relative_accuracy"]["value"] == pytest.approx(0.65 / 0.85) and pruned["retention"] == 0.5
    assert (pruned["visual_tokens"], pruned["prefill_flops"], pruned["seconds"]) == (128, 128e9, 2.0)
    assert pruned["line"]["between"] == ["tiny none", "base none"]
    assert pruned["line"]["difference"]["value"] == pytest.approx(0.65 - (0.65 + 0.2 / 3))
    assert found["tiny rtprune 0.5"]["line"]["between"] is None and found["base none"]["line"] is None


def test_a_summary_says_what_is_best_in_words(several: Any) -> None:
    configurations, rows = several
    found = make(rows, configurations)["conclusions"]
    assert found[:3] == [
        "Up to 63 visual tokens a page: tiny rtprune 0.5 (32), accuracy 55.00 % [51.25, 58.75].",
        "Up to 255 visual tokens a page: tiny unpruned (64), accuracy 65.00 % [61.25, 68.75]; equal within chance: "
        "base rtprune 0.5 (128) 0.00 [0.00, 0.00].",
        "Without a limit: base unpruned (256), accuracy 85.00 % [81.25, 88.75].",
    ]  # fmt: skip
    assert found[3] == (
        "Beside the line of unpruned modes, at equal tokens: of 1 pruned points 1 lie below it by more than chance, 0 "
        "above it, 0 on it within chance; 1 with fewer or more tokens than any unpruned mode: not measured."
    )


def test_several_modes_have_pictures_over_tokens_work_and_time(several: Any) -> None:
    configurations, rows = several
    timings = {each.name: {"p0": PageTimes(5, 90)} for each in configurations}
    found = pictures(make(rows, configurations, timings=timings))
    assert [each.title for each in found] == [
        "Accuracy over visual tokens a page", "Accuracy over GFLOPs of prefill and prune step a page",
        "Accuracy over seconds a page",
    ]  # fmt: skip
    assert all(word in found[0].svg for word in (">unpruned modes<", ">rtprune<", ">tiny<", ">base<"))
    assert "fill: var(--ground, #ffffff)" in found[0].themed and "fill: #ffffff" not in found[0].themed


# --- Costs -------------------------------------------------------------------------------------------------------


def test_a_page_that_the_model_was_not_asked_about_costs_no_tokens(several: Any) -> None:
    _, rows = several
    assert rows[0].page is not None
    blank = replace(rows[0], page=replace(rows[0].page, visual_tokens_before=0, kept=0, prefill_flops=0, prune_flops=0))
    assert costs([blank, *rows[1:]])["tiny none"] == costs(rows)["tiny none"]
    assert "p0" not in visual_tokens([blank])


# --- The plan ----------------------------------------------------------------------------------------------------


def test_one_mode_leaves_names_as_they_are() -> None:
    (none, _) = AccuracyPlan(modes=("side-448",)).configurations()
    assert (none.name, none.mode, none.baseline) == ("none", "side-448", "none")


def test_a_mode_is_read_once_under_whatever_name() -> None:
    assert AccuracyPlan(modes=("tiny", "side-512", "tiny")).modes == ("tiny",)
    with pytest.raises(UsageError, match="view of 100 pixels"):
        AccuracyPlan(modes=("side-100",))


def test_a_ratio_of_one_is_named_as_unpruned() -> None:
    assert AccuracyPlan(methods=("none", "rtprune", "random"), ratios=("1.0", "0.5")).unpruned == [
        "rtprune 1.0", "random 1.0",
    ]  # fmt: skip


@pytest.mark.slow
def test_modes_are_read_in_one_run_and_none_is_read_twice(tmp_path: Path, rtprune: Any) -> None:
    arguments = ["bench", "--dataset", "synthetic", "--model", "tiny", "--limit", "2", "-o", tmp_path]
    result = rtprune(*arguments, "--ratios", "0.5,1")
    assert result.exit_code == 0 and "rtprune 1: a ratio of 1 prunes nothing" in result.stderr
    result = rtprune(*arguments, "--ratios", "0.5", "--view-sides", "448,512")
    assert result.exit_code == 0, result.stderr
    assert "4 pages were read before" in result.stderr  # under names without a mode
    assert result.stderr.count("tiny was not trained for side-448, only for tiny") == 1
    assert "was not trained for mode" not in result.stderr
    folders = sorted(each.name for each in (tmp_path / "predictions").iterdir())
    assert folders == ["none", "rtprune-0.5", "side-448-none", "side-448-rtprune-0.5", "tiny-none", "tiny-rtprune-0.5"]
