"""What is read, and what its parts have in common: names for messages, reasons, the pixel guard."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rtprune_cli.errors import InputError
from rtprune_cli.failures import page_name
from rtprune_cli.records import Document

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000")
READS = "PDF, PNG, JPEG, TIFF, WebP, BMP, GIF and JPEG 2000"
EXTENSIONS = frozenset((
    ".pdf", ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp", ".bmp", ".gif",
    ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx",
))  # fmt: skip


class Source(NamedTuple):
    """An open document: how many pages, and how to make one of them."""

    pages: int
    dpi: int | None
    raster: Callable[[int], Image]  # 1-based page -> RGB, upright
    warning: str | None = None


def printable(name: str) -> str:
    """``name`` on one line and encodable: control characters and undecodable bytes are shown as escapes."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda hit: hit[0].encode("unicode_escape").decode(), name
    )


def reason(error: BaseException) -> str:
    """A few words, never a traceback or a dump."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = printable(" ".join(str(error).split())).rstrip(".")
    text = re.sub(r"^code=\d+: ", "", text)  # MuPDF's
    return text if 0 < len(text) <= 80 else type(error).__name__


def guard(document: Document, page: int, width: float, height: float, limit: int, cause: str, part: str = "") -> None:
    """Refuse a page, for the size of itself or a ``part``, before the pixels are allocated."""
    if not (width >= 1 and height >= 1):
        raise InputError(f"{page_name(document, page)} has no area", "Repair the file or leave the page out")
    if width * height > limit:
        size = f"{part}{width:.0f} x {height:.0f} pixels, more than {limit}"
        raise InputError(f"{page_name(document, page)} has {size}", f"{cause} --max-pixels if you trust it")
