"""olmOCR-Bench: the tests of its pages, and how the data is read."""

from __future__ import annotations

import json
import logging
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from rtprune_cli.bench.accuracy.datasets.olmocr_bench import open_olmocr_bench
from rtprune_cli.bench.scoring.olmocr.baseline import trailing_repeats
from rtprune_cli.bench.scoring.olmocr.cases import read_case
from rtprune_cli.bench.scoring.olmocr.normalise import normalised
from rtprune_cli.errors import InputError, UsageError

pytest.importorskip("fuzzysearch", reason="the extra [bench] is not installed")
pytest.importorskip("bs4", reason="the extra [bench] is not installed")


def passes(kind: str, markdown: str, **fields: Any) -> bool:
    case = read_case({"type": kind, **fields}, "file")
    assert case is not None
    return case.check.passes(markdown)


# --- Text


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a  b\t\nc", "a b c"),
        ("**bold** __b__ *i* _i_ <b>x</b><i>y</i>", "bold b i i xy"),
        ("**not\nclosed** here", "not closed here"),
        ("a<br>b<br/>c", "a b c"),
        ("\u2018a\u2019 \u201cb\u201d c\u2014d\u2212e \u00b5m", "'a' \"b\" c-d-e \u03bcm"),
        ("cafe\u0301", "caf\u00e9"),
    ],
)
def test_texts_are_compared_without_emphasis_and_in_ascii_quotes(text: str, form: str) -> None:
    assert normalised(text) == form


def test_present_allows_as_many_differences_as_it_says() -> None:
    page = "This is some targett text in a document"
    assert passes("present", page, text="target text", max_diffs=2)
    assert not passes("present", page, text="target text")
    assert not passes("present", page, text="SOME")
    assert passes("present", page, text="SOME", case_sensitive=False)


def test_absent_is_the_opposite() -> None:
    assert passes("absent", "The page", text="Page 12")
    assert not passes("absent", "The page, Page 12", text="Page 12")
    assert passes("absent", " ", text="Page 12") and not passes("present", " ", text="Page 12")


def test_presence_can_be_limited_to_the_ends() -> None:
    page = "beginning of a text, middle part, but not the end"
    assert passes("present", page, text="beginning", first_n=12)
    assert not passes("present", page, text="end", first_n=12)
    assert passes("present", page, text="end", last_n=12)
    assert not passes("present", page, text="middle", first_n=12, last_n=12)


def test_order_needs_both_texts_the_right_way_round() -> None:
    page = "one line, then two, and one again"
    assert passes("order", page, before="one line", after="two")
    assert passes("order", page, before="two", after="one")  # the second one
    assert not passes("order", page, before="two", after="one line")
    assert not passes("order", page, before="one", after="three")
    assert not passes("order", page, before="ome lime", after="two")
    assert passes("order", page, before="ome lime", after="two", max_diffs=2)


# --- Tables

SALES = """<table>
<thead><tr><th rowspan="2">Product</th><th colspan="2">Sales</th></tr><tr><th>North</th><th>South</th></tr></thead>
<tr><td rowspan="2">Chairs</td><td>11</td><td>12</td></tr>
<tr><td>13</td><td>14</td></tr>
<tr><td>Tables<br>big</td><td colspan="2">15</td></tr>
</table>"""


@pytest.mark.parametrize(
    ("cell", "relations", "good"),
    [
        ("13", {"left": "Chairs", "right": "14", "up": "11", "down": "15"}, True),
        ("13", {"left": "Product"}, False),
        ("14", {"top_heading": "South"}, True),
        ("14", {"top_heading": "Sales"}, True),
        ("14", {"top_heading": "North"}, False),
        ("12", {"left_heading": "Chairs"}, True),  # no headings to the left: the outermost cell
        ("12", {"left_heading": "11"}, False),
        ("Chairs", {"right": "13"}, True),
        ("Chairs", {"right": "12"}, False),
        ("15", {"up": "14"}, True),
        ("15", {"up": "13"}, True),
        ("Sales", {"down": "South"}, True),
        ("Tables big", {}, True),
        ("16", {}, False),
    ],
)
def test_cells_know_their_neighbours_through_spans(cell: str, relations: dict[str, str], good: bool) -> None:
    assert passes("table", f"Before.\n\n{SALES}\n\nAfter.", cell=cell, **relations) is good


