"""What is read, and what its parts have in common: names for messages, reasons, the pixel guard, ink."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rtprune_cli.errors import InputError
from rtprune_cli.failures import page_name
from rtprune_cli.records import Document, PageReaderName, WarningCode, WarningRecord

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM", "AVIF")
READS = "PDF, PNG, JPEG, TIFF, WebP, BMP, GIF, JPEG 2000, PNM and AVIF (HEIC with the package pillow-heif)"
PDF = ".pdf"
EXTENSIONS = frozenset((
    PDF, ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".tif", ".tiff", ".webp", ".bmp", ".dib", ".gif",
    ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".pbm", ".pgm", ".ppm", ".pnm", ".avif",
    ".heic", ".heif",
))  # fmt: skip
# What programs that know only suffixes call a picture or a document; told when a folder has some, not read.
OTHERS = frozenset((
    ".djvu", ".djv", ".jxl", ".psd", ".svg", ".eps", ".ps", ".xps", ".oxps", ".tga", ".pcx", ".ico", ".exr", ".hdr",
    ".raw", ".cr2", ".nef", ".arw", ".dng", ".doc", ".docx", ".odt", ".rtf", ".ppt", ".pptx", ".odp", ".xls", ".xlsx",
    ".epub", ".mobi", ".fb2", ".cbz", ".cbr", ".jb2", ".jbig2", ".jxr", ".wdp", ".sgi", ".rgb", ".ras", ".xbm", ".xpm",
    ".pam", ".pfm", ".fits", ".dcm", ".wmf", ".emf", ".qoi", ".zip", ".rar", ".7z",
))  # fmt: skip
INK = 8  # levels of 255 by which the darkest pixel of a page must differ from the lightest to be told from it


@dataclass(frozen=True)
class Raster:
    """A page as it was drawn: RGB, upright. ``dpi`` is None for pixels as they were; ``text`` is a sound text layer."""

    image: Image
    dpi: int | None = None
    warnings: tuple[WarningRecord, ...] = ()
    reader: PageReaderName = "pillow"
    text: str | None = None

    @functools.cached_property
    def has_ink(self) -> bool:
        """Whether anything stands out from the page."""
        low, high = self.image.convert("L").getextrema()  # type: ignore[misc]
        return bool(high - low >= INK)  # type: ignore[operator]


class Source(NamedTuple):
    """An open document: how many pages, how to make one of them, what a user should know of it."""

    pages: int
    raster: Callable[[int], Raster]  # of a 1-based page
    about: tuple[WarningRecord, ...] = ()
    attachments: Callable[[], list[tuple[str, bytes]]] = list  # the names and bytes of the files inside


def warning(code: WarningCode, message: str) -> tuple[WarningRecord, ...]:
    """A warning as the tuple of one that pages carry."""
    return (WarningRecord(code, message),)


def printable(name: str) -> str:
    """``name`` on one line and encodable: control characters and undecodable bytes are shown as escapes."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda hit: hit[0].encode("unicode_escape").decode(), name
    )


_DECODER = re.compile(r"(decoder|encoder) error -?\d+.*")  # Pillow's numbers say nothing to anybody


def reason(error: BaseException) -> str:
    """A few words, never a traceback or a dump."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = printable(" ".join(str(error).split())).rstrip(".")
    text = re.sub(r"^code=\d+: ", "", text)  # MuPDF's
    if "malloc" in text or "calloc" in text:
        return "not enough memory"
    text = _DECODER.sub("its compressed data is damaged", text)
    return text if 0 < len(text) <= 80 else type(error).__name__


def guard(document: Document, page: int, width: float, height: float, limit: int, cause: str, part: str = "") -> None:
    """Refuse a page, for the size of itself or a ``part``, before the pixels are allocated."""
    if not (width >= 1 and height >= 1):
        raise InputError(f"{page_name(document, page)} has no area", "Repair the file or leave the page out")
    if width * height > limit:
        size = f"{part}{width:.0f} x {height:.0f} pixels, more than {limit}"
        raise InputError(f"{page_name(document, page)} has {size}", f"{cause} --max-pixels if you trust it")
