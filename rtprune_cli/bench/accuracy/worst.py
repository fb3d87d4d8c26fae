"""Owns which pages a report shows, those that lost most by pruning, and how two texts of a page differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, zip_longest
from typing import NamedTuple

from rtprune_cli.bench.accuracy.plan import BASELINE
from rtprune_cli.bench.accuracy.rows import Row
from rtprune_cli.bench.accuracy.statistics import page_accuracy
from rtprune_cli.bench.scoring.records import Metric

SMALLEST_LOSS = 1e-9
SHOWN = 5_000  # letters of a text
# Differences are sought a little further than is shown, or the end of what is shown would look different where one
# text is longer; what is compared is bounded, since predictions can be files of any size.
COMPARED = 4 * SHOWN
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"(?:[{_CJK}]|[^\W{_CJK}]+|[^\w\s])\s*|\s+")  # a letter where there are no spaces between words


class Loss(NamedTuple):
    """A page's accuracy without pruning and under a configuration."""

    configuration: str
    sample: str
    before: float
    after: float

    @property
    def size(self) -> float:
        return self.before - self.after


class DiffSpan(NamedTuple):
    text: str
    changed: bool


def largest_losses(rows: Sequence[Row], metrics: Sequence[Metric], headline: Sequence[str], count: int) -> list[Loss]:
    """At most ``count`` losses: the worst page of every configuration, then the second worst, and so on.

    By the headline metrics that say something of the page both times; pages of one loss in the order of their ids.
    """
    baseline = {row.sample: row for row in rows if row.configuration == BASELINE}
    losses: dict[str, list[Loss]] = {}
    for row in rows:
        if row.configuration == BASELINE or row.sample not in baseline:
            continue
        left, right = baseline[row.sample].marks.scores, row.marks.scores
        both: Sequence[str] = [name for name in headline if name in left and name in right]
        before, after = page_accuracy(metrics, both, left), page_accuracy(metrics, both, right)
        if before is not None and after is not None and before - after > SMALLEST_LOSS:
            losses.setdefault(row.configuration, []).append(Loss(row.configuration, row.sample, before, after))
    ranked = [sorted(some, key=lambda loss: (-loss.size, loss.sample)) for some in losses.values()]
    return [loss for rank in zip_longest(*ranked) for loss in rank if loss is not None][:count]


def differences(before: str, after: str) -> tuple[list[DiffSpan], list[DiffSpan]]:
    """Both texts in order, word by word: what the other one lacks is ``changed``. Cut to what is shown.

    As few words as can be: all but a longest common subsequence. White space does not count.
    """
    from rapidfuzz.distance import Indel

    left, right = words(before[:COMPARED]), words(after[:COMPARED])
    steps = Indel.opcodes([word.strip() for word in left], [word.strip() for word in right])
    lefts = [("".join(left[step.src_start : step.src_end]), step.tag != "equal") for step in steps]
    rights = [("".join(right[step.dest_start : step.dest_end]), step.tag != "equal") for step in steps]
    return list(_shown(lefts)), list(_shown(rights))


def words(text: str) -> list[str]:
    """A text in pieces, each with the white space after it."""
    return _WORDS.findall(text)


def _shown(pieces: Iterable[tuple[str, bool]]) -> Iterator[DiffSpan]:
    """The first letters; neighbours that are marked alike are one."""
    left = SHOWN
    for changed, alike in groupby((piece for piece in pieces if piece[0]), key=lambda piece: piece[1]):
        text = "".join(text for text, _ in alike)
        if left > 0:
            yield DiffSpan(text[:left], changed)
        left -= len(text)
