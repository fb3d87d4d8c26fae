"""The images on a PDF page that MuPDF decodes whole, measured before it does."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, TypeVar

from rtprune_cli.inputs.formats import guard
from rtprune_cli.inputs.jpeg import has_end, without_end
from rtprune_cli.records import Document

T = TypeVar("T")

JPEG_MARKERS = frozenset((*range(0xC0, 0xD0), 0xDA)) - {0xC4, 0xC8, 0xCC}  # start of a frame or scan
JPEG_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
JPEG_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xDA))
JBIG2_REGIONS = (4, 6, 7, 20, 22, 23, 36, 38, 39, 40, 42, 43)
JBIG2_PAGE, JBIG2_END_OF_STRIPE = 48, 50
JBIG2_UNKNOWN = 0xFFFFFFFF


def guard_images(document: Document, page: int, drawing: Any, limit: int) -> tuple[int, int]:
    """Refuse a page whose ``drawing``, MuPDF's display list, holds an image that would exhaust the memory; how many
    JPEGs on it lack no more than their end mark, and how many lack rows. MuPDF says the same of both, or nothing.

    Only JPEG 2000, progressive JPEG and JBIG2 can: they are decoded whole and at full size. In every other coding
    MuPDF reads an image row by row and shrinks it on the way, so that 60,000 x 60,000 pixels take 40 MB and some
    seconds; large scans are no reason to refuse a page. JBIG2 has eight pixels in a byte, and its limit is eight
    times as high. What counts is the size that the image's own bytes tell: the page may say that it is 10 x 10.

    Raises:
        InputError: an image has more than ``limit`` pixels.
    """
    from pymupdf import mupdf

    lister = _lister_class()()
    everywhere = mupdf.FzRect(mupdf.FzRect.Fixed_INFINITE)
    mupdf.fz_run_display_list(drawing.this, lister, mupdf.FzMatrix(), everywhere, mupdf.FzCookie())
    mupdf.fz_close_device(lister)
    unended = cut = 0
    for image in lister.images:
        kind = image.fz_compressed_image_type()
        if kind == mupdf.FZ_IMAGE_JPEG and not _of(image, has_end):
            is_whole = _of(image, _lacks_only_its_end)
            unended, cut = unended + is_whole, cut + (not is_whole)
        if kind == mupdf.FZ_IMAGE_JPX:
            width, height = image.w(), image.h()
        elif kind == mupdf.FZ_IMAGE_JPEG:
            width, height = _of(image, _progressive_size)
        elif kind == mupdf.FZ_IMAGE_JBIG2:
            width, height = _of(image, _jbig2_size)
        else:
            continue
        if width and height:
            most = limit * 8 if kind == mupdf.FZ_IMAGE_JBIG2 else limit
            guard(document, page, width, height, most, "Raise", "an image of ")
    return unended, cut


@functools.cache
def _lister_class() -> Any:
    from pymupdf import mupdf

    class Lister(mupdf.FzDevice2):  # type: ignore[misc]
        """Draws nothing and keeps the images, those of forms, patterns and annotations too; masks come as clips."""

        def __init__(self) -> None:
            super().__init__()
            self.images: list[Any] = []
            self.use_virtual_fill_image()
            self.use_virtual_fill_image_mask()
            self.use_virtual_clip_image_mask()

        def fill_image(self, _context: Any, image: Any, *_: Any) -> None:
            self.images.append(mupdf.FzImage(mupdf.ll_fz_keep_image(image)))

        fill_image_mask = clip_image_mask = fill_image

    return Lister


def _of(image: Any, measure: Callable[[memoryview], T]) -> T:
    """What ``measure`` finds in the compressed bytes of an image."""
    from pymupdf import mupdf

    compressed = image.fz_compressed_image_buffer()  # owns what the view shows
    with mupdf.fz_buffer_storage_memoryview(compressed.get_buffer()) as blob:
        return measure(blob)


def _lacks_only_its_end(blob: memoryview) -> bool:
    try:
        return without_end(bytes(blob)) is not None
    except Exception:  # Pillow cannot decode it: MuPDF will say what it can
        return False


def _progressive_size(blob: memoryview) -> tuple[int, int]:
    """Width and height of a progressive JPEG, whose coefficients are all kept; 0 x 0 for one that is read in rows."""
    at = 2
    while at + 9 <= len(blob):
        marker = blob[at + 1]
        if blob[at] != 0xFF or marker in (0x00, 0xFF):
            at += 1
        elif marker in JPEG_MARKERS:
            height, width = struct.unpack_from(">HH", blob, at + 5)
            return (width, height) if marker in JPEG_PROGRESSIVE else (0, 0)
        else:
            at += 2 if marker in JPEG_WITHOUT_LENGTH else 2 + struct.unpack_from(">H", blob, at + 2)[0]
    return 0, 0


def _jbig2_size(blob: memoryview) -> tuple[int, int]:
    """Width and height of the largest bitmap: the page's, or a region's, which may be larger than the page."""
    width = height = at = 0
    try:
        while True:
            kind, start, length = _jbig2_segment(blob, at)
            if kind == JBIG2_END_OF_STRIPE:  # the page grows to the stripe's last row
                height = max(height, struct.unpack_from(">I", blob, start)[0] + 1)
            elif kind == JBIG2_PAGE or kind in JBIG2_REGIONS:
                size = struct.unpack_from(">II", blob, start)
                rows = 0 if kind == JBIG2_PAGE and size[1] == JBIG2_UNKNOWN else size[1]
                width, height = max(width, size[0]), max(height, rows)
            at = start + length
    except (struct.error, IndexError):
        return width, height


def _jbig2_segment(blob: memoryview, at: int) -> tuple[int, int, int]:
    """What kind of segment starts here, where its data starts, and how long they are."""
    number, flags, references = struct.unpack_from(">IBB", blob, at)
    at += 5
    count = references >> 5
    if count == 7:
        count = struct.unpack_from(">I", blob, at)[0] & 0x1FFFFFFF
        at += 4 + (count + 8) // 8
    else:
        at += 1
    at += count * (1 if number <= 256 else 2 if number <= 65536 else 4)
    at += 4 if flags & 0x40 else 1
    return flags & 0x3F, at + 4, struct.unpack_from(">I", blob, at)[0]
