"""The text that a PDF page has of itself: whether it can stand for the page, and what it says."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

LEAST_CHARACTERS = 50
MOST_UNMAPPED = 0.02  # share of characters that stand for none
MOST_INVISIBLE = 0.05  # share of characters that are not drawn: another program's OCR, under a scan
MOST_UNCOVERED = 0.02  # share of the ink that lies outside of all words
MASK_SIDE = 1000  # pixels of the longer side where ink is looked at
MARGIN = 2  # pixels there by which a word's box is widened
INVISIBLE = 3  # text render mode, ISO 32000-1, table 106


def sound_text(page: Any, image: Image) -> str | None:
    """The text layer of a page of PyMuPDF's as markdown paragraphs, if it says all that is on the ``image`` of it.

    It must have enough characters, few without meaning, be visible, and cover the ink: a picture, a formula that is
    drawn, or a scan between the lines is the model's.
    """
    try:
        words = page.get_text("words")
        text = "".join(word[4] for word in words)
        if len(text) < LEAST_CHARACTERS or _unmapped(text) > MOST_UNMAPPED * len(text):
            return None
        spans = page.get_texttrace()
        drawn = sum(len(span["chars"]) for span in spans)
        invisible = sum(len(span["chars"]) for span in spans if span["type"] == INVISIBLE or span["opacity"] == 0)
        if not drawn or invisible > MOST_INVISIBLE * drawn or not _covers(page, words, image):
            return None
        return _paragraphs(page)
    except Exception:  # the model reads it
        return None


def _unmapped(text: str) -> int:
    """Characters that are private, unassigned, control characters or the mark of what could not be mapped."""
    return sum(unicodedata.category(char) in ("Co", "Cn", "Cc") or char == "\ufffd" for char in text)


def _covers(page: Any, words: list[Any], image: Image) -> bool:
    import numpy as np

    small = image.convert("L")
    small.thumbnail((MASK_SIDE, MASK_SIDE))
    grey = np.asarray(small, np.int16)
    paper = int(np.bincount(grey.ravel()).argmax())
    ink: NDArray[np.bool_] = abs(grey - paper) > 64
    total = int(ink.sum())
    across, down = small.width / page.rect.width, small.height / page.rect.height
    for x0, y0, x1, y1, *_ in (_upright(page, word) for word in words):
        left, top = max(0, int(x0 * across) - MARGIN), max(0, int(y0 * down) - MARGIN)
        ink[top : int(y1 * down) + MARGIN + 1, left : int(x1 * across) + MARGIN + 1] = False
    return int(ink.sum()) <= MOST_UNCOVERED * total


def _upright(page: Any, word: Any) -> tuple[float, float, float, float]:
    """A word's box where it stands on the page as it is shown, in points from its corner."""
    import pymupdf

    box = pymupdf.Rect(word[:4]) * page.rotation_matrix
    return box.x0, box.y0, box.x1, box.y1


def _paragraphs(page: Any) -> str:
    blocks = [block[4] for block in page.get_text("blocks", sort=True) if block[6] == 0]
    lines = ("\n".join(line.strip() for line in block.splitlines() if line.strip()) for block in blocks)
    return "\n\n".join(filter(None, lines))
