"""The end of a run as a person reads it, on screens of 60, 80 and 120 columns."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import random
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import for_every
from rich.cells import cell_len
from rich.console import Console
from test_report import lost, record

from rtprune_cli.commands import ending
from rtprune_cli.commands.display import Display
from rtprune_cli.commands.ending import RunEnd, closing_words
from rtprune_cli.commands.ocr import _keep_terminal_clean
from rtprune_cli.commands.wording import duration, rate_of
from rtprune_cli.options import LogOptions, OcrOptions, OutputOptions
from rtprune_cli.records import PageRecord, WarningRecord
from rtprune_cli.report import Totals, print_table
from rtprune_cli.report.fitting import shortened

WIDTHS = (60, 80, 120)
CUT = WarningRecord("token_limit", "")


def totals_of(documents: list[list[PageRecord]]) -> Totals:
    totals = Totals()
    for records in documents:
        own = Totals()
        for each in records:
            totals.add_of(each.document, own, each)
    return totals


def table(documents: list[list[PageRecord]], width: int = 120, **how: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_table(totals_of(documents), console, where=" in the report", **how)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


# --- The table


def some_documents(seed: int) -> list[list[PageRecord]]:
    """Documents with names of any length and figures of any size, some of them failed, warned, or measured."""
    dice = random.Random(seed)
    measured = dice.random() < 0.5
    found = []
    for number in range(dice.choice((1, 2, 5, 30))):
        name = (
            "/".join(dice.choice(("scans", "帳票", "a b", "x" * 40)) for _ in range(dice.randint(1, 5)))
            + f"-{number}.pdf"
        )
        pages = []
        for page in range(1, dice.choice((1, 2, 25)) + 1):
            before = dice.choice((73, 273, 1210, 123_456))
            after, prunable = before - dice.randint(0, before // 2), before - 9
            pages.append(
                record(
                    document=name,
                    page=page,
                    mode=dice.choice(("tiny", "gundam")),
                    visual_tokens_before=before,
                    visual_tokens_after=after,
                    kept=prunable - before + after,
                    merged=before - after,
                    output_tokens=dice.randint(0, 9999),
                    warnings=(CUT,) * dice.randint(0, 1),
                    flops_speedup=1 + dice.random(),
                    prefill_speedup=1 + dice.random() if measured else None,
                    edit_distance_to_unpruned=dice.random() if measured else None,
                )
            )
        if dice.random() < 0.3:
            pages.insert(0, record(document=name, page=99, status="failed", error=lost().error))
        found.append(pages)
    return found


@for_every("seed", range(40))
@for_every("width", WIDTHS)
def test_no_figure_is_cut_and_a_row_is_a_line(seed: int, width: int) -> None:
    documents = some_documents(seed)
    pages = seed % 2 == 1
    lines = table(documents, width, pages=pages)
    assert max(map(cell_len, lines)) <= width
    by_page = pages or len(documents) == 1
    rows = [[row] for own in documents for row in own][:20] if by_page else documents[:20]
    heading = next(number for number, line in enumerate(lines) if "visual tokens" in line and "→" not in line)
    for own, line in zip(rows, lines[heading + 1 :], strict=False):
        read = [row for row in own if not row.failed]
        if not read:
            continue
        before, after = (
            sum(getattr(row, f"visual_tokens_{when}") or 0 for row in read) for when in ("before", "after")
        )
        assert f" {before} → {after} " in f" {line} "
        assert "…" not in line.partition("→")[2]
        if "document" in lines[heading]:
            head, cut, _ = line.partition("…")
            file_name = own[0].document.rpartition("/")[2]
            assert file_name.startswith(head) if cut else line.startswith(own[0].document)
            assert re.search(rf"-{own[0].document.rpartition('-')[2]}\b", line), (
                "the distinguishing end of a name stays"
            )
        speedup = sum(row.flops_speedup or 0 for row in read) / len(read)
        assert "FLOPs ×" not in lines[heading] or f"{speedup:.2f}" in line


def test_what_is_equal_in_all_rows_is_said_once() -> None:
    lines = table([[record(document="a.pdf")], [record(document="b.pdf", visual_tokens_after=70)]])
    assert lines[0].startswith("every document: pages 1, mode tiny, kept 44, merged 20")
    assert lines[1].split() == ["document", "visual", "tokens", "retention"]


def test_rows_that_are_alike_in_everything_are_said_once() -> None:
    assert table([[record()], [record()]])[0].startswith("every document: document a.pdf, pages 1, mode tiny")


def test_narrow_screens_lose_the_same_columns_first() -> None:
    documents = []
    for n in range(1, 4):
        own: dict[str, Any] = {"document": f"{n}.pdf", "visual_tokens_after": 80 - n, "kept": n, "flops_speedup": 1 + n}
        documents.append([record(page=p, merged=9 - n, output_tokens=n, **own) for p in range(n)])
    wide, middle, narrow = (set(re.split("  +", table(documents, width)[1])) for width in (100, 74, 60))
    assert wide - middle == {"text tokens"} and middle - narrow == {"retention"}
    assert {"visual tokens", "kept", "merged", "FLOPs ×"} <= narrow


def test_one_document_has_a_row_a_page_and_several_on_demand() -> None:
    book = [record(page=page, visual_tokens_after=70 + page) for page in (1, 2)]
    assert [line.split()[0] for line in table([book])[1:5]] == ["page", "1", "2", "all"]
    several = [book, [record(document="b.pdf", page=7)]]
    assert [line.split()[0] for line in table(several)[1:5]] == ["document", "a.pdf", "b.pdf", "all"]
    assert [line.split()[:2] for line in table(several, pages=True)[2:5]] == [
        ["a.pdf", "1"],
        ["a.pdf", "2"],
        ["b.pdf", "7"],
    ]


def test_a_failed_document_has_a_row_without_figures() -> None:
    lines = table([[record()], [lost()], [record(document="c.pdf", visual_tokens_after=70)]])
    assert next(line for line in lines if "[b].pdf" in line).split() == ["[b].pdf", "0", "1"]


def test_long_runs_show_their_first_rows_and_hold_no_more() -> None:
    documents = [[record(document=f"{n}.pdf", page=p, visual_tokens_after=n) for p in range(30)] for n in range(1, 31)]
    lines = table(documents)
    assert "… 10 more documents in the report" in lines
    assert lines[0].startswith("each of these: pages 30, mode tiny"), "nothing is said of those that are not shown"
    assert "… 880 more pages in the report" in table(documents, pages=True)
    totals = totals_of([*documents, [lost(), *([record(warnings=(CUT,))] * 50)]])
    assert (totals.document_count, totals.warned.count) == (31, 50)
    held = totals.rows, totals.documents, totals.warned.first, totals.documents[0][1].rows
    assert [len(each) for each in held] == [20, 20, 20, 20]


def test_speedups_are_explained_where_they_stand() -> None:
    lines = " ".join(table([[record()]]))
    assert "prefill ×" not in lines and "page ×" not in lines
    assert "FLOPs × = prefill FLOPs: the decoder's operations" in lines
    lines = " ".join(table([[record(prefill_speedup=1.5, edit_distance_to_unpruned=0.125)]]))
    assert "prefill × = measured prefill, prune step included: time" in lines
    assert "1.50" in lines and "0.1250" in lines


@pytest.mark.parametrize(
    ("name", "width", "found"),
    [("a.pdf", 5, "a.pdf"), ("scans/a.pdf", 6, "…a.pdf"), ("帳票/a.pdf", 8, "…/a.pdf"), ("a\nb\x1b\udcff", 9, "a b  ")],
)
def test_names_are_shortened_from_the_left(name: str, width: int, found: str) -> None:
    assert shortened(name, width) == found


# --- The last line


def closing(documents: list[list[PageRecord]], before: int = 0, output: str = "text/", seconds: float = 11) -> str:
    display = Display(len(documents) + before)
    display.totals, display.finished_before = totals_of(documents), before
    return " ".join(closing_words(display, RunEnd(seconds, output)))


def test_the_last_line_says_what_came_of_it() -> None:
    documents = [
        [record(document=f"{n}.pdf", page=p, warnings=(CUT,) * (p + n == 0)) for p in range(7)] for n in range(14)
    ]
    assert closing(documents) == "98 pages of 14 documents in 11 s (8.9 pages/s), 0 failed, 1 with warnings -> text/"
    assert closing([[record()]], 2).endswith("0 with warnings, 2 documents done before -> text/")
    assert closing([], 3) == "nothing was read, 3 documents done before, --force reads again -> text/"
    assert closing([[record()]], output="-").endswith("-> standard output")
    assert closing([[lost()], [lost()]]).startswith("0 pages of 2 documents in 11 s, 2 failed")


@for_every("width", WIDTHS)
def test_the_last_line_is_not_cut_on_a_narrow_screen(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=width)
    monkeypatch.setattr(ending, "make_console", lambda: console)
    monkeypatch.setattr(logging.getLogger("rtprune"), "level", logging.INFO)
    display = Display(3)
    display.totals, display.finished_before = totals_of([[record(page=p) for p in range(9)]]), 2
    ending.tell_end(display, LogOptions(), RunEnd(75, "out/of/the/way"))
    said = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    last = " ".join(said[said.index(next(line for line in said if line.startswith("9 pages"))) :])
    assert max(map(len, said)) <= width
    assert last == (
        "9 pages of 1 document in 1 min 15 s (0.12 pages/s), 0 failed, 0 with warnings, 2 documents done before "
        "-> out/of/the/way"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (9.97, "10 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("pages", "text"), [(1, "0.1 pages/s"), (89, "8.9 pages/s"), (123450, "12345 pages/s")])
def test_rates_have_two_digits(pages: int, text: str) -> None:
    assert rate_of(pages, 10) == text


# --- Markdown on standard output


@pytest.mark.parametrize(
    ("output", "log_options", "level"),
    [
        ("-", LogOptions(), logging.WARNING),
        ("-", LogOptions(verbose=1), logging.INFO),
        ("-", LogOptions(log_format="json"), logging.INFO),
        ("out", LogOptions(), logging.INFO),
    ],
)
def test_a_terminal_that_shows_markdown_shows_warnings_alone(
    output: str, log_options: LogOptions, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("rtprune")
    monkeypatch.setattr(log, "level", logging.INFO)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    _keep_terminal_clean(OcrOptions(output=OutputOptions(output=output)), log_options)
    assert log.level == level
    log.setLevel(logging.INFO)


def on_a_terminal(columns: int, *command: str | Path) -> tuple[str, str]:
    """What a command writes to standard output, a pipe, and to a terminal of so many columns as standard error."""
    own, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    run = subprocess.Popen(
        [sys.executable, "-m", "rtprune_cli", *map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=its, env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(its)
    assert run.stdout is not None
    said, shown = run.stdout.read(), b""
    try:
        while data := os.read(own, 65536):
            shown += data
    except OSError:  # its other end is closed
        pass
    os.close(own)
    assert run.wait() == 0, shown
    return said.decode(), shown.decode()


@pytest.mark.slow
def test_a_pager_shows_the_text_and_nothing_over_it(make_pdf: Callable[..., Path]) -> None:
    said, shown = on_a_terminal(80, "ocr", make_pdf("one", "two"), "-o", "-", "--model", "tiny")
    assert said.startswith("<!-- page 1 -->") and shown == ""
