"""OmniDocBench: the official numbers, the quirks that they hold, hostile text, and the dataset's folder.

Expected figures of the small pages are worked out by hand from the evaluator's rules; the comments say how.
"""

from __future__ import annotations

import csv
import hashlib
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from rtprune_cli.bench.accuracy.datasets.omnidocbench import find_prediction, official_totals, open_omnidocbench
from rtprune_cli.bench.accuracy.formulas.tools import tex_tools
from rtprune_cli.bench.scoring.omnidocbench import (
    OFFICIAL,
    RULES,
    normalise,
    page_labels,
    read_page,
    score_page,
    totals,
)
from rtprune_cli.bench.scoring.omnidocbench.adjacency import has_window
from rtprune_cli.bench.scoring.omnidocbench.prediction import read_markdown
from rtprune_cli.bench.scoring.omnidocbench.spans import between, delimited
from rtprune_cli.bench.scoring.omnidocbench.tables import normal_table
from rtprune_cli.bench.scoring.omnidocbench.teds import teds
from rtprune_cli.bench.scoring.records import Marks
from rtprune_cli.errors import InputError, UsageError

DEMO = Path(__file__).parents[2] / "shared" / "omnidocbench_demo"
ATTRIBUTES = {"data_source": "book", "language": "english", "layout": "single_column", "special_issue": ["fuzzy_scan"]}
TABLE = "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>"


def block(category: str, content: str, order: int | None, number: int = 0, **attributes: Any) -> dict[str, Any]:
    key = {"equation_isolated": "latex", "table": "html"}.get(category, "text")
    return {"category_type": category, key: content, "order": order, "anno_id": number, "attribute": attributes}


def page(*blocks: dict[str, Any], chains: list[tuple[int, int]] | None = None, image: str = "a.jpg") -> dict[str, Any]:
    relations = [
        {"source_anno_id": one, "target_anno_id": other, "relation_type": "truncated"} for one, other in chains or ()
    ]
    info = {"image_path": image, "page_attribute": ATTRIBUTES}
    return {"page_info": info, "layout_dets": list(blocks), "extra": {"relation": relations}}


def text(*paragraphs: str) -> dict[str, Any]:
    return page(*(block("text_block", each, order, order) for order, each in enumerate(paragraphs, 1)))


def marks(truth: dict[str, Any], prediction: str | None) -> Marks:
    return score_page(read_page(truth), prediction)


def values(truth: dict[str, Any], prediction: str | None) -> dict[str, float]:
    return {name: parts[0].total for name, parts in marks(truth, prediction).scores.items()}


def official(truth: dict[str, Any], prediction: str) -> dict[str, float]:
    return {name: value for name, value in values(truth, prediction).items() if not name.endswith("_strict")}


# --- The official numbers ----------------------------------------------------------------------------------------


