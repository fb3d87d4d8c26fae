"""Where the lines of a block stand: the model gives a box around all of them.

The rows of ink in the box are its lines, if the text could fill so many; else the text is wrapped to fill the box.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from rtprune_cli.convert.ink import InkLine, Rows, find_lines
from rtprune_cli.convert.words import TextLine, match_words, text_width

if TYPE_CHECKING:
    from rtprune_cli.convert.ink import Grey

MOST_FILLED, LEAST_FILLED = 1.9, 0.4  # widths of a text by its letters, over those of the lines found for it
EM_PER_LINE = 1.05  # size of the letters over the height of their ink, from ascenders to descenders
# Words by which a line may begin before or after where even spacing has it, one more in each DRIFT_WORDS, and at most
DRIFT, DRIFT_WORDS, MOST_DRIFT = 8, 20, 40
EMPTY = 1.0  # cost of a line without words, as much as one 2.7 times as wide as its words
LEADING = 1.2  # of a line over the size of its letters
# What a line may begin with: words, and letters of scripts that are written without spaces
_UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u2e80-\ua4cf\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def lay_lines(text: str, box: tuple[int, int, int, int], grey: Grey | None, slope: float = 0.0) -> list[TextLine]:
    """The lines of ``text`` in its ``box``, both in pixels of the page ``grey``; None where that cannot be drawn.

    ``slope`` is that of the page's lines.
    """
    written = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    text = " ".join(written)
    left, top, right, bottom = box
    if not text or right <= left or bottom <= top:
        return []
    length = text_width(text)
    found = _found_lines(len(written), box, grey, slope)
    if not _plausible(length, found):
        found = [InkLine(place) for place in _even_lines(length, box)]
    elif len(written) != len(found) and (matched := match_words(text.split(), found)):
        return matched
    if len(written) == len(found):  # the model kept the page's own lines
        return [
            each
            for line, place in zip(written, found, strict=True)
            for each in match_words(line.split(), [place]) or [TextLine(line, place.box, slope=place.slope)]
        ]
    starts = [token.start() for token in _TOKEN.finditer(text)]
    widths = [text_width(text[start:end]) for start, end in pairwise([*starts, len(text)])]
    ends = [starts[end] if end < len(starts) else len(text) for end in _broken(widths, [line.room for line in found])]
    parts = [text[start:end].strip() for start, end in pairwise([0, *ends])]
    return [TextLine(part, line.box, slope=line.slope) for part, line in zip(parts, found, strict=True) if part]


def _found_lines(written: int, box: tuple[int, int, int, int], grey: Grey | None, slope: float) -> Sequence[InkLine]:
    """The rows of ink in the box; where the text has more lines than these, in one so much longer if it has as many: a
    box may end before its last line."""
    if grey is None:
        return []
    found = find_lines(box, grey, slope)
    if 1 < len(found) < written:
        left, top, right, bottom = box
        pitch = (found[-1].box[1] - found[0].box[1]) / (len(found) - 1)
        longer = find_lines((left, top, right, round(bottom + (written - len(found)) * pitch)), grey, slope)
        return longer if len(longer) == written else found
    return found


def _plausible(length: float, lines: Sequence[InkLine]) -> bool:
    """Whether a text ``length`` ems long can stand in these lines: so it is not where a picture is under it, or two
    columns, or white letters on a pattern."""
    if not lines:
        return False
    heights = [line.box[3] - line.box[1] for line in lines]
    size = EM_PER_LINE * float(np.median(heights))
    filled = length * size / max(1.0, sum(line.room for line in lines))
    return LEAST_FILLED <= filled <= MOST_FILLED and max(heights) <= 2.5 * float(np.median(heights))


def _even_lines(length: float, box: tuple[int, int, int, int]) -> list[Rows]:
    """So many lines that the text fills the box at the size that fits between them."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    number = max(1, round(math.sqrt(length * height / (LEADING * width))))
    pitch = height / number
    ends = [top + at * pitch for at in range(number + 1)]
    return [(float(left), upper, float(right), lower - (pitch - pitch / LEADING)) for upper, lower in pairwise(ends)]


def _broken(widths: Sequence[float], rooms: Sequence[float]) -> list[int]:
    """How many words stand before the end of each line, so that the lines are all about as full as another.

    ``widths`` of the words with their spaces in ems, ``rooms`` of the lines in any unit. As in The TeXbook, chapter 14,
    by the least sum of costs; breaks far from where even spacing has them are not looked at.
    """
    ends = np.cumsum(widths)
    share = np.cumsum(rooms) / sum(rooms)
    middles = np.searchsorted(ends, share * ends[-1])
    drift = min(DRIFT + len(widths) // DRIFT_WORDS, MOST_DRIFT)
    em = sum(rooms) / float(ends[-1])
    before = np.concatenate(([0.0], ends))
    costs: dict[int, float] = {0: 0.0}
    steps: list[dict[int, int]] = []
    for at, room in enumerate(rooms):
        last = at == len(rooms) - 1
        low, high = max(0, int(middles[at]) - drift), min(len(widths), int(middles[at]) + drift)
        best: dict[int, float] = {}
        step: dict[int, int] = {}
        for end in [len(widths)] if last else range(low, high + 1):
            for start, cost in costs.items():
                if start <= end:
                    own = em * float(before[end] - before[start])
                    total = cost + (math.log(room / own) ** 2 if own else EMPTY)
                    if total < best.get(end, math.inf):
                        best[end], step[end] = total, start
        costs = best
        steps.append(step)
    breaks = [len(widths)]
    for step in reversed(steps[1:]):
        breaks.append(step[breaks[-1]])
    return breaks[::-1]
