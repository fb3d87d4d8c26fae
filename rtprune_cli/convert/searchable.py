"""PDFs that can be searched: the original pages, or images as pages, under invisible text."""

from __future__ import annotations

import io
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from rtprune_cli import remote
from rtprune_cli.convert.blocks_file import AGAIN
from rtprune_cli.convert.glyphless import GlyphlessFont
from rtprune_cli.convert.layer import FONT, Matrix, content, multiplied, page_lines
from rtprune_cli.convert.text import block_text
from rtprune_cli.errors import InputError, OutputNameError
from rtprune_cli.failures import page_name
from rtprune_cli.inputs.content import content_hash, here, read_head
from rtprune_cli.inputs.formats import printable
from rtprune_cli.inputs.mupdf import opened_pymupdf, quiet_pymupdf
from rtprune_cli.inputs.pages import is_pdf, open_document
from rtprune_cli.logs import NOTICE
from rtprune_cli.options import InputOptions
from rtprune_cli.outputs.layout import CONVERTED_MARK, RECORDS, TAIL, is_converted
from rtprune_cli.records import Document, DocumentBlocks, PageBlocks, PageFault

if TYPE_CHECKING:
    from PIL.Image import Image

    from rtprune_cli.convert.ink import Grey

log = logging.getLogger("rtprune")

DRAWN_DPI, LONGEST_DRAWN = 150, 3500  # of pages in which lines are looked for; pixels
IMAGE_DPI = 200  # of images that do not say it
LIKELY_DPI = (50, 1200)  # what they may say
LARGEST_PAGE = 14400  # points: ISO 32000-1, annex C
STAMP = 0.1  # of the characters that were read: a page with fewer of its own has a stamp or a number, not its text
PAGES_KEPT = 16  # after so many pages MuPDF drops fonts and images that it keeps
JPEG_QUALITY = 90
ORIENTATION = 0x0112  # the tag of EXIF

_TURNS: dict[str, Matrix] = {  # of a page of 1 x 1, as it was read, to how its file shows it
    "90": (0, -1, 1, 0, 0, 1),
    "180": (-1, 0, 0, -1, 1, 1),
    "270": (0, 1, -1, 0, 1, 0),
}
_NO_TURN: Matrix = (1, 0, 0, 1, 0, 0)
_ROTATIONS = {"90": -1, "180": 2, "270": 1}  # quarters against the clock


@dataclass(frozen=True)
class LayerOptions:
    """``password`` of an encrypted original; ``force_text``: pages that have text get it once more."""

    password: str | None = None
    force_text: bool = False


def to_searchable(document: DocumentBlocks, blocks: Path, destination: Path, options: LayerOptions) -> bytes:
    """The PDF; ``blocks`` is where ``document`` was read from, ``destination`` where the PDF goes.

    Raises:
        InputError: the original is gone, has changed, or cannot be opened; something else stands at ``destination``.
        EncryptedError: it needs a password.
    """
    if destination.exists() and (not is_converted(destination) or destination.samefile(document.path or blocks)):
        message = f"{printable(str(destination))} was not written by rtprune convert and is kept"
        raise OutputNameError(message, "Move it, or choose another place with -o")
    read = _read_options(blocks)
    with here(_original(document)) as original:
        if is_pdf(original, read_head(original)):
            return _marked(_from_pdf(document, original, read, options))
        return _marked(_from_images(document, original, read))


def _original(document: DocumentBlocks) -> Document:
    name = printable(document.document.name)
    if document.url is not None:
        return _original_at(document.url, document.document.version, name)
    if document.path is None:
        hint = f"Save it as a file and {AGAIN} on that"
        raise InputError(f"{name} was read from a pipe or out of another file: its pages are not there", hint)
    if not document.path.exists():
        place = printable(str(document.path))
        raise InputError(f"the original of {name} is gone", f"Put it back as {place}, or {AGAIN} where it is now")
    original = Document(document.path, name, PurePosixPath(document.path.stem))
    if content_hash(original) != document.document.sha256:
        raise _changed(name)
    return original


def _original_at(url: str, version: str | None, name: str) -> Document:
    try:
        file = remote.look(url)
    except remote.RemoteError as error:
        raise InputError(f"the original of {name} cannot be fetched: {error.reason}", error.hint) from None
    if file is None or file.version != version:
        raise _changed(name)
    return Document(None, name, PurePosixPath(file.path.stem), remote=file)


def _changed(name: str) -> InputError:
    return InputError(f"{name} has changed since it was read", f"{AGAIN.capitalize()}")


def _read_options(blocks: Path) -> InputOptions:
    """How the pages were drawn to be read, by the report beside ``blocks``; the defaults where there is none."""
    options = InputOptions()
    try:
        report = json.loads(blocks.with_name(f"{blocks.stem}{RECORDS}").read_bytes())
        found = report["settings"]["input"]
        return replace(options, rotate=found["rotate"], max_pixels=found["max_pixels"])
    except Exception:
        log.debug("there is no report beside %s", blocks, exc_info=True)
        return options


