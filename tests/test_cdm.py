"""CDM: the tokeniser and what follows it, the drawing of formulas, and the official scores.

Expected tokens were checked with the evaluator's own tokeniser.
"""

from __future__ import annotations

import json
import logging
import os
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprune_cli.bench.accuracy.formulas import picture as drawing_module
from rtprune_cli.bench.accuracy.formulas import tools
from rtprune_cli.bench.accuracy.formulas.kept import kept_drawings
from rtprune_cli.bench.accuracy.formulas.picture import FormulaOverdue, FormulaStopped, picture
from rtprune_cli.bench.accuracy.formulas.render import FormulaPool, render_formulas
from rtprune_cli.bench.accuracy.formulas.tools import TexTools, tex_tools
from rtprune_cli.bench.scoring.omnidocbench import FormulaPair, PageDetails, read_page, score_page, totals, with_cdm
from rtprune_cli.bench.scoring.omnidocbench.cdm import (
    TokenBoxes,
    bare_prediction,
    bare_truth,
    cdm,
    drawing,
    joined,
    token_boxes,
)
from rtprune_cli.bench.scoring.omnidocbench.cdm.colours import colour, coloured
from rtprune_cli.bench.scoring.omnidocbench.cdm.geometry import alike
from rtprune_cli.bench.scoring.omnidocbench.cdm.matching import equivalent
from rtprune_cli.bench.scoring.omnidocbench.cdm.rewriting import rewritten
from rtprune_cli.bench.scoring.omnidocbench.cdm.tokens import tokenised
from rtprune_cli.bench.scoring.records import Marks

SHARED = Path(__file__).parents[2] / "shared"
ORACLE = SHARED / "math" / "cdm.json"
# Of the oracle, those that are drawn here: a matrix, lines, an unknown macro, other letters.
DRAWN = ("bmatrix", "aligned_array", "broken_macro", "wrong_sub")


def oracle() -> list[dict[str, Any]]:
    pairs: list[dict[str, Any]] = json.loads(ORACLE.read_text(encoding="utf-8"))["pairs"]
    return pairs


def sides(pair: dict[str, Any]) -> dict[str, str]:
    return {"gt": bare_truth(pair["gt"]), "pred": bare_prediction(pair["pred"])}


shared = pytest.mark.skipif(not ORACLE.is_file(), reason="../shared/math is absent")
needs_tex = pytest.mark.skipif(tex_tools() is None, reason="no XeLaTeX with its packages, or no Ghostscript")


# --- Strings and tokens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latex", "tokens"),
    [
        ("a_1^2", "a _ { 1 } ^ { 2 }"),
        ("a^2_1", "a _ { 1 } ^ { 2 }"),
        ("a_1_2", "a _ { 2 }"),
        ("{p \\over q}", "{ \\frac { p } { q } }"),
        ("\\frac pq", "\\frac p q"),
        ("\\frac{p}\\sqrt q", "\\frac { p } { p } q"),
        ("f''", "f ^ { \\prime \\prime }"),
        ("\\text{for all }x", "\\mathrm { f o r ~ a l l ~ } x"),
        ("\\mathrm{\\alpha\\mid}", "\\mathrm { \\ a l p h a \\mid }"),
        ("\\sin\\tanh\\arccos", "\\sin \\operatorname { t a n h } \\operatorname { a r c c o s }"),
        ("\\lim_x", "\\operatorname* { l i m } _ { x }"),
        ("a\\\\b", "a \\, b"),
        ("a % b", "a"),
        ("{\\rm d}x", "\\mathrm { d } x"),
        (
            "\\begin{cases}1&2\\\\3\\end{cases}",
            "\\left\\{ \\begin{array} { l l } { 1 } & { 2 } \\\\ { 3 } \\end{array} \\right.",
        ),
        ("\\begin{align*}a&=b\\end{align*}", "\\begin{array} { r l } { a } & { { } = b } \\end{array}"),
        ("\\begin{array}{|c|r}&x\\end{array}", "\\begin{array} { c r } & { x } \\end{array}"),
        ("\\pmatrix{1&2}", "\\left( \\begin{array} { l l } { 1 } & { 2 } \\end{array} \\right)"),
        ("\\sqrt[3]{x}\\hat y", "\\sqrt [ 3 ] { x } \\hat { y }"),
        ("\\rule{1.50em}{2pt}", "\\rule { 1.5 em } { 2 pt }"),
        ("\\mathrm{𝑥}", "\\mathrm { \ufffd \ufffd }"),
        ("\\begin{tabular}{c}x\\end{tabular}", "\\begin {tabular} { c } x \\end {tabular}"),
    ],
)  # fmt: skip
def test_a_formula_becomes_tokens(latex: str, tokens: str) -> None:
    assert tokenised(latex) == tokens