def test_pipe_tables_have_headings_above_and_to_the_left() -> None:
    page = "text\n| Name | Age |\n|---|--:|\n| Jane | 32 |\n| John | 28 |"
    assert passes("table", page, cell="28", up="32", left="John", top_heading="Age", left_heading="John")
    assert not passes("table", page, cell="28", top_heading="Name")
    assert passes("table", page, cell="Jame", max_diffs=2, right="32")
    assert not passes("table", "| Name | Age |", cell="Age")  # one line is no table


def test_the_text_around_a_table_is_no_cell() -> None:
    assert not passes("table", f"17\n\n{SALES}", cell="17")
    assert passes("table", SALES.replace("11", "<!-- no --><b>p</b> < 5"), cell="p < 5")


@pytest.mark.slow
@pytest.mark.parametrize(
    "html",
    [
        "<table><tr>" + "<td colspan=1000 rowspan=9999999999>1</td>" * 5_000 + "</tr><tr><td>2</td></tr>" * 2,
        "<table>" + "<b>" * 490 + "<tr><td>1</td></tr>" * 2_000,
        "<table><tr><td>" * 20_000,
        "<table>" + "<b>" * 50_000 + "<tr><td>1</td></tr>" * 5_000 + "</table>",
        "<table>" + "<a " * 50_000,
        "<table>" + "<!--" * 50_000,
        "<table><tr>" + "<td rowspan=5000>none</td></tr><tr>" * 500,
        "| none |\n" * 5_000,
    ],
)
def test_hostile_tables_take_bounded_time(html: str) -> None:
    start = time.perf_counter()
    passes("table", html, cell="none", up="never", top_heading="never", left_heading="never")
    assert time.perf_counter() - start < 20


# --- Formulas


def test_a_formula_is_found_between_any_delimiters() -> None:
    for page in (r"so \(a=b\) holds", "so\n\\[\na=b\n\\]", "so $a = b$", "so $$a=b$$ $x$"):
        assert passes("math", page, math="a=b")
    assert not passes("math", "so a=b", math="a=b")
    assert not passes("math", "so $a=b$", math="a=b", ignore_dollar_delimited=True)
    assert not passes("math", "so $a=b+c$", math="a=b")


def test_hostile_formulas_take_linear_time() -> None:
    start = time.perf_counter()
    for page in ("$" + "{" * 100_000 + "}" * 100_000 + "$", "\\(" * 100_000, "$" + "a^b_c" * 50_000 + "$"):
        passes("math", page, math="x")
    assert time.perf_counter() - start < 20


# --- Baseline, format, footnote


def test_baseline_wants_text_that_does_not_loop_in_the_scripts_of_the_benchmark() -> None:
    assert passes("baseline", "Some text.")
    assert not passes("baseline", "... \n")
    assert not passes("baseline", "Some text " + "ab " * 40)
    assert passes("baseline", "Some text " + "ab " * 20)
    assert not passes("baseline", "Some 漢字") and not passes("baseline", "Fine \U0001f600")
    assert passes("baseline", "Some 漢字", check_disallowed_characters=False)
    assert trailing_repeats("xabab", 2) == 2 and trailing_repeats("a", 2) == 0


def test_a_blank_page_has_no_more_text_than_it_says() -> None:
    assert passes("baseline", "", max_length=2) and passes("baseline", "12", max_length=2)
    assert not passes("baseline", "123", max_length=2)
    image = "![a scan](images/page.png)"
    assert not passes("baseline", image, max_length=2)
    assert passes("baseline", f"{image} 1", max_length=2, max_length_skips_image_alt_tags=True)


