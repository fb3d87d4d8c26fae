"""OmniDocBench by the rules of v1.6: made-up pages against the official evaluator, totals, and which rules apply.

The figures of PAGES are those that the official code gave for these very pages (as vendored in open-compass/VLMEvalKit
pull request 1572, fb4d575; without LaTeXML), to six digits; TEDS of the last one is its page's share of the totals.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rtprune_cli.bench.accuracy.datasets.omnidocbench import official_totals, open_omnidocbench
from rtprune_cli.bench.scoring.omnidocbench import RULES, FormulaPair
from rtprune_cli.bench.scoring.omnidocbench.v16 import normalise
from rtprune_cli.bench.scoring.omnidocbench.v16.rows import formula_rows, with_arrays
from rtprune_cli.bench.scoring.records import Marks
from rtprune_cli.errors import UsageError

BY = RULES["v1.6"]
CONTENT = {"equation_isolated": "latex", "table": "html"}
Block = tuple[str, str] | tuple[str, str, bool]  # category, content, whether it is ignored


def page(*blocks: Block, image: str = "a.jpg", **attributes: str) -> dict[str, Any]:
    annotations = [
        {"category_type": each[0], CONTENT.get(each[0], "text"): each[1], "order": number, "anno_id": number,
         "ignore": len(each) > 2, "attribute": {}}
        for number, each in enumerate(blocks, 1)
    ]  # fmt: skip
    info = {"image_path": image, "page_attribute": {"language": "english", **attributes}}
    return {"page_info": info, "layout_dets": annotations, "extra": {"relation": []}}


def marks(truth: dict[str, Any], prediction: str | None) -> Marks:
    return BY.score(BY.read(truth), prediction)


def values(truth: dict[str, Any], prediction: str | None) -> dict[str, float]:
    return {name: parts[0].total for name, parts in marks(truth, prediction).scores.items()}


PAGES = [
    pytest.param(
        (("text_block", "The quick brown fox jumps over the lazy dog and runs away."),),
        "The quick brown fox\n\njumps over the lazy\n\ndog and runs away.",
        {"text_edit": 0, "order_edit": 0},
        id="one paragraph in three pieces",
    ),
    pytest.param(
        (("title", "Introduction to the theory"), ("text_block", "Alpha beta gamma delta epsilon.")),
        "Alpha beta gamma delta epsilon.\n\nIntroduc\n\ntion to\n\nthe theory",
        {"text_edit": 0, "order_edit": 1},
        id="a title in pieces that are taken for it at the second look",
    ),
    pytest.param(
        (("equation_isolated", "$$a + b = c^{2}$$"), ("text_block", "Some words that follow.")),
        "a + b = c^2\n\nSome words that follow.",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0},
        id="a formula written as text",
    ),
    pytest.param(
        (("equation_isolated", "$$E = mc^{2}$$"), ("text_block", "Words.")),
        "$$(7) \\quad E = mc^{2} \\qquad \\text{where the mass is constant} \\tag{7}$$\n\nWords.",
        {"text_edit": 0, "formula_edit": 0.785714, "order_edit": 0},
        id="a number, a tag and a caption beside a formula",
    ),
    pytest.param(
        (("equation_isolated", "$$E = mc^{2}$$"), ("text_block", "Words.")),
        "$$E = mc^{2} \\qquad (\\text{where the mass stays constant})$$\n\nWords.",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0},
        id="a caption behind a formula",
    ),
    pytest.param(
        (("equation_isolated", r"$$\begin{aligned} a &= b + c \\ &= d + 1 \end{aligned}$$"), ("text_block", "Words.")),
        "$$a = b + c$$\n\n$$= d + 1$$\n\nWords.",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0},
        id="lines of one formula against formulas",
    ),
    pytest.param(
        (("equation_isolated", "$$a = b + c$$"), ("equation_isolated", "$$d = e + 1$$"), ("text_block", "Words.")),
        "Words.\n\n$$\\begin{array}{l} a = b + c \\\\ d = e + 1 \\end{array}$$",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0.666667},
        id="formulas against lines of one formula",
    ),
    pytest.param(
        (("equation_isolated", r"$$a = b + \frac{c}{d} + e$$"), ("text_block", "Words.")),
        "$$a = b +$$\n\n$$\\frac{c}{d} + e$$\n\nWords.",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0},
        id="a formula broken into two",
    ),
    pytest.param(
        (("equation_isolated", "$$f(x) = x + 1 + y$$"), ("equation_isolated", "$$g = 2$$"), ("text_block", "Words.")),
        "$$\\begin{gather*} f(x) = x \\\\ + 1 + y \\\\ g = 2 \\end{gather*}$$\n\nWords.",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0},
        id="lines of one formula, two of which belong together",
    ),
    pytest.param(
        (
            ("equation_isolated", r"$$\left\{ \begin{array}{l} x = 1 \\ y = 2 \end{array} \right.$$"),
            ("text_block", "Words."),
        ),
        "$$\\begin{cases} x = 1 \\\\ y = 2 \\end{cases}$$\n\nWords.",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0},
        id="a brace keeps its rows together",
    ),
    pytest.param(
        (
            ("equation_isolated", r"$$\begin{cases} x + y = 1 \\ \Rightarrow x = 1 - y \end{cases}$$"),
            ("text_block", "Words."),
        ),
        "$$\\left\\{ \\begin{array}{l} x + y = 1 \\\\ \\Rightarrow x = 1 - y \\end{array} \\right.$$\n\nWords.",
        {"text_edit": 0, "formula_edit": 0.428571, "order_edit": 0.333333},
        id="a derivation in cases",
    ),
    pytest.param(
        (
            ("equation_isolated", "$$2 + 3 = 5$$"),
            ("equation_isolated", r"$$4 \times 5 = 20$$"),
            ("text_block", "Words."),
        ),
        "$$2 + 3 = 5 \\quad 4 \\times 5 = 20$$\n\nWords.",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0},
        id="two sums in one display",
    ),
    pytest.param(
        (("equation_isolated", "$$a = b_{1}$$"), ("text_block", "Here $V_{a}$ is it, and $x$ is not.")),
        "Here $V_{a}$ is it, and $x$ is not.\n\n$$a = b_{1}$$",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 1},
        id="names in dollars are no formulas",
    ),
    pytest.param(
        (("equation_isolated", r"$$A + B \xrightarrow{heat} C$$"), ("text_block", "Some words before it.")),
        "Some words before it.\n\n$A + B \\xrightarrow{heat} C$",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 1},
        id="a reaction in a sentence",
    ),
    pytest.param(
        (("equation_isolated", "$$3 + 5 = 8$$"), ("text_block", "Words about the sum.")),
        "![3 + 5 = 8](sum.png)\n\nWords about the sum.",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0},
        id="a formula as the text of an image",
    ),
    pytest.param(
        (("equation_isolated", "$$5 - 3 = 2$$"), ("text_block", "Words about the sum.")),
        "<table><tr><td>5 - 3 = 2</td><td>difference</td></tr></table>\n\nWords about the sum.",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0},
        id="a formula in a table's cell",
    ),
    pytest.param(
        (("text_block", "1 first 2 second a third"), ("text_block", "Bold text and more here")),
        '① first \\textcircled{2} second ⓐ third\n\n<div class="x">Bold <b>text</b><br>and more <i>here</i></div>',
        {"text_edit": 0, "order_edit": 0},
        id="circles and divisions",
    ),
    pytest.param(
        (("text_block", "Some text that is there."),),
        "The image shows $x_1$ against \\(y_2\\).\n\nSome text that is there.",
        {"text_edit": 0, "order_edit": 0},
        id="a described picture",
    ),
    pytest.param(
        (("header", "Annual report"), ("text_block", "The year went well."), ("page_number", "12")),
        "Annual report\n\nThe year went well!\n\n12",
        {"text_edit": 0, "order_edit": 0},
        id="a header is in the way of nothing",
    ),
    pytest.param(
        (("text_block", "Kept text is compared."), ("text_block", "Ignored text is not.", True)),
        "Kept text is compared.",
        {"text_edit": 0, "order_edit": 0},
        id="ignored blocks",
    ),
    pytest.param(
        (("table", "<table><tr><td>✓</td><td>-</td><td>α</td></tr><tr><td>3%</td><td>×</td><td>½</td></tr></table>"),),
        r'<table><thead><tr><th>√</th><th>—</th><th>$\alpha$</th></tr></thead><tbody class="b">'
        r"<tr><td>3\%</td><td>\times</td><td><span>1⁄2</span></td></tr></tbody></table>",
        {"table_edit": 0, "order_edit": 1, "teds": 1, "teds_s": 1},
        id="cells are unified",
    ),
    pytest.param(
        (
            ("table", "<table><tr><td>one</td></tr></table>"),
            ("text_block", "Between the two."),
            ("table", "<table><tr><td>two</td></tr></table>"),
            ("equation_isolated", "$$x = y^{2}$$"),
        ),
        "$$x = y^{2}$$\n\n<table><tr><td>one</td></tr></table>\n\n"
        "<table><tr><td>two</td></tr></table>\n\nBetween the two.",
        {"text_edit": 0, "formula_edit": 0, "table_edit": 0, "order_edit": 0.75, "teds": 1, "teds_s": 1},
        id="tables and formulas are in the order",
    ),
    pytest.param(
        (("table", "<table><tr><td>a</td><td>b</td></tr></table>"), ("text_block", "Words.")),
        "\\begin{tabular}{ll} a & b \\end{tabular}\n\nWords.",
        {"text_edit": 0, "table_edit": 1, "order_edit": 0.5, "teds": 0, "teds_s": 0},
        id="a table as LaTeX",
    ),
    pytest.param(
        (
            ("table", "<table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>-2</td></tr></table>"),
            ("text_block", "Words."),
        ),
        "| a | b |\n|---|---|\n| 1 | −2 |\n\nWords.",
        {"text_edit": 0, "table_edit": 0.466346, "order_edit": 0.5, "teds": 0.916667, "teds_s": 1},
        id="a pipe table",
    ),
    pytest.param(
        (("text_block", "Only words."), ("table", "<table><tr><td>a</td></tr></table>")),
        "Only words.\n\n<table><tr><td>a</td></tr></table>\n\n<table><tr><td>b</td></tr></table>",
        {"text_edit": 0, "table_edit": 0, "order_edit": 0.5, "teds": 1, "teds_s": 1},
        id="a surplus table is no text",
    ),
    pytest.param(
        (
            ("equation_isolated", "$$x$$"),
            ("equation_isolated", r"$$\text{for all numbers}$$"),
            ("text_block", "The end of it."),
        ),
        "for all numbers\n\nThe end of it.\n\n$$x$$",
        {"text_edit": 0, "formula_edit": 0.928571, "order_edit": 1},
        id="a formula taken for text",
    ),
    pytest.param(
        (
            ("equation_isolated", r"$$\left( {{x}}_{{i}} \mid \{1, 2\} \right) \phantom{abc}.$$"),
            ("text_block", "Words."),
        ),
        "\\[ (x_i | 1,\\,2 ) \\]\n\nWords.",
        {"text_edit": 0, "formula_edit": 0, "order_edit": 0},
        id="braces, phantoms and points",
    ),
    pytest.param(
        (("text_block", "Text."), ("equation_isolated", "$$x$$"), ("table", "<table><tr><td>a</td></tr></table>")),
        None,
        {"text_edit": 1, "formula_edit": 1, "table_edit": 1, "order_edit": 1, "teds": 0, "teds_s": 0},
        id="nothing",
    ),
    pytest.param(
        (("text_block", "Text."), ("table", "")),
        "Text.\n\n<table><tr><td>a</td></tr></table>",
        {"text_edit": 0, "order_edit": 0, "teds": 0, "teds_s": 0},
        id="a table of which nothing is known",
    ),
]


@pytest.mark.parametrize(("blocks", "prediction", "official"), PAGES)
def test_a_page_gets_the_official_figures(
    blocks: Sequence[Block], prediction: str | None, official: dict[str, float]
) -> None:
    assert values(page(*blocks), prediction) == pytest.approx(official, abs=1e-6)


def test_a_chain_is_joined_once_in_order_and_left_out_where_a_part_is_ignored() -> None:
    truth = page(("text_block", "second part of "), ("text_block", "the third part."), ("text_block", "First part, "))
    for block, order in zip(truth["layout_dets"], (2, 3, 1), strict=True):
        block["order"] = order
    truth["extra"]["relation"] = [
        {"source_anno_id": one, "target_anno_id": other, "relation_type": "truncated"}
        for one, other in ((3, 1), (1, 2))
    ]
    assert values(truth, "First part, second part of the third part.") == {"text_edit": 0, "order_edit": 0}
    truth["layout_dets"][1]["ignore"] = True
    assert values(truth, "First part, second part of the third part.") == {}


def test_the_pairs_of_formulas_are_kept_for_their_pictures() -> None:
    truth = page(("equation_isolated", r"$$a = b + \frac{c}{d} + e$$"), ("equation_isolated", "$$f$$"))
    details = marks(truth, "$$a = b +$$\n\n$$\\frac{c}{d} + e$$").details
    both = r"\begin{array}{l} {a = b +} \\ {\frac{c}{d} + e} \end{array}"
    assert [each.pair for each in details.formulas] == [
        FormulaPair(r"$$a = b + \frac{c}{d} + e$$", both),
        FormulaPair("$$f$$", ""),
    ]


@pytest.mark.parametrize(
    ("formula", "rows"),
    [
        (r"\begin{align*} a &= 1 \\[2pt] b &= \begin{matrix} 1 \\ 2 \end{matrix} \end{align*}", 2),
        (r"\begin{array}{cc} a & b \\ c & d \end{array}", 0),
        (r"\left. \begin{aligned} a &= 1 \\ b &= 2 \end{aligned} \right\}", 0),
        (r"\begin{cases} 1 & x > 0 \\ 0 & x < 0 \end{cases}", 0),
        (r"a = 1 \\ b = 2 \\* c = {3 \\ 4}", 3),
        (r"x + \begin{aligned} a \\ b \end{aligned}", 0),
    ],
)
def test_lines_are_formulas_where_they_are_independent(formula: str, rows: int) -> None:
    assert len(formula_rows(f"$${formula}$$") or ()) == rows


def test_cases_become_an_array_only_where_they_hold_a_derivation() -> None:
    values = r"\begin{cases} 1 & x > 0 \\ 0 & x < 0 \end{cases}"
    assert with_arrays(values) == values
    assert with_arrays(r"\begin{cases} a \\ \therefore b \end{cases}").startswith(r"\left\{ \begin{array}{l} a")


def test_inline_formulas_that_are_long_or_broken_stay_latex() -> None:
    assert normalise.text(r"an $\alpha_{1}$") == "anα_1"
    assert normalise.text(r"an $\alpha_{1$") == "analpha_1"


# --- Totals ------------------------------------------------------------------------------------------------------


def test_totals_have_the_subsets_and_no_overall() -> None:
    table = ("table", "<table><tr><td>a</td></tr></table>")
    pages = [
        (page(("text_block", "One."), subset="v1.5"), "One."),
        (page(("text_block", "Two."), table, subset="table_hard"), "Two.\n\n" + table[1]),
        (page(("text_block", "Six."), ("table", ""), subset="layout_hard"), None),
    ]
    found = BY.totals(marks(*each).details for each in pages)
    assert found["overall"]["v1.6"] is None
    assert "CDM" in found["overall"]["v1.6_reason"]
    assert found["subsets"]["Base"] == {"pages": 1, "text_edit": 0, "order_edit": 0, "teds": None, "teds_s": None,
                                        "table_edit": None}  # fmt: skip
    assert found["subsets"]["Hard"]["text_edit"] == found["subsets"]["Hard"]["teds"] == 0.5
    assert found["subsets"]["Full"]["pages"] == 3
    # the table of which nothing is known counts in the pages' mean and not in that of the tables
    assert found["table"]["page"]["TEDS"] == {"ALL": 0.5, "language: english": 0.5, "subset: layout_hard": 0,
                                              "subset: table_hard": 1}  # fmt: skip
    assert found["table"]["all"]["TEDS"] == {"all": 1}


# --- Which rules apply -------------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*pages: dict[str, Any]) -> Path:
        (tmp_path / "OmniDocBench.json").write_text(json.dumps(list(pages)))
        return tmp_path

    return write


def test_annotations_with_subsets_are_v1_6(write: Callable[..., Path]) -> None:
    data = write(page(("text_block", "a"), subset="table_hard"))
    dataset = open_omnidocbench(data, images=False)
    assert dataset.version == "v1.6, 1 page, by the rules of v1.6"
    assert dataset.samples[0].groups["subset"] == "table_hard"
    assert [metric.name for metric in dataset.metrics if metric.name.endswith("_strict")] == []
    assert dataset.official is not None
    assert "subsets" in dataset.official([(dataset.samples[0], dataset.score(dataset.samples[0].truth, "a"))])
    assert open_omnidocbench(data, images=False, rules="v1.5").version == "v1.6, 1 page, by the rules of v1.5"


def test_older_annotations_can_be_scored_by_the_newer_rules(write: Callable[..., Path]) -> None:
    data = write(page(("text_block", "a"), ("text_block", "b", True)))
    assert "rules" not in open_omnidocbench(data, images=False).version
    dataset = open_omnidocbench(data, images=False, rules="v1.6")
    assert dataset.version == "unknown version, 1 page, by the rules of v1.6"
    scored = dataset.score(dataset.samples[0].truth, "a")
    assert scored.scores["order_edit"][0].total == 0  # by v1.5's, the ignored block is missing
    assert official_totals([(dataset.samples[0], scored)], BY)["overall"]["v1.6"] is None
    with pytest.raises(UsageError, match=r"unknown rules 'v2'"):
        open_omnidocbench(data, images=False, rules="v2")


@pytest.mark.slow
def test_the_command_scores_by_the_rules_that_are_asked_for(
    rtprune: Any, write: Callable[..., Path], tmp_path: Path
) -> None:
    data = write(page(("text_block", "Words."), ("equation_isolated", "$$a = b$$")))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.md").write_text("Words.\n\na = b")
    arguments = ["--data", data, "--predictions", tmp_path / "mine", "-o", tmp_path / "out"]
    result = rtprune("bench", "score", "--dataset", "omnidocbench", *arguments, "--rules", "v1.6")
    assert result.exit_code == 0, result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["dataset"]["version"] == "v1.0, 1 page, by the rules of v1.6"
    assert summary["official"]["mine"]["overall"]["v1.6"] is None
    result = rtprune("bench", "score", "--dataset", "folder", *arguments, "--rules", "v1.6")
    assert result.exit_code == 2
    assert "--rules is for omnidocbench" in result.stderr


# --- Hostile text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "$$" + r"\begin{cases}" * 800 + "$$",
        "$$" + "{a" * 10_000 + "}" * 10_000 + "$$",
        "$$" + r"a = b \\ " * 1_500 + "$$",
        r"$$(1) x \, (a" + r"\," * 10_000 + "$$",
        "x = y_1 + 2\n\n" * 800,
        "<table><tr>" + "<td>-1.5%" * 800,
        "<div>" * 5_000,
    ],
    ids=["open environments", "nested braces", "lines", "gaps", "a loop", "nested cells", "nested divisions"],
)
def test_a_model_in_a_loop_is_scored_soon(text: str) -> None:
    truth = page(
        ("title", "Words"), ("equation_isolated", "$$a = b$$"), ("table", "<table><tr><td>a</td></tr></table>")
    )
    began = time.process_time()
    marks(truth, text)
    assert time.process_time() - began < 5