def numbers(tree: dict[str, Any], path: str = "") -> dict[str, float]:
    """Every number of the result file, by its path."""
    found: dict[str, float] = {}
    for name, value in tree.items():
        found |= numbers(value, f"{path}/{name}") if isinstance(value, dict) else {f"{path}/{name}": value}
    return found


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not DEMO.is_dir(), reason="../shared/omnidocbench_demo is absent")
@pytest.mark.parametrize("name", ["predictions", "predictions_groundtruth"])
def test_every_official_number_of_the_demo_is_reproduced(name: str) -> None:
    dataset = open_omnidocbench(DEMO)
    scored = []
    for sample in dataset.samples:
        path = find_prediction(DEMO / name, sample)
        assert path is not None
        scored.append((sample, score_page(sample.truth, path.read_text(encoding="utf-8"))))
    result = official_totals(scored, RULES["v1.5"])
    del result["overall"]
    expected = json.loads((DEMO / "official" / f"{name}.json").read_text())
    assert numbers(result) == pytest.approx(numbers(expected), abs=1e-9)

    columns = {metric.name: metric.name for metric in OFFICIAL} | {"teds": "TEDS", "teds_s": "TEDS_S"}
    with (DEMO / "official" / f"{name}.tsv").open(encoding="utf-8") as file:
        for (sample, page_marks), row in zip(scored, csv.DictReader(file, delimiter="\t"), strict=True):
            assert row["page"] == sample.source.name
            want = {metric: float(row[column]) for metric, column in columns.items() if row[column]}
            have = {metric: page_marks.scores[metric][0].total for metric in columns if metric in page_marks.scores}
            assert have == pytest.approx(want, abs=1e-6), sample.id  # the file has six decimals


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not DEMO.is_dir(), reason="../shared/omnidocbench_demo is absent")
def test_the_command_scores_the_demo_without_a_model(rtprune: Any, tmp_path: Path) -> None:
    folder = DEMO / "predictions"
    arguments = ["--dataset", "omnidocbench", "--data", DEMO, "--predictions", folder, "-o", tmp_path]
    result = rtprune("bench", "score", *arguments, "--fail-above", "text_edit=0.35")
    assert result.exit_code == 1, result.stderr  # it is 0.3513
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    expected = json.loads((DEMO / "official" / "predictions.json").read_text())
    totals = summary["official"]["predictions"]
    found = numbers(totals)
    assert {name: found[name] for name in numbers(expected)} == pytest.approx(numbers(expected), abs=1e-9)
    if tex_tools() is None:  # then a line has said what to install
        assert totals["overall"]["v1.5"] is None and "CDM" in totals["overall"]["v1.5_reason"]
    else:  # the official CDM and Overall: ../shared/math/README.md
        assert totals["display_formula"]["all"]["CDM"]["all"] == pytest.approx(0.875846, abs=1e-6)
        assert totals["display_formula"]["page"]["CDM"]["ALL"] == pytest.approx(0.859488, abs=1e-6)
        assert totals["overall"]["v1.5"] == pytest.approx(76.9430, abs=1e-4)
        accuracy = summary["configurations"][0]["accuracy"]["value"]
        assert accuracy == pytest.approx(totals["overall"]["v1.5"] / 100, abs=1e-9)
    text = summary["configurations"][0]["metrics"]["text_edit"]["value"]
    assert text == pytest.approx(expected["text_block"]["all"]["Edit_dist"]["ALL_page_avg"], abs=1e-9)
    assert (tmp_path / "report.html").stat().st_size > 10_000


# --- Matching ----------------------------------------------------------------------------------------------------


def test_the_same_text_costs_nothing() -> None:
    assert official(text("One two three.", "Four five six."), "One two three.\n\nFour five six.") == {
        "text_edit": 0,
        "order_edit": 0,
    }


def test_a_paragraph_that_was_split_is_joined() -> None:
    assert official(text("abcdefghijklmnopqrstuvwxyz"), "abcdefghijklm\n\nnopqrstuvwxyz")["text_edit"] == 0


def test_paragraphs_that_were_merged_are_compared_together() -> None:
    assert official(text("abcdefghij", "klmnopqrst"), "abcdefghij\nklmnopqrst\n\n") == {"text_edit": 0, "order_edit": 0}


def test_paragraphs_in_another_order_cost_reading_order_only() -> None:
    # orders 1 2 3 were read as 2 3 1: one deleted, one inserted, of three
    found = official(text("first words", "second lines", "third places"), "second lines\n\nthird places\n\nfirst words")
    assert found == {"text_edit": 0, "order_edit": pytest.approx(2 / 3)}


def test_surplus_text_costs_nothing_and_is_noted() -> None:
    found = marks(text("abcdefghij", "klmnopqrst"), "abcdefghij\n\n12345678\n\nklmnopqrst")
    assert found.scores["text_edit"][0].total == 0
    assert found.notes["unmatched_characters"] == 8
    assert found.notes["predicted_characters"] == 28


def test_missing_text_counts_by_its_length() -> None:
    # 10 characters of 20 + 10; one of two order numbers
    found = official(text("abcdefghijabcdefghij", "1234567890"), "abcdefghijabcdefghij\n\n")
    assert found == {"text_edit": pytest.approx(1 / 3), "order_edit": 1 / 2}


