"""What a synthetic page tells the losses: characters of patches and cells, and where each character is read.

A patch is one 16 px SAM patch, a cell the 64 px square of one visual token. A character belongs to the patch and
cell that hold its centre. The newline and the end of text stand right behind the last character of their line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtprune_cli.tiny.charset import EOS, PAD, encode
from rtprune_cli.tiny.synth import MAX_LINES, SIDE, Mix, Page, make_page, quick_view

CELL, PATCH = 64, 16
GRID, PATCHES = SIDE // CELL, SIDE // PATCH
SLOTS = 8  # characters of a cell that are supervised, in reading order
CONTEXT = 2  # characters of the text cell before and of the one behind
COLUMNS = 32  # classes of the index within a line
LINES = MAX_LINES + 1
IGNORE = -100


@dataclass
class Labels:
    """One page's targets; a field's letters: T characters of text with the end of text."""

    gray: Any  # (SIDE, SIDE) uint8
    ids: Any  # (T) ids of the text, eos last
    cell: Any  # (T) index of the cell to read
    slot: Any  # (T) index within the cell
    line: Any  # (T) index of the line
    column: Any  # (T) index within the line
    patches: Any  # (PATCHES, PATCHES) id or PAD for blank
    slots: Any  # (GRID * GRID, SLOTS + 2 * CONTEXT) id or PAD
    cell_line: Any  # (GRID * GRID) line of the cell's first character or IGNORE
    cell_column: Any  # (GRID * GRID) its index within the line or IGNORE


def make_labels(page: Page, zoom: float) -> Labels:
    """Render a page at ``zoom`` times the view's size and lay out its targets."""
    ids = [*encode(page.text), EOS]
    boxes = page.boxes
    centres = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in boxes]
    n = len(ids)
    cell, slot, line, column = (np.zeros(n, np.int64) for _ in range(4))
    patches = np.full((PATCHES, PATCHES), PAD, np.int64)
    slots = np.full((GRID * GRID, SLOTS + 2 * CONTEXT), PAD, np.int64)
    cell_line = np.full(GRID * GRID, IGNORE, np.int64)
    cell_column = np.full(GRID * GRID, IGNORE, np.int64)
    order: list[list[int]] = []  # characters of each text cell, in reading order
    row_index = start = 0
    for t in range(n):
        at_end = t == n - 1 or page.text[t] == "\n"
        if at_end:
            cell[t] = cell[t - 1]
        else:
            x, y = (min(max(int(c), 0), SIDE - 1) for c in centres[t])
            cell[t] = y // CELL * GRID + x // CELL
            if page.text[t] != " ":
                patches[y // PATCH, x // PATCH] = ids[t]
        line[t], column[t] = row_index, t - start
        if not order or cell[order[-1][0]] != cell[t]:
            order.append([])
            cell_line[cell[t]], cell_column[cell[t]] = line[t], column[t]
        slot[t] = len(order[-1])
        order[-1].append(t)
        if at_end:
            row_index, start = row_index + 1, t + 1
    for k, members in enumerate(order):
        target = slots[cell[members[0]]]
        chars = [ids[t] for t in members][:SLOTS]
        target[: len(chars)] = chars
        if k + 1 < len(order):
            chars = [ids[t] for t in order[k + 1]][:CONTEXT]
            target[SLOTS : SLOTS + len(chars)] = chars
        if k:
            chars = [ids[t] for t in order[k - 1]][: -CONTEXT - 1 : -1]
            target[SLOTS + CONTEXT : SLOTS + CONTEXT + len(chars)] = chars
    gray = np.array(quick_view(page, zoom))
    slot = np.minimum(slot, SLOTS - 1)
    column = np.minimum(column, COLUMNS - 1)
    return Labels(gray, np.array(ids), cell, slot, line, column, patches, slots, cell_line, cell_column)


Batch = dict[str, Tensor]


class Pages(torch.utils.data.Dataset[Labels]):
    """Endless training pages: item i is the page of seed ``seed + i``."""

    def __init__(self, seed: int, count: int, mix: Mix, zooms: tuple[float, ...]) -> None:
        self.seed, self.count, self.mix, self.zooms = seed, count, mix, zooms

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Labels:
        seed = self.seed + i
        return make_labels(make_page(seed, self.mix), self.zooms[seed % len(self.zooms)])


def collate(pages: list[Labels]) -> Batch:
    """Stack pages; text fields are padded on the right with PAD or IGNORE."""
    length = max(len(p.ids) for p in pages)

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(p, name) for p in pages]))

    def padded(name: str, fill: int) -> Tensor:
        rows = [np.pad(getattr(p, name), (0, length - len(p.ids)), constant_values=fill) for p in pages]
        return torch.from_numpy(np.stack(rows))

    batch = {name: stack(name) for name in ("gray", "patches", "slots", "cell_line", "cell_column")}
    batch["ids"] = padded("ids", PAD)
    for name in ("cell", "slot", "line", "column"):
        batch[name] = padded(name, IGNORE)
    return batch
