"""Synthetic printed pages with known text and glyph boxes, for training and measuring the bundled model.

Everything a page can be is stated by the constants below; the model promises nothing outside them.
Lengths are points on the page and pixels in the model's SIDE x SIDE view.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
from numpy.typing import NDArray
from PIL import Image

SIDE = 512  # px, the global view of mode tiny
FONTS = {"helv": "Helvetica", "tiro": "Times", "cour": "Courier"}  # regular cuts, built into PyMuPDF
FONT_SIZE = (34.0, 48.0)  # px in the view, vertically
ASPECT = (0.9, 1.1)  # page width / height
PITCH = (66.0, 84.0)  # px between baselines; at least 64 keeps two lines out of one visual token
MAX_LINES = 6
MAX_COLUMNS = 24  # characters a line
MARGIN = 14.0  # px left and right of the text
PAGE_HEIGHT = (300.0, 900.0)  # pt
INK = (0.0, 0.25)  # gray level, 0 is black
PAPER = (0.92, 1.0)
EVALUATION_DPI = 200  # the tool's default

PUNCTUATION = ".,;:!?'\"()-/&%$#@+*="
LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Style:
    """How a page is set. Sizes in pt; ``left`` and ``baseline`` hold one number per line."""

    font: str
    size: float
    width: float
    height: float
    left: tuple[float, ...]
    baseline: tuple[float, ...]
    ink: float
    paper: float


@dataclass(frozen=True)
class Page:
    """One page: its lines of text, its style, and the box of every character in view pixels.

    ``boxes`` follows ``"\\n".join(lines)``; the newline's box is empty and stands at the line's end.
    """

    lines: tuple[str, ...]
    style: Style
    boxes: tuple[Box, ...]

    @property
    def text(self) -> str:
        """What the model should write."""
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of line; the rest is English. ``lines`` holds weights of 1..MAX_LINES lines."""

    random: float = 0.1
    number: float = 0.1
    lines: tuple[float, ...] = (1, 1, 1, 1, 1, 1)


@cache
def words() -> tuple[str, ...]:
    """The common English words that ship with the package."""
    return tuple((Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split())


@cache
def _advances(font: str) -> dict[str, float]:
    """Advance width of each printable character at size 1."""
    characters = "".join(map(chr, range(32, 127)))
    return dict(zip(characters, pymupdf.Font(font).char_lengths(characters, 1.0), strict=True))


def text_width(text: str, font: str, size: float) -> float:
    """Width of a line in the unit of ``size``."""
    advances = _advances(font)
    return size * sum(advances[c] for c in text)


def make_page(seed: int, mix: Mix | None = None) -> Page:
    """The page of a seed. Equal seeds and mixes give equal pages."""
    mix = mix or Mix()
    rng = random.Random(seed)
    count = rng.choices(range(1, MAX_LINES + 1), weights=mix.lines)[0]
    font = rng.choice(list(FONTS))
    height = rng.uniform(*PAGE_HEIGHT)
    width = height * rng.uniform(*ASPECT)
    size = rng.uniform(*FONT_SIZE) * height / SIDE
    room = width * (1 - 2 * MARGIN / SIDE)
    lines = tuple(_line(rng, mix, font, size, room, last=i == count - 1) for i in range(count))
    style = _style(rng, lines, font, size, width, height)
    return Page(lines, style, _boxes(lines, style))


def _line(rng: random.Random, mix: Mix, font: str, size: float, room: float, *, last: bool) -> str:
    """A line that fits the room (pt)."""
    full = rng.random() < (0.5 if last else 0.8)
    limit = MAX_COLUMNS if full else rng.randint(3, MAX_COLUMNS)
    line = ""
    for word in _words_of(rng, mix):
        longer = f"{line} {word}" if line else word
        if len(longer) > limit or text_width(longer, font, size) > room:
            break
        line = longer
    return line or rng.choice(LETTERS + DIGITS)


def _words_of(rng: random.Random, mix: Mix) -> list[str]:
    """Up to 14 words of one line, of one kind."""
    kind = rng.random()
    if kind < mix.random:
        pools = [LETTERS] * 6 + [LETTERS.upper()] * 3 + [DIGITS] * 3 + [PUNCTUATION]
        return ["".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 9))) for _ in range(14)]
    if kind < mix.random + mix.number:
        return [_number(rng) for _ in range(14)]
    found = [rng.choice(words()) for _ in range(14)]
    style = rng.random()
    if style < 0.1:
        return [word.upper() for word in found]
    if style < 0.25:
        return [word.capitalize() for word in found]
    if style < 0.75:
        found = [_punctuated(rng, word) for word in found]
        found[0] = found[0][0].upper() + found[0][1:]
    return found


