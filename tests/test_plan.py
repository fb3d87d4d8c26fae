"""--dry-run on a terminal, and what the machine's last run says of the next one."""

from __future__ import annotations

import io
import json
import logging
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from conftest import for_every
from rich.cells import cell_len
from rich.console import Console
from test_report import record

from rtprune_cli.commands import display
from rtprune_cli.commands.last_run import REMEMBERED, LastRun, RunKey, last_run, remember
from rtprune_cli.commands.plan import LAID_OUT, print_plan
from rtprune_cli.errors import EmptyFileError
from rtprune_cli.model import OcrModel
from rtprune_cli.options import OcrOptions, OutputOptions, RunOptions
from rtprune_cli.outputs import Output, open_output
from rtprune_cli.pipeline import DocumentPlan
from rtprune_cli.records import Document, Earlier
from rtprune_cli.report import Totals
from rtprune_cli.storage import to_json

LAST = LastRun(RunKey("here", "tiny", "tiny", "cpu"), 10, 8.0, 5.0, 730, 640, 500)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def plan_of(name: str, pages: int, done: tuple[int, ...] = (), **more: Any) -> DocumentPlan:
    document = Document(None, name, PurePosixPath(name.removesuffix(".pdf")))
    return DocumentPlan(document, tuple(range(1, pages + 1)), Earlier(pages=frozenset(done)), **more)


