"""olmOCR-Bench's tests of formulas: the rules on drawings, the browser that draws, and what holds without one."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import psutil
import pytest
from conftest import command_line
from test_olmocr_bench import row, write

from rtprune_cli.bench.accuracy.formulas import browser, katex, olmocr_math
from rtprune_cli.bench.accuracy.formulas.browser import NoAnswer, NoBrowser
from rtprune_cli.bench.accuracy.formulas.katex import KATEX, Katex
from rtprune_cli.bench.accuracy.formulas.kept import FILE, NOT_KEPT, kept_drawings
from rtprune_cli.bench.accuracy.formulas.olmocr_math import FORM, DrawnMath, verdict
from rtprune_cli.bench.scoring.olmocr import places
from rtprune_cli.bench.scoring.olmocr.cases import Case
from rtprune_cli.bench.scoring.olmocr.drawn import DrawnFormula, DrawnText, found_in
from rtprune_cli.bench.scoring.olmocr.formula import Formula
from rtprune_cli.bench.scoring.olmocr.places import Places, placed_alike
from rtprune_cli.bench.scoring.olmocr.score import UndrawnTest, score_cases, with_drawn
from rtprune_cli.bench.scoring.olmocr.spelling import canonical
from rtprune_cli.bench.scoring.records import Part
from rtprune_cli.errors import EnvironmentFault

pytest.importorskip("bs4", reason="the extra [bench] is not installed")

ORACLE = Path(__file__).parents[2] / "shared" / "math" / "olmocr_math.json"
HASHES = {
    "katex.min.js": "863811e2baa0849c77bc92d26d44f4d0a4843c2a8ab52c462017dea57316e4d8",
    "katex.min.css": "f787891b550d554c214aa8902f39ac46df2dbd48fdec500a2040a5dce1e8ab58",
}


@pytest.fixture(scope="module")
def drawing() -> Iterator[Katex]:
    try:
        with Katex() as found:
            yield found
    except NoBrowser as missing:
        pytest.skip(f"no formulas are drawn: {missing}")


# --- The rules, on boxes of our own


def on_lines(*lines: str) -> DrawnFormula:
    """A drawing of characters in cells of 10 x 20 pixels, a text each; a blank is an empty cell."""
    texts = [
        DrawnText(letter, 10.0 * x, 20.0 * y, 10, 20)
        for y, line in enumerate(lines)
        for x, letter in enumerate(line)
        if letter != " "
    ]
    return DrawnFormula(f"<math><semantics><mi>{lines}</mi></semantics></math>", tuple(texts))


@pytest.mark.parametrize(
    ("truth", "formula", "found"),
    [
        (["a+b"], ["a+b"], True),
        (["a+b"], ["xx", "a+b=c"], True),  # what is more does not matter
        (["a+b"], ["b+a"], False),  # other neighbours
        (["a+b"], ["a b"], False),  # a symbol that is not there
        (["aa"], ["a"], False),  # each needs one of its own
        (["a", "b"], ["ab"], False),  # one above the other is not side by side
        (["a b"], ["a  b"], True),  # how far apart does not matter
        (["a", " b"], [" b", "a"], True),  # a_b, a^b: nothing is above or beside anything
        (["ab"], ["a", " b"], False),
        (["xay", "xbz"], ["xbz", "xay"], False),
    ],
)
def test_a_formula_is_found_by_the_neighbours_of_its_symbols(truth: list[str], formula: list[str], found: bool) -> None:
    drawn = DrawnFormula("<math/>", on_lines(*formula).texts)
    assert found_in(on_lines(*truth), drawn) == ("layout" if found else "no")


def test_neighbours_are_those_within_five_pixels_and_the_nearest() -> None:
    def stacked(shift: float) -> DrawnFormula:
        return DrawnFormula("<math/>", (DrawnText("a", 0, 0, 10, 10), DrawnText("b", shift, 20, 10, 10)))

    truth = DrawnFormula("<mi>t</mi>", stacked(5).texts)
    assert truth.places.neighbours == [(-1, 1, -1, -1), (0, -1, -1, -1)]
    assert found_in(truth, stacked(0)) == "layout"
    assert found_in(truth, stacked(5.1)) == "no"
    assert on_lines("abc").places.neighbours[0] == (-1, -1, -1, 1)


def test_a_text_is_cut_into_letters_of_equal_width() -> None:
    drawn = DrawnFormula("", (DrawnText("a\u200bb c", 0, 0, 30, 10),))
    assert [(each.text, each.x, each.width) for each in drawn.symbols] == [("a", 0, 10), ("b", 10, 10), ("c", 20, 10)]


def test_mathml_is_looked_for_in_mathml_without_blanks_and_latex() -> None:
    def mathml(inner: str, latex: str) -> DrawnFormula:
        whole = f"<math><semantics>{inner}<annotation>{latex}</annotation></semantics></math>"
        return DrawnFormula(whole, (DrawnText(latex, 0, 0, 1, 1),))

    assert found_in(mathml("<mi>x</mi>", "x"), mathml("<mrow> <mi>\u200bx</mi> <mo>+</mo></mrow>", "y")) == "mathml"
    assert found_in(mathml("<mi>x</mi>", "x"), mathml("<mi>y</mi>", "z")) == "no"


def test_what_katex_refuses_is_found_in_any_formula_and_finds_none() -> None:
    refused, drawn = DrawnFormula("KaTeX parse error: no"), on_lines("x")
    assert found_in(refused, drawn) == "layout"
    assert found_in(drawn, refused) == "no"


def row_of(symbols: str, *, times: int = 1) -> Places:
    """Symbols side by side, the row ``times`` times, out of each other's sight."""
    size = len(symbols)
    around = [(-1, -1, i - 1, i + 1 if i + 1 < size else -1) for i in range(size)]
    moved = [tuple(each + size * t if each >= 0 else -1 for each in place) for t in range(times) for place in around]
    return Places(list(symbols * times), moved)