def test_a_lone_pair_is_matched_however_far_apart() -> None:
    assert official(text("abcde"), "vwxyz") == {"text_edit": 1, "order_edit": 0}


def test_the_middle_of_a_truncated_chain_counts_twice() -> None:
    # the truth is ABBC, the prediction ABC: 5 of 20
    truth = page(
        *(block("text_block", each * 5, number, number) for number, each in enumerate("abc", 1)),
        chains=[(1, 2), (2, 3)],
    )
    assert official(truth, "aaaaabbbbbccccc")["text_edit"] == 5 / 20


def test_headers_count_neither_where_they_were_read_nor_where_not() -> None:
    truth = page(block("header", "Annual report 2020", None), block("text_block", "abcdefghij", 1))
    read = marks(truth, "Annual report 2020\n\nabcdefghij")
    assert read.scores["text_edit"][0].total == read.notes["unmatched_characters"] == 0
    assert official(truth, "abcdefghij\n\n") == {"text_edit": 0, "order_edit": 0}


def test_a_poor_match_is_given_up_for_a_prediction_that_holds_the_block() -> None:
    # klmnopqrst is left with zzzz, at distance 1, but stands in the first prediction
    found = marks(text("abcdefghij", "klmnopqrst"), "abcdefghijklmnopqrst\n\nzzzz")
    assert found.scores["text_edit"][0].total == 0
    assert found.notes["unmatched_characters"] == 4


def test_blocks_behind_an_empty_one_have_the_order_of_the_one_before() -> None:
    # the header's, which is none, and 1: one number is left to compare
    truth = page(block("header", "...", None), block("text_block", "abcdefgh", 1), block("text_block", "ijklmnop", 2))
    assert [sample.length for sample in marks(truth, "abcdefgh\n\nijklmnop").details.order] == [1]


def test_blocks_behind_an_empty_one_have_the_attributes_of_the_one_before() -> None:
    # Without the second block the third stands at its number, by which the official code looks attributes up.
    truth = page(*(block("text_block", each, n, n, nth=n) for n, each in enumerate(["abcdefgh", "...", "ijklmnop"], 1)))
    details = marks(truth, "abcdefgh\n\nijklmnop").details
    assert [sample.labels for sample in details.text] == [["nth: 1"], ["nth: 2"]]


# --- Normalisation -----------------------------------------------------------------------------------------------


def test_punctuation_and_blanks_never_count_but_case_does() -> None:
    assert official(text("Hello, World"), "# hello world")["text_edit"] == 2 / 10


def test_inline_formulas_are_compared_as_unicode() -> None:
    assert official(text(r"value $x_{1}$ or $\alpha^{2}$"), r"value \(x_1\) or α^2")["text_edit"] == 0


@pytest.mark.parametrize(
    ("latex", "normal"),
    [
        ("$$\nA + B\n$$", "a+b"),
        (r"\[ \mathbf{x} \tag{1} \]", "{x}"),
        (r"\begin{aligned} a \end{aligned}", "a"),
        (r"a \leftarrow b", "aarrowb"),  # \left is deleted wherever it stands
        (r"\[ x \\] y \]", r"x\\]y"),  # an escaped bracket does not end it
    ],
)
def test_formulas_lose_delimiters_fonts_and_spaces(latex: str, normal: str) -> None:
    assert normalise.formula(latex) == normal


def test_a_line_end_within_a_formula_of_the_truth_counts() -> None:
    # "a\n+b" against "a+b": the prediction's line end became a space, and spaces are deleted
    truth = page(block("equation_isolated", "$$a\n+b$$", 1), block("text_block", "words", 2))
    assert official(truth, "$$a\n+b$$\n\nwords")["formula_edit"] == 1 / 4


def test_rows_of_a_single_column_array_are_formulas_of_their_own() -> None:
    truth = page(block("equation_isolated", r"\begin{array}{l} a=b+1 \\ c=d-2 \end{array}", 1))
    assert [row.order for row in read_page(truth).blocks] == [1.1, 1.2]
    found = marks(truth, "$$c=d-2$$\n\n$$a=b+1$$")
    assert found.scores["formula_edit"][0].total == 0
    assert len(found.details.formulas) == 2