def listed(plans: list[DocumentPlan], width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a terminal of so many columns shows of standard output."""
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_plan(plans, output())
    return re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue()).splitlines()


def output() -> Output:
    return open_output(OutputOptions(output="text"), wait=False, several=True, shard=None)


PLANS = [
    plan_of("scans/of/a/long/way/to/invoice-2024-11.pdf", 120),
    plan_of("scans/of/a/long/way/to/invoice-2024-12.pdf", 40, done=tuple(range(2, 40, 2))),
    plan_of("帳票.pdf", 3, done=(1, 2, 3)),
    plan_of("b.pdf", 0, error=EmptyFileError("b.pdf is empty", "Copy it again")),
]


@for_every("width", (60, 80, 120))
def test_columns_lie_below_their_headings_and_nothing_is_cut(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    head, *lines = listed(PLANS, width, monkeypatch)
    assert head.split() == ["document", "pages", "state", "goes", "to"]
    assert max(map(cell_len, [head, *lines])) <= width
    assert lines[4] == "  b.pdf is empty. Copy it again"
    rows = [line.split() for line in lines[:4]]
    assert [row[0][-6:] for row in rows] == ["11.pdf", "12.pdf", "帳票.pdf", "b.pdf"]
    assert [row[1] for row in rows] == ["1-120", "21", "-", "-"]
    assert [" ".join(row[2:-1]) for row in rows] == ["new", "pages 19 done", "3 done", "failed"]
    assert [row[-1][-6:] for row in rows] == ["-11.md", "-12.md", "/帳票.md", "b/b.md"]
    states = zip(lines, ("new", "19 done", "3 done", "failed"), strict=False)
    assert {cell_len(line[: line.index(word)]) for line, word in states} == {head.index("state")}


def test_later_documents_fit_the_columns_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    later = plan_of("x" * 99 + "-last.pdf", 9999, done=tuple(range(1, 9999, 2)))
    *_, line = listed([*(plan_of(f"{n}.pdf", 1) for n in range(LAID_OUT)), later], 80, monkeypatch)
    assert cell_len(line) <= 80 and "ast.pdf" in line and "5000 pages" in line and "4999 done" in line


def test_nothing_to_list_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed([], 80, monkeypatch) == ["document  pages  state  goes to"]


def said(pages: int, last: LastRun | None, caplog: pytest.LogCaptureFixture) -> str:
    with caplog.at_level(logging.INFO, "rtprune"):
        print_plan([plan_of("a.pdf", pages)], output(), last)
    return caplog.text


def test_the_estimate_says_where_it_comes_from(caplog: pytest.LogCaptureFixture) -> None:
    assert (
        "about 53 s: 3.0 s to begin, then 2 pages/s, as the last run with this model and mode; "
        "about 7300 → 6400 visual tokens and 5000 text tokens" in said(100, LAST, caplog)
    )


@pytest.mark.parametrize(("pages", "last"), [(100, None), (0, LAST)])
def test_nothing_is_estimated_where_nothing_is_known_or_to_do(
    pages: int, last: LastRun | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert "about" not in said(pages, last, caplog)


@pytest.mark.parametrize(
    ("earlier", "text"),
    [
        (Earlier(pages=frozenset((1, 2)), finished=True), "a.pdf: done before"),
        (Earlier(pages=frozenset((2,))), "a.pdf: 1 page done before"),
        (Earlier(), ""),
    ],
)
def test_v_names_what_was_done_before_on_a_terminal(
    earlier: Earlier, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = replace(plan_of("a.pdf", 2), earlier=earlier)
    with (
        display._Bar(Console(file=io.StringIO(), force_terminal=True)) as bar,
        caplog.at_level(logging.INFO, "rtprune"),
    ):
        shown = display.ProgressDisplay(1, bar, "finding the model")
        shown.begin(Totals())
        shown.opened(plan)
        shown.closed(plan, Totals())
    assert [each.getMessage() for each in caplog.records] == [text] * bool(text)


# --- What is remembered


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "rtprune" / "last-runs.json"


def totals_of(pages: int) -> Totals:
    totals = Totals()
    for page in range(pages):
        totals.add(record(page=page, decode_ms=250.0))
    return totals


def test_the_last_run_of_a_model_and_mode_is_known(state: Path, tiny: OcrModel) -> None:
    assert last_run(tiny, OcrOptions()) is None
    for pages in (9, 4):
        remember(tiny, OcrOptions(), totals_of(pages), 7.5)
    found = last_run(tiny, OcrOptions())
    assert found is not None and (found.pages, found.seconds, found.visual_tokens_after) == (4, 7.5, 320)
    assert found.reading == pytest.approx(1.0, abs=0.1)
    assert last_run(tiny, OcrOptions(mode="small")) is None
    remember(tiny, OcrOptions(mode="small"), totals_of(1), 1)
    assert len(json.loads(state.read_text())) == 2 and last_run(tiny, OcrOptions()) == found


@pytest.mark.parametrize(
    "options",
    [OcrOptions(measure_baseline=True), OcrOptions(compare=True), OcrOptions(run=RunOptions(cluster="local"))],
)
def test_runs_that_are_no_measure_are_not_remembered(state: Path, tiny: OcrModel, options: OcrOptions) -> None:
    remember(tiny, options, totals_of(3), 5)
    assert not state.exists()


def test_a_run_that_read_nothing_or_was_stopped_leaves_the_one_before(state: Path, tiny: OcrModel) -> None:
    remember(tiny, OcrOptions(), totals_of(3), 5)
    stopped = totals_of(7)
    stopped.stopped = "stopped at the first failure"
    for totals in (Totals(), stopped):
        remember(tiny, OcrOptions(), totals, 5)
    found = last_run(tiny, OcrOptions())
    assert found is not None and found.pages == 3


def test_the_file_stays_small_and_a_broken_one_is_replaced(state: Path, tiny: OcrModel) -> None:
    state.parent.mkdir()
    for broken in ("", "[1]", '{"key": 1}', "[{}]"):
        state.write_text(broken)
        assert last_run(tiny, OcrOptions()) is None
    others = [replace(LAST, key=replace(LAST.key, mode=f"side-{64 * n}")) for n in range(1, 99)]
    state.write_bytes(to_json(others))
    remember(tiny, OcrOptions(), totals_of(3), 5)
    assert len(json.loads(state.read_text())) == REMEMBERED and last_run(tiny, OcrOptions()) is not None


def test_a_folder_that_cannot_be_written_costs_nothing(
    tiny: OcrModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    with caplog.at_level(logging.INFO, "rtprune"):
        remember(tiny, OcrOptions(), totals_of(3), 5)
    assert caplog.text == ""


def test_a_run_tells_the_next_dry_run(state: Path, make_pdf: Any, rtprune: Any, tmp_path: Path) -> None:
    path, flags = make_pdf("one"), ("--model", "tiny", "--max-new-tokens", "5", "-o", tmp_path / "out")
    assert "about" not in rtprune("ocr", path, *flags, "--dry-run").stderr
    rtprune("ocr", path, *flags)
    said = rtprune("ocr", path, *flags, "--dry-run", "--force").stderr
    assert "pages/s, as the last run with this model and mode; about 73 → " in said
