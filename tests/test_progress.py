"""What is shown while a run goes on, and what is said when it ends early."""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from rich.console import Console

from rtprune_cli.commandline import command_line
from rtprune_cli.commands import display
from rtprune_cli.commands.again import goes_on
from rtprune_cli.commands.pace import Pace
from rtprune_cli.commands.wording import fitted
from rtprune_cli.records import Document, DocumentPlan, Earlier, Markdown, PageRecord, PageResult
from rtprune_cli.report import Totals
from rtprune_cli.report.fitting import shortened
from rtprune_cli.report.totals import Noted

LONG_NAME = "scans/2023/a folder with a long name/and another one in it/annual report.pdf"


def plan_of(name: str, pages: int, done: int = 0, *, finished: bool = False) -> DocumentPlan:
    document = Document(Path(name), name, PurePosixPath(name).with_suffix(""))
    earlier = Earlier(finished, frozenset(range(1, done + 1)))
    return DocumentPlan(document, tuple(range(1, pages + 1)), earlier)


def result_of(plan: DocumentPlan, page: int) -> PageResult:
    record = PageRecord(document=plan.document.name, folder="a", status="ok", page=page, output_tokens=40)
    return PageResult(plan.document, record, Markdown(""), "")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def read(pace: Pace, plan: DocumentPlan, pages: int, clock: Clock, seconds: float) -> None:
    """So many pages, one after so many seconds."""
    for _ in range(pages):
        clock.now += seconds
        pace.page(plan.document.folder, 40)


@pytest.fixture
def shown() -> Any:
    """The display of a run, and the screen that it is drawn on."""

    def make(documents: int, width: int = 80) -> tuple[display.ProgressDisplay, io.StringIO, display._Bar]:
        screen = io.StringIO()
        bar = display._Bar(Console(file=screen, width=width, force_terminal=True))
        found = display.ProgressDisplay(documents, bar, "finding the model")
        found.begin(Totals())
        return found, screen, bar

    return make


# --- Progress


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal_with_whole_figures(shown: Any, width: int) -> None:
    found, screen, bar = shown(10_000, width)
    clock = found.pace._clock = Clock()
    totals, plan = found.totals, plan_of(LONG_NAME, 200)
    totals.pages, totals.visual_tokens_before, totals.visual_tokens_after = 123_456, 1000, 585
    totals.failures = totals.warned = Noted(17)
    found.opened(plan)
    for page in range(57):
        clock.now += 0.1
        found.page(result_of(plan, page + 1))
    found.workers(8)
    figures, document = found.lines(width)
    every = "123456 pages · 17 failed · 17 with warnings · 10.00 pages/s · 400 tokens/s · retention 58.5 % · 8 workers"
    assert set(figures.split(" · ")) <= set(every.split(" · "))
    assert {"17 failed", "10.00 pages/s", "retention 58.5 %"} <= set(figures.split(" · "))
    assert (figures == every) == (width == 120)
    assert document.startswith("page 57 of 200 · ") and document.endswith("report.pdf")
    with bar:
        bar.refresh()
    drawn = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").splitlines()
    assert max(map(len, drawn)) <= width
    assert any("0/10000 documents" in line for line in drawn) and figures in map(str.rstrip, drawn)


def test_a_long_document_moves_the_bar_page_by_page(shown: Any) -> None:
    found, _, bar = shown(1)
    plan = plan_of("long.pdf", 200, done=50)
    found.planned(plan)
    found.opened(plan)
    seen = []
    for page in range(51, 201):
        found.page(result_of(plan, page))
        found.move(bar)
        seen.append((bar.tasks[0].completed, bar.tasks[0].fields["count"], found.lines(80)[-1]))
    assert seen[6] == (pytest.approx(7 / 150), "7/150 pages", "page 57 of 200 · long.pdf")
    assert [share for share, *_ in seen] == pytest.approx([(each + 1) / 150 for each in range(150)])


def test_a_run_over_many_documents_keeps_little(shown: Any) -> None:
    found, _, _ = shown(10_000)
    clock = found.pace._clock = Clock()
    for number in range(10_000):
        plan = plan_of(f"{number}.pdf", 2)
        found.planned(plan)
        found.opened(plan)
        for page in (1, 2):
            clock.now += 0.05
            found.page(result_of(plan, page))
        found.closed(plan, Totals())
    assert (found.pace.closed, found.pace.read, found.pace.share) == (10_000, 20_000, 1.0)
    assert len(found.pace._samples) <= 601 and not found.pace._open and not found._plans


