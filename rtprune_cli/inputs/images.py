"""Image files through Pillow, in any colour mode."""

from __future__ import annotations

import functools
import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rtprune_cli.errors import InputError, UnsupportedFileError
from rtprune_cli.inputs.content import where
from rtprune_cli.inputs.formats import EXTENSIONS, IMAGE_FORMATS, READS, Raster, Source, guard, reason, warning
from rtprune_cli.inputs.jpeg import without_end
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document, WarningRecord

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

log = logging.getLogger("rtprune")

# TIFF tags
NEW_SUBFILE_TYPE, BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE_VALUE, SAMPLE_FORMAT, S_MAX_SAMPLE_VALUE = (
    254, 258, 262, 281, 339, 341,
)  # fmt: skip
REDUCED, MASK = 1, 4  # bits of NewSubfileType
HEIC = (".heic", ".heif")
SQUARE, OBLONG = 1.1, 4.0  # how much longer one side of a pixel is than the other, to be made square; beyond: a mistake
MOST_METADATA = 256 * 2**20  # bytes of text in a PNG; Pillow takes 1 MB for an attack


class _NoPillowLimit:
    """Lifts Pillow's process-wide limits while ours are in force, and puts them back after the last user.

    Pillow warns from 89 million pixels and refuses twice that; an A0 scan at 300 dpi has 139 million. Of text in a PNG
    it refuses more than 1 MB; scanners' programs write as much.
    """

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._saved: tuple[int | None, int, int] = (None, 0, 0)

    def __enter__(self) -> None:
        from PIL import Image, PngImagePlugin

        with self._lock:
            if not self._users:
                self._saved = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
                Image.MAX_IMAGE_PIXELS = None
                PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_METADATA
            self._users += 1

    def __exit__(self, *_: object) -> None:
        from PIL import Image, PngImagePlugin

        with self._lock:
            self._users -= 1
            if not self._users:
                Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = self._saved


_no_pillow_limit = _NoPillowLimit()


@contextmanager
def opened_image(document: Document, options: InputOptions) -> Iterator[Source]:
    """Open an image file; raises InputError or UnsupportedFileError."""
    with _no_pillow_limit, _opened(document) as image:
        about: tuple[WarningRecord, ...] = ()
        if image.format == "TIFF":
            frames = _pages_of(image)
        else:
            frames = [0]
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # a camera's second picture is a preview
                about = warning("animated", f"{document.name} is animated: only its first frame is read")

        def raster(number: int) -> Raster:
            with _no_pillow_limit:
                return _image_page(image, document, number, frames[number - 1], options)

        yield Source(len(frames), raster, about)


@contextmanager
def _opened(document: Document) -> Iterator[ImageFile]:
    from PIL import Image, UnidentifiedImageError

    place = where(document)
    try:
        image = Image.open(io.BytesIO(place) if isinstance(place, bytes) else place, formats=_formats())
    except UnidentifiedImageError:
        raise _not_read(document) from None
    except Exception as error:
        log.debug("Pillow cannot open %s", document.name, exc_info=True)
        message = f"{document.name} is damaged or truncated: {reason(error)}"
        raise InputError(message, "Repair the file or get it again") from None
    with image:
        yield image


@functools.cache
def _formats() -> tuple[str, ...]:
    """What Pillow reads here: HEIC where the extra is installed."""
    try:
        from pillow_heif import register_heif_opener  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return IMAGE_FORMATS
    register_heif_opener()
    return (*IMAGE_FORMATS, "HEIF")


def _pages_of(image: ImageFile) -> list[int]:
    """The frames of a TIFF that are pages: not the smaller copies of a pyramid, nor masks (NewSubfileType, TIFF 6.0
    section 8)."""
    pages, frames = [], 1
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:
        log.debug("frames cannot be counted", exc_info=True)
    for frame in range(frames):
        try:
            image.seek(frame)
            if int(_tag(image, NEW_SUBFILE_TYPE) or 0) & (REDUCED | MASK):
                continue
        except Exception:  # its directory is broken: the page itself will say so
            log.debug("a frame cannot be looked at", exc_info=True)
        pages.append(frame)
    image.seek(0)
    return pages or [0]


def _not_read(document: Document) -> InputError:
    suffix = document.suffix
    if suffix in HEIC and "HEIF" not in _formats():
        hint = "Install rtprune with the extra [heic]"
        return UnsupportedFileError(f"{document.name} is HEIC, which needs a package of its own", hint)
    if suffix in EXTENSIONS:
        kind = suffix.removeprefix(".").upper()
        return InputError(f"{document.name} is damaged or not {kind} inside", "Open it in a viewer or get it again")
    return UnsupportedFileError(f"{document.name} is not a type that can be read", f"rtprune reads {READS}")