@pytest.mark.parametrize(
    "latex",
    [
        "\\begin{gathered}a\\end{gathered}",
        "{a",
        "a}",
        "\\left(a",
        "{\\color{red}a}",
        "{}^2{}_\\sqrt",
        "\\big x",
        "\\frac{a}",
        "{" * 999,
    ],
)
def test_what_the_tokeniser_cannot_read_is_none(latex: str) -> None:
    assert tokenised(latex) is None


PIECES = [
    *"{}^_&\\[]x% 路",
    *("\\" + name for name in ("\\", "frac", "sqrt", "text", "hat", "over", "left(")),
    *("\\begin{array}", "\\end{array}", "\\begin{tabular}"),
]


@given(st.lists(st.sampled_from(PIECES)))
def test_whatever_is_predicted_can_be_prepared(pieces: list[str]) -> None:
    found = drawing("".join(pieces))
    assert found is None or len(found.tokens) == found.latex.count("\\mathcolor[RGB]")


def test_of_a_prediction_the_last_fenced_formula_counts() -> None:
    assert bare_prediction("```latex\nx\n``` or ```latex\n$$ y $$\n```") == "y"
    assert bare_truth("$$ x^2 $") == "x^2"


def test_lines_that_were_matched_together_are_rows() -> None:
    assert joined(["$$a$$", "\\[b\\]\n"]) == "\\begin{array}{l} {a} \\\\ {\\[b\\]} \\end{array}"


# --- What is coloured --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "result"),
    [
        ("\\sin x \\cdots", "\\mathrm { s i n } x . . ."),
        ("\\hat x", "\\hat { x }"),
        ("\\mathbf \\hat x", "\\mathbf { \\hat { x } }"),
        ("\\frac 1 2", "\\frac { 1 } { 2 }"),
        ("\\sqrt [ 3 ] x", "\\sqrt [ 3 ] { x }"),
        ("\\big ( x \\not = y", "\\big( x \\not= y"),
        ("\\color [ rgb ] { 1 , 0 , 0 } x", "x"),
    ],
)
def test_tokens_that_belong_together_are_joined(tokens: str, result: str) -> None:
    assert rewritten(tokens).split() == result.split()


def test_colours_count_in_steps_of_15_to_the_base_18() -> None:
    assert [colour(number) for number in (0, 16, 17, 323)] == [(0, 0, 15), (0, 0, 255), (0, 15, 0), (15, 0, 0)]


@pytest.mark.parametrize(
    ("latex", "tokens"),
    [
        ("\\frac { a } { b }", ["\\frac", "a", "b"]),
        ("\\mathbf { x } \\, \\quad y", ["x", "y"]),
        ("\\sqrt [ 3 ] { x }", ["\\sqrt", "3", "x"]),
        ("\\phantom { a } \\overset { b } { c }", ["b", "c"]),
        ("\\begin{array} {ll} a & b \\end{array}", ["a", "b"]),
        ("\\left( a \\right)", ["\\left(", "a", "\\right)"]),
    ],
)
def test_what_draws_is_coloured(latex: str, tokens: list[str]) -> None:
    assert coloured(latex).tokens == tokens


