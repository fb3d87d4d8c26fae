"""The page synthesiser of the bundled model: deterministic, in range, boxes on the ink; and its tokenizer."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("pymupdf")

from rtprune_cli.tiny import CHECKPOINT, charset, synth

SEEDS = range(20)


def test_equal_seeds_give_equal_pages() -> None:
    first, second = synth.make_page(7), synth.make_page(7)
    assert first == second
    assert first != synth.make_page(8)
    assert np.array_equal(synth.quick_view(first), synth.quick_view(second))


@pytest.mark.parametrize("seed", SEEDS)
def test_pages_stay_in_the_stated_range(seed: int) -> None:
    page = synth.make_page(seed)
    style = page.style
    assert 1 <= len(page.lines) <= synth.MAX_LINES
    assert all(0 < len(line) <= synth.MAX_COLUMNS for line in page.lines)
    assert synth.ASPECT[0] <= style.width / style.height <= synth.ASPECT[1]
    assert synth.FONT_SIZE[0] <= style.size * synth.SIDE / style.height <= synth.FONT_SIZE[1]
    pitches = np.diff(style.baseline) * synth.SIDE / style.height
    assert all(pitches >= synth.PITCH[0] - 1e-6)
    left, top, right, bottom = np.array(page.boxes).T
    assert left.min() >= synth.MARGIN - 1e-6
    assert right.max() <= synth.SIDE - synth.MARGIN + 1e-6
    assert top.min() >= 0
    assert bottom.max() <= synth.SIDE


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_lie_on_the_ink(seed: int) -> None:
    page = synth.make_page(seed)
    ink = np.asarray(synth.quick_view(page)) < 128
    assert len(page.boxes) == len(page.text)
    covered = np.zeros_like(ink)
    for character, (x0, y0, x1, y1) in zip(page.text, page.boxes, strict=True):
        # Two pixels of slack for antialiasing; descenders reach a third of the size below the box.
        box = (slice(int(y0) - 6, int(y1 + 0.45 * (y1 - y0)) + 2), slice(int(x0) - 2, int(x1) + 3))
        covered[box] = True
        if not character.isspace():
            assert ink[box].any(), f"no ink under {character!r}"
    assert ink[~covered].mean() < 1e-3


def test_the_tool_sees_what_training_sees() -> None:
    page = synth.make_page(3)
    tool = synth.view(synth.render(page)).mean(axis=2)
    assert np.abs(tool - synth.quick_view(page)).mean() < 3.0


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_spell_the_page(seed: int) -> None:
    pytest.importorskip("torch")
    from rtprune_cli.tiny import labels

    page = synth.make_page(seed)
    target = labels.make_labels(page, 1.0)
    pairs = list(zip(target.cell, target.slot, target.ids, strict=True))
    assert charset.decode([int(i) for i in target.ids]) == page.text
    assert all(target.slots[cell][slot] == i for cell, slot, i in pairs if slot < labels.SLOTS - 1)
    # Where a cell begins, its line and column are those of the character.
    first = [t for t, (_, slot, _) in enumerate(pairs) if slot == 0]
    assert [target.cell_line[target.cell[t]] for t in first] == [target.line[t] for t in first]
    assert [target.cell_column[target.cell[t]] for t in first] == [target.column[t] for t in first]


def test_vocabulary_round_trip() -> None:
    text = "Two  words,\n 1|2 ~ {x}\n"
    assert charset.decode(charset.encode(text)) == text
    with pytest.raises(KeyError):
        charset.encode("é")


def test_shipped_tokenizer_is_the_vocabulary() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    text = "Two  words,\n 1|2 ~ {x}\n" + charset.FREE_OCR
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == charset.encode(text)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert [tokenizer.token_to_id(token) for token in charset.SPECIALS] == list(range(len(charset.SPECIALS)))
    config = json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8"))
    assert config["rtprune"]["image_token_id"] == charset.IMAGE == tokenizer.token_to_id("<image>")
    assert config["language_config"]["vocab_size"] >= tokenizer.get_vocab_size()
