"""rtprune bench: what is compared, what goes on after a stop, gates, and the errors of a new user."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import command_line
from test_bench_summary import page as page_record

from rtprune_cli.bench.accuracy import reader
from rtprune_cli.bench.accuracy.datasets import choose_samples
from rtprune_cli.bench.accuracy.datasets.base import Sample
from rtprune_cli.bench.accuracy.plan import AccuracyPlan, Configuration
from rtprune_cli.bench.accuracy.readings import JOURNAL, Readings
from rtprune_cli.errors import UsageError
from rtprune_cli.options import PruneOptions
from rtprune_cli.tiny.drawing import render
from rtprune_cli.tiny.evaluate import held_out

NONE = Configuration("none", "none", "1", PruneOptions(ratio=1.0))
PAGES = 4


SLOW_FIXTURES = {"out"}  # what uses one of them is slow


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages that the bundled model reads, in the folder format; two layouts."""
    folder = tmp_path_factory.mktemp("pages")
    groups = {}
    for number, page in enumerate(held_out(0, PAGES)):
        render(page).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(page.text, encoding="utf-8")
        groups[str(number)] = {"layout": "odd" if number % 2 else "even"}
    (folder / "groups.json").write_text(json.dumps(groups))
    return folder


@pytest.fixture(scope="module")
def out(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run wrote."""
    folder = tmp_path_factory.mktemp("bench") / "out"
    with command_line() as rtprune:
        result = rtprune(*command(pages, folder))
    assert result.exit_code == 0, result.stderr
    return folder


def command(pages: Path, out: Path, *more: Any) -> list[Any]:
    methods = ["--methods", "none,rtprune,random", "--ratios", "dynamic,0.5", "--merges", "none"]
    return ["bench", "--dataset", "folder", "--data", pages, "--model", "tiny", "-o", out, *methods, *more]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


# --- What is compared --------------------------------------------------------------------------------------------


def names(**settings: Any) -> list[str]:
    return [each.name for each in AccuracyPlan(**settings).configurations()]


def test_unpruned_pages_come_first_and_once() -> None:
    assert names(methods=("rtprune", "none"), ratios=("1", "0.5")) == ["none", "rtprune 0.5"]


def test_every_method_is_read_at_every_ratio() -> None:
    found = names(methods=("none", "rtprune", "random"), ratios=("0.90", "dynamic"))
    assert found == ["none", "rtprune 0.9", "rtprune dynamic", "random 0.9", "random dynamic"]


def test_an_ablation_changes_one_thing_at_a_time() -> None:
    ablations = (("importance", ("norm", "entropy")), ("merge", ("ot", "none")), ("alpha", (0.1, 0.5)))
    found = names(methods=("rtprune", "random"), ratios=("0.5",), ablations=ablations)
    changed = ["importance=entropy", "merge=none", "alpha=0.5"]
    assert found == ["none", "rtprune 0.5", "random 0.5", *(f"rtprune 0.5 {change}" for change in changed)]


def test_a_method_with_two_forms_is_read_in_those_that_are_named() -> None:
    methods = ("divprune", "dart")
    assert names(methods=methods, ratios=("0.5",)) == ["none", "divprune 0.5", "dart 0.5"]
    both = names(methods=methods, ratios=("0.5",), variants=("ours", "authors"))
    assert both == ["none", "divprune 0.5", "divprune-authors 0.5", "dart 0.5"]
    plan = AccuracyPlan(methods=("cdpruner",), ratios=("0.5",), variants=("authors",))
    found = plan.configurations()[1]
    assert (found.name, found.method, found.settings["variant"]) == (
        "cdpruner-authors 0.5",
        "cdpruner-authors",
        "authors",
    )


def test_what_shapes_the_dynamic_ratio_is_read_with_it_only() -> None:
    found = names(ratios=("0.5", "dynamic"), ablations=(("ratio_terms", ("density",)),))
    assert found == ["none", "rtprune 0.5", "rtprune dynamic", "rtprune dynamic ratio-terms=density"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("best",)}, "unknown method 'best'"),
        ({"methods": ("random",), "ablations": (("alpha", (0.5,)),)}, "without the method rtprune"),
        ({"ratios": ("0.5",), "ablations": (("sobel_threshold", (0.5,)),)}, "changes nothing at a given ratio"),
        ({"ratios": ()}, "nothing to compare"),
        ({"methods": ("cdpruner",), "variants": ("theirs",)}, "unknown baseline variant 'theirs'"),
        ({"methods": ("cdpruner",), "variants": ()}, "no baseline variant"),
        ({"variants": ("authors",)}, "a baseline variant without a method that has one"),
        ({"limit": 0}, "limit is 0"),
        ({"sample": 0}, "sample is 0"),
        ({"limit": 9, "sample": 9}, "--limit and --sample exclude each other"),
    ],
)
def test_a_plan_that_cannot_work_says_why(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AccuracyPlan(**settings)


def test_fewer_samples_are_the_same_ones_each_time_in_order() -> None:
    samples = [Sample(str(i), Path("x"), None, "") for i in range(50)]
    assert choose_samples(samples, 9, None, seed=3) == samples[:9]
    assert choose_samples(samples, None, None, seed=3) == choose_samples(samples, None, 99, seed=3) == samples
    chosen = [sample.id for sample in choose_samples(samples, None, 9, seed=3)]
    assert chosen == [sample.id for sample in choose_samples(samples, None, 9, seed=3)] == sorted(chosen, key=int)
    assert len(set(chosen)) == 9 and chosen != [sample.id for sample in choose_samples(samples, None, 9, seed=4)]


# --- Readings ----------------------------------------------------------------------------------------------------


def test_a_reading_is_found_again(tmp_path: Path) -> None:
    with Readings(tmp_path) as readings:
        added = readings.add("key", NONE, "a/b", "text", page_record())
    assert Readings(tmp_path).find("key", NONE, "a/b") == added
    assert Readings(tmp_path).find("other", NONE, "a/b") is None


def test_a_reading_is_found_under_the_name_that_it_has_beside_other_modes(tmp_path: Path) -> None:
    with Readings(tmp_path) as readings:
        readings.add("key", NONE, "a", "text", page_record())
    with Readings(tmp_path) as readings:
        found = readings.find("key", replace(NONE, name="tiny none"), "a")
    assert found is not None and found.path == "predictions/tiny-none/a.md"
    assert (tmp_path / found.path).read_text() == "text" and Readings(tmp_path).find("key", NONE, "a")


def test_a_prediction_that_was_changed_is_read_again(tmp_path: Path) -> None:
    with Readings(tmp_path) as readings:
        added = readings.add("key", NONE, "a", "text", page_record())
    (tmp_path / added.path).write_text("better text")
    assert Readings(tmp_path).find("key", NONE, "a") is None


def test_half_a_line_costs_no_more_than_itself(tmp_path: Path) -> None:
    with Readings(tmp_path) as readings:
        readings.add("1", NONE, "a", "text", page_record())
    with open(tmp_path / JOURNAL, "ab") as file:
        file.write(b'{"key": "2", "pa')
    with Readings(tmp_path) as readings:
        readings.add("3", NONE, "b", "text", page_record())
    again = Readings(tmp_path)
    assert again.find("1", NONE, "a") and again.find("3", NONE, "b")


# --- A run -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_page_has_a_row_under_every_configuration(out: Path) -> None:
    found = [(row["configuration"], row["sample"]) for row in rows(out)]
    configurations = ["none", "rtprune dynamic", "rtprune 0.5", "random dynamic", "random 0.5",
                      "rtprune dynamic merge=none", "rtprune 0.5 merge=none"]  # fmt: skip
    assert found == [(name, str(page)) for name in configurations for page in range(PAGES)]


def test_a_row_says_what_was_read_how_and_with_what(out: Path) -> None:
    row = next(row for row in rows(out) if row["configuration"] == "rtprune 0.5 merge=none")
    assert row["status"] == "ok" and row["groups"] == {"layout": "even"}
    assert row["settings"]["prune"]["merge"] == "none" and row["settings"]["prune"]["ratio"] == 0.5
    assert row["settings"]["mode"] == "tiny" and row["model"]["name"] == "tiny" and row["versions"]["torch"]
    assert row["scores"]["cer"]["weight"] > 0 and row["page"]["kept"] == 32
    assert (out / row["prediction"]).is_file()


def test_all_methods_keep_as_many_tokens(out: Path) -> None:
    kept = {(row["method"], row["ratio"], row["sample"]): row["page"]["kept"] for row in rows(out)}
    for ratio in ("dynamic", "0.5"):
        for page in map(str, range(PAGES)):
            assert kept["rtprune", ratio, page] == kept["random", ratio, page]


def test_the_summary_compares_with_unpruned_pages(out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    found = {each["name"]: each for each in summary["configurations"]}
    assert found["none"]["metrics"]["cer"]["value"] < 0.05
    difference = found["random 0.5"]["metrics"]["cer"]["difference"]
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert set(found["none"]["groups"]) == {"layout: even", "layout: odd"}
    assert summary["model"]["name"] == "tiny" and summary["versions"]["transformers"]


def test_a_rerun_reads_nothing_and_finds_the_same(
    out: Path, pages: Path, rtprune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (out / "results.jsonl").read_bytes()
    monkeypatch.setattr(reader, "read", None)  # a page that is read would fail
    result = rtprune(*command(pages, out))
    assert result.exit_code == 0 and "28 pages were read before" in result.stderr
    assert (out / "results.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on(
    pages: Path, tmp_path: Path, rtprune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    def stop(self: Readings, *arguments: Any) -> Any:
        nonlocal taken
        if taken == 5:
            raise KeyboardInterrupt
        taken += 1
        return add(self, *arguments)

    add = Readings.add
    monkeypatch.setattr(Readings, "add", stop)
    stopped = rtprune(*command(pages, tmp_path))
    assert stopped.exit_code == 130 and "the same command goes on from here" in stopped.stderr
    monkeypatch.setattr(Readings, "add", add)
    result = rtprune(*command(pages, tmp_path))
    assert result.exit_code == 0 and "5 pages were read before" in result.stderr
    assert len(rows(tmp_path)) == 7 * PAGES


@pytest.mark.slow
def test_a_page_that_cannot_be_read_keeps_its_row(pages: Path, tmp_path: Path, rtprune: Any) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("0.png", "0.txt"):
        (data / name).write_bytes((pages / name).read_bytes())
    (data / "1.png").write_bytes(b"no picture")
    (data / "1.txt").write_text("text")
    result = rtprune("bench", "--dataset", "folder", "--data", data, "--model", "tiny", "-o", tmp_path / "out")
    assert result.exit_code == 4
    status = {row["sample"]: (row["status"], row["scores"]["cer"]["value"]) for row in rows(tmp_path / "out")}
    assert status["1"] == ("failed", 1.0) and status["0"][0] == "ok"


# --- Gates and predictions ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("gate", "code"), [("cer=0.9999", 0), ("cer=0.00001", 1)])
def test_a_gate_sets_the_exit_code(out: Path, pages: Path, rtprune: Any, gate: str, code: int) -> None:
    result = rtprune(*command(pages, out, "--fail-above", gate))
    assert result.exit_code == code
    assert ("failed by" in result.stderr) == bool(code)


@pytest.mark.slow
def test_times_are_taken_of_some_pages_and_can_be_limited(out: Path, pages: Path, rtprune: Any) -> None:
    result = rtprune(*command(pages, out, "--measure-baseline", "--timed-pages", 1, "--fail-below", "page_speedup=9"))
    assert result.exit_code == 1 and "page_speedup not below 9: failed by" in " ".join(result.stderr.split())
    none, *pruned = json.loads((out / "summary.json").read_text(encoding="utf-8"))["configurations"]
    assert none["timed_pages"] == 1 and none["prefill_speedup"] is None
    assert all(each["prefill_speedup"]["value"] > 0 for each in pruned)
    assert all(each["milliseconds"]["page"] > each["milliseconds"]["prefill"] > 0 for each in [none, *pruned])


@pytest.mark.slow
def test_a_gate_that_fails_is_told_when_nothing_else_is(out: Path, pages: Path, rtprune: Any) -> None:
    result = rtprune(*command(pages, out, "--fail-above", "cer=0.00001", "-q"))
    assert result.exit_code == 1 and "which --fail-above cer=1e-05 forbids" in result.stderr


def test_predictions_score_as_the_run_that_made_them(out: Path, pages: Path, tmp_path: Path, rtprune: Any) -> None:
    predictions = out / "predictions" / "rtprune-0.5"
    arguments = ["--dataset", "folder", "--data", pages, "--predictions", predictions, "-o", tmp_path]
    result = rtprune("bench", "score", *arguments, "--baseline", out / "predictions" / "none")
    assert result.exit_code == 0, result.stderr
    expected = {row["sample"]: row["scores"] for row in rows(out) if row["configuration"] == "rtprune 0.5"}
    assert {r["sample"]: r["scores"] for r in rows(tmp_path) if r["configuration"] == "rtprune-0.5"} == expected
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["configurations"][1]["metrics"]["cer"]["difference"] is not None


def test_a_missing_prediction_is_told_and_counted(pages: Path, tmp_path: Path, rtprune: Any) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "0.md").write_text((pages / "0.txt").read_text())
    arguments = ["--dataset", "folder", "--data", pages, "--predictions", tmp_path / "p", "-o", tmp_path / "o"]
    result = rtprune("bench", "score", *arguments)
    assert "3 of 4 pages have no prediction" in result.stderr
    assert [row["status"] for row in rows(tmp_path / "o")] == ["ok", "missing", "missing", "missing"]


# --- What a new user gets wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "imagenet"], "unknown dataset 'imagenet'. Use one of omnidocbench"),
        (["--methods", "none"], "no dataset. Give --dataset"),
        (["--dataset", "folder"], "the dataset folder needs a folder. Give it with --data"),
        (["--dataset", "folder", "--data", "missing"], "does not exist"),
        (["--dataset", "omnidocbench", "--data", "missing"], "does not exist"),
        (["--dataset", "synthetic", "--data", "x"], "the dataset synthetic takes no folder"),
        (["--dataset", "folder", "--data", "x", "--sheet", "a4"], "are for synthetic pages"),
        (["--dataset", "synthetic", "--sheet", "a5"], "unknown sheet 'a5'"),
        (["--dataset", "synthetic", "--ratios", "2"], "ratio 2 is out of range"),
        (["--dataset", "synthetic", "--methods", "x"], "unknown method 'x'"),
        (["--dataset", "synthetic", "--alphas", "x"], "alphas is 'x'"),
        (["--dataset", "synthetic", "--importances", "x"], "unknown importance 'x'"),
        (["--dataset", "synthetic", "--merges", "x"], "unknown merge 'x'"),
        (["--dataset", "synthetic", "--baseline-variant", "authors"], "a baseline variant without a method that has"),
        (["--dataset", "synthetic", "--mode", "tiny", "--modes", "tiny"], "--mode and --modes exclude each other"),
        (["--dataset", "synthetic", "--modes", "huge"], "unknown mode 'huge'"),
        (["--dataset", "synthetic", "--view-sides", "100"], "a view of 100 pixels cannot be cut into tokens"),
    ],
)
def test_a_wrong_command_says_what_to_do(
    rtprune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = rtprune("bench", "--model", "tiny", *arguments)
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1


def test_an_unknown_metric_in_a_gate_is_found_before_pages_are_read(rtprune: Any, pages: Path, tmp_path: Path) -> None:
    result = rtprune(*command(pages, tmp_path, "--fail-above", "teds=1"))
    assert result.exit_code == 2 and "teds" in result.stderr and not (tmp_path / "results.jsonl").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no folder"),
        (lambda p: p.mkdir(), "no prediction for folder in"),
        (lambda p: (p.mkdir(), (p / "0.md").write_bytes(b"\xff\xfe\xff")), "is not UTF-8"),
    ],
)
def test_predictions_that_cannot_be_scored(pages: Path, tmp_path: Path, rtprune: Any, make: Any, message: str) -> None:
    make(tmp_path / "p")
    arguments = ["--dataset", "folder", "--data", pages, "--predictions", tmp_path / "p", "-o", tmp_path / "o"]
    result = rtprune("bench", "score", *arguments)
    assert result.exit_code in (2, 4) and message in result.stderr


def test_a_package_that_is_missing_is_named(
    rtprune: Any, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtprune_cli.bench.accuracy.datasets import opening

    monkeypatch.setitem(opening.NEEDED_BY, "folder", ("a-package-that-nobody-has",))
    result = rtprune(*command(pages, tmp_path / "new"))
    assert result.exit_code == 3 and "needs a-package-that-nobody-has. Install: pip install a-pack" in result.stderr


def test_without_matplotlib_predictions_are_scored_and_one_warning_says_how_to_get_pictures(
    rtprune: Any, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    place = tmp_path / "out"
    for path in pages.glob("*.txt"):
        (tmp_path / f"{path.stem}.md").write_bytes(path.read_bytes())
    arguments = ["--dataset", "folder", "--data", pages, "--predictions", tmp_path, "-o", place]
    result = rtprune("bench", "score", *arguments)
    assert result.exit_code == 0 and result.stderr.count("warning") == 1
    assert "For pictures: pip install 'matplotlib>=" in result.stderr
    assert "accuracy" in result.stderr and json.loads((place / "summary.json").read_bytes())["configurations"]
    assert "matplotlib was not installed" in (place / "report.html").read_text("utf-8")