# --- Formulas and tables -----------------------------------------------------------------------------------------

FORMULAS = page(
    block("equation_isolated", "$$x^{2}+y^{2}=z^{2}$$", 1),
    block("equation_isolated", "$$\\alpha-\\beta$$", 2),
    block("text_block", "Some words of text.", 3),
)


def test_a_display_formula_read_as_text_moves_to_the_text() -> None:
    found = values(FORMULAS, "x2 + y2 = z2\n\n$$\\alpha-\\beta$$\n\nSome words of text.")
    assert found["formula_edit"] == found["text_edit"] == 0
    # strict: x^{2}+y^{2}=z^{2}, 17 characters, is missing beside \alpha-\beta, 12
    assert found["formula_edit_strict"] == pytest.approx(17 / (17 + 12))


def test_without_any_formula_left_the_strict_figure_alone_remains() -> None:
    truth = page(block("equation_isolated", "$$x^{2}+y^{2}=z^{2}$$", 1), block("text_block", "Some words of text.", 2))
    found = values(truth, "x2 + y2 = z2\n\nSome words of text.")
    assert "formula_edit" not in found
    assert found["formula_edit_strict"] == 1


def test_a_pipe_table_has_the_structure_of_its_html() -> None:
    found = official(page(block("table", TABLE, 1)), "| a | b |\n|---|---|\n| c | d |\n")
    assert found["teds"] == found["teds_s"] == 1
    assert 0 < found["table_edit"] < 1  # colspan="1" rowspan="1" in every cell


def test_a_wrong_cell_costs_its_text_only() -> None:
    # one cell of six elements is renamed, at cost 1
    found = official(page(block("table", TABLE, 1)), TABLE.replace(">d<", ">x<"))
    assert found["teds"] == pytest.approx(1 - 1 / 6)
    assert found["teds_s"] == 1


def test_latex_tables_count_as_missing() -> None:
    found = marks(page(block("table", TABLE, 1)), "\\begin{tabular}{ll} a & b \\\\ c & d \\end{tabular}\n")
    assert {name: found.scores[name][0].total for name in ("teds", "teds_s", "table_edit")} == {
        "teds": 0,
        "teds_s": 0,
        "table_edit": 1,
    }
    assert found.notes["latex_tables"] == 1
    assert found.notes["surplus_tables"] == 0


def test_more_latex_tables_than_html_ones_spoil_the_html_ones() -> None:
    latex = "\\begin{tabular}{l} a \\end{tabular}\n\n"
    assert official(page(block("table", TABLE, 1)), f"{latex}{TABLE}")["teds"] == 1
    assert official(page(block("table", TABLE, 1)), f"{latex}{latex}{TABLE}")["teds"] == 0


def test_a_latex_table_takes_the_line_end_behind_it() -> None:
    # so no blank line follows, and the next paragraph begins where the table did
    table = "\\begin{tabular}{l} a \\end{tabular}"
    found = read_markdown(f"{table}\n\nNext\n\nLast")
    assert [(item.content, item.position) for item in found.pool] == [("Next", 0), ("Last", len(table) + 6)]


def test_the_cells_of_a_surplus_table_join_the_text() -> None:
    truth = page(block("table", TABLE, 1), block("text_block", "kerosene", 2), block("text_block", "paraffin", 3))
    found = marks(truth, f"{TABLE}\n\n<table><tr><td>kerosene</td></tr></table>\n\nparaffin")
    assert found.scores["text_edit"][0].total == 0
    assert found.notes["surplus_tables"] == 1


def test_tables_on_a_page_without_tables_are_dropped() -> None:
    found = marks(text("abcdefghij"), f"{TABLE}\n\nabcdefghij")
    assert set(found.scores) == {"text_edit", "order_edit", "text_edit_strict", "order_edit_strict"}
    assert found.notes["surplus_tables"] == 1


