"""The plot of retention over the pages of a document in report.html."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image
from test_html_report import HOSTILE, HTML
from test_outputs import drawn, finish, page

from rtprune_cli.outputs import FolderOutput
from rtprune_cli.outputs.htmlreport import PagePlot, page_plot, plot_point, report_page
from rtprune_cli.outputs.htmlreport.plot import HEIGHT, MAX_STEPS
from rtprune_cli.records import Document, PageRecord, PageResult
from rtprune_cli.report import Totals
from rtprune_cli.report.page import unread_record


def result(number: int, retention: float = 0.5, *, document: str = "a.pdf") -> PageResult:
    """A page that the model read; its other lines are at 0.75, 0.25 and 0.125."""
    made = page(number, document=Document(None, document, PurePosixPath(document.removesuffix(".pdf"))))
    values = {"retention": retention, "ratio": 0.75, "r_similarity": 0.25, "r_density": 0.125}
    return replace(made, record=replace(made.record, **values))


def failure(number: int) -> PageRecord:
    return page(number, error="broken").record


def plot(*records: PageRecord) -> PagePlot | None:
    return page_plot("a.pdf", "a", map(plot_point, records))


def plotted(*records: PageRecord) -> PagePlot:
    made = plot(*records)
    assert made is not None
    return made


def read(*retentions: float) -> list[PageRecord]:
    return [result(number, value).record for number, value in enumerate(retentions, start=1)]


def stretches(path: str) -> list[list[tuple[float, float, float]]]:
    """A line read back: its unbroken stretches, each of steps from, to and at a value."""
    found: list[list[tuple[float, float, float]]] = []
    x = y = 0
    for letter, numbers in re.findall(r"([MHV])([\d ]+)", path):
        if letter == "M":
            x, y = map(int, numbers.split())
            found.append([])
        elif letter == "V":
            y = int(numbers)
        else:
            found[-1].append((x, int(numbers), 1 - y / HEIGHT))
            x = int(numbers)
    return found


def line(made: PagePlot, name: str = "retention") -> list[list[tuple[float, float, float]]]:
    (path,) = [each.path for each in made.lines if each.name == name]
    return stretches(path)


def written(root: Path, *documents: Sequence[PageResult]) -> str:
    with FolderOutput(root, HTML) as output:
        for pages in documents:
            finish(output, *pages, document=pages[0].document)
    return (root / "report.html").read_text("utf-8")


# --- What is drawn


def test_a_line_has_a_step_a_page() -> None:
    made = plotted(*read(0.5, 0.9, 0.25))
    assert line(made) == [[(0, 1, 0.5), (1, 2, pytest.approx(0.9)), (2, 3, 0.25)]]
    others = {name: line(made, name)[0][0][2] for name in ("ratio", "r_similarity", "r_density")}
    assert others == {"ratio": 0.75, "r_similarity": 0.25, "r_density": 0.125}


def test_pages_that_the_model_did_not_read_are_gaps() -> None:
    records = read(*[0.5] * 7)
    blank = unread_record(drawn(Image.new("RGB", (4, 4))), "tiny", "free")
    made = plotted(records[0], failure(2), records[2], replace(blank, page=4), *records[5:])  # 5 was not chosen
    assert [[step[:2] for step in each] for each in line(made)] == [[(0, 1)], [(2, 3)], [(5, 6), (6, 7)]]
    assert (made.read, made.gaps) == (4, True)


def test_a_value_that_is_missing_breaks_its_line_alone() -> None:
    records = read(0.5, 0.5, 0.5)
    records[1] = replace(records[1], r_density=None)
    made = plotted(*records)
    assert len(line(made, "r_density")) == 2 and len(line(made)) == 1


@pytest.mark.parametrize("records", [read(0.5, 0.5), [*read(0.5, 0.5), failure(3), page(None, error="broken").record]])
def test_few_pages_have_no_plot(records: list[PageRecord]) -> None:
    assert plot(*records) is None


def test_pages_may_come_in_any_order() -> None:
    records = read(0.5, 0.6, 0.7)
    assert plotted(*reversed(records)) == plotted(*records)


def test_a_long_document_has_steps_of_several_pages() -> None:
    made = plotted(*read(*[(number % 10) / 10 for number in range(3001)]))
    ((first, *_, last),) = line(made)
    assert made.pages_a_step == 11 and len(line(made)[0]) == 273 <= MAX_STEPS
    assert first == (0, 11, pytest.approx(4.5 * 10 / 11 / 10, abs=1e-3)) and last[:2] == (2992, 3001)
    assert made.spread.startswith("M0 100V100H11") and made.spread.endswith("V1000H0Z")  # between 0.9 and 0
    assert sum(len(each.path) for each in made.lines) + len(made.spread) < 20_000


@pytest.mark.parametrize(
    ("first", "count", "expected"),
    [(1, 4, [1, 2, 3, 4]), (1, 12, [2, 4, 6, 8, 10, 12]), (98, 9, [98, 100, 102, 104, 106])],
)
def test_ticks_are_round_numbers_in_the_middle_of_their_pages(first: int, count: int, expected: list[int]) -> None:
    made = plotted(*(result(first + at).record for at in range(count)))
    assert [tick.page for tick in made.ticks] == expected
    assert made.ticks[0].percent == round(100 * (expected[0] - first + 0.5) / count, 3)


def test_words_say_what_is_seen() -> None:
    words = plotted(*read(0.5, 0.9, 0.25)).words
    assert "least 0.250 on page 3, mean 0.550, most 0.900 on page 2" in words


# --- Contexts


def test_pages_of_a_context_lie_on_one_band() -> None:
    places = [(1, 2), (1, 2), (2, 2), (2, 2), (None, None), (3, 2), (3, 2), (None, None)]
    records = [
        replace(record, context=place[0], context_pages=place[1])
        for record, place in zip(read(*[0.5] * 8), places, strict=True)
    ]
    odd, even = plotted(*records).contexts
    assert odd == f"M0 0H2V{HEIGHT}H0ZM5 0H7V{HEIGHT}H5Z" and even == f"M2 0H4V{HEIGHT}H2Z"


def test_records_without_contexts_have_no_bands(tmp_path: Path) -> None:
    assert plotted(*read(0.5, 0.5, 0.5)).contexts == ("", "")
    assert "in one context" not in written(tmp_path, [result(number) for number in (1, 2, 3)])


# --- In the report


def test_a_report_of_one_document_shows_its_plot(tmp_path: Path) -> None:
    text = written(tmp_path, [result(number) for number in (1, 2, 3)])
    assert '<details id="plots" open>' in text and text.count("<figure") == 1
    assert 'href="#a/1">Open page 1<' in text and "gaps:" not in text.split("<script")[0]


def test_plots_of_several_documents_are_folded(tmp_path: Path) -> None:
    pages = [[result(number, document=name) for number in range(1, count)] for name, count in
             (("a.pdf", 4), ("b.pdf", 3), ("c.pdf", 5))]  # fmt: skip
    text = written(tmp_path, *pages)
    assert '<details id="plots">' in text and "page by page: 2 documents<" in text
    assert re.findall(r"<summary>(.)\.pdf: (\d) pages", text) == [("a", "3"), ("c", "4")]


def test_pages_of_earlier_runs_are_in_the_plot(tmp_path: Path) -> None:
    written(tmp_path, [result(number) for number in (1, 2, 3)])
    assert written(tmp_path, [result(1, document="b.pdf")]).count("<figure") == 1


def test_without_a_plot_there_is_no_heading(tmp_path: Path) -> None:
    assert "page by page" not in written(tmp_path, [result(1), result(2)])


def test_a_hostile_name_stays_a_name() -> None:
    made = page_plot(f'"{HOSTILE}', f'"{HOSTILE}', map(plot_point, read(0.5, 0.5, 0.5)))
    assert made is not None
    text = "".join(report_page(Totals().summary(), None, [], [], [made]))
    assert HOSTILE not in text and text.count("<script") == 2  # the names of fields, the script
    assert not re.search(r"\son\w+=|\sstyle=", text)
