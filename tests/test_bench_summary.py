"""rtprune bench, summary: figures a configuration, groups, gates, and the table on the terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rtprune_cli.bench.accuracy.datasets.base import Dataset, Sample, by_id
from rtprune_cli.bench.accuracy.gates import Gate, parse_gate
from rtprune_cli.bench.accuracy.plan import Configuration
from rtprune_cli.bench.accuracy.rows import Row, SampleStatus
from rtprune_cli.bench.accuracy.summary import summarise
from rtprune_cli.bench.accuracy.table import print_groups, print_summary
from rtprune_cli.bench.accuracy.timing import PageTimes, Timings
from rtprune_cli.bench.scoring.records import Marks, Metric, Part
from rtprune_cli.errors import UsageError
from rtprune_cli.records import TIMES, PageRecord
from rtprune_cli.storage import to_json

METRICS = (Metric("cer", "CER", lower=True), Metric("teds", "TEDS", lower=False))
NONE, DYNAMIC = Configuration("none", "none", "1"), Configuration("rtprune dynamic", "rtprune", "dynamic")
FACTS = {"command": "rtprune bench", "versions": {"torch": "2"}}
Groups = Mapping[str, str | Sequence[str]]


def page(after: int = 100, **values: Any) -> PageRecord:
    """The record of a page that was read."""
    known = {"visual_tokens_before": 100, "visual_tokens_after": after, "output_tokens": 7, "finish_reason": "eos",
             "flops_speedup": 2.0, **dict.fromkeys(TIMES, 1.0)}  # fmt: skip
    return PageRecord(document="a", folder="a", page=1, status="ok", **{**known, **values})


def row(
    configuration: Configuration,
    sample: str,
    errors: float,
    *,
    groups: Groups | None = None,
    status: SampleStatus = "ok",
    record: PageRecord | None = None,
    teds: float | None = None,
) -> Row:
    scores = {"cer": [Part(errors, 10)], **({"teds": [Part(teds)]} if teds is not None else {})}
    return Row(configuration.name, sample, groups or {}, status, Marks(scores, {"unmatched": 2.0}), record)


def make(
    rows: Sequence[Row],
    configurations: Sequence[Configuration] = (NONE, DYNAMIC),
    gates: Sequence[Gate] = (),
    official: Mapping[str, Any] | None = None,
    timings: Timings | None = None,
    **of_dataset: Any,
) -> dict[str, Any]:
    samples = [Sample(name, Path(name), None, "") for name in dict.fromkeys(row.sample for row in rows)]
    about = ("CER: edits over characters",)
    dataset = Dataset("folder", "1", samples, METRICS, ("cer",), lambda truth, text: Marks({}), by_id, about=about)
    dataset = replace(dataset, **of_dataset)
    more = {"gates": gates, "facts": FACTS, "official": official, "timings": timings}
    return summarise(dataset, configurations, rows, seed=0, resamples=200, **more)  # type: ignore[arg-type]


@pytest.fixture
def rows() -> list[Row]:
    return [
        row(NONE, "a", 1, record=page(), groups={"layout": "one", "issue": ["blur", "stain"]}),
        row(NONE, "b", 0, record=page(), groups={"layout": "two"}, teds=0.9),
        row(NONE, "c", 0, record=page(), groups={"layout": "two", "issue": "blur"}),
        row(DYNAMIC, "a", 2, record=page(80), groups={"layout": "one", "issue": ["blur", "stain"]}),
        row(DYNAMIC, "b", 10, status="failed", groups={"layout": "two"}, teds=0.0, record={"status": "failed"}),
        row(DYNAMIC, "c", 1, record=page(40, flops_speedup=4.0), groups={"layout": "two", "issue": "blur"}),
    ]


# --- Figures -----------------------------------------------------------------------------------------------------


def test_a_summary_has_its_run_its_metrics_and_its_bootstrap(rows: list[Row]) -> None:
    summary = make(rows, official={"none": {"overall": 1.0}})
    assert summary["schema_version"] == 1 and summary["command"] == "rtprune bench"
    assert summary["dataset"] == {
        "name": "folder",
        "version": "1",
        "repository": None,
        "revision": None,
        "annotations": None,
        "title": "folder 1",
        "samples": 3,
        "about": ["CER: edits over characters"],
        "rendered": {},
    }
    assert summary["metrics"][0] == {"name": "cer", "title": "CER", "lower": True, "headline": True}
    assert summary["bootstrap"] == {"resamples": 200, "seed": 0, "level": 0.95, "unit": "page"}
    assert summary["official"] == {"none": {"overall": 1.0}}


def test_failed_and_missing_pages_are_counted_beside_all(rows: list[Row]) -> None:
    rows[5] = row(DYNAMIC, "c", 10, status="missing")
    found = make(rows)["configurations"][1]
    assert (found["pages"], found["failed"], found["missing"]) == (3, 1, 1)
    assert found["metrics"]["cer"]["value"] == pytest.approx(22 / 30)


def test_speed_and_retention_are_those_of_the_pages_that_were_read(rows: list[Row]) -> None:
    found = make(rows)["configurations"][1]
    assert found["retention"] == 0.6 and found["flops_speedup"] == 3.0 and found["prefill_speedup"] is None
    assert found["output_tokens"] == 14 and found["finish_reasons"]["eos"] == 2
    assert found["milliseconds"] == {} and found["timed_pages"] == 0
    assert found["notes"] == {"unmatched": 6.0}


@pytest.mark.parametrize(("teds", "name"), [(0.9, "Overall"), (None, None)])
def test_a_mean_without_one_of_its_metrics_has_another_name(teds: float | None, name: str | None) -> None:
    found = make([row(NONE, "a", 1, teds=teds)], [NONE], headline=("cer", "teds"), accuracy_name="Overall")
    assert found["accuracy_name"] == name
    assert found["accuracy_is"] == (
        "the mean of 1 - CER and TEDS" if name else "1 - CER; not Overall, as no page here has TEDS"
    )


def test_times_are_those_of_pages_that_were_read_in_turns(rows: list[Row]) -> None:
    timings = {
        "none": {"a": PageTimes(10, 100), "b": PageTimes(20, 100)},
        "rtprune dynamic": {"a": PageTimes(8, 90), "b": PageTimes(12, 110)},
    }
    none, dynamic = make(rows, timings=timings)["configurations"]
    assert none["milliseconds"] == {"prefill": 15, "page": 100} and none["page_speedup"] is None
    assert dynamic["timed_pages"] == 2 and dynamic["page_speedup"]["value"] == 1.0
    assert dynamic["prefill_speedup"] == {"value": 1.5, "low": 1.25, "high": pytest.approx(20 / 12)}


def test_predictions_of_others_have_no_speed() -> None:
    found = make([row(NONE, "a", 1)], [NONE])["configurations"][0]
    assert found["retention"] is found["flops_speedup"] is found["output_tokens"] is None
    assert found["milliseconds"] == {} and found["metrics"]["cer"]["value"] == 0.1


def test_metrics_are_compared_with_the_baseline_but_its_own_are_not(rows: list[Row]) -> None:
    none, dynamic = make(rows)["configurations"]
    assert none["metrics"]["cer"]["difference"] is None and none["relative_accuracy"] is None
    assert dynamic["metrics"]["cer"]["difference"]["value"] == pytest.approx(12 / 30)
    assert dynamic["relative_accuracy"]["value"] == pytest.approx((1 - 13 / 30) / (1 - 1 / 30))
    assert dynamic["metrics"]["teds"] == {
        "value": 0.0, "low": None, "high": None, "pages": 1, "pairs": 1,
        "difference": {"value": -0.9, "low": None, "high": None},
        "relative_accuracy": {"value": 0.0, "low": None, "high": None},
    }  # fmt: skip


def test_groups_hold_their_pages_and_a_page_can_be_in_several(rows: list[Row]) -> None:
    groups = make(rows)["configurations"][1]["groups"]
    assert {name: group["pages"] for name, group in groups.items()} == {
        "issue: blur": 2, "issue: stain": 1, "layout: one": 1, "layout: two": 2,
    }  # fmt: skip
    assert groups["layout: two"]["metrics"]["cer"]["value"] == 0.55
    assert groups["layout: two"]["relative_accuracy"]["value"] == pytest.approx(0.45)
    assert groups["layout: one"]["metrics"]["teds"]["value"] is None


def test_the_order_of_rows_does_not_matter(rows: list[Row]) -> None:
    assert to_json(make(rows)) == to_json(make(rows[::-1]))


def test_no_samples_make_a_summary_of_nothing() -> None:
    summary = make([], gates=[Gate("cer", 1, above=True)])
    assert summary["configurations"][0]["accuracy"]["value"] is None and not summary["gates"][0]["passed"]
    json.loads(to_json(summary))


# --- Gates -------------------------------------------------------------------------------------------------------


def test_a_gate_holds_for_every_configuration(rows: list[Row]) -> None:
    gates = make(rows, gates=[Gate("cer", 0.1, above=True)])["gates"]
    assert [(gate["configuration"], gate["passed"]) for gate in gates] == [("none", True), ("rtprune dynamic", False)]
    assert gates[1]["value"] == pytest.approx(13 / 30) and gates[1]["direction"] == "above"


def test_the_limit_itself_passes() -> None:
    assert Gate("cer", 0.05, above=True).passes(0.05) and Gate("teds", 0.9, above=False).passes(0.9)
    assert not Gate("cer", 0.05, above=True).passes(0.051) and not Gate("teds", 0.9, above=False).passes(0.89)


def test_what_was_not_measured_does_not_pass(rows: list[Row]) -> None:
    rows = [each for each in rows if "teds" not in each.marks.scores]
    gates = make(rows, gates=[Gate("teds", 0.0, above=False), Gate("teds", 1.0, above=True)])["gates"]
    assert [gate["passed"] for gate in gates] == [False] * 4 and gates[0]["value"] is None


def test_the_baseline_is_not_asked_how_it_compares_with_itself(rows: list[Row]) -> None:
    gate = Gate("relative_accuracy", 0.5, above=False)
    assert [found["configuration"] for found in make(rows, gates=[gate])["gates"]] == ["rtprune dynamic"]
    alone = make(rows[:3], [NONE], gates=[gate])["gates"]
    assert [(found["value"], found["passed"]) for found in alone] == [(None, False)]


def test_a_gate_of_a_rise_takes_the_difference_to_unpruned_pages(rows: list[Row]) -> None:
    gates = make(rows, gates=[Gate("cer_rise", 0.1, above=True), Gate("teds_fall", 1.0, above=True)])["gates"]
    assert [(gate["configuration"], gate["passed"]) for gate in gates] == [
        ("rtprune dynamic", False),
        ("rtprune dynamic", True),
    ]
    assert [gate["value"] for gate in gates] == [pytest.approx(12 / 30), pytest.approx(0.9)]


def test_a_gate_of_what_pruning_saves_does_not_ask_unpruned_pages(rows: list[Row]) -> None:
    timings = {"none": {"a": PageTimes(10, 100)}, "rtprune dynamic": {"a": PageTimes(8, 110)}}
    limits = {"retention": 0.7, "flops_speedup": 1.1, "prefill_speedup": 1.1, "page_speedup": 1.0}
    gates = make(rows, gates=[Gate(name, limit, above=False) for name, limit in limits.items()], timings=timings)[
        "gates"
    ]
    assert {gate["metric"]: gate["passed"] for gate in gates} == {
        "retention": False, "flops_speedup": True, "prefill_speedup": True, "page_speedup": False,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["cer=0.05", " cer = 5e-2 "])
def test_a_gate_is_read(text: str) -> None:
    assert parse_gate(text, above=True, metrics=METRICS, timed=None) == Gate("cer", 0.05, above=True)


@pytest.mark.parametrize("name", ["relative_accuracy", "cer_rise", "teds_fall", "retention", "page_speedup"])
def test_what_pruning_changes_can_be_limited(name: str) -> None:
    assert parse_gate(f"{name}=0.5", above=False, metrics=METRICS, timed=True) == Gate(name, 0.5, above=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cer", "--fail-below is 'cer'. Write METRIC=LIMIT, as in cer=0.05"),
        ("cer=", "Write METRIC=LIMIT"),
        ("cer=5%", "Write METRIC=LIMIT"),
        ("cer=nan", "Write METRIC=LIMIT"),
        ("wer=1", "--fail-below: unknown metric 'wer'. Use one of cer, teds, cer_rise, teds_fall, accuracy,"),
        ("page_speedup=1", "--fail-below: page_speedup is not measured. Add --measure-baseline"),
    ],
)
def test_a_gate_that_cannot_be_read_says_why(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_gate(text, above=False, metrics=METRICS, timed=False)
    assert message in str(error.value)


# --- On a terminal -----------------------------------------------------------------------------------------------


def printed(summary: dict[str, Any], width: int, show: Any = print_summary) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [120, 80])
def test_every_figure_is_whole_at_any_usual_width(rows: list[Row], width: int) -> None:
    summary = make(rows, gates=[Gate("cer", 0.1, above=True)])
    text = printed(summary, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert " ".join(text.split()).count("FLOPs × = prefill FLOPs: the decoder's operations without") == 1
    found = summary["configurations"][1]["metrics"]["cer"]
    low, high = (100 * found["difference"][end] for end in ("low", "high"))
    for part in (f"43.33 %  +40.00 [{low:+.2f}, {high:+.2f}]", "3 (1 failed)", "60.0 %", "58.62", "3.00"):
        assert part in text
    assert "cer not above 0.1: failed by rtprune dynamic 0.4333" in text


def test_names_are_no_markup(rows: list[Row]) -> None:
    name = "[red]out[/red]/[bold"
    assert name in printed(
        make([row(Configuration(name, "predictions"), "a", 1)], [Configuration(name, "predictions")]), 120
    )


def test_groups_have_a_table_a_kind(rows: list[Row]) -> None:
    text = printed(make(rows), 160, print_groups)
    assert [line for line in text.splitlines() if line.strip() in ("issue", "layout")]
    assert text.count("stain") == 2
