"""rtprune ocr --html: what is kept of pages, the report that is made of it, and texts that must stay texts."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from conftest import spec_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_outputs import PAPER, begin, cut_short, finish, page, write

import rtprune_cli.outputs.html as html
from rtprune_cli.errors import OutputError, UsageError
from rtprune_cli.model.adapters import deepseek_ocr2
from rtprune_cli.options import OutputOptions
from rtprune_cli.outputs import FolderOutput
from rtprune_cli.outputs.htmlreport import Shown, document_row, page_view, report_page
from rtprune_cli.outputs.htmlreport.text import to_html
from rtprune_cli.outputs.lock import FolderLock
from rtprune_cli.outputs.webpage.facts import fact_tables
from rtprune_cli.records import Box, Document, PageResult, ViewSpec
from rtprune_cli.report import Totals
from rtprune_cli.storage import to_json
from rtprune_cli.views.grid import NEWLINE, TokenGrid
from rtprune_cli.views.tokenmap import TokenMap

HTML = OutputOptions(html=True)
HOSTILE = "<script>alert(1)</script>"
OUTSIDE = to_json(page(1, document=Document(None, "x", PurePosixPath("../x"))).record.to_json())
DATA = re.compile(r'<tr id="([^"]*)".*?<script type="application/json">(.*?)</script>', re.DOTALL)


def tokens(mode: str = "tiny", grid: tuple[int, int] | None = None, size: tuple[int, int] = (600, 800)) -> TokenMap:
    """Random norms; the upper half stays, and the newlines of two rows are dropped."""
    kind, boxes = TokenGrid(spec_of(mode), grid).kinds(), TokenGrid(spec_of(mode), grid).boxes(size)
    norms = np.random.default_rng(0).gamma(9, 1, len(kind)).astype(np.float32)
    stays = (kind >= NEWLINE) | (norms > np.median(norms))
    stays[np.flatnonzero(kind == NEWLINE)[:2]] = False
    return TokenMap(kind, boxes, norms, stays)


def unplaced() -> TokenMap:
    """Of DeepSeek-OCR-2: two tiles and the global view, of which 100 tokens are merged."""
    kind = TokenGrid(ViewSpec("gundam", deepseek_ocr2.ADAPTER.layout), (1, 2)).kinds()
    norms = np.linspace(2, 5, len(kind), dtype=np.float32)
    return TokenMap(kind, np.full((len(kind), 4), np.nan), norms, np.arange(len(kind)) >= 100)


def seen(number: int, text: str = "text", *, document: Document = PAPER) -> PageResult:
    image = Image.new("RGB", (600, 800), "white")
    return replace(page(number, text, document=document), view=page_view(image, tokens(), [Box("title", (1, 2, 3, 4))]))


def pages_of(root: Path) -> dict[str, dict[str, Any]]:
    """What report.html holds of each page, by its link."""
    return {key: json.loads(data) for key, data in DATA.findall((root / "report.html").read_text("utf-8"))}


def rendered(*pages: Shown) -> str:
    totals = Totals()
    for each in pages:
        totals.add(each.record)
    documents = [document_row(each.record.folder, "a/b #1.md", [each.record]) for each in pages]
    return "".join(report_page(totals.summary(), {"model": {"name": HOSTILE}}, documents, pages))


# --- What is kept of a page


@pytest.mark.parametrize(("mode", "grid"), [("tiny", None), ("base", None), ("gundam", (2, 3))])
def test_tokens_come_back_from_their_compact_form(mode: str, grid: tuple[int, int] | None) -> None:
    made = tokens(mode, grid)
    found = json.loads(page_view(Image.new("RGB", (600, 800)), made, []).tokens)
    stays = np.unpackbits(np.frombuffer(base64.b64decode(found["stays"]), np.uint8))[: len(made.stays)]
    assert (stays.astype(bool) == made.stays).all()
    cells = made.kind < NEWLINE
    low, high = found["norm_range"]
    norms = low + np.frombuffer(base64.b64decode(found["norms"]), np.uint8) / 255 * (high - low)
    assert np.abs(norms - made.norms)[cells].max() <= (high - low) / 255
    boxes = [(a, c, b, d) for g in found["grids"] for c, d in _pairs(g["y"]) for a, b in _pairs(g["x"])]
    assert np.abs(np.array(boxes) - made.boxes[cells]).max() <= 0.05


def test_tokens_without_a_place_have_no_grid() -> None:
    found = json.loads(page_view(Image.new("RGB", (600, 800)), unplaced(), [Box("title", (1, 2, 3, 4))]).tokens)
    assert found["grids"] == [] and found["boxes"] == [["title", 1, 2, 3, 4]]
    assert len(base64.b64decode(found["norms"])) == 2 * 144 + 256 + 1


def _pairs(edges: Sequence[float]) -> list[tuple[float, float]]:
    return list(pairwise(edges))


def test_a_page_is_kept_small() -> None:
    view = page_view(Image.effect_noise((1654, 2339), 40), tokens("gundam", (3, 3)), [Box("text", (0, 0, 9, 9))] * 500)
    pictures = [Image.open(io.BytesIO(data)) for data in (view.picture, view.thumbnail)]
    assert [max(picture.size) for picture in pictures] == [1400, 160]
    assert len(view.tokens) < 4000


# --- Text


@pytest.mark.parametrize(
    "place", ["{}", "a {} b", "<table><tr><td>{}</td></tr></table>", "# {}", "- {}", "| a |\n|-|\n| {} |"]
)
def test_hostile_text_shows_its_letters(place: str) -> None:
    made = to_html(place.format(HOSTILE), "a")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made and "<script" not in made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<table><tr><td colspan=2 rowspan=99999 onclick=x>a", '<table><tbody><tr><td colspan="2">a'),
        ("![](images/page-0001-1.png)", '<img src="my%20doc/images/page-0001-1.png">'),
        ("![](http://example.org/x.png)", "<p><img></p>"),
        ("![](images/../../x.png)", "<p><img></p>"),
        ("[a](javascript:alert(1))", "[a](javascript:alert(1))"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        (r"\(x_1 * y * z\) and \[a_{i}\]", r"\(x_1 * y * z\) and \[a_{i}\]"),
        (r"$x_1*y*z$ and \$5 *b*", "$x_1*y*z$ and $5 <em>b</em>"),
        ("&lt;!-- page 3 -->", "&lt;!-- page 3 --&gt;"),
        ("[1]: http://example.org", "[1]: http://example.org"),
        ("a\n===", "a<br>\n==="),
    ],
)
def test_text_becomes_html(text: str, expected: str) -> None:
    assert expected in to_html(text, "my doc")


@given(st.text(st.sampled_from("<>/!-[]()\\$`*_|# \n&;abtdr=\"'") | st.characters(), max_size=200))
def test_any_text_gives_allowed_tags_only(text: str) -> None:
    tags = set(re.findall(r"<(?!/)([^\s>]*)", to_html(text, "a")))
    assert tags <= {"p", "br", "em", "strong", "code", "pre", "ul", "ol", "li", "blockquote", "hr", "img", "table",
                    "thead", "tbody", "tr", "td", "th", "b", *(f"h{i}" for i in range(1, 7))}  # fmt: skip


# --- The page


def test_nothing_hostile_leaves_its_place() -> None:
    result = page(1, document=Document(None, f'"{HOSTILE}', PurePosixPath(HOSTILE)))
    text = rendered(
        Shown(result.record, f"a </script>{HOSTILE}<!-- <script>", {"boxes": [[HOSTILE, 0, 0, 1, 1]]}, None)
    )
    assert text.count("<script") == text.count("</script>") == 3  # the page's data, the names of fields, the script
    assert HOSTILE not in text and "<!--" not in text.removeprefix("<!DOCTYPE")


def test_documents_are_listed_with_their_sums_and_links() -> None:
    results = [page(1, document=Document(None, name, PurePosixPath(name))) for name in (HOSTILE, "b")]
    records = [replace(each.record, kept=1200, merged=34, started="2026-11-28T15:43:46+00:00") for each in results]
    text = rendered(*(Shown(record, "x", None, None) for record in records))
    table = text[text.index('<table id="documents"') : text.index("</table>", text.index('<table id="documents"'))]
    assert table.count("1,200</td>") == 2 and HOSTILE not in table and "&lt;script&gt;" in table
    assert table.count('<a href="a/b%20%231.md">a/b #1.md</a>') == 2
    assert "2 documents, read 2026-11-28 15:43 UTC" in text and "2,400 and 68" in text


def test_settings_are_tables_a_group_each() -> None:
    found = fact_tables("reading", {"mode": "base", "dpi": None, "decode": {"loop_window": 9, "raw": False}})
    assert found == [("reading", [("mode", "base")]), ("decode", [("loop window", "9"), ("raw", "no")])]


def test_a_document_that_is_not_finished_has_no_link(tmp_path: Path) -> None:
    cut_short(tmp_path, seen(1, "one"), options=HTML)
    assert pages_of(tmp_path)["paper/1"]["file"] is None
    write(tmp_path, seen(1, "one"), options=HTML, fingerprint="changed")
    assert pages_of(tmp_path)["paper/1"]["file"] == ["paper/paper.md", "paper/paper.md"]


def test_only_the_scripts_hash_may_run() -> None:
    text = rendered(Shown(page(1).record, "x", None, None))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not re.search(r"\son\w+=|\sstyle=", text)


# --- The folder


def test_the_report_shows_every_page(tmp_path: Path) -> None:
    folder = write(tmp_path, seen(1, "one"), seen(2, "two"), page(3, error="broken"), options=HTML)
    found = pages_of(tmp_path)
    assert list(found) == ["paper/1", "paper/2", "paper/3"]
    assert "one" in found["paper/1"]["html"] and found["paper/2"]["picture"] == "paper/report/page-0002.jpg"
    assert found["paper/3"]["html"] is None and found["paper/3"]["tokens"] is None
    assert len(os.listdir(folder / "report")) == 6


def test_without_html_nothing_of_it_is_written(tmp_path: Path) -> None:
    folder = write(tmp_path, page(1))
    assert not (folder / "report").exists() and not (tmp_path / "report.html").exists()


def test_a_run_that_is_stopped_shows_the_pages_it_read(tmp_path: Path) -> None:
    cut_short(tmp_path, seen(1, "one"), seen(2, "two"), options=HTML)
    assert ["one" in (found["html"] or "") for found in pages_of(tmp_path).values()] == [True, False]


def test_a_run_that_goes_on_shows_all_pages(tmp_path: Path) -> None:
    cut_short(tmp_path, seen(1, "one"), options=HTML)
    with FolderOutput(tmp_path, HTML) as output:
        begin(output)
        output.add(seen(2, "two"))
        output.finish(PAPER, [1, 2], {})
    assert all(found["tokens"] and found["html"] for found in pages_of(tmp_path).values())


def test_the_report_is_over_all_runs(tmp_path: Path) -> None:
    other = Document(Path("b.pdf"), "b.pdf", PurePosixPath("sub/b"))
    write(tmp_path, seen(1, "one"), options=HTML)
    with FolderOutput(tmp_path, HTML) as output:
        finish(output, seen(1, "other", document=other), document=other)
    found = pages_of(tmp_path)
    assert list(found) == ["paper/1", "sub/b/1"]
    assert "other" in found["sub/b/1"]["html"] and "one" in found["paper/1"]["html"]


def test_pages_read_without_html_are_listed(tmp_path: Path) -> None:
    write(tmp_path, page(1, "one"))
    with FolderOutput(tmp_path, HTML) as output:
        output.skip(PAPER, output.earlier(PAPER, "f").records)
    found = pages_of(tmp_path)["paper/1"]
    assert found["tokens"] is None and found["picture"] is None and "one" in found["html"]
    assert 'data-state="eos unseen"' in (tmp_path / "report.html").read_text()


def test_files_of_pages_that_are_gone_are_removed(tmp_path: Path) -> None:
    folder = write(tmp_path, seen(1), seen(2), options=HTML)
    (folder / "report" / "mine.jpg").touch()
    write(tmp_path, seen(2), options=HTML, fingerprint="changed")
    assert {name[:9] for name in os.listdir(folder / "report")} == {"mine.jpg", "page-0002"}


def test_a_page_read_again_without_html_loses_its_files(tmp_path: Path) -> None:
    folder = write(tmp_path, seen(1), options=HTML)
    write(tmp_path, page(1, "new"), fingerprint="changed")
    assert not (folder / "report").exists()


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"version": 0}'])
def test_torn_token_files_count_as_missing(tmp_path: Path, torn: bytes) -> None:
    folder = write(tmp_path, seen(1), options=HTML)
    (folder / "report" / "page-0001.json").write_bytes(torn)
    with FolderOutput(tmp_path, HTML) as output:
        output.skip(PAPER, output.earlier(PAPER, "f").records)
    assert pages_of(tmp_path)["paper/1"]["tokens"] is None


@pytest.mark.parametrize("line", [b"torn\n", b"[]\n", b'{"folder": 5}\n', b'{"folder": "paper"}\n', OUTSIDE])
def test_lines_that_are_no_records_are_left_out(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "report.jsonl").write_bytes(line)
    with FolderOutput(tmp_path, HTML):
        pass
    assert pages_of(tmp_path) == {}


def test_a_report_that_cannot_be_made_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield

    write(tmp_path, seen(1, "one"), options=HTML)
    before = (tmp_path / "report.html").read_bytes()
    monkeypatch.setattr(html, "report_page", full)
    with pytest.raises(OutputError, match=r"report\.html.*Free some space"):
        write(tmp_path, seen(1, "two"), seen(2), options=HTML, fingerprint="changed")
    assert (tmp_path / "report.html").read_bytes() == before
    assert len((tmp_path / "report.jsonl").read_text().splitlines()) == 2
    assert "two" in (tmp_path / "paper" / "paper.md").read_text()
    assert not (tmp_path / ".rtprune" / "tmp").exists()


# --- The command


@pytest.mark.parametrize("options", [{"md_only": True}, {"output": "-"}])
def test_html_needs_a_folder_with_reports(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--no-html"):
        OutputOptions(html=True, **options)


@pytest.mark.slow
def test_text_and_records_are_the_same_with_html(tmp_path: Path, rtprune: Any, make_pdf: Callable[..., Path]) -> None:
    path = make_pdf("one", "two")
    common = ("ocr", path, "--model", "tiny", "--max-new-tokens", "8", "-q", "-o")
    assert rtprune(*common, tmp_path / "a").exit_code == rtprune(*common, tmp_path / "b", "--html").exit_code == 0
    assert (tmp_path / "a/doc/doc.md").read_bytes() == (tmp_path / "b/doc/doc.md").read_bytes()
    for row in map(json.loads, (tmp_path / "b/report.jsonl").read_text().splitlines()):
        made = pages_of(tmp_path / "b")[f"doc/{row['page']}"]["tokens"]
        stays = np.unpackbits(np.frombuffer(base64.b64decode(made["stays"]), np.uint8))[: row["visual_tokens_before"]]
        assert stays.sum() == row["visual_tokens_after"]


def test_html_goes_on_where_a_run_without_it_ended(tmp_path: Path, rtprune: Any, make_pdf: Callable[..., Path]) -> None:
    common = ("ocr", make_pdf("one"), "--model", "tiny", "--max-new-tokens", "8", "-q", "-o", tmp_path / "a")
    assert rtprune(*common).exit_code == rtprune(*common, "--html").exit_code == 0
    assert pages_of(tmp_path / "a")["doc/1"]["tokens"] is None
    assert rtprune(*common, "--html", "--force").exit_code == 0
    assert pages_of(tmp_path / "a")["doc/1"]["tokens"]


def test_the_command_says_where_the_report_is(rtprune: Any, make_pdf: Any, tmp_path: Path) -> None:
    place = tmp_path / "out" / "report.html"
    result = rtprune("ocr", make_pdf("Hello"), "-o", place.parent, "--model", "tiny", "--html")
    assert result.exit_code == 0 and f"the report is {place}" in result.stderr and place.is_file()


# --- Names in its way


def test_a_document_of_the_reports_name_is_read_and_found_again(rtprune: Any, make_pdf: Any, tmp_path: Path) -> None:
    paths = [make_pdf("one", name="report.html.pdf"), make_pdf("two", name="other.pdf")]
    command = ["ocr", *paths, "-o", tmp_path / "out", "--html", "--model", "tiny", "--device", "cpu"]
    assert rtprune(*command).exit_code == 0
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "report.html_2" / "report.html_2.md").is_file()
    assert "2 documents done before" in rtprune(*command).stderr


def test_a_folder_in_the_reports_place_is_told_before_pages_are_read(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with (
        pytest.raises(OutputError, match=r"report\.html.*A folder stands where a file is needed"),
        FolderOutput(tmp_path, HTML),
    ):
        pytest.fail("the folder was taken")
    assert FolderLock(tmp_path / ".rtprune", wait=False).acquire(tmp_path) is None  # and is free again