def test_a_subscript_and_an_accent_with_one_keep_their_place() -> None:
    assert coloured("\\hat { x } _ y").latex == (
        "{\\mathcolor[RGB]{0,0,15}{\\hat { \\mathcolor[RGB]{0,0,30}{x} } }} _ {\\mathcolor[RGB]{0,0,45}{y}}"
    )


def test_a_group_without_end_cannot_be_drawn() -> None:
    assert drawing("\\frac { a } { b") is None


def test_more_tokens_take_a_larger_page_and_only_other_letters_a_font() -> None:
    small, large = drawing("x+路"), drawing("x" * 601)
    assert small is not None and large is not None
    assert (small.paper, small.needs_font, large.paper, large.needs_font) == (5, True, 4, False)
    assert "xeCJK" not in large.document(None) and "\\setCJKmainfont{Some Font}" in small.document("Some Font")


# --- Boxes, assignment, geometry ---------------------------------------------------------------------------------


def test_boxes_are_a_pixel_wider_than_the_ink_of_a_colour() -> None:
    paper = np.full((60, 80, 4), 255, np.uint8)
    paper[20:25, 30:40, :3] = colour(0)
    paper[30:33, 35:36, :3] = colour(2)
    found = token_boxes(paper, ["a", "unseen", "b"])
    assert found.tokens == ["a", "b"]
    # ink begins at (30, 20), and 8 pixels before it the picture; its last row and column are 8 pixels from the end
    assert found.boxes == [(7, 7, 18, 13), (12, 17, 14, 21)]
    assert found.size == (39 + 8 - 22, 32 + 8 - 12)


def test_nothing_drawn_has_no_boxes() -> None:
    assert token_boxes(np.full((9, 9, 4), 255, np.uint8), ["a"]).tokens == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("\\to", "\\leftarrow", True),
        ("\\leq", "\\le", True),
        ("\\ne", "\\neq", False),
        ("\\cdot", ".", True),
        ("\\left(", "(", True),
        ("\\Big|", "|", True),
        ("\\bigcup", "p", True),
        ("\\widehat", "\\hat", True),
        ("\\varepsilon", "\\epsilon", False),
        ("\\longrightarrow", "\\nrightarrow", True),
    ],
)
def test_some_tokens_stand_for_one_another(one: str, other: str, same: bool) -> None:
    assert (equivalent(one) == equivalent(other)) is same


def row(tokens: str, gap: int = 60, top: int = 10) -> TokenBoxes:
    """Tokens side by side."""
    boxes = [(gap * number, top, gap * number + 20, top + 20) for number in range(len(tokens))]
    return TokenBoxes(list(tokens), boxes, (gap * len(tokens), 100))


def test_the_same_picture_scores_1_and_none_scores_0() -> None:
    assert cdm(row("abcde"), row("abcde")).f1 == 1
    assert cdm(row("abcde"), None).f1 == cdm(None, row("abcde")).f1 == cdm(row(""), row("")).f1 == 0


def test_a_wrong_token_and_a_missing_one_count_on_their_sides() -> None:
    found = cdm(row("abcde"), row("abcx"))
    assert (found.recall, found.precision, found.f1) == (0.6, 0.75, round(6 / 9, 3))


def test_an_equivalent_token_counts_as_the_same() -> None:
    one, other = TokenBoxes(["\\le"], [(0, 0, 9, 9)], (20, 20)), TokenBoxes(["\\leq"], [(0, 0, 9, 9)], (20, 20))
    assert cdm(one, other).f1 == 1


def test_what_is_moved_and_scaled_stands_and_what_is_out_of_place_falls() -> None:
    points = np.random.default_rng(0).uniform(0, 1000, (40, 2))
    moved = 1.5 * points + 200
    moved[7] += 300
    standing = alike(points, moved)
    assert not standing[7] and standing.sum() == 39


def test_three_pairs_stand_wherever_they_are() -> None:
    assert alike(np.zeros((3, 2)), np.array([[0.0, 0], [900, 0], [0, 900]])).all()


