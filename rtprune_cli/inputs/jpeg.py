"""JPEGs without an end: whether rows are missing, or the mark alone."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

END = b"\xff\xd9"
TAIL = 4096  # bytes in which it stands; some programs write a few after it
FILLING = bytes(range(1, 240)) * 300  # no marker in it


def has_end(data: bytes | memoryview) -> bool:
    """Whether a JPEG has its end mark."""
    return END in bytes(data[-TAIL:])


def without_end(data: bytes) -> Image | None:
    """The image of a JPEG of which no more than the end mark is missing; None where rows are missing too.

    Decoders fill missing rows with what they find. What comes after the last row changes nothing; where rows are
    missing it would be taken for them.
    """
    from PIL import Image, ImageChops

    filled = []
    for rest in (b"", FILLING):
        with Image.open(io.BytesIO(data + rest + END), formats=("JPEG",)) as image:
            image.load()
            filled.append(image.copy())
    first, second = (image.convert("RGB") for image in filled)
    return None if ImageChops.difference(first, second).getbbox() else filled[0]
