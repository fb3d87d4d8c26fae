"""Sets synthetic pages with known text and places, for training and measuring the bundled model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rtprune_cli.options import Mode
from rtprune_cli.tiny import writing
from rtprune_cli.tiny.pages import (
    ASCENT,
    BLUR,
    BOLD,
    DESCENT,
    FONTS,
    INK,
    JPEG,
    MARGIN,
    NOISE,
    PAGE_HEIGHT,
    PAPER,
    PITCH,
    RANGES,
    SKEW,
    TINT,
    Mix,
    PrintedBlock,
    Rectangle,
    Run,
    SyntheticPage,
    Wear,
    text_width,
)


def make_page(seed: int, mix: Mix | None = None, mode: Mode = "tiny") -> SyntheticPage:
    """The page of a seed. Equal seeds, mixes and modes give equal pages."""
    return _Setter(random.Random(seed), mix or Mix(), mode).page(seed)


@dataclass
class _Stack:
    """A block that is not yet placed: its top is at 0."""

    block: PrintedBlock
    height: float
    after: float  # room below


class _Setter:
    """Sets one page. Blocks are stacked from the top; what does not fit is left out from the end."""

    def __init__(self, rng: random.Random, mix: Mix, mode: Mode) -> None:
        self._rng, self._mix, self._range, self._mode = rng, mix, RANGES[mode], mode
        spec = self._range
        weights = mix.lines or (1,) * spec.lines
        self._count = rng.choices(range(1, len(weights) + 1), weights=weights)[0]
        self._layout = rng.choices(list(mix.layouts), weights=list(mix.layouts.values()))[0]
        if self._layout == "columns" and not spec.two_columns:
            self._layout = "article"
        if self._layout != "lines":
            self._count = max(self._count, 3)
        self._font = rng.choice(list(FONTS))
        self._height = rng.uniform(*PAGE_HEIGHT)
        self._width = self._height * rng.uniform(*spec.aspect)
        # A view that keeps the aspect ratio shows the longer side at full length.
        self._px = (self._height if spec.stretched else max(self._height, self._width)) / spec.side
        smallest, largest = mix.size or spec.size
        extra = 0 if self._layout == "lines" else 2  # room between blocks, in lines
        room = 0.97 * self._height / self._px
        least = 0.0 if rng.random() < mix.tight else spec.pitch
        self._count = max(1, min(self._count, int(room / max(PITCH[0] * smallest, least)) - extra))
        most = min(largest, room / PITCH[0] / (self._count + extra))
        self._size = rng.uniform(min(smallest, most), most) * self._px
        self._pitch = max(PITCH[0] * self._size, least * self._px)
        self._gap = self._pitch - (ASCENT + DESCENT) * self._size  # between blocks at least
        margin = MARGIN * (self._width / spec.side if spec.stretched else self._px)
        self._left, self._right = margin, self._width - margin

    def page(self, seed: int) -> SyntheticPage:
        """The page of this setter's generator."""
        rng = self._rng
        if self._layout == "columns":
            blocks = self._columns()
        else:
            blocks = self._placed({
                "lines": self._lines, "article": self._article, "table": self._table, "picture": self._picture
            }[self._layout]())  # fmt: skip
        return SyntheticPage(
            seed, self._mode, self._layout, self._width, self._height, self._font, self._size,
            rng.uniform(*INK), rng.uniform(*PAPER), rng.uniform(*TINT), self._wear(), tuple(blocks),
        )  # fmt: skip

    # --- Layouts

    def _lines(self) -> list[_Stack]:
        """Lines that have nothing to do with each other, ragged, centred or scattered."""
        rng = self._rng
        texts = [self._line(self._right - self._left, last=i == self._count - 1) for i in range(self._count)]
        widths = [text_width(text, self._font, self._size) for text in texts]
        start = self._left + rng.random() * (self._right - self._left - max(widths))
        centred, scattered = rng.random() < 0.2, rng.random() < 0.2
        lefts = []
        for width in widths:
            spare = max(widths) - width
            lefts.append(start + (spare / 2 if centred else rng.random() * spare if scattered else 0.0))
        room = self._height - self._size * (ASCENT + DESCENT)
        if self._count > 1:
            extra = min((PITCH[1] - PITCH[0]) * self._size, room / (self._count - 1) - self._pitch)
            self._pitch += max(0.0, extra) * rng.random() ** 1.5
        return self._text(texts, lefts, gap=rng.random() < 0.3)

    def _article(self) -> list[_Stack]:
        """A title, and one or two paragraphs."""
        stacks = [self._title()] if self._rng.random() < 0.7 else []
        left = self._count - len(stacks)
        first = self._rng.randint(1, left)
        for count in (first, left - first):
            if count:
                stacks += self._paragraph(count)
        return stacks

    def _table(self) -> list[_Stack]:
        """A ruled table, with a title or lines above it, and lines below."""
        rng = self._rng
        stacks = [self._title()] if rng.random() < 0.4 else []
        if not stacks and rng.random() < 0.4:
            stacks += self._paragraph(1)
        rows = min(max(2, self._count - len(stacks) - 1), 5)
        stacks.append(self._grid(rows))
        if self._count > rows + len(stacks):
            stacks += self._paragraph(self._count - rows - len(stacks))
        return stacks

    def _picture(self) -> list[_Stack]:
        """A picture between lines."""
        rng = self._rng
        stacks = [self._title()] if rng.random() < 0.5 else []
        above = rng.randint(0, 2)
        stacks += self._paragraph(above) if above else []
        height = rng.uniform(0.15, 0.35) * self._height
        width = rng.uniform(0.3, 0.9) * (self._right - self._left)
        left = self._left + rng.random() * (self._right - self._left - width)
        box = (left, 0.0, left + width, height)
        stacks.append(_Stack(PrintedBlock("image", box), height, 0.5 * self._size))
        below = self._count - above - len(stacks)
        stacks += self._paragraph(below) if below > 0 else []
        return stacks

    def _columns(self) -> list[PrintedBlock]:
        """A title over two columns."""
        gutter = 2 * self._size
        title = self._title()
        width = (self._right - self._left - gutter) / 2
        head = 0.5 * self._size
        blocks = [_moved(title.block, head)]
        for start in (self._left, self._left + width + gutter):
            y = head + title.height + title.after
            left = max(1, self._count - 2)
            while left > 0:
                count = min(left, self._rng.randint(2, 8))
                for stack in self._paragraph(count, start, start + width):
                    if y + stack.height <= self._height:
                        blocks.append(_moved(stack.block, y))
                    y += stack.height + stack.after
                left -= count
        return blocks

    # --- Blocks

    def _title(self) -> _Stack:
        """One line in bold, larger than the text where there is room."""
        size = min(self._size * self._rng.uniform(1.0, 1.3), self._range.size[1] * self._px)
        font = BOLD.get(self._font, self._font)
        words = [word.capitalize() for word in self._words()]
        text = self._fitting(words, self._right - self._left, font, size, self._range.columns)
        spare = self._right - self._left - text_width(text, font, size)
        left = self._left + (spare / 2 if self._rng.random() < 0.4 else 0.0)
        run = Run(text, left, ASCENT * size, font, size)
        return _Stack(
            PrintedBlock("title", run.box, ((run,),)), size * (ASCENT + DESCENT), self._gap + 0.2 * self._size
        )

    def _paragraph(self, count: int, left: float | None = None, right: float | None = None) -> list[_Stack]:
        """Lines as long as the column, the last one shorter."""
        left = self._left if left is None else left
        right = self._right if right is None else right
        texts = [self._line(right - left, full=i < count - 1) for i in range(count)]
        return self._text(texts, [left] * count)

    def _text(self, texts: Sequence[str], lefts: Sequence[float], *, gap: bool = False) -> list[_Stack]:
        """Lines one below the other; with ``gap`` in two blocks."""
        cut = self._rng.randrange(len(texts)) if gap else 0
        stacks = []
        for part in (slice(0, cut), slice(cut, None)):
            runs = [
                Run(text, left, ASCENT * self._size + i * self._pitch, self._font, self._size)
                for i, (text, left) in enumerate(zip(texts[part], lefts[part], strict=True))
            ]
            if runs:
                height = (ASCENT + DESCENT) * self._size + (len(runs) - 1) * self._pitch
                block = PrintedBlock("text", _around([run.box for run in runs]), tuple((run,) for run in runs))
                stacks.append(_Stack(block, height, self._gap + (0.2 + 0.6 * self._rng.random()) * self._size))
        return stacks

    def _grid(self, rows: int) -> _Stack:
        """A ruled table of two or three columns of words and numbers."""
        rng = self._rng
        columns = rng.randint(2, 4 if self._range.two_columns else 3)
        step = max(self._size * rng.uniform(1.4, 1.8), self._pitch)
        width = (self._right - self._left) / columns
        pad = 0.3 * self._size
        numbers = [False, *(rng.random() < 0.5 for _ in range(columns - 1))]
        lines = []
        for row in range(rows):
            runs = []
            for column in range(columns):
                many = numbers[column] and row > 0
                words = [writing.number(rng) for _ in range(4)] if many else self._words()
                text = self._fitting(words, width - 2 * pad, self._font, self._size, 14)
                left = self._left + column * width + pad
                runs.append(Run(text, left, row * step + (step + 0.5 * self._size) / 2, self._font, self._size))
            lines.append(tuple(runs))
        right, height = self._left + columns * width, rows * step
        rules = [(self._left, y * step, right, y * step) for y in range(rows + 1)]
        if rng.random() < 0.7:
            rules += [(self._left + x * width, 0.0, self._left + x * width, height) for x in range(columns + 1)]
        return _Stack(
            PrintedBlock("table", (self._left, 0.0, right, height), tuple(lines), tuple(rules)), height, self._size
        )

    def _placed(self, stacks: list[_Stack]) -> list[PrintedBlock]:
        """The blocks that fit, with the page's spare room above the first and between them."""
        fit: list[_Stack] = []
        used = 0.0
        for stack in stacks:
            if fit and used + stack.height > self._height:
                break
            fit.append(stack)
            used += stack.height + stack.after
        spare = max(0.0, self._height - used)
        y = self._rng.random() * spare
        spare -= y
        blocks = []
        for stack in fit:
            blocks.append(_moved(stack.block, y))
            extra = self._rng.random() * min(spare, self._size) if self._rng.random() < 0.5 else 0.0
            y += stack.height + stack.after + extra
            spare -= extra
        return blocks

    # --- Words

    def _words(self) -> list[str]:
        return writing.line_words(self._rng, self._mix.random, self._mix.number)

    def _line(self, room: float, *, last: bool = False, full: bool | None = None) -> str:
        """A line that fits the room (pt)."""
        if full is None:
            full = self._rng.random() < (0.5 if last else 0.8)
        limit = self._range.columns if full else self._rng.randint(3, self._range.columns)
        return self._fitting(self._words(), room, self._font, self._size, limit)

    def _fitting(self, words: Sequence[str], room: float, font: str, size: float, limit: int) -> str:
        """As many of the words as fit; a single character where none does."""
        line = ""
        for word in words:
            longer = f"{line} {word}" if line else word
            if len(longer) > limit or text_width(longer, font, size) > room:
                break
            line = longer
        return line or self._rng.choice(writing.LETTERS + writing.DIGITS)

    def _wear(self) -> Wear:
        rng = self._rng
        if rng.random() >= self._mix.worn:
            return Wear()
        return Wear(
            angle=rng.uniform(-SKEW, SKEW) if rng.random() < 0.6 else 0.0,
            blur=rng.uniform(*BLUR) if rng.random() < 0.5 else 0.0,
            noise=rng.uniform(*NOISE) if rng.random() < 0.5 else 0.0,
            jpeg=rng.randint(*JPEG) if rng.random() < 0.5 else 0,
        )


def _around(boxes: Sequence[Rectangle]) -> Rectangle:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _moved(block: PrintedBlock, down: float) -> PrintedBlock:
    def shift(box: Rectangle) -> Rectangle:
        return box[0], box[1] + down, box[2], box[3] + down

    lines = tuple(tuple(replace(run, baseline=run.baseline + down) for run in line) for line in block.lines)
    return PrintedBlock(block.kind, shift(block.box), lines, tuple(shift(rule) for rule in block.rules))