def test_the_search_guesses_and_takes_guesses_back() -> None:
    assert placed_alike(row_of("ab", times=30), row_of("ab", times=30)) is True
    assert placed_alike(row_of("abab"), row_of("ababa")) is True
    assert placed_alike(row_of("aba"), row_of("ab", times=2)) is False
    assert placed_alike(row_of("a" * 300), row_of("a" * 300)) is True


def test_a_search_that_takes_too_long_has_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST_LOOKS", 20)
    assert placed_alike(row_of("ab", times=30), row_of("ab", times=30)) is None
    monkeypatch.undo()
    # Eleven rooms for twelve: no order of guesses sees it early. The official search goes on for days.
    truth = row_of("ab", times=12)
    other = Places([*"ab" * 11, "a", *"b" * 12], [*row_of("ab", times=11).neighbours, *[(-1, -1, -1, -1)] * 13])
    start = time.perf_counter()
    assert placed_alike(truth, other) in (None, False)
    assert time.perf_counter() - start < 20


# --- Without drawings


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x ^ 2", "x^{2}"),
        ("x_a^b", "x^b_{a}"),
        (r"\frac12", r"\frac{1}{2}"),
        (r"\bar \alpha", r"\bar{\alpha}"),
        (r"f'(x) \le 1", r"f^{\prime}(x)\leq 1"),
        (r"\sqrt[3]{ x }", r"\sqrt[3]x"),
        (r"\mathbb R", r"\mathbb{R}"),
        (r"\sum\limits_{i}^n", r"\sum\limits^n_i"),
        (r"\begin{array}{cc} a & b \\ c & d \end{array}", r"\begin{array}{cc}a&b\\c&d\end{array}"),
    ],
)
def test_spellings_of_one_drawing_are_equal(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x^{12}", "x^12"), (r"\frac{a}{bc}", r"\frac{ab}{c}"), ("{ab}^2", "ab^2"), ("a}{b", "a{}b"), ("x_1", "x^1"),
        ("a", "A"), ("x_{}", "x"), ("f' ^2", "f'^2"), ("f' '", "f''"),
        (r"a\,b", "ab"), (r"\mathbf{x}", "x"), ("{x}", "x"), (r"\left(x\right)", "(x)"), (r"\dfrac12", r"\frac12"),
        (r"\text{a - b}", "a-b"), (r"\text{- -}", r"\text{--}"), (r"x\tag{1}", "x"), (r"x\label{a}", "x"),
        (r"a % b", "a%b"), (r"\def\a{x}\a", r"\def\a x\a"), (r"x^\mathrm{a}", r"x^{\mathrm}{a}"),
        (r"\\ [1pt]", r"\\[1pt]"), (r"\hspace*{1 0em}", r"\hspace*{10em}"), (r"\lvert x\rvert", "|x|"),
    ],
)  # fmt: skip
def test_what_the_official_test_may_tell_apart_is_not(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


def test_drawings_decide_where_no_formula_is_the_truth_itself() -> None:
    test = Formula("a+b")
    assert test.to_compare("$x$ $a+c$ $x$") == ["a+c", "x"]
    assert test.to_compare("$a+b$ $x$") == [] == test.to_compare("a+b")


def test_answers_replace_what_texts_alone_said() -> None:
    cases = [Case("one", "math", Formula(latex)) for latex in ("x^{2}", "y", "z", "a")]
    cases.append(Case("two", "math", Formula("w")))
    marks = score_cases(cases, "$x^2$ $a$")
    assert marks.scores["pass_math"] == [Part(2, 5)] and marks.notes == {"math_lower_bound": 3}
    assert [test.truth for test in marks.details] == ["x^{2}", "y", "z", "w"]
    drawn = with_drawn(marks, ["mathml", "layout", "unknown", "no"])
    assert drawn.scores["pass_math"] == [Part(3, 5)]
    assert drawn.scores["pass_rate"] == [Part(3, 4, "one"), Part(0, 1, "two")]
    assert drawn.notes == {"math_lower_bound": 1} and drawn.details is None
    assert with_drawn(marks, ["no", "no", "no", "no"]).scores["pass_math"] == [Part(1, 5)]
    assert with_drawn(marks, ["unknown"] * 4).scores == marks.scores


def test_a_test_is_unknown_only_where_no_other_formula_shows_the_truth() -> None:
    drawings = {"t": on_lines("t"), "o": on_lines("o"), "t'": DrawnFormula("<mi/>", on_lines("t").texts), "late": None}

    def answer(*formulas: str) -> str:
        return verdict(UndrawnTest("", "t", formulas, False), drawings.__getitem__)

    assert answer("o") == "no" and answer("late", "o") == "unknown"
    assert answer("late", "t'") == "layout" and answer("o", "t") == "mathml"


def without_browser(*_: object) -> Katex:
    raise NoBrowser("Playwright is not installed")


def test_without_a_browser_texts_decide_and_one_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(olmocr_math, "Katex", without_browser)
    marks = [score_cases([Case("one", "math", Formula("x"))], "$y$")] * 2
    math = DrawnMath()
    with caplog.at_level(logging.WARNING, "rtprune"):
        assert list(math.complete(marks, tmp_path / "formulas")) == marks
    assert len(caplog.records) == 1 and "pip install 'playwright>=" in caplog.text
    assert math.how() == {"formulas": "compared as LaTeX", "because": "Playwright is not installed"}
    none = [score_cases([Case("one", "math", Formula("x"))], "$x$")]
    assert list(math.complete(none, tmp_path)) == none and math.how() == {} and len(caplog.records) == 1


def test_a_machine_without_chromium_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    monkeypatch.setattr(browser, "NAMES", ())
    before = running()
    with pytest.raises(NoBrowser, match="no Chromium was found"), Katex():
        pass
    assert running() <= before


# --- What is kept


def test_drawings_are_kept_for_runs_of_the_same_versions(tmp_path: Path) -> None:
    with kept_drawings(tmp_path / "new", "1") as kept:
        kept.add("x\ud800", ["mathml", [["x", 1.5]]])
        kept.add("no picture", None)
        assert kept.find("y") is NOT_KEPT
    with kept_drawings(tmp_path / "new", "1") as kept:
        assert kept.find("x\ud800") == ["mathml", [["x", 1.5]]] and kept.find("no picture") is None
    with kept_drawings(tmp_path / "new", "2") as kept:
        assert kept.find("x\ud800") is NOT_KEPT


def test_a_file_that_is_none_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with kept_drawings(tmp_path, "1") as kept:
        kept.add("x", [])
    with sqlite3.connect(tmp_path / FILE) as file:
        assert file.execute("SELECT count(*) FROM drawings").fetchone() == (1,)
        file.execute("UPDATE drawings SET drawing = '[1'")
    file.close()
    with kept_drawings(tmp_path, "1") as kept:
        assert kept.find("x") is NOT_KEPT and caplog.records == []


def test_without_a_place_on_the_disk_nothing_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).mkdir()
    with caplog.at_level(logging.WARNING, "rtprune"), kept_drawings(tmp_path, "1") as kept:
        kept.add("x", [])
        assert kept.find("x") is NOT_KEPT
    assert "drawn formulas are not kept" in caplog.text