@pytest.mark.parametrize(
    ("style", "page"),
    [
        ("heading", "## The title\n\ntext"),
        ("heading", "<h2 class='x'>The title</h2>"),
        ("bold", "see **The\ntitle** here"),
        ("bold", "<strong>The title</strong>"),
        ("italic", "see *The title* here"),
        ("italic", "<em>The title</em>"),
    ],
)
def test_format_wants_the_text_in_its_style(style: str, page: str) -> None:
    assert passes("format", page, text="The title", format=style)
    assert not passes("format", "The title, and **other** *styles*\n# here", text="The title", format=style)


def test_bold_is_not_italic() -> None:
    assert not passes("format", "**The title**", text="The title", format="italic")


@pytest.mark.parametrize("mark", ["[^12]", "<sup>12</sup>", "\u00b9\u00b2"])
def test_a_footnote_is_raised_with_the_right_text_around_it(mark: str) -> None:
    page = f"as was shown{mark} before by others"
    assert passes("footnote", page, marker="12")
    assert passes("footnote", page, marker="12", appears_before_marker="was shown", appears_after_marker="before by")
    assert not passes("footnote", page, marker="12", appears_after_marker="was shown")
    assert not passes("footnote", page, marker="1", appears_before_marker="never said")
    assert not passes("footnote", "as was shown12", marker="12")
    assert not passes("footnote", "[^12]: a definition", marker="12")


# --- The dataset


def write(root: Path, files: dict[str, list[dict[str, Any]]], pdfs: tuple[str, ...] = ()) -> Path:
    for name, rows in files.items():
        path = root / "bench_data" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    for pdf in pdfs:
        path = root / "bench_data" / "pdfs" / pdf
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%PDF-")
    return root


def row(pdf: str, kind: str = "present", page: int = 1, **fields: Any) -> dict[str, Any]:
    fields = fields or {"text": "a phrase"}
    return {
        "pdf": pdf,
        "page": page,
        "id": f"{pdf}-{kind}-{fields}",
        "type": kind,
        "max_diffs": 0,
        "url": None,
        **fields,
    }


def test_pages_gather_their_tests_from_all_files(tmp_path: Path) -> None:
    files = {
        "multi_column": [row("m/a_pg3.pdf"), row("m/a_pg3.pdf", "absent")],
        "tables": [row("m/a_pg3.pdf", "table", cell="1"), row("t/b.pdf", "baseline", max_length=3)],
    }
    dataset = open_olmocr_bench(write(tmp_path, files, ("m/a_pg3.pdf", "t/b.pdf", "t/extra.pdf")))
    samples = {sample.id: sample for sample in dataset.samples}
    assert list(samples) == ["m/a_pg3_pg1_repeat1", "t/b_pg1_repeat1", "t/extra_pg1_repeat1"]
    first = samples["m/a_pg3_pg1_repeat1"]
    assert first.groups == {"file": ["multi_column", "tables"]}
    assert first.source == tmp_path / "bench_data" / "pdfs" / "m" / "a_pg3.pdf"
    assert first.text.splitlines()[0] == "present: text 'a phrase'"
    assert [(case.file, case.kind) for case in first.truth][-1] == ("baseline", "baseline")  # added, as it had none
    assert [case.kind for case in samples["t/b_pg1_repeat1"].truth] == ["baseline"]
    assert samples["t/extra_pg1_repeat1"].groups == {"file": ["baseline"]}
    assert {metric.name for metric in dataset.metrics} == {
        "pass_rate", "pass_present", "pass_absent", "pass_table", "pass_baseline",
    }  # fmt: skip
    pickle.dumps(first.truth)


def test_the_score_is_the_mean_over_files_of_their_pass_rates(tmp_path: Path) -> None:
    files = {
        "one": [row("a.pdf", text="yes"), row("a.pdf", text="no"), row("a.pdf", text="never")],
        "two": [row("b.pdf", "absent", text="never")],
    }
    dataset = open_olmocr_bench(write(tmp_path, files, ("a.pdf", "b.pdf")))
    pages = [(sample, dataset.score(sample.truth, "yes, it is")) for sample in dataset.samples]
    strata = {(part.stratum, part.total, part.weight) for _, marks in pages for part in marks.scores["pass_rate"]}
    assert strata == {("one", 1, 3), ("baseline", 1, 1), ("two", 1, 1)}
    assert dataset.official is not None
    official = dataset.official(pages)
    assert official["average_score"] == pytest.approx((1 / 3 + 1 + 1) / 3)
    assert official["files"]["one"] == {"pass_rate": pytest.approx(1 / 3), "passed": 1, "tests": 3}