def test_the_time_left_counts_pages_and_needs_ground() -> None:
    clock = Clock()
    pace, plans = Pace(3, clock), [plan_of("a", 10), plan_of("b", 100), plan_of("c", 10)]
    for plan in plans[:2]:
        pace.planned(plan)
    read(pace, plans[0], 10, clock, 2.0)
    assert pace.seconds_left() is None  # the third may have any number
    pace.planned(plans[2])
    assert pace.seconds_left() == pytest.approx(110 * 2.0)
    clock.now += 30
    assert pace.seconds_left() == pytest.approx(110 * 2.0 - 30)
    clock.now += 1000
    assert pace.seconds_left() is None  # the next page is long overdue


def test_the_time_left_is_not_said_of_a_burst() -> None:
    clock = Clock()
    pace, plan = Pace(1, clock), plan_of("a", 100)
    pace.planned(plan)
    read(pace, plan, 16, clock, 0.01)
    assert pace.seconds_left() is None and pace.speed() is None
    clock.now += 32
    read(pace, plan, 16, clock, 0.0)
    assert pace.seconds_left() == pytest.approx(68 * 2.0, rel=0.01)


def test_pages_that_take_minutes_have_a_speed_and_an_end() -> None:
    clock = Clock()
    pace, plan = Pace(1, clock), plan_of("a", 10)
    pace.planned(plan)
    read(pace, plan, 5, clock, 900.0)
    assert pace.seconds_left() == 5 * 900.0
    assert (speed := pace.speed()) and speed.pages == pytest.approx(1 / 900)


def test_documents_that_are_not_planned_yet_are_as_long_as_the_others() -> None:
    pace = Pace(20)
    for number in range(10):
        pace.planned(plan_of(f"{number}", 4, finished=number < 5))
    assert pace.expected == 5 * 4 + 10 * 4
    pace.close(PurePosixPath("9"))  # it could not be read
    assert pace.pages_left == 16


@pytest.mark.parametrize(
    ("width", "text"), [(9, "abc · def"), (8, "abc"), (2, ""), (20, "abc · def · ghi"), (14, "abc · def")]
)
def test_what_matters_least_is_left_out_first(width: int, text: str) -> None:
    assert fitted([(0, "abc"), (1, "def"), (3, ""), (2, "ghi")], width) == text


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("a/b.pdf", 7, "a/b.pdf"),
        ("a/b.pdf", 6, "…b.pdf"),
        ("in/box/scan-0001.pdf", 15, "…/scan-0001.pdf"),
        ("in/box/scan-0001 of many.pdf", 15, "scan-… many.pdf"),
        ("日本語.pdf", 8, "…語.pdf"),
        ("a", 0, ""),
    ],
)
def test_the_own_name_of_a_file_stays(text: str, width: int, short: str) -> None:
    assert shortened(text, width) == short


# --- Ending early


@pytest.mark.parametrize(
    ("documents", "plans", "pages", "failed", "said"),
    [
        (1, [], 0, 0, "before the first page; 1 document is left"),
        (1, [plan_of("a", 200)], 57, 0, "after 57 of 200 pages; 143 pages are left"),
        (1, [plan_of("a", 200, done=50)], 7, 1, "after 57 of 200 pages (1 failed); 143 pages are left"),
        (2, [plan_of("a", 4), plan_of("b", 3)], 6, 0, "after 6 of 7 pages (1 of 2 documents done); 1 page is left"),
        (9, [plan_of("a", 4)], 2, 0, "after 2 pages (0 of 9 documents done); 9 documents are left"),
        (1, [plan_of("a", 4)], 4, 2, "after 4 of 4 pages (2 failed)"),
    ],
)
def test_what_is_done_and_what_is_left(
    documents: int, plans: Sequence[DocumentPlan], pages: int, failed: int, said: str
) -> None:
    pace = Pace(documents)
    for plan in plans:
        pace.planned(plan)
    for plan in plans:
        todo = len(plan.pages) - len(plan.earlier.pages)
        for _ in range(min(pages, todo)):
            pace.page(plan.document.folder, 1)
        pages -= todo
        if pages >= 0 and documents > 1:
            pace.close(plan.document.folder)
    assert pace.how_far(failed) == said