# --- In a browser


def running() -> set[psutil.Process]:
    """Processes below this one: drivers, browsers, and whatever other tests have left."""
    found = psutil.Process().children(recursive=True)
    return {each for each in found if each.is_running() and each.status() != psutil.STATUS_ZOMBIE}


def wait_for(happened: Callable[[], bool], limit: float = 20) -> None:
    end = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_files_of_katex_are_those_of_its_release() -> None:
    folder = files(katex.__package__).joinpath(f"katex-{KATEX}")
    assert {name: hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() for name in HASHES} == HASHES
    assert f'version:"{KATEX}"' in folder.joinpath("katex.min.js").read_text(encoding="utf-8")
    assert folder.joinpath("LICENSE").is_file()


def test_a_fraction_stands_one_above_the_other(drawing: Katex) -> None:
    drawn = drawing.draw(r"\frac{a}{b}")
    assert drawn is not None and [text.text for text in drawn.texts if text.text.isalpha()] in (["b", "a"], ["a", "b"])
    at = {symbol.text: symbol for symbol in drawn.symbols}
    assert at["a"].y + at["a"].height / 2 < at["b"].y + at["b"].height / 2
    assert "<mfrac><mi>a</mi><mi>b</mi></mfrac>" in drawn.meaning


def test_what_is_refused_comes_with_the_message(drawing: Katex) -> None:
    drawn = drawing.draw(r"\frac{a}")
    assert drawn is not None and drawn.texts == () and "KaTeX parse error" in drawn.mathml