def test_without_a_prediction_all_tests_of_a_page_fail(tmp_path: Path) -> None:
    dataset = open_olmocr_bench(write(tmp_path, {"one": [row("a.pdf", "absent")]}, ("a.pdf",)))
    marks = dataset.score(dataset.samples[0].truth, None)
    assert {part.total for parts in marks.scores.values() for part in parts} == {0}
    assert marks.notes == {"missing_pages": 1}


def test_formulas_that_failed_undrawn_are_counted(tmp_path: Path) -> None:
    dataset = open_olmocr_bench(write(tmp_path, {"one": [row("a.pdf", "math", math="x")] * 2}, ("a.pdf",)))
    truth = dataset.samples[0].truth
    assert dataset.score(truth, "$y$").notes == {"math_lower_bound": 2}
    assert dataset.score(truth, "$x$").notes == dataset.score(truth, "x").notes == {}


def test_predictions_are_found_by_their_lowest_repeat(tmp_path: Path) -> None:
    dataset = open_olmocr_bench(write(tmp_path, {"one": [row("m/a.pdf")]}, ("m/a.pdf",)))
    (sample,) = dataset.samples
    out = tmp_path / "out" / "m"
    assert dataset.find(tmp_path / "out", sample) is None
    out.mkdir(parents=True)
    (out / "a_pg11_repeat1.md").write_text("")
    assert dataset.find(tmp_path / "out", sample) is None
    for name in ("a_pg1_repeat10.md", "a_pg1_repeat2.md"):
        (out / name).write_text("")
    assert dataset.find(tmp_path / "out", sample) == out / "a_pg1_repeat2.md"
    (out / "a_pg1_repeat1.md").write_text("")
    assert dataset.find(tmp_path / "out", sample) == out / "a_pg1_repeat1.md"


def test_what_cannot_be_used_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {"one": [row("a.pdf"), row("gone.pdf"), row("a.pdf", "poem"), row("a.pdf", "rhyme")]}
    root = write(tmp_path, files, ("a.pdf",))
    with caplog.at_level(logging.WARNING, "rtprune"):
        assert len(open_olmocr_bench(root).samples) == 1
    assert "tests of unknown types are left out: 2 (poem, rhyme)" in caplog.text
    assert "PDFs that are not there are left out: 1, the first is gone.pdf" in caplog.text
    assert len(open_olmocr_bench(root, images=False).samples) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"pdf": "a.pdf", "page": 1, "type": "present"}', "line 1 of .* has no text 'text'"),
        ('{"pdf": "../a.pdf", "page": 1, "type": "baseline"}', "names no PDF inside the dataset"),
        ('{"pdf": "a.pdf", "page": 0, "type": "baseline"}', "has no page number from 1"),
        ('{"pdf": "a.pdf", "page": 1, "type": "baseline", "max_diffs": -1}', "has a 'max_diffs' that is no count"),
        (
            '{"pdf": "a.pdf", "page": 1, "type": "format", "text": "x", "format": "red"}',
            "has a 'format' that is none of",
        ),
        ("{", "line 1 of .*one.jsonl is not valid JSON"),
    ],
)
def test_a_line_that_is_no_test_is_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "one.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        open_olmocr_bench(tmp_path, images=False)


def test_a_folder_without_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        open_olmocr_bench(tmp_path / "none")
    with pytest.raises(InputError, match=r"no \*\.jsonl with tests"):
        open_olmocr_bench(tmp_path)
    write(tmp_path, {"one": [row("a.pdf")]})
    with pytest.raises(InputError, match="no test for a PDF"):
        open_olmocr_bench(tmp_path)
