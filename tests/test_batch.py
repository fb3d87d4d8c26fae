"""Runs over many documents as a user meets them: going on, giving up, what is said on the way."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from rtprune_cli import stopping
from rtprune_cli.commands import display
from rtprune_cli.commands.interrupts import stoppable
from rtprune_cli.commands.wording import page_ranges
from rtprune_cli.records import PageResult
from rtprune_cli.stopping import Interrupted, Terminated

TINY = ("--model", "tiny", "--max-new-tokens", "4")
MakePdf = Callable[..., Path]


@pytest.fixture
def scans(make_pdf: MakePdf, tmp_path: Path) -> Path:
    """A folder with two good documents and, between them, one that is empty."""
    (tmp_path / "scans").mkdir()
    for name, pages in (("a.pdf", ("one", "two")), ("c.pdf", ("three",))):
        make_pdf(*pages, name=name).rename(tmp_path / "scans" / name)
    (tmp_path / "scans" / "b.pdf").touch()
    return tmp_path / "scans"


def objects(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines()]


# --- Going on


def test_a_second_run_reads_nothing_and_loads_no_model(
    make_pdf: MakePdf, rtprune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = "ocr", make_pdf("one"), "-o", tmp_path / "out", *TINY
    assert rtprune(*command).exit_code == 0
    before = (tmp_path / "out" / "report.jsonl").read_bytes()
    monkeypatch.setattr("rtprune_cli.model.checkpoint.load_network", lambda _: pytest.fail("the model was loaded"))
    result = rtprune(*command)
    assert result.exit_code == 0
    assert "1 document done before" in result.stderr
    assert (tmp_path / "out" / "report.jsonl").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "pages"),
    [((), 0), (("--batch-size", "2", "--password", "x", "--wait"), 0), (("--force",), 1), (("--ratio", "1"), 1)],
)
def test_what_makes_a_page_be_read_again(
    make_pdf: MakePdf, rtprune: Any, tmp_path: Path, flags: tuple[str, ...], pages: int
) -> None:
    command = "ocr", make_pdf("one"), "-o", tmp_path / "out", "--log-format", "json", *TINY
    rtprune(*command)
    assert objects(rtprune(*command, *flags).stderr)[-1]["pages"] == pages


def test_a_changed_file_is_read_again(make_pdf: MakePdf, rtprune: Any, tmp_path: Path) -> None:
    command = "ocr", make_pdf("one"), "-o", tmp_path / "out", *TINY
    rtprune(*command)
    make_pdf("two words")
    assert "1 page," in rtprune(*command).stderr


def test_a_failed_document_is_tried_again(make_pdf: MakePdf, rtprune: Any, tmp_path: Path) -> None:
    path = make_pdf("one", encryption=5, user_pw="secret", owner_pw="owner")
    command = "ocr", path, "-o", tmp_path / "out", *TINY
    assert rtprune(*command).exit_code == 8
    assert rtprune(*command, "--password", "secret").exit_code == 0
    assert "failed" not in (tmp_path / "out" / "doc" / "doc.md").read_text()


def test_a_mistyped_page_range_takes_no_text(make_pdf: MakePdf, rtprune: Any, tmp_path: Path) -> None:
    command = "ocr", make_pdf("one"), "-o", tmp_path / "out", *TINY
    rtprune(*command)
    before = (tmp_path / "out" / "doc" / "doc.md").read_bytes()
    assert rtprune(*command, "--pages", "9").exit_code == 2
    assert (tmp_path / "out" / "doc" / "doc.md").read_bytes() == before
    assert "1 document done before" in rtprune(*command).stderr


def test_documents_of_one_name_in_several_runs_all_stay(make_pdf: MakePdf, rtprune: Any, tmp_path: Path) -> None:
    for folder in ("x", "y", "x"):
        (tmp_path / folder).mkdir(exist_ok=True)
        make_pdf(folder).rename(tmp_path / folder / "doc.pdf")
        rtprune("ocr", tmp_path / folder / "doc.pdf", "-o", tmp_path / "out", *TINY)
    assert {path.name for path in (tmp_path / "out").glob("*/*.md")} == {"doc.md", "doc_2.md"}
    rows = objects((tmp_path / "out" / "report.jsonl").read_text())
    assert {row["folder"] for row in rows} == {"doc", "doc_2"}


def test_documents_on_standard_input_do_not_overwrite_each_other(
    make_pdf: MakePdf, rtprune: Any, tmp_path: Path
) -> None:
    for text in ("one", "two", "one"):
        data = make_pdf(text, no_new_id=True).read_bytes()
        assert rtprune("ocr", "-", "-o", tmp_path / "out", *TINY, input=data).exit_code == 0
    assert len(list((tmp_path / "out").glob("*/*.md"))) == 2


def test_md_only_goes_on_too(make_pdf: MakePdf, rtprune: Any, tmp_path: Path) -> None:
    command = "ocr", make_pdf("one"), "-o", tmp_path / "out", "--md-only", *TINY
    rtprune(*command)
    assert "1 document done before" in rtprune(*command).stderr
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name != ".rtprune"] == ["doc.md"]


# --- Giving up


def test_failures_are_listed_at_the_end(scans: Path, rtprune: Any, tmp_path: Path) -> None:
    result = rtprune("ocr", scans, "-o", tmp_path / "out", *TINY)
    assert result.exit_code == 4
    assert f"1 failed:\n  {scans / 'b.pdf'}: empty\n" in result.stderr


@pytest.mark.slow
def test_abort_on_error_stops_at_the_first_failure_and_goes_on_later(scans: Path, rtprune: Any, tmp_path: Path) -> None:
    command = "ocr", scans, "-o", tmp_path / "out", *TINY
    result = rtprune(*command, "--abort-on-error")
    assert result.exit_code == 4
    assert "--abort-on-error" in result.stderr
    assert not (tmp_path / "out" / "c").exists()
    assert "2 documents done before" not in rtprune(*command).stderr
    assert (tmp_path / "out" / "c" / "c.md").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "rows"), [("0.5", 24), ("0.2", 20)])
def test_a_run_stops_when_too_many_pages_fail(rtprune: Any, tmp_path: Path, rate: str, rows: int) -> None:
    """Every third of 24 pages fails; from the 20th on the share is looked at."""
    for number in range(24):
        path = tmp_path / "in" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        path.touch() if number % 3 == 0 else Image.new("L", (99, 99), 255).save(path)
    out = tmp_path / "out"
    result = rtprune("ocr", tmp_path / "in", "-o", out, "--max-page-error-rate", rate, *TINY)
    assert result.exit_code == 4
    assert ("stopped: 7 of 20 pages failed" in result.stderr) == (rate == "0.2")
    assert len((out / "report.jsonl").read_text().splitlines()) == rows


# --- What is said


def test_away_from_a_terminal_there_is_a_line_a_document(scans: Path, rtprune: Any, tmp_path: Path) -> None:
    said = rtprune("ocr", scans, "-o", tmp_path / "out", *TINY).stderr.splitlines()
    lines = [line for line in said if "the text is cut" not in line]
    assert lines[0].startswith(f"rtprune: [1/3] {scans / 'a.pdf'}: 2 pages, retention ")
    assert lines[1] == f"rtprune: error: {scans / 'b.pdf'} is empty. Copy or download the file again"
    assert lines[2].startswith(f"rtprune: [3/3] {scans / 'c.pdf'}: 1 page, ")


def test_quiet_says_errors_only(scans: Path, rtprune: Any, tmp_path: Path) -> None:
    lines = rtprune("ocr", scans, "-q", "-o", tmp_path / "out", *TINY).stderr.splitlines()
    assert len(lines) == 1
    assert "is empty" in lines[0]


def test_json_lines_carry_the_events(scans: Path, rtprune: Any, tmp_path: Path) -> None:
    result = rtprune("ocr", scans, "-o", tmp_path / "out", "--log-format", "json", *TINY)
    found = {event["event"]: event for event in objects(result.stderr)}
    assert found["failure"]["code"] == "empty"
    assert found["document"]["pages"] == 1
    assert (found["summary"]["pages"], found["summary"]["failed"], found["summary"]["documents"]) == (3, 1, 3)
    assert all({"time", "level", "message"} <= event.keys() for event in objects(result.stderr))


def test_an_error_of_the_command_is_a_json_line_too(rtprune: Any) -> None:
    (event,) = objects(rtprune("ocr", "absent.pdf", "--log-format", "json").stderr)
    assert (event["level"], "does not exist" in event["message"]) == ("error", True)


def test_on_a_terminal_the_progress_shows_pages_speed_and_retention(
    scans: Path, rtprune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = display.ProgressDisplay.page

    def page(self: display.ProgressDisplay, result: PageResult) -> None:
        self.pace._clock = lambda: float(len(seen))
        real(self, result)
        seen.append(self.lines(1000))

    monkeypatch.setattr(display, "make_console", lambda: Console(stderr=True, force_terminal=True, width=120))
    monkeypatch.setattr(display.ProgressDisplay, "page", page)
    result = rtprune("ocr", scans, "-o", tmp_path / "out", *TINY)
    assert re.fullmatch(r"2 pages · 1.00 pages/s · \d+ tokens/s · retention [\d.]+ %", seen[1][0])
    assert seen[1][1] == f"page 2 of 2 · {scans / 'a.pdf'}"
    assert re.search(r"3 pages of 3 documents in .* pages/s\), 1 failed,", result.stderr)
    assert "0/3 documents" in result.stderr


def test_no_color_is_honoured(make_pdf: MakePdf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = display.make_console()
    with console.capture() as captured:
        console.print("[red]text[/red]")
    assert "\x1b[31m" not in captured.get()


# --- Dry run


def test_dry_run_lists_pages_and_writes_nothing(scans: Path, rtprune: Any, tmp_path: Path) -> None:
    result = rtprune("ocr", scans, "-o", tmp_path / "out", "--dry-run", *TINY)
    assert result.stdout.splitlines() == [
        f"{scans / 'a.pdf'}\t1-2\tnew\t{tmp_path / 'out' / 'a' / 'a.md'}",
        f"{scans / 'b.pdf'}\t-\tfailed: empty: {scans / 'b.pdf'} is empty\t{tmp_path / 'out' / 'b' / 'b.md'}",
        f"{scans / 'c.pdf'}\t1\tnew\t{tmp_path / 'out' / 'c' / 'c.md'}",
    ]
    assert "3 documents, 3 pages to read, 1 failed" in result.stderr
    assert result.exit_code == 4
    assert not (tmp_path / "out").exists()


def test_dry_run_knows_what_is_done(scans: Path, rtprune: Any, tmp_path: Path) -> None:
    rtprune("ocr", scans / "a.pdf", "-o", tmp_path / "out", *TINY)
    result = rtprune("ocr", scans / "a.pdf", "-o", tmp_path / "out", "--dry-run", *TINY)
    assert "\t-\t2 done\t" in result.stdout


def test_dry_run_works_without_the_model(scans: Path, rtprune: Any, tmp_path: Path) -> None:
    result = rtprune("ocr", scans / "a.pdf", "-o", tmp_path / "out", "--dry-run", "--model", "nobody/nothing")
    assert "\t1-2\tnew\t" in result.stdout
    assert "not known without it" in result.stderr
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("pages", "text"), [([], ""), ([1], "1"), ([1, 2, 3, 7], "1-3,7"), ([3, 2, 4, 5], "3,2,4-5"), ([1, 3], "1,3")]
)
def test_page_ranges_read_like_the_flag(pages: list[int], text: str) -> None:
    assert page_ranges(pages) == text


# --- Stopping


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)])
def test_a_signal_is_noted_once_and_then_kills(number: signal.Signals, raised: type[BaseException]) -> None:
    before = signal.getsignal(number)
    with stoppable():
        signal.raise_signal(number)  # raises nothing where it arrives
        with pytest.raises(raised):
            stopping.check()
        assert signal.getsignal(number) is signal.SIG_DFL
    assert signal.getsignal(number) is before
    stopping.check()  # another run may begin


def test_a_signal_that_is_swallowed_stops_the_run_all_the_same() -> None:
    with pytest.raises(KeyboardInterrupt), stoppable(at_once=True):
        with suppress(KeyboardInterrupt):  # as in a library's callback
            signal.raise_signal(signal.SIGINT)
            pytest.fail("nothing was raised")
        stopping.check()
        pytest.fail("nothing was noted")


def test_the_second_signal_ends_the_process_inside_c_code() -> None:
    """A pattern that the engine of re, which looks at no signal, tries for minutes."""
    code = (
        "import re\nfrom rtprune_cli.commands.interrupts import stoppable\n"
        "with stoppable():\n    print('go', flush=True)\n    re.match('(a*)*b', 'a' * 40)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stdout.readline() == b"go\n"
        time.sleep(0.3)
        run.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        run.send_signal(signal.SIGTERM)
        try:
            assert run.wait(timeout=30) in (128 + signal.SIGTERM, -signal.SIGTERM)
        finally:
            run.kill()


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_notices_are_said_by_default_and_details_are_not() -> None:
    code = (
        "from rtprune_cli import logs; from rtprune_cli.options import LogOptions; logs.set_up(LogOptions());"
        "logs.log.log(logs.NOTICE, 'a\\nb'); logs.log.info('hidden'); logs.log.warning('c')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == "rtprune: a\\nb\nrtprune: warning: c\n"