@pytest.mark.shared
@pytest.mark.skipif(not ORACLE.is_file(), reason="shared/math/ is not there")
def test_verdicts_are_the_official_ones(drawing: Katex) -> None:
    drawings: dict[str, DrawnFormula | None] = {}

    def draw(latex: str) -> DrawnFormula | None:
        if latex not in drawings:
            drawings[latex] = drawing.draw(latex)
        return drawings[latex]

    def decided(test: Formula, markdown: str) -> str | None:
        found = test.to_compare(markdown)
        if not found:
            return "string" if test.passes(markdown) else None
        answer = verdict(UndrawnTest("", test.latex, found, False), draw)
        return None if answer == "no" else answer

    official = json.loads(ORACLE.read_text(encoding="utf-8"))["tests"]
    tests = [(Formula(each["math"], each["ignore_dollar_delimited"]), each["markdown"]) for each in official]
    assert [decided(*test) for test in tests] == [each["decided_by"] for each in official] and len(tests) == 64
    assert all(each["passes"] for each, (test, page) in zip(official, tests, strict=True) if test.passes(page))


def test_the_page_reaches_neither_network_nor_files_and_runs_nothing(drawing: Katex) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        page = drawing._started()
        page.evaluate("globalThis.failed = 0; globalThis.ran = 0", 5)
        for latex in (
            rf"\includegraphics{{{address}}}",
            rf"\href{{{address}}}{{x}}",
            f"<img src={address} onerror='ran = 1'>",
        ):
            assert drawing.draw(latex) is not None
        for from_ in (address, "file:///etc/passwd"):
            page.evaluate(f"fetch('{from_}').catch(() => failed++); 0", 5)
        for element in ("img onerror='ran = 1'", "iframe", "link rel=preconnect", "link rel=stylesheet", "script"):
            html = f"<{element} src='{address}' href='{address}'>"
            page.evaluate(
                f"document.body.append(document.createRange().createContextualFragment({json.dumps(html)}))", 5
            )
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'ran = 1'}))", 5
        )
        wait_for(lambda: page.evaluate("failed", 5) == 2)
        with pytest.raises(TimeoutError):
            server.accept()
        assert page.evaluate("ran", 5) == 0