def _punctuated(rng: random.Random, word: str) -> str:
    draw = rng.random()
    if draw < 0.70:
        return word
    if draw < 0.74:
        return f'"{word}"' if rng.random() < 0.5 else f"({word})"
    if draw < 0.77:
        return f"{word}-{rng.choice(words())}"
    if draw < 0.80:
        return f"{word}'s"
    if draw < 0.84:
        return _number(rng)
    return word + rng.choice(",,,....;:!?")


def _number(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.35:
        return str(rng.randint(0, 10 ** rng.randint(1, 6)))
    if draw < 0.5:
        return str(rng.randint(1800, 2030))
    if draw < 0.65:
        return f"{rng.randint(0, 999)}.{rng.randint(0, 99):02d}"
    if draw < 0.75:
        return f"${rng.randint(1, 999)},{rng.randint(0, 999):03d}"
    if draw < 0.85:
        return f"{rng.randint(0, 100)}%"
    if draw < 0.95:
        return f"{rng.randint(1, 31)}/{rng.randint(1, 12)}/{rng.randint(0, 99):02d}"
    return f"#{rng.randint(1, 999)}"


def _style(rng: random.Random, lines: tuple[str, ...], font: str, size: float, width: float, height: float) -> Style:
    px = height / SIDE  # pt per view pixel, vertically
    margin = MARGIN * width / SIDE
    widest = max(text_width(line, font, size) for line in lines)
    slack = width - 2 * margin - widest
    start = margin + rng.random() * slack
    centred = rng.random() < 0.2
    indent = rng.random() < 0.2
    left = []
    for line in lines:
        spare = widest - text_width(line, font, size)
        left.append(start + (spare / 2 if centred else rng.random() * spare if indent else 0.0))
    # Ascent and descent of the three fonts stay within 1.08 and 0.32 of the size; letters within 0.75 and 0.25.
    top, bottom = 0.8 * size, height - 0.3 * size
    pitches = [PITCH[0]] * (len(lines) - 1)
    spare = (bottom - top) / px - sum(pitches)
    if pitches:
        extra = min(PITCH[1] - PITCH[0], spare / len(pitches)) * rng.random()
        pitches = [p + extra for p in pitches]
        spare -= extra * len(pitches)
        if rng.random() < 0.25:  # a gap between paragraphs
            gap = rng.random() * min(spare, 80.0)
            pitches[rng.randrange(len(pitches))] += gap
            spare -= gap
    baseline = [top + rng.random() * spare * px]
    for pitch in pitches:
        baseline.append(baseline[-1] + pitch * px)
    return Style(font, size, width, height, tuple(left), tuple(baseline), rng.uniform(*INK), rng.uniform(*PAPER))


def _boxes(lines: tuple[str, ...], style: Style) -> tuple[Box, ...]:
    advances = _advances(style.font)
    sx, sy = SIDE / style.width, SIDE / style.height
    boxes = []
    for line, left, baseline in zip(lines, style.left, style.baseline, strict=True):
        # The height of capitals: its middle is the character's centre.
        top, bottom = (baseline - 0.72 * style.size) * sy, baseline * sy
        x = left
        for character in line:
            right = x + advances[character] * style.size
            boxes.append((x * sx, top, right * sx, bottom))
            x = right
        boxes.append((x * sx, top, x * sx, bottom))
    return tuple(boxes[:-1])


def document(page: Page) -> Any:
    """The page as a one-page PyMuPDF document."""
    style = page.style
    pdf = pymupdf.open()
    sheet = pdf.new_page(width=style.width, height=style.height)
    if style.paper < 1:
        sheet.draw_rect(sheet.rect, color=None, fill=(style.paper,) * 3)
    for line, left, baseline in zip(page.lines, style.left, style.baseline, strict=True):
        sheet.insert_text((left, baseline), line, fontname=style.font, fontsize=style.size, color=(style.ink,) * 3)
    return pdf


def render(page: Page, dpi: float = EVALUATION_DPI) -> Image.Image:
    """The page as the tool rasterises it: RGB at ``dpi``, not yet resized."""
    pixmap = document(page)[0].get_pixmap(dpi=round(dpi))
    return Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)


def view(image: Image.Image) -> NDArray[np.uint8]:
    """The tool's global view of an RGB image in mode tiny, (SIDE, SIDE, 3)."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def quick_view(page: Page, zoom: float = 1.0) -> NDArray[np.uint8]:
    """Gray (SIDE, SIDE) view, rendered at ``zoom`` times the view's size: cheap enough for training."""
    style = page.style
    matrix = pymupdf.Matrix(zoom * SIDE / style.width, zoom * SIDE / style.height)
    pixmap = document(page)[0].get_pixmap(matrix=matrix, colorspace=pymupdf.csGRAY)
    image = Image.frombytes("L", (pixmap.width, pixmap.height), pixmap.samples)
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image)
