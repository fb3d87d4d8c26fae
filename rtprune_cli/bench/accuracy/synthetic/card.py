"""Owns the layouts of the sheet card: small pages with few words, for the bundled model.

Those that lie inside what the model was trained on (docs/tiny-model.md) come from its own synthesiser; those that do
not have its fonts, its least size and its pitch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rtprune_cli.bench.accuracy.synthetic.drawing import Drawing, Rule
from rtprune_cli.bench.accuracy.synthetic.setting import Column, Type, field, fitting
from rtprune_cli.bench.accuracy.synthetic.words import Writer
from rtprune_cli.bench.scoring.flatten import plain
from rtprune_cli.tiny import pages, synth

TRAINING_SEEDS = 1_000_000  # the model was trained on pages of this seed and higher ones
RANDOM, NUMBER = 0.2, 0.1  # shares of the lines; the model was trained on more of the first, as many of the second
SPEC = pages.RANGES["tiny"]
# Numbers of lines, the size in view px, and the synthesiser's layout, of the layouts that the model was trained on.
INSIDE = {
    "one-column": (range(3, 7), SPEC.size, "lines"),
    "table": (range(4, 7), SPEC.size, "table"),
    "sparse": (range(1, 3), SPEC.size, "lines"),
    "dense": (range(7, 9), SPEC.size, "lines"),
    "small-type": (range(3, 7), (34.0, 35.5), "lines"),
    "large-type": (range(3, 7), (46.5, 48.0), "lines"),
}
# Of the others, in view px.
SIZE = (34.0, 35.0)
PITCH = (68.0, 76.0)
GUTTER = 34.0
PAD = 9.0


def make_drawing(layout: str, rng: random.Random, *, natural: bool = False) -> tuple[Drawing, dict[str, str]]:
    """A page of a layout, and the groups it belongs to."""
    if layout in INSIDE:
        page = _trained(rng, (0.0, 0.0) if natural else (RANDOM, NUMBER), *INSIDE[layout])
        rules = tuple(rule for block in page.blocks for rule in block.rules)
        width = pages.RULE * page.size
        drawing = Drawing(page.width, page.height, tuple(page.lines), rules, width, page.ink, page.paper)
        return drawing, {"font": pages.FONTS[page.font], "range": "inside"}
    setter = _Setter(rng, natural)
    drawing = {"two-columns": setter.two_columns, "form": setter.form}[layout]()
    return drawing, {"font": pages.FONTS[setter.font], "range": "outside"}


def _trained(
    rng: random.Random, shares: tuple[float, float], counts: range, sizes: tuple[float, float], layout: str
) -> pages.SyntheticPage:
    """A page of the model's synthesiser, without wear, of a seed that it was not trained on; ``shares`` of the lines
    are random strings and numbers.

    Random strings may read as markdown (two stars): what the scorers take off would be missed.
    """
    weights = tuple(float(count in counts) for count in range(1, SPEC.lines + 1))
    mix = pages.Mix(*shares, worn=0.0, lines=weights, size=sizes, layouts={layout: 1.0})
    while True:
        page = synth.make_page(rng.randrange(TRAINING_SEEDS), mix)
        size = page.size * SPEC.side / page.height
        if size >= sizes[0] and len(page.lines) in counts and plain(page.text) == page.text:
            return page


class _Setter:
    def __init__(self, rng: random.Random, natural: bool) -> None:
        self._rng = rng
        self._writer = Writer(rng, natural=natural)
        self.font = rng.choice(list(pages.FONTS))
        self._height = rng.uniform(*pages.PAGE_HEIGHT)
        self._width = self._height * rng.uniform(*SPEC.aspect)
        self._px = self._height / SPEC.side  # pt
        margin = pages.MARGIN * self._width / SPEC.side
        self._left, self._right = margin, self._width - margin
        self._size = rng.uniform(*SIZE) * self._px

    def two_columns(self) -> Drawing:
        """Three to six lines a column, one or two words a line."""
        face, top = self._face(lines := self._rng.randint(3, 6))
        middle, gap = self._width / 2, GUTTER / 2 * self._px
        bottom = top + (lines + 0.5) * face.pitch
        columns = [Column(self._left, middle - gap, top, bottom), Column(middle + gap, self._right, top, bottom)]
        rest: list[str] = []
        for column in columns:
            while column.has_room(face):
                rest = column.set(rest or self._writer.sentence(), face)
        return self._drawing([*columns[0].lines, *columns[1].lines])

    def form(self) -> Drawing:
        """Three to five labels with values beside them, in boxes or on rules."""
        rng, writer = self._rng, self._writer
        face, top = self._face(count := rng.randint(3, 5))
        fields = writer.fields(count, short=True)
        pad = PAD * self._px
        start = self._left + max(face.width(f"{name}:") for name, _ in fields) + pad
        boxed = rng.random() < 0.5
        column = Column(self._left, self._right, top, self._height)
        rules: list[Rule] = []
        for name, make in fields:
            text = fitting(make, writer.count, face, self._right - start - 2 * pad)
            rules += field(f"{name}:", text, (face, face), column, start, pad, boxed=boxed)
        return self._drawing(column.lines, rules)

    def _face(self, lines: int) -> tuple[Type, float]:
        """The face of a page, and where its first line begins, of so many."""
        pitch = self._rng.uniform(*PITCH) * self._px
        return Type(self.font, self._size, pitch), self._rng.uniform(0.2, 0.8) * (self._height - lines * pitch)

    def _drawing(self, lines: Sequence[pages.Line], rules: Sequence[Rule] = ()) -> Drawing:
        ink, paper = self._rng.uniform(*pages.INK), self._rng.uniform(*pages.PAPER)
        width = 1.5 * self._px
        return Drawing(self._width, self._height, tuple(lines), tuple(rules), width, ink, paper)
