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

BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE_VALUE, S_MAX_SAMPLE_VALUE = 258, 262, 281, 341  # TIFF tags


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
        inverted = image.mode.startswith("I;16") and _tag(image, PHOTOMETRIC) == 0  # only there Pillow forgets it
        declared = _declared_white(image)
        image.load()
        try:
            page = ImageOps.exif_transpose(image)
        except Exception:  # EXIF is a side note: a broken one must not cost the page
            log.debug("EXIF of %s is broken", document.name, exc_info=True)
            page = image.copy()
        page = _rgb(page, declared)
        return ImageOps.invert(page) if inverted else page


def _tag(image: Image, number: int) -> float | None:
    """A number that stands in a TIFF's header; None where there is none."""
    value = getattr(image, "tag_v2", {}).get(number)
    value = value[0] if isinstance(value, tuple) and value else value
    return float(value) if isinstance(value, (int, float)) else None


def _declared_white(image: Image) -> float | None:
    """What a TIFF says white is: the largest sample value, or fewer bits than the 16 that Pillow gives."""
    bits = _tag(image, BITS_PER_SAMPLE)
    if bits is not None and 8 < bits < 16:
        return 2**bits - 1
    white = _tag(image, S_MAX_SAMPLE_VALUE) or _tag(image, MAX_SAMPLE_VALUE)
    return white if white and 0 < white < 65535 else None  # 65535 is what writers put there that do not know


def _rgb(image: Image, declared_white: float | None) -> Image:
    """Any mode to 8-bit RGB; alpha over white, as paper."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        image = image.convert("I")
        usual = (4095.0, 65535.0) if declared_white is None else (declared_white, 4095.0, 65535.0)
        return _scaled(image, _white_level(image, usual))
    if image.mode == "I":
        return _scaled(image, _white_level(image, (255.0, 4095.0, 65535.0)))
    if image.mode == "F":
        return _scaled(image, _white_level(image, (1.0, 255.0, 4095.0, 65535.0)))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _white_level(image: Image, usual: tuple[float, ...]) -> float:
    """What white is in numbers of more than 8 bits, where few files say it: the first usual level that holds them all.

    Scanners and cameras store 12 bits in 16 without a word, and the page would come out nearly black. A 16-bit page
    that is darker than that throughout is made 16 times as bright, which takes nothing from its text. With 16 bits the
    levels of 8 and 10 are left out: at 256 and 64 times, the noise of an empty scan would look like print.
    """
    extrema: Any = image.getextrema()  # type: ignore[no-untyped-call]
    return next((level for level in usual if extrema[1] <= level), float(extrema[1]))


def _scaled(image: Image, white: float) -> Image:
    factor = 255 / white
    return image.point(lambda value: value * factor + 0.5).convert("L").convert("RGB")
