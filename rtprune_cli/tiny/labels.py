"""What a synthetic page tells the losses: characters of patches and cells, and where each token is read.

A patch is one 16 px SAM patch, a cell the 64 px square of one visual token, a segment the part of a line that lies in
a cell. A character belongs to the patch and cell that hold its centre.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtprune_cli.model.adapters.deepseek_ocr import PROMPTS
from rtprune_cli.options import Mode
from rtprune_cli.tiny.charset import EOS, NEWLINE, PAD, encode, encode_tagged
from rtprune_cli.tiny.drawing import Point, on_view, quick_view
from rtprune_cli.tiny.pages import RANGES, Mix, SyntheticPage
from rtprune_cli.tiny.script import Glyph, glyphs, script
from rtprune_cli.tiny.synth import make_page
from rtprune_cli.views.grid import CELL

PATCH = 16
SEGMENTS = 2  # of a cell that are supervised: two lines fit where the type is small
SLOTS = 8  # characters of a segment that are supervised, in reading order
CONTEXT = 2  # characters of the segment read before and of the one behind
COLUMNS = 64  # classes of the index within a line
LINES = 64  # classes of the index of a line
IGNORE = -100
SPACE = encode(" ")[0]


@dataclass
class Labels:
    """One page's targets; T tokens with the end of text, C cells, S segments."""

    gray: Any  # (side, side) uint8
    ids: Any  # (T) tokens to write, eos last
    cell: Any  # (T) index of the cell to read
    slot: Any  # (T) index among the cell's supervised characters, or IGNORE
    line: Any  # (T) index of the line
    column: Any  # (T) index within the line
    patches: Any  # (side / PATCH, side / PATCH) id or PAD for blank
    slots: Any  # (C, S, SLOTS + 2 * CONTEXT) id, PAD or IGNORE
    cell_line: Any  # (C, S) line of the segment's first character or IGNORE
    cell_column: Any  # (C, S) its index within the line or IGNORE
    content: Any  # (C) whether text or a picture lies there