# --- Marks and totals --------------------------------------------------------------------------------------------


def formulas(*latex: str) -> dict[str, Any]:
    blocks = [
        {"category_type": "equation_isolated", "latex": each, "order": number, "anno_id": number, "attribute": {}}
        for number, each in enumerate(latex, 1)
    ]
    info = {"image_path": "a.jpg", "page_attribute": {"language": "english"}}
    return {"page_info": info, "layout_dets": blocks, "extra": {"relation": []}}


def scored(truth: dict[str, Any], prediction: str | None) -> Marks:
    return score_page(read_page(truth), prediction)


def values(marks: Marks) -> dict[str, float]:
    return {name: parts[0].total for name, parts in marks.scores.items() if name.startswith("cdm")}


def test_the_raw_forms_of_a_page_are_compared() -> None:
    details = scored(formulas("x+y=z", "u^2=v"), "$$ x+y=z $$\n\n$$ u^{2} = v $$").details
    assert isinstance(details, PageDetails)
    assert [each.pair for each in details.formulas] == [
        FormulaPair("x+y=z", "\\[ x+y=z \\]"),
        FormulaPair("u^2=v", "\\[ u^{2} = v \\]"),
    ]


def test_a_page_has_the_mean_of_its_formulas() -> None:
    marks = scored(formulas("x+y=z", "u^2=v"), "$$ x+y=z $$\n\n$$ u^{2} = v $$")
    assert values(with_cdm(marks, [1.0, 0.5])) == {"cdm": 0.75, "cdm_strict": 0.75}


def test_a_page_with_a_formula_that_cannot_be_drawn_here_has_none() -> None:
    marks = scored(formulas("x+y=z", "u^2=v"), "$$ x+y=z $$\n\n$$ u^{2} = v $$")
    assert values(with_cdm(marks, [1.0, None])) == {}


def test_a_missing_page_is_wrong_only_in_the_strict_figure() -> None:
    assert values(with_cdm(scored(formulas("x+y=z"), None), [])) == {"cdm_strict": 0.0}
    assert values(with_cdm(scored(formulas(), None), [])) == {}


def test_a_formula_that_was_read_as_text_is_wrong_only_in_the_strict_figure() -> None:
    marks = scored(formulas("abcdefgh=ijkl"), "abcdefgh=ijkl")
    assert marks.details.moved
    assert values(with_cdm(marks, [])) == {"cdm_strict": 0.0}


def test_overall_needs_all_three_and_says_what_lacks() -> None:
    marks = scored(formulas("x+y=z"), "$$ x+y=z $$")
    undrawn = totals([marks.details])
    assert undrawn["overall"]["v1.5"] is None and "CDM" in undrawn["overall"]["v1.5_reason"]
    assert "CDM" not in undrawn["display_formula"]["page"]
    drawn = totals([with_cdm(marks, [0.5]).details])
    assert drawn["display_formula"]["page"]["CDM"]["ALL"] == drawn["display_formula"]["all"]["CDM"]["all"] == 0.5
    assert drawn["overall"]["v1.5_reason"] == "no page has text or tables to score"
    details = drawn_details(text_edit=0.25, teds=0.75, value=0.5)
    assert totals([details])["overall"]["v1.5"] == pytest.approx((75 + 75 + 50) / 3)
    some = replace(details, formulas=[*details.formulas, replace(details.formulas[0], cdm=None)])
    assert totals([some])["overall"]["v1.5_reason"] == "1 of 2 formula pairs could not be drawn"


def drawn_details(text_edit: float, teds: float, value: float) -> PageDetails:
    details: PageDetails = with_cdm(scored(formulas("x+y=z"), "$$ x+y=z $$"), [value]).details
    sample = details.formulas[0]
    text = replace(sample, edits=round(100 * text_edit), length=100, cdm=None)
    return replace(details, text=[text], tables=[replace(sample, teds=teds, cdm=None)])


