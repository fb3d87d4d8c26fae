"""Paragraphs and tables over page breaks, with --join-pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_outputs import page, write

from rtprune_cli.markdown import MarkdownStyle, to_markdown
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs.joining import joined
from rtprune_cli.outputs.journal import Entry
from rtprune_cli.records import PageRecord, WarningRecord


def entry(page: int, raw: str, tables: str = "html") -> Entry:
    record = PageRecord(document="a.pdf", folder="a", page=page, status="ok")
    found = to_markdown(raw, size=(999, 999), page=page, style=MarkdownStyle(tables=tables))  # type: ignore[arg-type]
    return Entry(record, found.text, blocks=found.blocks)


IDEOGRAPHS = "第一段的文字在这一页上没有写完因为这一页已经"


def document(*pages: str, tables: str = "html") -> str:
    return "\n\n".join(joined([entry(number, raw, tables) for number, raw in enumerate(pages, start=1)]))


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("It ends in the", "middle.", "It ends in the <!-- page 2 --> middle."),
        ("An exam-", "ple.", "An exam<!-- page 2 -->ple."),
        ("A high-quality scan of high-", "quality.", "A high-quality scan of high-<!-- page 2 -->quality."),
        ("Yes,\n\nand then, the", "rest.\n\nNew.", "Yes,\n\nand then, the <!-- page 2 --> rest.\n\nNew."),
        (f"{IDEOGRAPHS}到了", "末尾。", f"{IDEOGRAPHS}到了<!-- page 2 -->末尾。"),
    ],
)  # fmt: skip
def test_a_paragraph_that_goes_on_is_one(first: str, second: str, text: str) -> None:
    assert document(first, second) == f"<!-- page 1 -->\n\n{text}"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("It ends.", "it begins"),
        ("It ends in", "The next"),
        ("# The title", "and text"),
        ("It ends in", "- an item"),
        ("It ends in", "# a title"),
        ("<table><tr><td>a</td></tr></table>", "and text"),
        ("第一章", "正文从这里开始。"),
        ("", "text"),
    ],
)
def test_what_begins_anew_stays_apart(first: str, second: str) -> None:
    assert "\n\n<!-- page 2 -->\n\n" in document(first, second)


ROW, OTHER, HEAD = (f"<tr><td>{cell}</td><td>{cell}</td></tr>" for cell in ("1", "2", "name"))


@pytest.mark.parametrize("repeated", ["", HEAD])
def test_a_table_that_goes_on_is_one(repeated: str) -> None:
    text = document(f"<table>{HEAD}{ROW}</table>", f"<table>{repeated}{OTHER}</table>\n\nText")
    assert text == f"<!-- page 1 -->\n\n<table>{HEAD}{ROW}<!-- page 2 -->{OTHER}</table>\n\nText"


def test_a_pipe_table_that_goes_on_is_one() -> None:
    text = document(f"<table>{HEAD}{ROW}</table>", f"<table>{OTHER}</table>\n\nText", tables="markdown")
    table = "| name | name |\n| --- | --- |\n| 1 | 1 |\n| 2 | 2 |"
    assert text == f"<!-- page 1 -->\n\n{table}\n\n<!-- page 2 -->\n\nText"


def test_a_table_may_go_on_over_many_pages() -> None:
    pages = [f"<table>{HEAD}{ROW}</table>", f"<table>{HEAD}{OTHER}</table>", f"<table>{ROW}</table>\n\nText"]
    text = document(*pages)
    assert text == (f"<!-- page 1 -->\n\n<table>{HEAD}{ROW}<!-- page 2 -->{OTHER}<!-- page 3 -->{ROW}</table>\n\nText")
    table = "| name | name |\n| --- | --- |\n| 1 | 1 |\n| 2 | 2 |\n| 1 | 1 |"
    text = document(*pages, tables="markdown")
    assert text == f"<!-- page 1 -->\n\n{table}\n\n<!-- page 2 -->\n<!-- page 3 -->\n\nText"


@pytest.mark.parametrize(
    "second",
    [
        "<table><tr><td>1</td></tr></table>",
        f"<|ref|>table<|/ref|><|det|>[[1,1,9,9]]<|/det|><table>{ROW}</table>\n"
        "<|ref|>table_caption<|/ref|><|det|>[[1,9,9,19]]<|/det|>Table 2",
    ],
    ids=["other columns", "a caption of its own"],
)
def test_another_table_stays_apart(second: str) -> None:
    assert "\n\n<!-- page 2 -->\n\n" in document(f"<table>{HEAD}</table>", second)


def test_three_pages_can_be_one_paragraph() -> None:
    assert document("one", "two", "three") == "<!-- page 1 -->\n\none <!-- page 2 --> two <!-- page 3 --> three"


def test_a_page_that_lacks_its_end_is_not_joined() -> None:
    first = entry(1, "It ends in the")
    cut = replace(first.record, warnings=(WarningRecord("token_limit", "cut"),))
    assert len(joined([replace(first, record=cut), entry(2, "middle.")])) == 2


def test_the_html_report_shows_each_page_by_itself(tmp_path: Path) -> None:
    pages = []
    for number, row in ((1, ROW), (2, OTHER)):
        found = to_markdown(f"<table>{row}</table>", size=(999, 999), page=number)
        pages.append(replace(page(number), markdown=found))
    folder = write(tmp_path, *pages, options=OutputOptions(html=True, join_pages=True))
    assert (folder / "paper.md").read_text().count("<table>") == 1
    assert (tmp_path / "report.html").read_text().count("<table>") == 4  # of each page as text, and as markdown to copy
