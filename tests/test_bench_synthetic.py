"""The synthetic pages: the truth is what is drawn, in reading order; nothing is clipped; the folder is safe."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
import pytest
from conftest import for_every
from PIL import Image

from rtprune_cli.bench.accuracy.synthetic import LAYOUTS, SHEETS, make_pages, open_synthetic
from rtprune_cli.bench.accuracy.synthetic import card as card_layouts
from rtprune_cli.bench.accuracy.synthetic.drawing import Drawing, document, to_png
from rtprune_cli.bench.accuracy.synthetic.write import RECIPE, known_layouts, make_page
from rtprune_cli.bench.scoring.flatten import plain
from rtprune_cli.errors import UsageError
from rtprune_cli.tiny import pages, writing

PAGES = 6  # of each layout and sheet
every_layout = pytest.mark.parametrize(("sheet", "layout"), list(itertools.product(SHEETS, LAYOUTS)))
every_page = for_every("number", range(PAGES))


def drawn(sheet: str, layout: str, number: int = 0, seed: int = 3) -> Drawing:
    return make_page(number, seed, sheet, (layout,))[0]


def words_on(drawing: Drawing) -> list[tuple[float, float, float, float, str]]:
    """What MuPDF reads back from the page, (left, top, right, bottom, word), the boxes tight around the ink."""
    with document(drawing) as pdf:
        found = pdf[0].get_text("words", flags=pymupdf.TEXTFLAGS_WORDS | pymupdf.TEXT_ACCURATE_BBOXES)
    return [tuple(word[:5]) for word in found]


def baselines(drawing: Drawing) -> list[tuple[float, float, str]]:
    """What MuPDF reads back from the page: (baseline, left, word)."""
    with document(drawing) as pdf:
        blocks = pdf[0].get_text("rawdict")["blocks"]
    found: list[tuple[float, float, str]] = []
    for span in (span for block in blocks for line in block["lines"] for span in line["spans"]):
        for space, group in itertools.groupby(span["chars"], key=lambda char: char["c"].isspace()):
            chars = list(group)
            if not space:
                left, baseline = chars[0]["origin"]
                found.append((round(baseline, 1), left, "".join(char["c"] for char in chars)))
    return found


@pytest.mark.slow
@every_layout
@every_page
def test_the_truth_is_what_stands_on_the_page_in_reading_order(sheet: str, layout: str, number: int) -> None:
    drawing = drawn(sheet, layout, number)
    runs = [run for line in drawing.lines for run in line]
    columns = layout == "two-columns"
    # The title of a page of two columns stands above both.
    size = 1.4 * min(run.size for run in runs)
    title = max((run.baseline for run in runs if run.size > size), default=0.0) + 0.1 if columns else 0.0

    def place(word: tuple[float, float, str]) -> tuple[Any, ...]:
        baseline, left, _ = word
        return baseline > title, columns and baseline > title and left > drawing.width / 2, word

    assert [word for _, _, word in sorted(baselines(drawing), key=place)] == drawing.text.split()


@pytest.mark.parametrize("sheet", SHEETS)
def test_layouts_look_as_they_are_called(sheet: str) -> None:
    two, table, form = (drawn(sheet, layout) for layout in ("two-columns", "table", "form"))
    assert any(line[0].left > two.width / 2 for line in two.lines)
    assert sum(len(line) >= 2 for line in table.lines) >= 3
    assert sum(line[0].text.endswith(":") and len(line) == 2 for line in form.lines) >= 3
    assert table.rules
    assert form.rules


@pytest.mark.slow
@every_layout
@every_page
def test_no_word_touches_another_a_rule_or_the_edge(sheet: str, layout: str, number: int) -> None:
    drawing = drawn(sheet, layout, number)
    found = [word[:4] for word in words_on(drawing)]
    rules = [(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)) for x0, y0, x1, y1 in drawing.rules]
    boxes, words = np.array([*found, *rules]), len(found)
    assert boxes.min() > 0
    assert (boxes[:, 2:] < [drawing.width, drawing.height]).all()
    one, other = boxes[:words, None], boxes[None]
    apart = (one[..., 2:] <= other[..., :2] + 0.01).any(-1) | (other[..., 2:] <= one[..., :2] + 0.01).any(-1)
    apart[np.arange(words), np.arange(words)] = True
    assert apart.all()


@pytest.mark.slow
@every_layout
def test_the_picture_has_ink_where_the_words_are_and_a_clean_edge(sheet: str, layout: str, tmp_path: Path) -> None:
    drawing = drawn(sheet, layout)
    path = tmp_path / "page.png"
    path.write_bytes(to_png(drawing))
    image = Image.open(path)
    pixels = np.asarray(image)
    paper = pixels[0, 0]
    scale = 200 / 72
    assert image.size == pytest.approx((drawing.width * scale, drawing.height * scale), abs=1)
    assert pixels[[0, -1]].min() >= paper
    assert pixels[:, [0, -1]].min() >= paper
    for x0, y0, x1, y1, word in words_on(drawing):
        ink = pixels[int(y0 * scale) : int(y1 * scale) + 1, int(x0 * scale) : int(x1 * scale) + 1]
        assert ink.min() < paper - 60, word


def test_an_a4_page_is_a4_at_the_dpi_that_the_tool_takes() -> None:
    with document(drawn("a4", "dense")) as pdf:
        assert pdf[0].get_pixmap(dpi=200).irect[2:] == (1654, 2339)


@pytest.mark.parametrize("layout", card_layouts.INSIDE)
@every_page
def test_what_is_called_inside_lies_in_the_range_that_the_model_was_trained_on(layout: str, number: int) -> None:
    drawing, groups = make_page(number, 3, "card", (layout,))
    spec, (counts, sizes, _) = pages.RANGES["tiny"], card_layouts.INSIDE[layout]
    runs = [run for line in drawing.lines for run in line]
    px = spec.side / drawing.height
    assert groups["range"] == "inside"
    assert spec.aspect[0] <= drawing.width / drawing.height <= spec.aspect[1]
    assert all(sizes[0] - 1e-6 <= run.size * px <= sizes[1] + 1e-6 for run in runs)
    assert {run.font for run in runs} <= set(pages.FONTS)
    assert len(drawing.lines) in counts
    assert all(len(run.text) <= spec.columns for run in runs)
    pitches = np.diff([line[0].baseline for line in drawing.lines])
    assert all(pitches >= max(pages.PITCH[0] * min(run.size for run in runs), spec.pitch / px) - 1e-6)
    assert pages.INK[0] <= drawing.ink <= pages.INK[1]
    assert pages.PAPER[0] <= drawing.paper <= pages.PAPER[1]


@pytest.mark.parametrize("layout", ["two-columns", "form"])
def test_what_is_called_outside_keeps_the_models_fonts_and_characters(layout: str) -> None:
    drawing, groups = make_page(0, 3, "card", (layout,))
    assert groups["range"] == "outside"
    assert {run.font for line in drawing.lines for run in line} <= set(pages.FONTS)
    assert set(drawing.text) <= set(
        writing.LETTERS + writing.LETTERS.upper() + writing.DIGITS + writing.PUNCTUATION + " \n"
    )


def test_no_page_is_one_that_the_model_was_trained_on() -> None:
    for name in ("train.json", "train-full.json"):
        training = json.loads((Path(pages.__file__).parent / name).read_text())
        assert training["data"]["seed"] >= card_layouts.TRAINING_SEEDS


@every_layout
def test_no_truth_reads_as_markdown(sheet: str, layout: str) -> None:
    for number in range(70 if sheet == "card" else 10):  # the 64th card would, if it were not drawn again
        text = drawn(sheet, layout, number).text
        assert plain(text) == text


@pytest.mark.parametrize("sheet", SHEETS)
def test_words_cannot_be_guessed(sheet: str) -> None:
    """A share of the words is numbers and random strings."""
    known = set(writing.words())
    words = " ".join(drawn(sheet, "one-column", number).text for number in range(20)).split()
    strange = [word for word in words if word.strip(writing.PUNCTUATION).lower() not in known]
    assert 0.08 < len(strange) / len(words) < 0.5


def test_a_seed_gives_the_pages_it_always_gave() -> None:
    """Where this fails, pages have changed: raise RECIPE, so that folders of earlier pages are not mixed with new."""
    texts = [drawn(sheet, layout, number).text for sheet in SHEETS for layout in LAYOUTS for number in range(2)]
    digest = hashlib.sha256("\f".join(texts).encode()).hexdigest()[:12]
    assert (RECIPE, digest) == (2, "bb2307eb13a7")


@pytest.mark.slow
def test_equal_settings_give_equal_files_and_more_pages_begin_with_the_fewer(tmp_path: Path) -> None:
    make_pages(tmp_path / "few", 5, 7, "card")
    make_pages(tmp_path / "many", 11, 7, "card")
    few, many = contents(tmp_path / "few"), contents(tmp_path / "many")
    for name in few.keys() - {"groups.json"}:
        assert few[name] == many[name], name
    make_pages(tmp_path / "few", 11, 7, "card")
    assert contents(tmp_path / "few") == many


def test_fewer_pages_than_are_there_take_none_away(tmp_path: Path) -> None:
    make_pages(tmp_path, 6, 7, "card")
    before = contents(tmp_path)
    make_pages(tmp_path, 2, 7, "card")
    assert contents(tmp_path) == before


def test_another_seed_gives_other_pages() -> None:
    assert drawn("card", "dense", seed=1).text != drawn("card", "dense", seed=2).text


def test_layouts_take_turns_and_are_the_same_whichever_others_there_are(tmp_path: Path) -> None:
    make_pages(tmp_path / "two", 6, 7, "card", ("dense", "sparse"))
    make_pages(tmp_path / "one", 3, 7, "card", ("dense",))
    groups = json.loads((tmp_path / "two" / "groups.json").read_text())
    assert [name for name in groups if groups[name]["layout"] == "sparse"] == [
        "0001-sparse",
        "0003-sparse",
        "0005-sparse",
    ]
    two, one = contents(tmp_path / "two"), contents(tmp_path / "one")
    assert [two[f"000{n}-dense.png"] for n in (2, 4, 6)] == [one[f"000{n}-dense.png"] for n in (1, 2, 3)]


def test_pages_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    make_pages(tmp_path, 3, 7, "card")
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("0*")}
    (tmp_path / "0002-table.png").unlink()  # as after a crash
    before = contents(tmp_path)
    make_pages(tmp_path, 3, 7, "card")
    again = [path.name for path in tmp_path.glob("0*") if path.stat().st_mtime_ns != times[path.name]]
    assert sorted(again) == ["0002-table.png", "0002-table.txt"]
    assert before.items() < contents(tmp_path).items()


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"seed": 8}, "seed"), ({"sheet": "a4"}, "sheet, layouts"), ({"layouts": ("form",)}, "layouts")],
)
def test_a_folder_with_pages_of_other_settings_is_refused(changed: dict[str, Any], named: str, tmp_path: Path) -> None:
    make_pages(tmp_path, 1, seed=7, sheet="card")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=rf"other settings \({named}\)"):
        make_pages(tmp_path, 1, **{"seed": 7, "sheet": "card", **changed})
    assert contents(tmp_path) == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.png").touch()
    with pytest.raises(UsageError, match="holds other files"):
        make_pages(tmp_path, 1, 7, "card")
    assert list(contents(tmp_path)) == ["holiday.png"]


def test_an_unknown_layout_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown layout 'spiral'"):
        make_pages(tmp_path / "pages", 1, 7, "card", ("spiral",))
    assert not (tmp_path / "pages").exists()


def test_without_a_wish_cards_are_those_that_the_bundled_model_can_read() -> None:
    assert set(known_layouts((), "card")) == set(card_layouts.INSIDE)
    assert known_layouts((), "a4") == LAYOUTS


def test_the_pages_are_a_dataset_with_groups_of_which_the_truth_scores_full_marks(tmp_path: Path) -> None:
    make_pages(tmp_path, 10, 7, "card", LAYOUTS)
    dataset = open_synthetic(tmp_path, 8, 7, "card", LAYOUTS)
    assert [sample.groups["layout"] for sample in dataset.samples] == list(LAYOUTS)
    assert {sample.groups["range"] for sample in dataset.samples} == {"inside", "outside"}
    for sample in dataset.samples:
        marks = dataset.score(sample.truth, sample.text)
        assert sum(part.total for part in marks.scores["cer"]) == 0


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- Words


@every_layout
def test_random_pages_are_the_natural_ones_with_letters_in_another_order(sheet: str, layout: str) -> None:
    natural, random = (make_page(1, 3, sheet, (layout,), words)[0] for words in ("natural", "random"))
    pairs = [
        (one, other)
        for line, another in zip(natural.lines, random.lines, strict=True)
        for one, other in zip(line, another, strict=True)
    ]
    assert natural.rules == random.rules and any(one.text != other.text for one, other in pairs)
    for one, other in pairs:
        assert sorted(one.text) == sorted(other.text) and one.left == other.left
        assert one.box == pytest.approx(other.box)  # so nothing is wider than its room
        for a, b in zip(one.text, other.text, strict=True):
            assert (a.islower(), a.isupper()) == (b.islower(), b.isupper())
            assert a.isalpha() or a == b
    assert plain(random.text) == random.text


def test_few_words_of_random_pages_are_left() -> None:
    pairs = [
        (make_page(n, 3, "card", ("one-column",), w)[0].text.split() for w in ("natural", "random")) for n in range(20)
    ]
    long = [(one, other) for before, after in pairs for one, other in zip(before, after, strict=True) if len(one) > 3]
    assert sum(one == other for one, other in long) < 0.02 * len(long)


def test_natural_sentences_have_no_codes(tmp_path: Path) -> None:
    text = make_page(0, 3, "a4", ("dense",), "natural")[0].text
    assert len(text) > 1000 and not any(character.isdigit() for character in text)
    assert any(character.isdigit() for character in make_page(0, 3, "a4", ("dense",))[0].text)


def test_a_folder_from_before_there_was_a_choice_of_words_holds_mixed_ones(tmp_path: Path) -> None:
    make_pages(tmp_path, 1, 3, "card", ("sparse",))
    settings = json.loads((tmp_path / "pages.json").read_text())
    assert settings.pop("words") == "mixed"
    (tmp_path / "pages.json").write_text(json.dumps(settings))
    make_pages(tmp_path, 1, 3, "card", ("sparse",))
    with pytest.raises(UsageError, match=r"other settings \(words\)"):
        make_pages(tmp_path, 1, 3, "card", ("sparse",), "random")


def test_other_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown words 'french'"):
        make_pages(tmp_path / "pages", 1, 3, "card", (), "french")


def test_words_are_for_synthetic_pages(rtprune: Any, tmp_path: Path) -> None:
    found = rtprune("bench", "--dataset", "folder", "--data", tmp_path, "--words", "random")
    assert found.exit_code == 2 and "--sheet, --layouts and --words are for synthetic pages" in found.output


@pytest.mark.slow
def test_bench_makes_pages_of_the_words_that_were_asked_for(rtprune: Any, tmp_path: Path) -> None:
    asked = ("--dataset", "synthetic", "--model", "tiny", "--layouts", "sparse", "--limit", "1", "--words", "random")
    found = rtprune("bench", *asked, "--methods", "none", "--resamples", "100", "-o", tmp_path / "out")
    assert found.exit_code == 0, found.output
    page, _ = make_page(0, 0, "card", ("sparse",), "random")
    assert (tmp_path / "out" / "pages" / "0001-sparse.txt").read_text() == f"{page.text}\n"