@pytest.mark.parametrize(
    "broken", ["", "<table>", '<table><tr><td colspan="x">a</td></tr></table>', "<table><![</table>"]
)
def test_a_broken_table_has_no_similarity(broken: str) -> None:
    assert teds(normal_table(broken) or broken, normal_table(TABLE)) == 0


def test_a_table_larger_than_any_page_holds_has_no_similarity() -> None:
    large = normal_table(f"<table>{'<tr><td>a</td></tr>' * 2_501}</table>")
    assert teds(large, normal_table(TABLE)) == 0


# --- Pages without a prediction ----------------------------------------------------------------------------------

FULL = page(
    block("text_block", "Some words.", 1, text_language="text_english"),
    block("equation_isolated", "$$a+b$$", 2),
    block("table", TABLE, 3),
)
WORST = {"text_edit": 1, "formula_edit": 1, "table_edit": 1, "teds": 0, "teds_s": 0, "order_edit": 1}


def test_a_missing_page_is_left_out_officially_and_worst_strictly() -> None:
    found = marks(FULL, None)
    assert {name: parts[0].total for name, parts in found.scores.items()} == {
        f"{name}_strict": value for name, value in WORST.items()
    }
    assert found.notes["missing_pages"] == 1
    assert totals([found.details])["text_block"]["all"]["Edit_dist"]["ALL_page_avg"] is None


def test_an_empty_prediction_is_worst() -> None:
    assert official(FULL, "") == WORST


def test_the_strict_figures_equal_the_official_ones_where_nothing_fell_out() -> None:
    found = values(FULL, f"Some word.\n\n$$a-b$$\n\n{TABLE}")
    assert {name: value for name, value in found.items() if not name.endswith("_strict")} == {
        name.removesuffix("_strict"): value for name, value in found.items() if name.endswith("_strict")
    }


# --- Totals ------------------------------------------------------------------------------------------------------


def test_totals_average_pages_samples_and_characters_apart() -> None:
    # page 1: 1 of 10 and 0 of 30 characters; page 2: 4 of 10
    one = marks(text("abcdefghij", "k" * 30), "abcdefghiX\n\n" + "k" * 30)
    other = marks(text("abcdefghij"), "abcdefXXXX")
    found = totals([one.details, None, other.details])["text_block"]
    assert found["all"]["Edit_dist"] == pytest.approx(
        {"ALL_page_avg": (1 / 40 + 4 / 10) / 2, "edit_whole": 5 / 50, "edit_sample_avg": (0.1 + 0 + 0.4) / 3}
    )
    assert found["page"]["Edit_dist"]["data_source: book"] == pytest.approx((1 / 40 + 4 / 10) / 2)


def test_totals_group_samples_by_the_attributes_of_their_blocks() -> None:
    found = totals([marks(FULL, "Some words.\n\n$$a+b$$").details])
    assert found["text_block"]["group"] == {
        "Edit_dist": {"text_language: text_english": 0},
        "sample_count": {"text_language: text_english": 1},
    }


def test_the_overall_of_v1_0_is_the_mean_of_four_edit_distances() -> None:
    overall = totals([marks(FULL, "Some words.\n\n$$a+b$$").details])["overall"]
    assert overall["v1.5"] is None
    assert overall["v1.0"]["language: english"] == {"Edit_dist": 1 / 4, "missing": []}  # the table is missing
    without = totals([marks(text("Some words."), "Some words.").details])["overall"]["v1.0"]["ALL"]
    assert without == {"Edit_dist": None, "missing": ["display_formula", "table"]}


def test_moved_formulas_are_lost_where_no_page_has_text() -> None:
    details = marks(page(block("equation_isolated", "$$x^{2}+y^{2}$$", 1, formula_type="print")), "x2 + y2").details
    assert len(details.moved) == 1
    assert totals([details])["text_block"]["group"]["sample_count"] == {}


def test_issues_of_tables_are_no_groups_of_pages() -> None:
    attributes = {"language": "english", "special_issue": ["table_span", "fuzzy_scan"], "watermark": False}
    assert page_labels(attributes) == ["language: english", "fuzzy_scan", "watermark: False"]