def make_labels(page: SyntheticPage, prompt: str, zoom: float) -> Labels:
    """Render a page at ``zoom`` times the view's size and lay out its targets for a prompt."""
    side = RANGES[page.mode].side
    grid, patches = side // CELL, np.full((side // PATCH, side // PATCH), PAD, np.int64)
    text = glyphs(page)
    slots = np.full((grid * grid, SEGMENTS, SLOTS + 2 * CONTEXT), PAD, np.int64)
    slots[..., 1:] = IGNORE  # of a segment that is not there, "blank" once is enough
    cell_line, cell_column = (np.full((grid * grid, SEGMENTS), IGNORE, np.int64) for _ in range(2))
    slot_of = [IGNORE] * len(text)
    taken = [0] * (grid * grid)
    segments = list(_segments(text, side))
    for order, (cell, members) in enumerate(segments):
        segment, taken[cell] = taken[cell], taken[cell] + 1
        if segment >= SEGMENTS:
            continue
        before = segments[order - 1][1] if order else range(0)
        behind = segments[order + 1][1] if order + 1 < len(segments) else range(0)
        slots[cell, segment] = [
            *_ids(text, members, SLOTS), *_ids(text, behind, CONTEXT), *_ids(text, before[::-1], CONTEXT)
        ]  # fmt: skip
        cell_line[cell, segment] = min(text[members[0]].line, LINES - 1)
        cell_column[cell, segment] = min(text[members[0]].column, COLUMNS - 1)
        for place, index in enumerate(members):
            slot_of[index] = segment * SLOTS + min(place, SLOTS - 1)
    for g in text:
        if g.id not in (SPACE, NEWLINE, EOS):
            x, y = _inside(g.at, side)
            patches[y // PATCH, x // PATCH] = g.id
    tokens = script(page, prompt, text)
    return Labels(
        gray=quick_view(page, zoom),
        ids=np.array([t.id for t in tokens]),
        cell=np.array([cell_of(t.at, side) for t in tokens]),
        slot=np.array([IGNORE if t.glyph is None else slot_of[t.glyph] for t in tokens]),
        line=np.array([min(t.line, LINES - 1) for t in tokens]),
        column=np.array([min(t.column, COLUMNS - 1) for t in tokens]),
        patches=patches,
        slots=slots,
        cell_line=cell_line,
        cell_column=cell_column,
        content=(cell_line[:, 0] != IGNORE) | _pictured(page, side),
    )


def cell_of(at: Point, side: int) -> int:
    """Index of the cell that holds a point of the view, row by row."""
    x, y = _inside(at, side)
    return y // CELL * (side // CELL) + x // CELL


def _inside(at: Point, side: int) -> tuple[int, int]:
    return min(max(int(at[0]), 0), side - 1), min(max(int(at[1]), 0), side - 1)


def _segments(text: list[Glyph], side: int) -> Iterator[tuple[int, range]]:
    """Cell and glyphs of each part of a line that stays in one cell."""
    start = 0
    for end in range(1, len(text) + 1):
        here = (text[start].line, cell_of(text[start].at, side))
        if end == len(text) or (text[end].line, cell_of(text[end].at, side)) != here:
            yield here[1], range(start, end)
            start = end


def _ids(text: list[Glyph], members: range, count: int) -> list[int]:
    found = [text[index].id for index in members[:count]]
    return found + [PAD] * (count - len(found))


def _pictured(page: SyntheticPage, side: int) -> NDArray[np.bool_]:
    """(C) cells that a picture touches."""
    grid = side // CELL
    found = np.zeros((grid, grid), bool)
    for block in page.blocks:
        if block.kind == "image":
            corners = [on_view(page, x, y) for x in block.box[::2] for y in block.box[1::2]]
            xs, ys = zip(*(_inside(corner, side) for corner in corners), strict=True)
            found[min(ys) // CELL : max(ys) // CELL + 1, min(xs) // CELL : max(xs) // CELL + 1] = True
    return found.ravel()


TrainingBatch = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """Which pages a phase of training is made of: a mix for each mode; ``modes`` and ``prompts`` hold weights."""

    seed: int
    mixes: dict[str, Mix]
    zooms: tuple[float, ...]
    modes: dict[Mode, float]
    prompts: dict[str, float]


class Batches(torch.utils.data.Dataset[list[TrainingBatch]]):
    """Endless training batches: item i has GROUP batches of one mode and prompt, made from ``seed`` and i alone.

    A group's pages are sorted by length before they are cut into batches: padded to the longest page of all, short
    pages would cost as much as long ones.
    """

    GROUP = 4

    def __init__(self, recipe: Recipe, size: int) -> None:
        self.recipe, self.size = recipe, size

    def __len__(self) -> int:
        return 10**8

    def __getitem__(self, i: int) -> list[TrainingBatch]:
        recipe = self.recipe
        rng = random.Random(recipe.seed + i)
        mode = rng.choices(list(recipe.modes), weights=list(recipe.modes.values()))[0]
        prompt = rng.choices(list(recipe.prompts), weights=list(recipe.prompts.values()))[0]
        count = self.GROUP * self.size
        seeds = range(recipe.seed + i * count, recipe.seed + (i + 1) * count)
        pages = [make_labels(make_page(s, recipe.mixes[mode], mode), prompt, rng.choice(recipe.zooms)) for s in seeds]
        pages.sort(key=lambda page: len(page.ids))
        batches = [collate(pages[k : k + self.size], prompt) for k in range(0, count, self.size)]
        rng.shuffle(batches)
        return batches


def collate(pages: list[Labels], prompt: str) -> TrainingBatch:
    """Stack pages; token fields are padded on the right with PAD or IGNORE; ``prompt`` becomes its token ids."""
    length = max(len(p.ids) for p in pages)

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(p, name) for p in pages]))

    def padded(name: str, fill: int) -> Tensor:
        rows = [np.pad(getattr(p, name), (0, length - len(p.ids)), constant_values=fill) for p in pages]
        return torch.from_numpy(np.stack(rows))

    batch = {name: stack(name) for name in ("gray", "patches", "slots", "cell_line", "cell_column", "content")}
    batch["ids"] = padded("ids", PAD)
    for name in ("cell", "slot", "line", "column"):
        batch[name] = padded(name, IGNORE)
    batch["prompt"] = torch.tensor(encode_tagged(PROMPTS[prompt][1]))
    return batch
