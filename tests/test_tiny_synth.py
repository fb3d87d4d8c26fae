"""The page synthesiser of the bundled model: deterministic, in range, its places on the ink; and its tokenizer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pymupdf
import pytest
from conftest import for_every, make_views

from rtprune_cli.hub import BUNDLED_CHECKPOINT
from rtprune_cli.markdown import MarkdownStyle, to_markdown
from rtprune_cli.tiny import charset, labels, pages, synth
from rtprune_cli.tiny.drawing import document, on_page, on_view, quick_view, render
from rtprune_cli.tiny.script import box_999, glyphs, script

SEEDS = range(20)
MIX = pages.Mix(layouts=dict.fromkeys(pages.LAYOUTS, 1.0))
MODES = pytest.mark.parametrize("mode", list(pages.RANGES))


def page_of(seed: int, mode: str = "tiny", layout: str | None = None) -> pages.SyntheticPage:
    return synth.make_page(seed, MIX if layout is None else replace(MIX, layouts={layout: 1.0}), mode)


def tagged(page: pages.SyntheticPage) -> str:
    """What the model should write for the markdown prompt, without the end of text."""
    names = {charset.encode(c)[0]: c for c in charset.CHARACTERS} | dict(enumerate(charset.SPECIALS))
    return "".join(names[token.id] for token in script(page, "markdown", glyphs(page))[:-1])


def test_equal_seeds_give_equal_pages() -> None:
    first, second = page_of(7), page_of(7)
    assert first == second
    assert first != page_of(8)
    assert np.array_equal(quick_view(first), quick_view(second))


@MODES
@for_every("seed", SEEDS)
def test_pages_stay_in_the_stated_range(seed: int, mode: str) -> None:
    page, spec = page_of(seed, mode), pages.RANGES[mode]
    assert spec.aspect[0] <= page.width / page.height <= spec.aspect[1]
    px = (page.height if spec.stretched else max(page.width, page.height)) / spec.side
    runs = [run for line in page.lines for run in line]
    assert all(len(run.text) <= spec.columns for run in runs)
    assert all(run.size <= spec.size[1] * px + 1e-6 for run in runs)
    assert page.size >= spec.size[0] * px - 1e-6
    assert len(page.lines) <= spec.lines * (2 if page.layout == "columns" else 1)
    pitches = np.diff([line[0].baseline for line in page.lines])
    assert page.layout == "columns" or all(pitches >= max(pages.PITCH[0] * page.size, spec.pitch * px) - 1e-6)
    boxes = np.array([block.box for block in page.blocks])
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [page.width + 1e-6, page.height + 1e-6]).all()


@for_every("seed", SEEDS)
def test_blocks_do_not_overlap(seed: int) -> None:
    boxes = np.array([block.box for block in page_of(seed, "base").blocks])
    one, other = boxes[:, None], boxes[None]
    apart = (one[..., 2:] <= other[..., :2] + 1e-6).any(-1) | (other[..., 2:] <= one[..., :2] + 1e-6).any(-1)
    assert (apart | np.eye(len(boxes), dtype=bool)).all()


@MODES
@for_every("seed", SEEDS)
def test_a_characters_place_on_the_view_is_where_its_ink_is(seed: int, mode: str) -> None:
    page = replace(page_of(seed, mode), ink=0.0, paper=1.0, tint=0.0)
    page = replace(page, wear=pages.Wear(angle=page.wear.angle))
    view = quick_view(page)
    reach = max(3, round(page.size * pages.RANGES[mode].side / page.height / 2))
    for g in glyphs(page):
        if g.id not in charset.encode(" \n.,'\"-") and g.id != charset.EOS:
            x, y = (round(v) for v in g.at)
            assert view[max(0, y - reach) : y + reach, max(0, x - 4) : x + 5].min() < 140


def test_skew_turns_a_place_as_it_turns_the_ink() -> None:
    page = page_of(0)
    run = pages.Run(".", 0.9 * page.width, 0.9 * page.height, "helv", 0.05 * page.height)
    block = pages.PrintedBlock("text", run.box, ((run,),))
    page = replace(page, blocks=(block,), wear=pages.Wear(angle=8.0), ink=0.0, paper=1.0)
    y, x = np.nonzero(quick_view(page) < 128)
    width = pages.text_width(".", run.font, run.size)
    expected = on_view(page, run.left + width / 2, run.baseline - 0.05 * run.size)
    assert (x.mean(), y.mean()) == pytest.approx(expected, abs=1.5)


@MODES
def test_the_tool_sees_what_training_sees(mode: str) -> None:
    page = replace(page_of(3, mode), wear=pages.Wear(), tint=0.0)
    tool = make_views(render(page), mode).global_view.mean(axis=2)
    assert np.abs(tool - quick_view(page)).mean() < 3.0


@pytest.mark.parametrize(
    "wear", [pages.Wear(blur=0.9), pages.Wear(noise=8.0), pages.Wear(jpeg=35)], ids=["blur", "noise", "jpeg"]
)
def test_wear_changes_the_page_and_leaves_it_legible(wear: pages.Wear) -> None:
    page = replace(page_of(3), wear=pages.Wear())
    clean, worn = (quick_view(p).astype(float) for p in (page, replace(page, wear=wear)))
    assert 0.1 < np.abs(clean - worn).mean() < 12


def test_the_text_is_what_stands_on_the_page() -> None:
    for seed in SEEDS:
        page = page_of(seed, layout="lines")
        with document(replace(page, wear=pages.Wear())) as pdf:
            assert pdf[0].get_text("text", flags=pymupdf.TEXTFLAGS_TEXT).split() == page.text.split()


# --- What the model should write ---------------------------------------------------------------------------------


@for_every("seed", SEEDS)
def test_the_free_prompt_asks_for_the_text(seed: int) -> None:
    page = page_of(seed)
    tokens = script(page, "free", glyphs(page))
    assert charset.decode([token.id for token in tokens]) == page.text
    assert tokens[-1].id == charset.EOS


@pytest.mark.parametrize("layout", pages.LAYOUTS)
def test_the_markdown_prompt_asks_for_every_block_with_its_box(layout: str) -> None:
    page = page_of(5, "base", layout)
    found = to_markdown(tagged(page), size=(999, 999), page=1, style=MarkdownStyle(tables="markdown"))
    assert [(box.label, box.box) for box in found.boxes] == [
        (block.kind, box_999(page, block.box)) for block in page.blocks
    ]
    assert len(found.crops) == sum(block.kind == "image" for block in page.blocks)


def test_a_title_becomes_a_heading_and_a_table_a_table() -> None:
    page = next(page for page in map(page_of, range(200)) if [b.kind for b in page.blocks][:2] == ["title", "table"])
    lines = to_markdown(tagged(page), size=(999, 999), page=1, style=MarkdownStyle(tables="markdown")).text.split("\n")
    assert lines[0] == f"# {page.blocks[0].lines[0][0].text}"
    cells = [run.text for run in page.blocks[1].lines[0]]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == cells


def test_a_box_is_around_the_skewed_block() -> None:
    page = replace(page_of(1), wear=pages.Wear(angle=1.0))
    box = page.blocks[0].box
    x0, y0, x1, y1 = (v / 999 for v in box_999(page, box))
    for x in box[::2]:
        for y in box[1::2]:
            across, down = on_page(page, x, y)
            assert x0 - 0.001 <= across / page.width <= x1 + 0.001 or not 0 <= across <= page.width
            assert y0 - 0.001 <= down / page.height <= y1 + 0.001 or not 0 <= down <= page.height


# --- Labels ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@MODES
@pytest.mark.parametrize("prompt", ["free", "markdown"])
@for_every("seed", SEEDS)
def test_cells_spell_the_page(seed: int, prompt: str, mode: str) -> None:
    target = labels.make_labels(page_of(seed, mode), prompt, 1.0)
    flat = target.slots[..., : labels.SLOTS].reshape(len(target.slots), -1)
    last = labels.SLOTS - 1  # shared by all further characters of a segment
    read = [
        (flat[cell, slot], i)
        for cell, slot, i in zip(target.cell, target.slot, target.ids, strict=True)
        if slot != labels.IGNORE and slot % labels.SLOTS != last
    ]
    assert all(found == i for found, i in read)
    assert len(read) > 0.8 * (target.slot != labels.IGNORE).sum() > 0


@for_every("seed", SEEDS)
def test_segments_begin_at_their_line_and_column(seed: int) -> None:
    target = labels.make_labels(page_of(seed), "free", 1.0)
    for t, slot in enumerate(target.slot):
        if slot != labels.IGNORE and slot % labels.SLOTS == 0:
            segment = (target.cell[t], slot // labels.SLOTS)
            assert target.cell_line[segment] == target.line[t]
            assert target.cell_column[segment] == target.column[t]


def test_a_picture_is_content_and_blank_paper_is_not() -> None:
    page = next(page for page in map(page_of, range(200)) if [b.kind for b in page.blocks] == ["image", "text"])
    target = labels.make_labels(page, "free", 1.0)
    left, top, right, bottom = page.blocks[0].box
    middle = on_view(page, (left + right) / 2, (top + bottom) / 2)
    assert target.content[labels.cell_of(middle, 512)]
    assert not target.content.all()


def test_batches_of_a_group_are_the_same_each_time_and_padded_little() -> None:
    recipe = labels.Recipe(1, {"tiny": MIX}, (1.0,), {"tiny": 1.0}, {"free": 1.0})
    first, second = labels.Batches(recipe, 2)[3], labels.Batches(recipe, 2)[3]
    assert all(np.array_equal(a["ids"], b["ids"]) for a, b in zip(first, second, strict=True))
    lengths = sorted(n for batch in first for n in (batch["ids"] != charset.PAD).sum(1).tolist())
    assert sorted(batch["ids"].shape[1] for batch in first) == lengths[1::2]


# --- Vocabulary --------------------------------------------------------------------------------------------------


def test_vocabulary_round_trip() -> None:
    text = "Two  words,\n 1|2 ~ {x}\n"
    assert charset.decode(charset.encode(text)) == text
    with pytest.raises(KeyError):
        charset.encode("é")


def test_tags_are_single_tokens() -> None:
    assert charset.encode_tagged("a<|ref|>b") == [*charset.encode("a"), 4, *charset.encode("b")]


def test_shipped_tokenizer_is_the_vocabulary() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(BUNDLED_CHECKPOINT / "tokenizer.json"))
    text = "Two  words,\n 1|2 ~ {x}\n<|grounding|>Convert"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == charset.encode_tagged(text)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert [tokenizer.token_to_id(token) for token in charset.SPECIALS] == list(range(len(charset.SPECIALS)))
    config = json.loads((BUNDLED_CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    assert config["rtprune"]["image_token_id"] == charset.IMAGE == tokenizer.token_to_id("<image>")
    assert config["language_config"]["vocab_size"] >= tokenizer.get_vocab_size()
