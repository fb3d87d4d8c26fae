"""Owns the pages that are timed: dense text-like sheets, drawn in memory, the same for the same seed."""

from __future__ import annotations

import random
import string

from PIL import Image, ImageDraw, ImageFont

SIZE = (1654, 2339)  # pixels, A4 at 200 dpi: what `rtprune ocr` rasterises by default
MARGIN = 150
LINE = 36  # pixels from line to line, 13 points
TYPE = 26
LETTERS_A_LINE = (60, 95)  # the last line of a paragraph is shorter


def make_page(seed: int) -> Image.Image:
    """One sheet, RGB: about 55 lines of random words in paragraphs: nothing to read, but the ink of print."""
    generator = random.Random(seed)
    page = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(TYPE)
    y = MARGIN
    while y < SIZE[1] - MARGIN:
        if generator.random() < 0.15:
            y += LINE
        draw.text((MARGIN, y), _line(generator), fill="black", font=font)
        y += LINE
    return page


def _line(generator: random.Random) -> str:
    length = generator.randint(*LETTERS_A_LINE)
    words: list[str] = []
    while sum(map(len, words)) + len(words) < length:
        words.append("".join(generator.choices(string.ascii_lowercase, k=generator.randint(1, 10))))
    return " ".join(words)
