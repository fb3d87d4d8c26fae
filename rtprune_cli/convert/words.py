"""The words of a block on the ink of its lines: what stands between the widest gaps is matched by how wide it is."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from rtprune_cli.convert.ink import InkLine, Rows

# Of matching words with ink: a cost is the logarithm of how much wider one is than the other, and these.
JOINED = 0.4  # two for one
LOST_WORD, LOST_INK = 1.2, 1.0  # a word without ink, as the model may invent; ink without a word
MOST_COST = 0.4  # a word, of a match that is taken
GOOD_COST = 0.2  # a word, of a match for which no better is looked for
BANDS = (3, 12, 40)  # words by which a match may be ahead or behind, tried in turn: the wide ones are slow
# Widths in ems, as in Helvetica: most letters are half as wide as the font is large.
_NARROW, _WIDE = frozenset("ijlt.,:;'|!()[]frI/ "), frozenset("mwMW@%QOGDHNUCRABKXVYPSE&")


@dataclass(frozen=True)
class TextLine:
    """A line of text, where its ink stands, and from where to where each word does, if that is known.

    ``box`` and ``slope`` are as in InkLine.
    """

    text: str
    box: Rows
    words: tuple[tuple[float, float], ...] = ()
    slope: float = 0.0


def match_words(words: Sequence[str], lines: Sequence[InkLine]) -> list[TextLine]:
    """The words, one at least, on the ink between the widest gaps, matched by their widths at the least cost.

    None where that is much: where letters stand apart, or the words are not those of the page.
    """
    runs = _parts(lines, len(words))
    if abs(len(words) - len(runs)) > BANDS[-1]:
        return []
    widths = [max(text_width(word), 0.1) for word in words]
    em = sum(run.end - run.start for run in runs) / sum(widths)
    for band in BANDS:
        cost, taken = _match([width * em for width in widths], [run.end - run.start for run in runs], band)
        if cost <= GOOD_COST * len(words):
            break
    if cost > MOST_COST * len(words):
        return []
    on: dict[int, list[str]] = {}  # first run of a match -> the words on it
    place: dict[int, _Run] = {}
    at = 0
    waiting: list[str] = []  # words without ink go with those before them, or after them at the start
    for number, (count, run, ends) in enumerate(taken):
        own = [*waiting, *words[at : at + count]]
        at += count
        waiting = []
        if ends > run and count:
            on[number], place[number] = own, runs[run]
            if runs[ends - 1].line == runs[run].line:  # else the word goes on in the next line
                place[number] = _Run(runs[run].line, runs[run].start, runs[ends - 1].end)
        elif on:
            on[max(on)] += own
        else:
            waiting = own
    laid = []
    for at, line in enumerate(lines):
        numbers = [number for number in on if place[number].line == at]
        if numbers:
            places = [each for number in numbers for each in spread(on[number], place[number].start, place[number].end)]
            laid.append(
                TextLine(
                    " ".join(word for number in numbers for word in on[number]), line.box, tuple(places), line.slope
                )
            )
    return laid


@dataclass(frozen=True)
class _Run:
    """Ink of a line between gaps."""

    line: int
    start: float
    end: float


def _parts(lines: Sequence[InkLine], number: int) -> list[_Run]:
    """The ink of all lines in about ``number`` parts."""
    widths = sorted((end - start for line in lines for start, end in line.gaps), reverse=True)
    wanted = number - len(lines)
    least = math.inf if wanted < 1 or not widths else widths[min(wanted, len(widths)) - 1]
    runs = []
    for at, line in enumerate(lines):
        gaps = [gap for gap in line.gaps if gap[1] - gap[0] >= least]
        edges = [line.box[0], *(edge for gap in gaps for edge in gap), line.box[2]]
        runs += [_Run(at, start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    return runs


def _match(words: Sequence[float], runs: Sequence[float], band: int) -> tuple[float, list[tuple[int, int, int]]]:
    """The least cost of matching widths in their order; how many words each step takes, on which runs, from and to."""
    band += abs(len(words) - len(runs))
    best: dict[tuple[int, int], tuple[float, int, int]] = {(0, 0): (0.0, 0, 0)}  # cost, words and runs of the last step
    for word in range(len(words) + 1):
        for run in range(max(0, word - band), min(len(runs), word + band) + 1):
            if (word, run) not in best:
                continue
            cost = best[word, run][0]
            for count, ink in ((1, 1), (1, 2), (2, 1), (1, 0), (0, 1)):
                there = word + count, run + ink
                if there[0] > len(words) or there[1] > len(runs):
                    continue
                if count and ink:
                    own, other = sum(words[word : there[0]]), sum(runs[run : there[1]])
                    step = abs(math.log(own / other)) + JOINED * (count + ink - 2)
                else:
                    step = LOST_WORD if count else LOST_INK
                if cost + step < best.get(there, (math.inf,))[0]:
                    best[there] = cost + step, count, ink
    at = len(words), len(runs)
    if at not in best:
        return math.inf, []
    total, taken = best[at][0], []
    while at != (0, 0):
        _, count, ink = best[at]
        taken.append((count, at[1] - ink, at[1]))
        at = at[0] - count, at[1] - ink
    return total, taken[::-1]


def spread(words: Sequence[str], left: float, right: float) -> list[tuple[float, float]]:
    """From where to where each word stands in a line by the widths of their letters."""
    gap = text_width(" ")
    widths = [max(text_width(word), 0.01) for word in words]
    em = (right - left) / (sum(widths) + gap * (len(words) - 1))
    starts = accumulate((width + gap for width in widths[:-1]), initial=0.0)
    return [(left + em * start, left + em * (start + width)) for start, width in zip(starts, widths, strict=True)]


def text_width(text: str) -> float:
    """How wide a text is, in ems, by its kinds of letters."""
    return sum(map(_width, text))


def _width(char: str) -> float:
    if char in _NARROW:
        return 0.28
    if char in _WIDE:
        return 0.72
    if unicodedata.combining(char):
        return 0.0
    return 1.0 if unicodedata.east_asian_width(char) in "WF" else 0.53
