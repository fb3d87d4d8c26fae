"""Owns the layouts of the sheet a4: documents as offices and publishers print them, on A4."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rtprune_cli.bench.accuracy.synthetic.drawing import Drawing, Rule
from rtprune_cli.bench.accuracy.synthetic.setting import Column, Type, field, grid
from rtprune_cli.bench.accuracy.synthetic.words import Writer

WIDTH, HEIGHT = 595.276, 841.89  # pt; 1654 x 2339 px at 200 dpi
INK = (0.0, 0.15)


@dataclass(frozen=True)
class Family:
    """PyMuPDF's short names of a typeface's cuts."""

    name: str
    regular: str
    bold: str
    italic: str


FAMILIES = (
    Family("Helvetica", "helv", "hebo", "heit"),
    Family("Times", "tiro", "tibo", "tiit"),
    Family("Courier", "cour", "cobo", "coit"),
)


@dataclass(frozen=True)
class Article:
    """Ranges of running text: sizes and margins in pt, the pitch in sizes, ``fill`` as a share of the column."""

    size: tuple[float, float] = (10.0, 12.0)
    pitch: tuple[float, float] = (1.25, 1.45)
    margin: tuple[float, float] = (56.0, 80.0)
    fill: tuple[float, float] = (0.7, 1.0)
    columns: int = 1
    headings: bool = True


ARTICLES = {
    "one-column": Article(),
    "two-columns": Article(size=(10.0, 11.0), margin=(48.0, 60.0), fill=(0.8, 1.0), columns=2),
    "dense": Article(size=(10.0, 10.5), pitch=(1.15, 1.2), margin=(34.0, 42.0), fill=(1.0, 1.0), headings=False),
    "small-type": Article(size=(6.5, 8.0), fill=(0.4, 0.6)),
    "large-type": Article(size=(16.0, 20.0)),
}


def make_drawing(layout: str, rng: random.Random, *, natural: bool = False) -> tuple[Drawing, dict[str, str]]:
    """A page of a layout, and the groups it belongs to."""
    family = rng.choice(FAMILIES)
    setter = _Setter(rng, family, natural)
    if layout in ARTICLES:
        drawing = setter.article(ARTICLES[layout])
    else:
        drawing = {"table": setter.table, "form": setter.form, "sparse": setter.sparse}[layout]()
    return drawing, {"font": family.name}


class _Setter:
    def __init__(self, rng: random.Random, family: Family, natural: bool) -> None:
        self._rng = rng
        self._family = family
        self._writer = Writer(rng, natural=natural)
        self._ink = rng.uniform(*INK)

    def article(self, spec: Article) -> Drawing:
        """A title, sections and paragraphs, on to the end of the last column."""
        rng, writer = self._rng, self._writer
        body, page = self._page(spec)
        bottom = page.top + rng.uniform(*spec.fill) * (page.bottom - page.top)
        if spec.headings:
            self._title(page, body.size * 1.7)
        gutter = 2 * body.size
        width = (page.right - page.left - gutter * (spec.columns - 1)) / spec.columns
        starts = [page.left + number * (width + gutter) for number in range(spec.columns)]
        columns = [Column(start, start + width, page.y, bottom) for start in starts]
        heading = Type(self._family.bold, body.size * 1.15, body.size * 2)
        rest: list[str] = []
        for column in columns:
            while column.has_room(body):
                # a heading with no line below it would be a slip
                if spec.headings and not rest and rng.random() < 0.3 and column.has_room(heading, 3):
                    column.set(writer.heading(), heading)
                rest = column.set(rest or writer.paragraph(), body)
                column.skip(0.6 * body.size)
        return self._drawing([page, *columns])

    def sparse(self) -> Drawing:
        """A notice: a title and a few lines, most of the page blank."""
        body, page = self._page(Article(size=(11.0, 14.0), margin=(90.0, 130.0)))
        page.y = self._rng.uniform(page.top, HEIGHT / 2)
        centred = self._rng.random() < 0.5
        self._title(page, body.size * 1.7, centred=centred)
        for _ in range(self._rng.randint(1, 3)):
            page.skip(body.size * self._rng.uniform(0.5, 2))
            page.set(self._writer.sentence(), body, centred=centred)
        return self._drawing([page])

    def table(self) -> Drawing:
        """A report with a ruled table between its paragraphs."""
        rng, writer = self._rng, self._writer
        body, page = self._page(Article())
        self._title(page, body.size * 1.7)
        page.set(writer.paragraph(), body)
        page.skip(body.size)
        page.set(["Table", f"{rng.randint(1, 9)}:", *writer.title()], Type(self._family.italic, body.size, body.pitch))
        page.skip(0.4 * body.size)
        makers = writer.cells(rng.randint(3, 5))
        rows = [[writer.word() for _ in makers]]
        height = body.size * rng.uniform(1.7, 2.1)
        room = int((page.bottom - page.y) / height) - 1
        rows += [[make() for make in makers] for _ in range(min(room, rng.randint(6, 14)))]
        types = [Type(self._family.bold, body.size, height)]
        types += [Type(self._family.regular, body.size, height)] * (len(rows) - 1)
        pad = 0.5 * body.size
        edges = _edges(rows, types, page.left, page.right, pad)
        lines, rules = grid(rows, types, edges, page.y, pad)
        after = Column(page.left, page.right, page.y + height * len(rows) + body.size, page.bottom)
        after.set(writer.paragraph(), body)
        page.lines += lines
        return self._drawing([page, after], rules)

    def form(self) -> Drawing:
        """Labels with values beside them, in boxes or on rules."""
        rng, writer = self._rng, self._writer
        body, page = self._page(Article())
        self._title(page, body.size * 1.7)
        page.set(writer.sentence(), body)
        page.skip(body.size)
        pitch = body.size * rng.uniform(2.2, 2.8)
        label = Type(rng.choice([self._family.bold, self._family.regular]), body.size, pitch)
        value = Type(self._family.regular, body.size, pitch)
        fields = [(f"{name}:", make()) for name, make in writer.fields(rng.randint(8, 14))]
        start = page.left + max(label.width(name) for name, _ in fields) + body.size
        boxed = rng.random() < 0.5
        rules: list[Rule] = []
        for name, text in fields:
            rules += field(name, text, (label, value), page, start, 0.5 * body.size, boxed=boxed)
        return self._drawing([page], rules)

    def _page(self, spec: Article) -> tuple[Type, Column]:
        """The body's face, and the page within its margins."""
        size = self._rng.uniform(*spec.size)
        margin = self._rng.uniform(*spec.margin)
        body = Type(self._family.regular, size, size * self._rng.uniform(*spec.pitch))
        return body, Column(margin, WIDTH - margin, margin, HEIGHT - margin)

    def _title(self, page: Column, size: float, *, centred: bool | None = None) -> None:
        centred = self._rng.random() < 0.5 if centred is None else centred
        page.set(self._writer.title(), Type(self._family.bold, size, size * 1.25), centred=centred)
        page.skip(0.6 * size)

    def _drawing(self, columns: Sequence[Column], rules: Sequence[Rule] = ()) -> Drawing:
        lines = tuple(line for column in columns for line in column.lines)
        return Drawing(WIDTH, HEIGHT, lines, tuple(rules), ink=self._ink)


def _edges(rows: Sequence[Sequence[str]], types: Sequence[Type], left: float, right: float, pad: float) -> list[float]:
    """x of a table's vertical rules: columns as wide as their cells need, and the rest shared out."""
    cells = [[face.width(cell) + 2 * pad for cell in row] for row, face in zip(rows, types, strict=True)]
    needed = [max(column) for column in zip(*cells, strict=True)]
    spare = (right - left - sum(needed)) / len(needed)
    edges = [left]
    for width in needed:
        edges.append(edges[-1] + width + spare)
    return edges
