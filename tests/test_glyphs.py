"""`rtprune bench glyphs`: where each glyph lies, which came out, and what is made of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import for_every, spec_of
from PIL import Image

from rtprune_cli.bench.accuracy.synthetic.drawing import Drawing, to_png
from rtprune_cli.bench.accuracy.synthetic.glyphs import glyph_boxes
from rtprune_cli.bench.accuracy.synthetic.write import make_page
from rtprune_cli.bench.glyphs import probe
from rtprune_cli.bench.glyphs.figures import figures
from rtprune_cli.bench.glyphs.places import Place, centre_cells, places, touched_cells
from rtprune_cli.bench.glyphs.plan import GlyphPlan
from rtprune_cli.bench.glyphs.probe import UNPRUNED, GlyphProbe, Movement, PageProbe, UnreadPage
from rtprune_cli.bench.scoring.alignment import right_characters, right_glyphs
from rtprune_cli.errors import UsageError
from rtprune_cli.failures import Failure
from rtprune_cli.model import OcrModel
from rtprune_cli.options import OcrOptions
from rtprune_cli.tiny.pages import Run
from rtprune_cli.views.grid import TokenGrid

Find = Callable[..., Any]


def glyph_at(x: float, y: float, size: tuple[int, int]) -> Drawing:
    """A page of so many points with an H, whose ink is 14 pt wide, in the middle of (x, y)."""
    left, baseline = x - 0.36 * 20, y + 0.36 * 20
    return Drawing(*size, ((Run("H", left, baseline, "helv", 20.0),),))


# --- Where a glyph lies


@pytest.mark.parametrize(
    ("mode", "tiles", "size", "middle", "tokens"),
    [
        # Rows of 8 cells and a newline: the fifth cell of the third row
        ("tiny", None, (512, 512), (4.5 * 64, 2.5 * 64), [2 * 9 + 4]),
        # Stretched, a cell of the page is 128 pixels wide and 32 high
        ("tiny", None, (1024, 256), (4.5 * 128, 2.5 * 32), [2 * 9 + 4]),
        # The page has 12 of 16 rows of cells, 2 of padding above it
        ("base", None, (1024, 768), (10.5 * 64, 5.5 * 64), [(2 + 5) * 17 + 10]),
        # Two tiles side by side, 20 cells a row; then the global view at 0.8 of the size, 4 rows of padding above it
        ("gundam", (2, 1), (1280, 640), (900, 300), [4 * 21 + 14, 10 * 21 + (4 + 3) * 17 + 11]),
    ],
)
def test_a_glyph_lies_on_the_token_whose_cell_it_was_drawn_in(
    mode: str, tiles: tuple[int, int] | None, size: tuple[int, int], middle: tuple[float, float], tokens: list[int]
) -> None:
    boxes = glyph_boxes(glyph_at(*middle, size), dpi=72)
    found = centre_cells(boxes, TokenGrid(spec_of(mode), tiles).boxes(size))
    assert np.flatnonzero(found[0]).tolist() == tokens


def test_a_glyph_on_an_edge_touches_both_cells_and_its_middle_lies_on_one() -> None:
    boxes = glyph_boxes(glyph_at(4 * 64 + 1, 2.5 * 64, (512, 512)), dpi=72)
    cells = TokenGrid(spec_of("tiny")).boxes((512, 512))
    assert np.flatnonzero(touched_cells(boxes, cells)[0]).tolist() == [2 * 9 + 3, 2 * 9 + 4]
    assert np.flatnonzero(centre_cells(boxes, cells)[0]).tolist() == [2 * 9 + 4]


@for_every("number", range(4))
@pytest.mark.parametrize(("sheet", "layout"), [("card", "large-type"), ("a4", "sparse")])
def test_boxes_hold_the_ink_and_nothing_else_is_printed(sheet: str, layout: str, number: int) -> None:
    drawing = make_page(number, 5, sheet, (layout,))[0]
    pixels = np.asarray(Image.open(io.BytesIO(to_png(drawing))).convert("L")).astype(int)
    ink = pixels < pixels[0, 0] - 40
    boxes = glyph_boxes(drawing)
    assert len(boxes) == sum(not character.isspace() for character in drawing.text)
    for x1, y1, x2, y2 in boxes.astype(int):
        assert ink[y1 : y2 + 2, x1 : x2 + 2].any()
        ink[max(0, y1 - 1) : y2 + 2, max(0, x1 - 1) : x2 + 2] &= False
    assert not ink.any()


def test_places_say_what_is_left_of_a_glyph_s_cells() -> None:
    cells = np.array([[0, 0, 10, 10], [10, 0, 20, 10], [np.nan] * 4, [0, 0, 20, 20]])  # two cells, and another view
    glyphs = np.array([[2, 2, 4, 4], [8, 2, 11, 4], [12, 2, 14, 4]], dtype=float)

    def found(*stays: int) -> dict[Place, list[int]]:
        masks = places(glyphs, cells, np.isin(np.arange(4), stays))
        return {place: np.flatnonzero(mask).tolist() for place, mask in masks.items()}

    assert found(0, 3) == {
        "all": [0, 1, 2], "kept": [0, 1], "pruned": [], "in one view": [2],
        "only kept": [0], "straddling": [1, 2], "only pruned": [],
    }  # fmt: skip
    assert found(1) == {
        "all": [0, 1, 2], "kept": [], "pruned": [0, 1], "in one view": [2],
        "only kept": [], "straddling": [1, 2], "only pruned": [0],
    }  # fmt: skip


# --- Which came out


@pytest.mark.parametrize(
    ("truth", "prediction", "right"),
    [
        ("abc", "abc", "111"),
        ("abc", "axc", "101"),
        ("abc", "ac", "101"),
        ("abc", "abxxc", "111"),
        ("abc", "", "000"),
        ("one two six", "one six", "1111" + "0000" + "111"),
        ("ab cd", "abcd", "11011"),
        ("abcdef", "cdefab", "001111"),
        ("", "abc", ""),
    ],
)
def test_a_character_is_right_where_a_shortest_alignment_has_it(truth: str, prediction: str, right: str) -> None:
    assert "".join(map(str, right_characters(truth, prediction).astype(int))) == right


def test_spaces_are_no_glyphs() -> None:
    assert right_glyphs("ab cd", "abcx").tolist() == [True, True, True, False]


# --- What is made of it


def planted(words: str, number: int, pruned: str, **right: str) -> PageProbe:
    """A page of as many glyphs as there are letters; 1 in ``pruned`` lies on a pruned cell, 1 in ``right`` came out."""
    gone = np.array(list(map(int, pruned)), dtype=bool)
    masks: dict[Any, Any] = {"all": np.ones_like(gone), "kept": ~gone, "pruned": gone, "in one view": gone & False}
    masks |= {"only kept": ~gone, "straddling": gone & False, "only pruned": gone}
    page = PageProbe(words, number, f"{number:04}", {}, "", np.zeros((len(gone), 4)))
    page.places["0.5"], page.stays["0.5"] = masks, np.array([True, True, False, False])
    page.movement["0.5"] = Movement(np.array([0.1, 0.3]), np.array([1.0, 0.9]))
    for reading, letters in right.items():
        key: Any = UNPRUNED if reading == "unpruned" else (reading, "0.5")
        page.right[key] = np.array(list(map(int, letters)), dtype=bool)
    return page


PLAN = GlyphPlan("card", ratios=("0.5",), words=("natural", "random"), limit=2, resamples=200)


def test_rates_are_of_the_same_glyphs_in_each_reading() -> None:
    found = figures(
        [
            planted("natural", 0, "0011", unpruned="1111", merged="1101", dropped="1100"),
            planted("natural", 1, "0001", unpruned="0111", merged="0111", dropped="0110"),
            planted("random", 0, "0011", unpruned="1111", merged="1100", dropped="1100"),
            planted("random", 1, "0001", unpruned="0111", merged="0110", dropped="0110"),
        ],
        PLAN,
    )
    rates = {(row["words"], row["place"]): row for row in found["rates"]}
    assert {place for _, place in rates} == {"all", "kept", "pruned", "only kept", "only pruned"}
    lost, kept = rates["natural", "pruned"], rates["natural", "kept"]
    assert (lost["glyphs"], lost["share"], lost["pages"]) == (3, 0.375, 2)
    assert [lost[reading]["value"] for reading in ("unpruned", "merged", "dropped")] == pytest.approx([0, 1 / 3, 1])
    assert lost["merged_rise"]["value"] == pytest.approx(1 / 3) and lost["dropped_rise"]["value"] == 1
    assert lost["merging"]["value"] == pytest.approx(-2 / 3)
    assert kept["unpruned"]["value"] == kept["merged"]["value"] == 0.2 and kept["merged_rise"]["value"] == 0
    contrasts = {(row["words"], row["reading"], row["of"]): row["difference"]["value"] for row in found["contrasts"]}
    assert contrasts["natural", "merged", "pruned"] == pytest.approx(1 / 3)
    assert contrasts["natural", "dropped", "only pruned"] == 1
    assert contrasts[None, "merged", "random"] == pytest.approx(3 / 8 - 1 / 8)
    assert contrasts[None, "dropped", "random"] == 0
    moved = found["movement"][0]
    assert (moved["tokens"], moved["retention"]) == (4, 0.5)
    assert moved["change"]["median"] == pytest.approx(0.2) and moved["cosine"]["min"] == 0.9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ratios": ("1",)}, "nothing is pruned at the ratio 1"),
        ({"ratios": ()}, "nothing to compare"),
        ({"words": ("french",)}, "unknown words 'french'"),
        ({"limit": 0}, "limit is 0"),
        ({"sheet": "a5"}, "unknown sheet 'a5'"),
    ],
)
def test_a_plan_that_compares_nothing_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        GlyphPlan(**{"sheet": "card", **changes})


def test_one_ratio_in_two_spellings_is_read_once() -> None:
    assert GlyphPlan("card", ratios=("0.5", "0.50", "dynamic")).ratios == ("0.5", "dynamic")


# --- On the bundled model


def test_merging_and_dropping_keep_the_same_tokens_and_only_merging_moves_them(tiny: OcrModel, tmp_path: Path) -> None:
    plan = GlyphPlan("card", ratios=("0.5",), layouts=("sparse",), limit=1)
    reader = GlyphProbe(tiny, tiny.resolve(OcrOptions()), plan, tmp_path)
    (page,) = reader.read()
    assert isinstance(page, PageProbe)
    assert set(page.right) == {UNPRUNED, ("dropped", "0.5"), ("merged", "0.5")}
    assert {len(right) for right in page.right.values()} == {len(page.boxes)} != {0}
    assert page.stays["0.5"].sum() - (~page.stays["0.5"]).sum() < 16  # half of the cells, the newlines with them
    assert len(page.movement["0.5"].change) == 32 and (page.movement["0.5"].change > 0).all()
    assert page.right[UNPRUNED].all()  # nothing is easier to read than a page of a line or two


def test_a_page_that_fails_in_one_reading_counts_in_none(
    tiny: OcrModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(probe.PromptDecoder):
        def decode(self, prompts: Any) -> Any:
            for key, _ in prompts:
                yield key, Failure("Broken")

    monkeypatch.setattr(probe, "PromptDecoder", Broken)
    plan = GlyphPlan("card", ratios=("0.5",), layouts=("sparse",), limit=2)
    found = list(GlyphProbe(tiny, tiny.resolve(OcrOptions()), plan, tmp_path).read())
    assert len(found) == 2 and all(isinstance(page, UnreadPage) for page in found)
    assert "page 1 of mixed/0001-sparse.png could not be read (Broken)" in str(found[0].error)


@pytest.mark.slow
def test_the_command_writes_every_glyph_and_what_it_makes_of_them(rtprune: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ("--layouts", "dense", "--limit", "1", "--words", "natural,random", "--ratios", "0.5")
    found = rtprune("bench", "glyphs", "--model", "tiny", *asked, "--resamples", "100", "-o", out)
    assert found.exit_code == 0, found.output
    result = json.loads((out / "glyphs.json").read_bytes())
    lines = [json.loads(line) for line in (out / "pages.jsonl").read_text().splitlines()]
    assert (result["pages"], result["failed"]) == (2, 0) and [line["words"] for line in lines] == ["natural", "random"]
    row = next(row for row in result["rates"] if (row["words"], row["place"]) == ("natural", "pruned"))
    kept, right = lines[0]["kept"]["0.5"], lines[0]["readings"]["merged 0.5"]["right"]
    assert row["glyphs"] == kept.count("0") > 0
    assert row["merged"]["value"] == pytest.approx(
        sum((a, b) == ("0", "0") for a, b in zip(kept, right, strict=True)) / row["glyphs"]
    )
    assert "merging moves a kept token by" in found.output and "more on random words" in found.output