def _marked(data: bytes) -> bytes:
    """With a comment by which later runs know the file; no offset in it changes."""
    place = data.rindex(b"startxref", max(0, len(data) - TAIL // 2))
    return data[:place] + CONVERTED_MARK + data[place:]


# --- Original PDFs


def _from_pdf(document: DocumentBlocks, original: Document, read: InputOptions, options: LayerOptions) -> bytes:
    """What is added goes to the end of the file: all that was in it stays as it is."""
    assert original.path is not None
    with tempfile.TemporaryDirectory(prefix="rtprune-") as folder:
        copy = Path(folder, "copy.pdf")
        shutil.copyfile(original.path, copy)
        with (
            opened_pymupdf(original, options.password) as shown,
            opened_pymupdf(replace(original, path=copy), options.password) as pdf,
        ):
            if _is_signed(pdf):
                log.warning("%s is signed: the signature does not hold for the searchable PDF", original.name)
            # It may be a cycle, in which drawing never ends (inputs/mupdf.py).
            shown.xref_set_key(shown.pdf_catalog(), "StructTreeRoot", "null")
            writer, with_text = _Writer(pdf), 0
            pages = [page for page in document.pages if page.size is not None and page.page <= pdf.page_count]
            for done, page in enumerate(pages, 1):
                sheet = _sheet(shown, page.page)
                if not options.force_text and _has_text(sheet, page):
                    with_text += 1
                else:
                    lines = page_lines(page.blocks, page.size or (1, 1), _drawn(sheet, read.rotate))
                    writer.add(pdf.load_page(page.page - 1), lines, _to_page(sheet, page, read.rotate))
                if done % PAGES_KEPT == 0:
                    quiet_pymupdf().TOOLS.store_shrink(100)
            if with_text:
                what = f"{with_text} page{' has' if with_text == 1 else 's have'} text already"
                log.log(NOTICE, "%s: %s and get%s no other; --force-text adds it", original.name, what,
                        "s" if with_text == 1 else "")  # fmt: skip
            writer.finish()
            if pdf.can_save_incrementally():
                pdf.saveIncr()
                return copy.read_bytes()
            return bytes(pdf.tobytes(encryption=quiet_pymupdf().PDF_ENCRYPT_KEEP))


def _sheet(shown: Any, number: int) -> Any:
    """The page as it was read: with its media box where its crop box shows nothing of it (inputs/mupdf.py)."""
    sheet = shown.load_page(number - 1)
    if not sheet.cropbox.intersects(sheet.mediabox):
        shown.xref_set_key(sheet.xref, "CropBox", shown.xref_get_key(sheet.xref, "MediaBox")[1])
        sheet = shown.load_page(number - 1)
    return sheet


def _is_signed(pdf: Any) -> bool:
    if pdf.get_sigflags() < 1:
        return False
    return any(
        widget.is_signed for page in pdf for widget in page.widgets(types=[quiet_pymupdf().PDF_WIDGET_TYPE_SIGNATURE])
    )


def _has_text(sheet: Any, page: PageBlocks) -> bool:
    own = len("".join(sheet.get_text().split()))
    read = sum(len("".join(block_text(block).split())) for block in page.blocks)
    return own > STAMP * read


def _drawn(sheet: Any, rotate: str) -> Grey | None:
    """The page in grey, turned as it was read; None where it cannot be drawn."""
    pymupdf = quiet_pymupdf()
    try:
        scale = min(DRAWN_DPI / 72, LONGEST_DRAWN / max(sheet.rect.width, sheet.rect.height))
        pixmap = sheet.get_pixmap(matrix=pymupdf.Matrix(scale, scale), colorspace=pymupdf.csGRAY, alpha=False)
    except Exception:
        log.debug("a page cannot be drawn", exc_info=True)
        return None
    grey = np.frombuffer(pixmap.samples, np.uint8).reshape(pixmap.height, pixmap.width)
    return np.rot90(grey, _ROTATIONS.get(rotate, 0))


def _to_page(sheet: Any, page: PageBlocks, rotate: str) -> Matrix:
    """From pixels of the page as it was read to the coordinates of the page in its file."""
    pymupdf = quiet_pymupdf()
    width, height = page.size or (1, 1)
    # To what is shown: through /Rotate, the corner of the crop box, and the user unit.
    mupdf = pymupdf.mupdf
    transform = mupdf.FzMatrix()
    mupdf.pdf_page_transform(mupdf.pdf_page_from_fz_page(sheet.this), mupdf.FzRect(), transform)
    shown = ~pymupdf.Matrix(transform.a, transform.b, transform.c, transform.d, transform.e, transform.f)
    whole = multiplied((1 / width, 0, 0, 1 / height, 0, 0), _TURNS.get(rotate, _NO_TURN))
    whole = multiplied(whole, (sheet.rect.width, 0, 0, sheet.rect.height, 0, 0))
    return multiplied(whole, (shown.a, shown.b, shown.c, shown.d, shown.e, shown.f))


class _Writer:
    """Adds text to the pages of a PDF, all in one font."""

    def __init__(self, pdf: Any) -> None:
        self._pdf, self._font = pdf, GlyphlessFont()
        self._xref: int | None = None  # of the font, where there is text

    def add(self, page: Any, lines: list[Any], to_page: Matrix) -> None:
        """Write lines below what is on the page, whose content may leave the coordinates changed."""
        if not lines:
            return
        if self._xref is None:
            self._xref = self._pdf.get_new_xref()
            self._pdf.update_object(self._xref, "<<>>")
        stream = self._pdf.get_new_xref()
        self._pdf.update_object(stream, "<<>>")
        self._pdf.update_stream(stream, content(lines, to_page, self._font))
        own = " ".join(f"{xref} 0 R" for xref in [stream, *page.get_contents()])
        self._pdf.xref_set_key(page.xref, "Contents", f"[{own}]")
        self._name_font(page.xref, self._xref)

    def _name_font(self, page: int, font: int) -> None:
        """In the page's resources, which may be those of a node above it, or objects of their own."""
        pdf, node, above = self._pdf, page, {page}
        while pdf.xref_get_key(node, "Resources")[0] == "null":
            kind, parent = pdf.xref_get_key(node, "Parent")
            if kind != "xref" or (node := _number(parent)) in above:
                node = page
                break
            above.add(node)
        path: tuple[str, ...] = ()
        for name in ("Resources", "Font"):
            path = (*path, name)
            kind, value = pdf.xref_get_key(node, "/".join(path))
            if kind == "xref":
                node, path = _number(value), ()
        pdf.xref_set_key(node, "/".join((*path, FONT)), f"{font} 0 R")

    def finish(self) -> None:
        """Write the font, when all characters are known."""
        if self._xref is not None:
            self._font.embed(self._pdf, self._xref)


def _number(reference: str) -> int:
    return int(reference.split()[0])


# --- Images


def _from_images(document: DocumentBlocks, original: Document, read: InputOptions) -> bytes:
    pymupdf = quiet_pymupdf()
    with pymupdf.open() as pdf:
        writer = _Writer(pdf)
        for page, image in _images(document, original, read):
            width, height = image.size
            dpi = max(_dpi(image), 72 * max(width, height) / LARGEST_PAGE)
            sheet = pdf.new_page(width=width * 72 / dpi, height=height * 72 / dpi)
            sheet.insert_image(sheet.rect, stream=_encoded(image, original, read))
            grey = np.asarray(image.convert("L"))
            size = page.size or image.size
            to_page = (sheet.rect.width / size[0], 0, 0, -sheet.rect.height / size[1], 0, sheet.rect.height)
            writer.add(sheet, page_lines(page.blocks, size, grey), to_page)
        if not pdf.page_count:
            raise InputError(f"{original.name} has no page that can be drawn", "Repair the file or get it again")
        writer.finish()
        return bytes(pdf.tobytes(deflate=True))


def _images(document: DocumentBlocks, original: Document, read: InputOptions) -> Iterator[tuple[PageBlocks, Image]]:
    with open_document(original, read) as opened:
        for page in document.pages:
            drawn = opened.read(page.page) if page.page <= opened.count else None
            if drawn is None or isinstance(drawn, PageFault):
                log.warning("%s cannot be drawn and is left out", page_name(original, page.page))
            else:
                yield page, drawn.image


def _dpi(image: Image) -> float:
    """What the file says, if that is likely. Where it is not the same across and down, the image has been made so."""
    try:
        found = float(max(image.info["dpi"]))
    except (LookupError, TypeError, ValueError):
        return IMAGE_DPI
    return found if LIKELY_DPI[0] <= found <= LIKELY_DPI[1] else IMAGE_DPI


def _encoded(image: Image, original: Document, read: InputOptions) -> bytes:
    """The image as a file: a JPEG as it is where that is how it was read; others without a loss, with no more colours
    than they have."""
    from PIL import Image

    assert original.path is not None
    with Image.open(original.path) as file:  # of any size, as the document is open (inputs/images.py)
        is_jpeg = file.format in ("JPEG", "MPO")
        upright = file.getexif().get(ORIENTATION, 1) == 1 and read.rotate not in _TURNS
        if is_jpeg and upright and file.mode in ("L", "RGB") and file.size == image.size:
            return original.path.read_bytes()
    buffer = io.BytesIO()
    if is_jpeg:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
        return buffer.getvalue()
    pixels = np.asarray(image)
    if (pixels[..., :1] == pixels).all():
        levels = image.convert("L")
        image = levels.convert("1", dither=Image.Dither.NONE) if not any(levels.histogram()[1:255]) else levels
    image.save(buffer, "PNG")
    return buffer.getvalue()