def test_details_are_small_and_can_be_pickled() -> None:
    found = marks(FULL, "Some words.")
    assert pickle.loads(pickle.dumps(found)) == found
    assert len(pickle.dumps(found)) < 2000


# --- Hostile text ------------------------------------------------------------------------------------------------

UNITS = [
    "$", "$$ ", "\\[", "\\(", "|", "|\n", "| a |\n", "![", "![](", "<table", "<table>", "<table></table>",
    "<table><tr><td>", "\\begin{tabular}", "\\begin{table}", "\\begin{array}{l}", "\\title{", "\\text{\n", "\\tag{",
    "$\\frac{", "$a_", "```", "```a\n", "<!--", "a\n\n", "a\n\nb\n\n", "{", " ", "\ud800", "<![", "&lt;table&gt;",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("wrap", ["{}", "<table>{}</table>\n\n$${}$$"])
def test_any_text_comes_to_an_end(unit: str, wrap: str) -> None:
    scores = marks(FULL, wrap.replace("{}", unit * (100_000 // len(unit)))).scores
    assert all(-1 <= parts[0].total <= 1 for parts in scores.values())


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["<td>", "<span>", "<math>", "<thead>", "<colgroup>", ' style="', "&lt;table&gt;"])
def test_any_table_comes_to_an_end(unit: str) -> None:
    assert normal_table(f"<table>{unit * (100_000 // len(unit))}</table>").startswith("<html><body><table")


def test_a_table_reads_no_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("kerosene")
    source = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret.as_uri()}">]><table><tr><td>&x;</td></tr></table>'
    assert teds(normal_table(source), normal_table("<table><tr><td>kerosene</td></tr></table>")) < 1
    assert normalise.latex_to_text(rf"\input{{{secret}}}") == ""


@given(st.text("$\\[]()ab\n", max_size=40))
def test_formulas_are_found_where_the_official_expression_finds_them(source: str) -> None:
    expected = re.finditer(r"\$\$(.*?)\$\$|\\\[(.*?)\\\]|\$(.*?)\$|\\\((.*?)\\\)", source, re.DOTALL)
    found = delimited(source, (("$$", "$$"), (r"\[", r"\]"), ("$", "$"), (r"\(", r"\)")))
    assert [(span.start, span.end) for span in found] == [hit.span() for hit in expected]


@given(st.text("<!->a\n", max_size=40))
def test_spans_are_those_of_a_lazy_expression(source: str) -> None:
    expected = [hit.span() for hit in re.finditer(r"<!--.*?-->", source, re.DOTALL)]
    assert [(span.start, span.end) for span in between(source, "<!--", "-->")] == expected


@given(st.text("abc", max_size=20), st.text("abc", min_size=1, max_size=8), st.integers(0, 4))
def test_a_window_is_found_where_a_search_of_all_finds_one(source: str, part: str, limit: int) -> None:
    windows = [source[start : start + len(part)] for start in range(len(source) - len(part) + 1)]
    assert has_window(source, part, limit) == any(Levenshtein.distance(each, part) <= limit for each in windows)


@pytest.mark.parametrize(
    ("source", "tables"),
    [
        ("<table><tr><td>\n<table></table> </td></tr></table>", 1),  # the outermost
        ("<table><tr><td>a</td></tr>", 0),  # open to the end
        ("<table> a <table><tr><td>b</td></tr></table>", 1),  # the first stays open
        ("a <table></table>", 0),  # the end begins too soon after the beginning, officially
        ("text <table\nborder=1><tr></tr></table> text <table ><tr></tr></table>", 2),
    ],
)
def test_html_tables_are_balanced(source: str, tables: int) -> None:
    assert len(read_markdown(source).html_tables) == tables


# --- The dataset -------------------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a dataset of pages, with an image of each."""

    def write(*pages: Any, name: str = "OmniDocBench.json", images: str = "images") -> Path:
        (tmp_path / images).mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(list(pages)))
        for each in pages:
            if isinstance(each, dict) and "page_info" in each:
                (tmp_path / images / Path(each["page_info"]["image_path"]).name).touch()
        return tmp_path

    return write


@pytest.mark.parametrize("folder", ["images", "."])
def test_a_sample_has_its_image_groups_and_text(write: Callable[..., Path], folder: str) -> None:
    truth = page(
        block("text_block", "Second.", 2), block("title", "First", 1), block("header", "Top", None), image="x/b.png"
    )
    data = write(truth, images=folder)
    sample = open_omnidocbench(data).samples[0]
    assert (sample.id, sample.source, sample.groups) == ("b", data / folder / "b.png", ATTRIBUTES)
    digest = hashlib.sha256((data / "OmniDocBench.json").read_bytes()).hexdigest()
    assert open_omnidocbench(data).identity["annotations"] == digest[:12]
    assert sample.text == "First\n\nSecond."
    assert pickle.loads(pickle.dumps(sample.truth)) == sample.truth


def test_the_version_is_told_by_the_formulas(write: Callable[..., Path]) -> None:
    formula = block("equation_isolated", "$$a$$", 1, formula_type="print")
    assert open_omnidocbench(write(page(formula))).version == "v1.0, 1 page"
    formula["attribute"]["equation_language"] = "equation_en"
    assert open_omnidocbench(write(page(formula))).version == "v1.5, 1 page"
    assert open_omnidocbench(write(text("a"))).version == "unknown version, 1 page"


def test_images_may_be_absent_where_predictions_are_scored(tmp_path: Path) -> None:
    (tmp_path / "OmniDocBench.json").write_text(json.dumps([page(image="a.jpg"), page(image="b.jpg")]))
    assert len(open_omnidocbench(tmp_path, images=False).samples) == 2
    with pytest.raises(InputError, match=r"2 of 2 page images of OmniDocBench are missing, first a\.jpg"):
        open_omnidocbench(tmp_path)


@pytest.mark.parametrize("name", ["X.pdf_1.md", "X_1.mmd", "X_1.md", "X.pdf_1.jpg.md"])
def test_predictions_have_official_names(write: Callable[..., Path], tmp_path: Path, name: str) -> None:
    sample = open_omnidocbench(write(page(image="X.pdf_1.jpg"))).samples[0]
    assert find_prediction(tmp_path, sample) is None
    (tmp_path / name).touch()
    assert find_prediction(tmp_path, sample) == tmp_path / name


def test_the_only_annotations_among_other_files_are_found(write: Callable[..., Path]) -> None:
    data = write(text("a"), name="pages.json")
    (data / "notes.json").write_text("{}")
    (data / "broken.json").write_text("{")
    assert len(open_omnidocbench(data).samples) == 1


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        open_omnidocbench(tmp_path / "none")
    with pytest.raises(InputError, match="no annotations of OmniDocBench"):
        open_omnidocbench(tmp_path)


def test_of_two_annotation_files_none_is_guessed(write: Callable[..., Path]) -> None:
    write(text("a"))
    with pytest.raises(InputError, match=r"which file holds .*: OmniDocBench\.json, OmniDocBench_v2\.json"):
        open_omnidocbench(write(text("a"), name="OmniDocBench_v2.json"))


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ([{"blocks": [], "relations": []}], "wrong version of OmniDocBench: .* has no layout_dets and page_info"),
        ([], "wrong version of OmniDocBench: .* is not a list of pages"),
        ([{"page_info": {"image_path": "a.jpg"}, "layout_dets": []}], "page 1 of .* has no page_attribute"),
        ([page(image="..")], "page 1 of .* has no image_path"),
        ([page(block("text_block", "a", "1"))], "page 1 of .* has an order that is no number"),  # type: ignore[arg-type]
        ([page(), page()], "page 1 of .* shares its image with another: a"),
    ],
)
def test_other_schemas_are_refused_in_one_line(tmp_path: Path, pages: list[Any], message: str) -> None:
    (tmp_path / "OmniDocBench.json").write_text(json.dumps(pages))
    with pytest.raises(InputError, match=message) as caught:
        open_omnidocbench(tmp_path, images=False)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
