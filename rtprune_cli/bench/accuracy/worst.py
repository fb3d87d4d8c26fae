"""Owns which pages a report shows, those that lost most by pruning, and how two texts of a page differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import Literal, NamedTuple

from rtprune_cli.bench.accuracy.plan import BASELINE
from rtprune_cli.bench.accuracy.rows import Row
from rtprune_cli.bench.accuracy.statistics import page_accuracy
from rtprune_cli.bench.scoring.records import Metric

Mark = Literal["", "right", "wrong", "differs"]

SMALLEST_LOSS = 1e-9
SHOWN = 5_000  # letters of a text
# Differences are sought a little further than is shown, or the end of what is shown would look different where one
# text is longer; what is compared is bounded, since predictions can be files of any size.
COMPARED = 4 * SHOWN
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"(?:[{_CJK}]|[^\W{_CJK}]+|[^\w\s])\s*|\s+")  # a letter where there are no spaces between words


class Loss(NamedTuple):
    """A page's accuracy without pruning and under a configuration, whose ``baseline`` is the former."""

    configuration: str
    sample: str
    before: float
    after: float
    baseline: str = BASELINE

    @property
    def size(self) -> float:
        return self.before - self.after


class DiffSpan(NamedTuple):
    """A piece of a text. ``mark``: nothing where the other text has it too."""

    text: str
    mark: Mark


def largest_losses(
    rows: Sequence[Row],
    metrics: Sequence[Metric],
    headline: Sequence[str],
    count: int,
    baselines: Mapping[str, str | None],
) -> list[Loss]:
    """At most ``count`` losses: the worst page of every configuration, then the second worst, and so on.

    By the headline metrics that say something of the page both times; pages of one loss in the order of their ids.
    ``baselines``: what each configuration is compared with.
    """
    known = {(row.configuration, row.sample): row for row in rows}
    losses: dict[str, list[Loss]] = {}
    for row in rows:
        name = baselines[row.configuration]
        if name is None or name == row.configuration or (name, row.sample) not in known:
            continue
        left, right = known[name, row.sample].marks.scores, row.marks.scores
        both: Sequence[str] = [name for name in headline if name in left and name in right]
        before, after = page_accuracy(metrics, both, left), page_accuracy(metrics, both, right)
        if before is not None and after is not None and before - after > SMALLEST_LOSS:
            losses.setdefault(row.configuration, []).append(Loss(row.configuration, row.sample, before, after, name))
    ranked = [sorted(some, key=lambda loss: (-loss.size, loss.sample)) for some in losses.values()]
    return [loss for rank in zip_longest(*ranked) for loss in rank if loss is not None][:count]


def differences(before: str, after: str, truth: str = "") -> tuple[list[DiffSpan], list[DiffSpan]]:
    """Both texts in order, word by word, cut to what is shown: what the other one lacks is marked.

    It is ``right`` where the truth has it too, else ``wrong``; without a truth to ask it ``differs``. As few words as
    can be are marked: all but a longest common subsequence. White space does not count.
    """
    left, right, real = (words(text[:COMPARED]) for text in (before, after, truth))
    return _marked(left, right, real), _marked(right, left, real)


def _marked(own: Sequence[str], other: Sequence[str], truth: Sequence[str]) -> list[DiffSpan]:
    shared = _in_common(own, other)
    right = _in_common(own, truth) if truth else set()
    marks: list[Mark] = [
        "" if place in shared else "differs" if not truth else "right" if place in right else "wrong"
        for place in range(len(own))
    ]
    return list(_shown(zip(own, marks, strict=True)))


def _in_common(own: Sequence[str], other: Sequence[str]) -> set[int]:
    """Places of the words in a longest common subsequence."""
    from rapidfuzz.distance import Indel

    steps = Indel.opcodes([word.strip() for word in own], [word.strip() for word in other])
    return {place for step in steps if step.tag == "equal" for place in range(step.src_start, step.src_end)}


def words(text: str) -> list[str]:
    """A text in pieces, each with the white space after it."""
    return _WORDS.findall(text)


def _shown(pieces: Iterable[tuple[str, Mark]]) -> Iterator[DiffSpan]:
    """The first letters; neighbours that are marked alike are one."""
    left = SHOWN
    for mark, alike in groupby((piece for piece in pieces if piece[0]), key=lambda piece: piece[1]):
        text = "".join(text for text, _ in alike)
        if left > 0:
            yield DiffSpan(text[:left], mark)
        left -= len(text)
