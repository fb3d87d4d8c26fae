"""Owns where the tokens stand in a picture of the formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtprune_cli.bench.scoring.omnidocbench.cdm.colours import BASE, COLOURS, STEP

PADDING = 8  # pixels that a picture keeps around its ink
_Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class TokenBoxes:
    """The tokens that can be seen, in their order, with the boxes (x1, y1, x2, y2) of their ink, a pixel wider on each
    side, in a picture of ``size`` (width, height)."""

    tokens: Sequence[str]
    boxes: Sequence[_Box]
    size: tuple[int, int]


def token_boxes(picture: NDArray[np.uint8], tokens: Sequence[str]) -> TokenBoxes:
    """The boxes of a formula's tokens.

    Args:
        picture: (height, width, 3 or 4), red, green, blue. Every pixel that a token touches has its colour, whatever
            the fourth, opacity, says; the paper is white.
        tokens: those that have a colour, in their order.
    """
    colours = picture[..., :3].astype(np.int64)
    rows, columns = np.nonzero(_grey(colours) != 255)
    if not len(rows):
        return TokenBoxes([], [], (10 + 2 * PADDING, 10 + 2 * PADDING))
    left, top = int(columns.min()) - PADDING, int(rows.min()) - PADDING
    size = int(columns.max()) + PADDING - left, int(rows.max()) + PADDING - top
    inked = colours[rows, columns]
    numbers = (inked // STEP) @ (BASE**2, BASE, 1) - 1
    count = min(len(tokens), COLOURS)
    is_token = (inked % STEP == 0).all(axis=1) & (numbers >= 0) & (numbers < count)
    # the last row and column of ink are cut off with the padding behind them
    is_token &= (rows - top < size[1]) & (columns - left < size[0])
    numbers, rows, columns = numbers[is_token], rows[is_token] - top, columns[is_token] - left
    low = np.full((2, count), np.iinfo(np.int64).max)
    high = np.full((2, count), -1)
    for axis, places in enumerate((columns, rows)):
        np.minimum.at(low[axis], numbers, places)
        np.maximum.at(high[axis], numbers, places)
    seen = np.flatnonzero(high[0] >= 0)
    boxes = np.concatenate([low[:, seen] - 1, high[:, seen] + 1]).T
    return TokenBoxes(
        [tokens[number] for number in seen.tolist()], [(x1, y1, x2, y2) for x1, y1, x2, y2 in boxes.tolist()], size
    )


def _grey(colours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Brightness from 0 to 255, as Pillow makes it."""
    grey: NDArray[np.int64] = (colours @ (19595, 38470, 7471) + 0x8000) >> 16
    return grey
