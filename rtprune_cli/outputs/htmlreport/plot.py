"""The plot of a document in the report: what was kept of its visual tokens, page by page.

Every line is one path of steps, a page wide: an isolated page is seen, and pages without values are gaps. Of a long
document a step is several pages, so that the picture stays as small and as readable as that of a short one. Paths are
in units of the picture, which the page stretches to its own width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count, groupby
from math import ceil
from typing import NamedTuple

from rtprune_cli.records import PageRecord

HEIGHT = 1000  # units of the picture from 0 to 1; across, a unit is a page
MIN_PAGES = 3  # fewer are read off the list
MAX_STEPS = 300  # about as many as a phone has pixels
_MAX_TICKS = 8
_LINES = {
    "retention": "kept of all visual tokens (retention)",
    "ratio": "asked for (ratio)",
    "r_similarity": "how unlike the tokens are (r_similarity)",
    "r_density": "edges on the page (r_density)",
}

_Values = tuple[float | None, ...]


class PlotPoint(NamedTuple):
    """A page: ``values`` are those of the lines, None where the model was not asked; ``context`` is the number of the
    context that it shared with other pages."""

    page: int
    values: _Values | None
    context: int | None


class _Line(NamedTuple):
    name: str
    label: str
    path: str


class _Tick(NamedTuple):
    percent: float
    page: int


class PagePlot(NamedTuple):
    """A document's plot. ``first`` and ``last`` are pages; ``read`` says how many of them the model read.

    ``retention`` is the least, the mean and the largest of these pages; ``least`` and ``most`` are their pages.
    ``spread`` is the area between the least and the largest retention of each step, "" where a step is one page.
    ``contexts`` are the areas of contexts with odd and with even numbers, "" where there are none.
    """

    document: str
    folder: str
    first: int
    last: int
    read: int
    retention: tuple[float, float, float]
    least: int
    most: int
    pages_a_step: int
    lines: list[_Line]
    spread: str
    contexts: tuple[str, str]
    ticks: list[_Tick]

    @property
    def span(self) -> int:
        return self.last - self.first + 1

    @property
    def gaps(self) -> bool:
        """Whether lines stop somewhere."""
        return self.read < self.span

    @property
    def told(self) -> str:
        """What it shows in a line."""
        low, mean, high = self.retention
        shares = f"{100 * low:.1f} % to {100 * high:.1f} % kept, {100 * mean:.1f} % on average"
        return f"{self.document}: {self.read:,} pages read by the model, {shares}"

    @property
    def words(self) -> str:
        """What it shows, for those who cannot see it."""
        low, mean, high = self.retention
        return (
            f"Visual tokens kept, page by page, of {self.document}, pages {self.first} to {self.last}. "
            f"Retention: least {low:.3f} on page {self.least}, mean {mean:.3f}, most {high:.3f} on page {self.most}."
        )


def plot_point(record: PageRecord) -> PlotPoint | None:
    """A page in the plot; None for a document that failed as a whole."""
    if record.page is None:
        return None
    if not record.visual_tokens_before or record.retention is None:  # failed, without ink, or from the text layer
        return PlotPoint(record.page, None, None)
    return PlotPoint(record.page, tuple(getattr(record, name) for name in _LINES), record.context)


def page_plot(document: str, folder: str, points: Iterable[PlotPoint | None]) -> PagePlot | None:
    """The plot of a document; None where the model read fewer than ``MIN_PAGES`` of its pages."""
    pages = sorted((point for point in points if point is not None), key=lambda point: point.page)
    kept = [(_kept(point.values), point.page) for point in pages if point.values is not None]
    if len(kept) < MIN_PAGES:
        return None
    first, last = pages[0].page, pages[-1].page
    wide = ceil((last - first + 1) / MAX_STEPS)
    steps = _steps(pages, wide)
    (low, least), (high, most) = min(kept), max(kept)
    return PagePlot(
        document,
        folder,
        first,
        last,
        read=len(kept),
        retention=(low, sum(value for value, _ in kept) / len(kept), high),
        least=least,
        most=most,
        pages_a_step=wide,
        lines=[_Line(name, label, _path(steps, at)) for at, (name, label) in enumerate(_LINES.items())],
        spread="".join(map(_area, _runs(steps))) if wide > 1 else "",
        contexts=(_bands(pages, first, 1), _bands(pages, first, 0)),
        ticks=_ticks(first, last),
    )


# --- Steps


class _Step(NamedTuple):
    """Pages from ``left`` to ``right``, counted from the document's first: the means of their values, and the least and
    the largest retention among them."""

    left: int
    right: int
    means: _Values
    low: float
    high: float


def _steps(pages: Sequence[PlotPoint], wide: int) -> list[_Step]:
    """``wide`` pages each, the last perhaps fewer; none where the model was asked for none of them."""
    first, span = pages[0].page, pages[-1].page - pages[0].page + 1
    steps = []
    for number, group in groupby(pages, key=lambda point: (point.page - first) // wide):
        values = [point.values for point in group if point.values is not None]
        if values:
            kept = [_kept(each) for each in values]
            means = tuple(map(_mean, zip(*values, strict=True)))
            steps.append(_Step(number * wide, min((number + 1) * wide, span), means, min(kept), max(kept)))
    return steps


def _kept(values: _Values) -> float:
    assert values[0] is not None  # as plot_point has it
    return values[0]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _runs(steps: Iterable[_Step]) -> list[list[_Step]]:
    """Steps that stand side by side."""
    runs: list[list[_Step]] = []
    for step in steps:
        if runs and runs[-1][-1].right == step.left:
            runs[-1].append(step)
        else:
            runs.append([step])
    return runs


# --- Paths


def _path(steps: Iterable[_Step], at: int) -> str:
    """The line of one value over all steps that have it."""
    parts, pen = list[str](), None
    for step in steps:
        value = step.means[at]
        if value is None:
            continue
        parts.append(f"V{_y(value)}" if pen == step.left else f"M{step.left} {_y(value)}")
        parts.append(f"H{step.right}")
        pen = step.right
    return "".join(parts)


def _area(run: Sequence[_Step]) -> str:
    upper = "".join(f"V{_y(step.high)}H{step.right}" for step in run)
    lower = "".join(f"V{_y(step.low)}H{step.left}" for step in reversed(run))
    return f"M{run[0].left} {_y(run[0].high)}{upper}{lower}Z"


def _bands(pages: Iterable[PlotPoint], first: int, parity: int) -> str:
    """What the contexts with odd (1) or even (0) numbers cover: one piece for pages that follow one another."""
    pieces: list[list[int]] = []
    for point in pages:
        if point.context is None or point.context % 2 != parity:
            continue
        left = point.page - first
        if pieces and pieces[-1][1] == left:
            pieces[-1][1] = left + 1
        else:
            pieces.append([left, left + 1])
    return "".join(f"M{left} 0H{right}V{HEIGHT}H{left}Z" for left, right in pieces)


def _y(value: float) -> int:
    return round(HEIGHT * (1 - value))


def _ticks(first: int, last: int) -> list[_Tick]:
    """Round page numbers, each in the middle of its page."""
    span = last - first + 1
    sizes = (digit * 10**zeros for zeros in count() for digit in (1, 2, 5))
    every = next(size for size in sizes if span <= size * _MAX_TICKS)
    start = -(-first // every) * every
    return [_Tick(round(100 * (page - first + 0.5) / span, 3), page) for page in range(start, last + 1, every)]