@pytest.mark.parametrize(
    ("typed", "forced", "command"),
    [
        ("scans/ -r -o out/", False, "scans/ -r -o out/"),
        ("scans/ --force -r", True, "scans/ -r"),
        ("scans/ -r", True, "scans/ -r --no-force"),  # RTPRUNE_FORCE, or a file
        ("'my scans' --password 'a b'", False, "'my scans' --password ..."),
        ("a.pdf --password=secret", False, "a.pdf --password=..."),
        ("https://me:pw@host/a.pdf?X-Amz-Signature=x", False, "https://host/a.pdf"),
        ("-- --force", False, "-- --force"),
    ],
)
def test_the_command_that_goes_on_is_the_one_that_was_typed(typed: str, forced: bool, command: str) -> None:
    import shlex

    said = goes_on("rtprune ocr", shlex.split(typed), forced=forced, from_stdin=False)
    assert said == f"To go on: rtprune ocr {command}"


def test_a_list_from_standard_input_does_not_come_again() -> None:
    said = goes_on("rtprune ocr", ["--files-from", "-"], forced=False, from_stdin=True)
    assert said == "The same command goes on from here"


@pytest.mark.parametrize(("output", "goes"), [("out", True), ("-", False)])
def test_a_run_that_gives_up_says_how_far_it_came(
    make_pdf: Callable[..., Path], rtprune: Any, tmp_path: Path, output: str, goes: bool
) -> None:
    (bad := tmp_path / "a.png").touch()
    flags = bad, make_pdf("one"), "-o", output if output == "-" else tmp_path / output
    line = rtprune("ocr", *flags, "--model", "tiny", "--abort-on-error").stderr.splitlines()[-1]
    end = f". To go on: rtprune ocr {shlex.join(map(str, flags))} --model tiny --abort-on-error"
    far = "asks, before the first page (1 failed); 2 documents are left"
    assert line.endswith(far + (end if goes else ""))


def test_the_first_signal_is_answered_while_c_code_is_at_work() -> None:
    code = (
        "import hashlib\nfrom rtprune_cli import logs\nfrom rtprune_cli.options import LogOptions\n"
        "from rtprune_cli.commands.interrupts import stoppable\nlogs.set_up(LogOptions())\n"
        "with stoppable():\n    print('go', flush=True)\n    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stderr is not None and run.stdout.readline() == b"go\n"
        try:
            run.send_signal(signal.SIGINT)
            assert run.stderr.readline() == b"rtprune: stopping; Ctrl-C again ends at once\n"
            assert run.poll() is None
        finally:
            run.kill()


@pytest.mark.slow
def test_ctrl_c_on_a_terminal(make_pdf: Callable[..., Path], tmp_path: Path) -> None:
    scan = make_pdf(*map(str, range(300)))
    child, terminal = pty.fork()
    if child == 0:
        arguments = ["ocr", str(scan), "-o", str(tmp_path / "my out"), "--force", "--model", "tiny"]
        os.execv(sys.executable, [sys.executable, "-m", "rtprune_cli", *arguments])
    said = b""
    with suppress(OSError):  # the terminal is gone with the program
        while piece := os.read(terminal, 65536):
            said += piece
            if b"page " in said and b"\x03" not in said:
                os.write(terminal, b"\x03")
                said += b"\x03"
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", said.decode()).replace("\r\n", "\n")
    assert os.waitstatus_to_exitcode(status) == 130
    assert text.index("stopping; Ctrl-C again ends at once") < text.index("interrupted after ")
    end = r"interrupted after \d+ of 300 pages; \d+ pages are left\. To go on: (.*)\n"
    found = re.search(end, text)
    assert found and found[1] == f"rtprune ocr {scan} -o '{tmp_path / 'my out'}' --model tiny"


def test_reports_name_the_command_without_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = [
        "analyze",
        "a b.pdf",
        "--password",
        "secret",
        "--password=secret",
        "https://me:secret@host/a.pdf?sig=secret",
    ]
    monkeypatch.setattr("sys.argv", ["rtprune", *typed])
    assert command_line() == "rtprune analyze 'a b.pdf' --password ... --password=... https://host/a.pdf"