def _image_page(image: ImageFile, document: Document, number: int, frame: int, options: InputOptions) -> Raster:
    from PIL import ImageOps

    if frame != image.tell():
        image.seek(frame)
    guard(document, number, *image.size, options.max_pixels, "Raise")
    inverted = image.mode.startswith("I;16") and _tag(image, PHOTOMETRIC) == 0  # only there Pillow forgets it
    declared, wide = _declared_white(image), _has_16_bits(image)
    unsigned = _tag(image, BITS_PER_SAMPLE) == 32 and (_tag(image, SAMPLE_FORMAT) or 1) == 1
    own_profile = image.mode == "RGB"
    whole: Image = image
    warnings: tuple[WarningRecord, ...] = ()
    try:
        image.load()
    except OSError as error:
        # The decoder got all rows but not the end: Pillow refuses what every viewer shows.
        if image.format not in ("JPEG", "MPO") or "truncated" not in str(error):
            raise
        whole = _without_end(document, error)
        warnings = warning("truncated", "the image ends before its end mark")
    try:
        page = ImageOps.exif_transpose(whole)
    except Exception:  # EXIF is a side note: a broken one must not cost the page
        log.debug("EXIF of %s is broken", document.name, exc_info=True)
        page = whole.copy()
    page = _square_pixels(page, image.info.get("dpi"), options.max_pixels)
    page = _rgb(page, declared, unsigned=unsigned, wide=wide)
    if not own_profile:  # a profile for ink or grey says nothing of what are now RGB pixels
        page.info.pop("icc_profile", None)
    return Raster(ImageOps.invert(page) if inverted else page, warnings=warnings)


def _without_end(document: Document, error: OSError) -> Image:
    """A JPEG of which no more than the end mark is missing.

    Raises:
        OSError: ``error``: rows are missing too, which would be grey.
    """
    place = where(document)
    whole = without_end(place if isinstance(place, bytes) else place.read_bytes())
    if whole is None:
        raise error
    return whole


def _square_pixels(image: Image, dpi: Any, most: int) -> Image:
    """The image with pixels as high as they are wide: a fax has 204 dpi across and 98 or 196 down the page."""
    from PIL import Image

    try:
        across, down = (float(each) for each in dpi)
    except (TypeError, ValueError):
        return image
    if not (across > 0 and down > 0 and SQUARE < max(across, down) / min(across, down) <= OBLONG):
        return image
    width, height = image.size
    if across > down:
        height = round(height * across / down)
    else:
        width = round(width * down / across)
    if width * height > most:
        return image
    info, image = image.info, image.convert("L") if image.mode == "1" else image
    image = image.resize((width, height), Image.Resampling.BICUBIC if image.mode != "P" else Image.Resampling.NEAREST)
    image.info = info
    return image


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


def _has_16_bits(image: ImageFile) -> bool:
    """Whether a colour image has 16 bits a sample, of which Pillow keeps the upper 8."""
    return image.mode in ("RGB", "RGBA") and any(";16" in str(tile) for tile in image.tile)


def _rgb(image: Image, declared_white: float | None, *, unsigned: bool = False, wide: bool = False) -> Image:
    """Any mode to 8-bit RGB; alpha over white, as paper.

    ``unsigned``: samples of 32 bits are, which Pillow takes for signed ones; ``wide``: of 16 bits the upper 8 are left.
    """
    from PIL import Image

    if image.mode.startswith("I;16"):
        image = image.convert("I")
        usual = (4095.0, 65535.0) if declared_white is None else (declared_white, 4095.0, 65535.0)
        return _scaled(image, _white_level(image, usual))
    if image.mode == "I" and unsigned:
        import numpy as np

        # As float32 rounds 32 bits to 24 the steps are finer than any eye's.
        image = Image.fromarray(np.asarray(image).view(np.uint32).astype(np.float32))
        return _scaled(image, _white_level(image, (255.0, 4095.0, 65535.0, 2.0**32)))
    if image.mode == "I":
        return _scaled(image, _white_level(image, (255.0, 4095.0, 65535.0, 2.0**31)))
    if image.mode == "F":
        return _scaled(image, _white_level(image, (1.0, 255.0, 4095.0, 65535.0)))
    if wide:
        image = _brighter(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _brighter(image: Image) -> Image:
    """Colours of 12 bits stored in 16, of whose upper 8 bits they use 4, as bright as they are."""
    bands = image.split()
    colours = bands[:3]
    if any(sum(band.histogram()[16:]) for band in colours):
        return image
    from PIL import Image

    return Image.merge(image.mode, [*(band.point(lambda value: value * 17) for band in colours), *bands[3:]])


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