# --- Drawing -----------------------------------------------------------------------------------------------------


def test_without_the_programs_a_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tools.tex_tools.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert tools.tex_tools() is None
        assert tools.tex_tools() is None
    tools.tex_tools.cache_clear()
    assert len(caplog.records) == 1
    assert all(package in caplog.text for package in ("ghostscript", "texlive-xetex", "texlive-latex-extra"))


def test_a_font_that_is_missing_leaves_the_pair_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake_tools: TexTools
) -> None:
    monkeypatch.setattr("rtprune_cli.bench.accuracy.formulas.render.chinese_font", lambda: None)
    with kept_drawings(tmp_path, "1") as kept, FormulaPool(fake_tools, kept) as pool:
        pool.ask("路程")
        assert not pool.can_draw("路程")


@pytest.fixture
def fake_tools(tmp_path: Path) -> TexTools:
    """A program that starts another, says its number, and waits for it."""
    program = tmp_path / "waits"
    program.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/number\nwait\n")
    program.chmod(0o755)
    return TexTools(str(program), str(program), "none")


def is_alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("why", [FormulaStopped, FormulaOverdue])
def test_a_program_that_is_stopped_leaves_nothing_running(
    why: type[Exception], fake_tools: TexTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = tmp_path / "number"
    monkeypatch.setattr(drawing_module, "SECONDS", 60 if why is FormulaStopped else 0.4)
    with pytest.raises(why):
        picture("", fake_tools, lambda: why is FormulaStopped and number.exists() and bool(number.read_text()))
    end = time.monotonic() + 5
    while is_alive(int(number.read_text())) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_alive(int(number.read_text()))


def test_boxes_come_back_from_the_disk_as_they_were(tmp_path: Path, fake_tools: TexTools) -> None:
    formula = drawing("ab")
    assert formula is not None
    with kept_drawings(tmp_path, "1") as kept, FormulaPool(fake_tools, kept) as pool:
        pool._futures[formula.document(None)] = done = Future()
        done.set_result(row("ab"))
        pool.ask("ab")
        assert pool.boxes("ab") == row("ab")
    with kept_drawings(tmp_path, "1") as kept, FormulaPool(fake_tools, kept) as pool:
        pool.ask("ab")
        assert not pool._futures and pool.boxes("ab") == row("ab")


# --- The official scores -----------------------------------------------------------------------------------------


@shared
@pytest.mark.shared
def test_tokens_of_every_official_pair_are_the_official_ones() -> None:
    """Of a side without a PDF, or behind one, the number of tokens is not known."""
    for pair in oracle():
        for side, latex in sides(pair).items():
            found = drawing(latex)
            assert bool(found and found.parsed) == pair[f"{side}_parsed"], pair["id"]
            if pair[f"{side}_state"] in ("ok", "no_symbol_drawn"):
                assert (len(found.tokens) if found else 0) == pair[f"{side}_tokens"], pair["id"]


@needs_tex
@shared
@pytest.mark.slow
@pytest.mark.shared
def test_official_scores_are_reproduced_and_formulas_drawn_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them: CDM_ORACLE=all pytest tests/test_cdm.py -k official_scores."""
    every = os.environ.get("CDM_ORACLE") == "all"
    pairs = [pair for pair in oracle() if every or pair["id"] in DRAWN]
    details = replace(drawn_details(0, 0, 0), moved=[])
    sample = details.formulas[0]
    page = Marks(
        {"formula_edit_strict": []},
        details=replace(
            details, formulas=[replace(sample, pair=FormulaPair(pair["gt"], pair["pred"])) for pair in pairs]
        ),
    )
    found = next(iter(render_formulas([page], tmp_path)))
    assert [each.cdm for each in found.details.formulas] == [pair["f1"] for pair in pairs]
    monkeypatch.setattr("rtprune_cli.bench.accuracy.formulas.render.picture", None)  # drawing again would fail
    assert next(iter(render_formulas([page], tmp_path))) == found