def test_what_takes_too_long_is_ended_and_the_page_goes_on(drawing: Katex) -> None:
    start = time.monotonic()
    with pytest.raises(NoAnswer):
        drawing._started().evaluate("for (;;);", 0.2)
    assert time.monotonic() - start < browser.MARGIN
    assert drawing.draw("x") is not None


@pytest.mark.slow
def test_a_browser_that_crashed_starts_again_or_is_told_of(drawing: Katex, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in running():
        if each.name().startswith(("chrom", "google-chrom", "headless")):
            each.kill()
    assert drawing.draw("x") is not None
    drawing._end()
    with monkeypatch.context() as patch, pytest.raises(EnvironmentFault, match="does not start again"):
        patch.setattr(katex, "Browser", without_browser)
        drawing.draw("x")


@pytest.mark.slow
def test_nothing_is_left_running_when_a_run_is_interrupted(
    drawing: Katex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = [score_cases([Case("one", "math", Formula("x"))], f"${number}$") for number in range(3)]
    before = running()
    completed = DrawnMath().complete(marks, tmp_path)
    next(completed)
    assert running() - before
    with pytest.raises(KeyboardInterrupt):
        completed.throw(KeyboardInterrupt)
    assert not running() - before
    with kept_drawings(tmp_path, f"{FORM}, KaTeX {KATEX}, Chromium {drawing.chromium}") as kept:
        assert kept.find("0") is not NOT_KEPT  # the next run has it


@pytest.mark.slow
def test_a_run_tells_how_it_compared_formulas(drawing: Katex, tmp_path: Path) -> None:
    rows = [row("a.pdf", "math", math=latex) for latex in (r"\mathbf{x}^2", "y")]
    data = write(tmp_path / "data", {"arxiv_math": rows}, ("a.pdf",))
    (tmp_path / "read").mkdir()
    (tmp_path / "read" / "a_pg1_repeat1.md").write_text("so $x^2$ is", encoding="utf-8")
    with command_line() as rtprune:
        result = rtprune("bench", "score", "--dataset", "olmocr-bench", "--data", data, "--predictions",
                         tmp_path / "read", "-o", tmp_path / "out")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["configurations"][0]["metrics"]["pass_math"]["value"] == 0.5
    assert summary["dataset"]["rendered"] == {"formulas": "drawn", "katex": KATEX, "chromium": drawing.chromium}
    said = f"formulas drawn, katex {KATEX}, chromium {drawing.chromium}"
    assert f"[{said}]" in result.stderr
    assert said in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
