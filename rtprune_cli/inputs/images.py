"""Image files through Pillow, in any colour mode."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rtprune_cli.errors import InputError, UnsupportedFileError
from rtprune_cli.inputs.formats import EXTENSIONS, IMAGE_FORMATS, READS, Source, guard, reason
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("rtprune")


class _NoPillowLimit:
    """Lifts Pillow's process-wide pixel limit while ours is in force, and puts it back after the last user.

    Pillow warns from 89 million pixels and refuses twice that; an A0 scan at 300 dpi has 139 million.
    """

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._saved: int | None = None

    def __enter__(self) -> None:
        from PIL import Image

        with self._lock:
            if not self._users:
                self._saved, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._users += 1

    def __exit__(self, *_: object) -> None:
        from PIL import Image

        with self._lock:
            self._users -= 1
            if not self._users:
                Image.MAX_IMAGE_PIXELS = self._saved


_no_pillow_limit = _NoPillowLimit()


@contextmanager
def opened_image(document: Document, options: InputOptions) -> Iterator[Source]:
    """Open an image file; raises InputError or UnsupportedFileError."""
    from PIL import Image, UnidentifiedImageError

    source = io.BytesIO(document.data) if document.data is not None else document.path
    assert source is not None
    with _no_pillow_limit:
        try:
            image = Image.open(source, formats=IMAGE_FORMATS)
            frames = getattr(image, "n_frames", 1)
        except UnidentifiedImageError:
            raise _not_read(document) from None
        except Exception as error:
            log.debug("Pillow cannot open %s", document.name, exc_info=True)
            message = f"{document.name} is damaged or truncated: {reason(error)}"
            raise InputError(message, "Repair the file or get it again") from None
    with image:
        warning = None
        if image.format != "TIFF" and frames > 1:
            if image.format != "MPO":  # a camera's second picture is a preview
                warning = f"{document.name} is animated: only its first frame is read"
            frames = 1
        yield Source(frames, None, lambda page: _image_page(image, document, page, options), warning)


def _not_read(document: Document) -> InputError:
    suffix = document.path.suffix.lower() if document.path else ""
    if suffix in EXTENSIONS:
        kind = suffix.removeprefix(".").upper()
        return InputError(f"{document.name} is damaged or not {kind} inside", "Open it in a viewer or get it again")
    return UnsupportedFileError(f"{document.name} is not a type that can be read", f"rtprune reads {READS}")


def _image_page(image: Image, document: Document, number: int, options: InputOptions) -> Image:
    from PIL import ImageOps

    with _no_pillow_limit:
        if number != image.tell() + 1:
            image.seek(number - 1)
        guard(document, number, *image.size, options.max_pixels, "Raise")
        inverted = image.mode.startswith("I;16") and _white_is_zero(image)
        image.load()
        try:
            page = ImageOps.exif_transpose(image)
        except Exception:  # EXIF is a side note: a broken one must not cost the page
            log.debug("EXIF of %s is broken", document.name, exc_info=True)
            page = image.copy()
        page = _rgb(page)
        return ImageOps.invert(page) if inverted else page


def _white_is_zero(image: Image) -> bool:
    """TIFF photometric 0; Pillow honours it in every depth but 16 bits."""
    return getattr(image, "tag_v2", {}).get(262) == 0


def _rgb(image: Image) -> Image:
    """Any mode to 8-bit RGB; alpha over white, as paper."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return _scaled(image.convert("I"), 65535)
    if image.mode in ("I", "F"):
        return _scaled(image, _white_level(image))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _white_level(image: Image) -> float:
    """What white is in a file of 32-bit numbers, which does not say: the smallest usual range that holds them."""
    extrema: Any = image.getextrema()  # type: ignore[no-untyped-call]
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    return next((level for level in usual if extrema[1] <= level), float(extrema[1]))


def _scaled(image: Image, white: float) -> Image:
    factor = 255 / white
    return image.point(lambda value: value * factor + 0.5).convert("L").convert("RGB")
