"""PDF pages through PyMuPDF."""

from __future__ import annotations

import functools
import itertools
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rtprune_cli.errors import EncryptedError, InputError
from rtprune_cli.failures import page_name
from rtprune_cli.inputs.embedded import guard_images
from rtprune_cli.inputs.formats import Source, guard
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("rtprune")

PAGES_KEPT = 16  # fonts that come again on the next page are loaded again after so many


@functools.cache
def _pymupdf() -> Any:
    """PyMuPDF, told not to print: standard output belongs to the results."""
    import pymupdf

    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    pymupdf.set_messages(pylogging=True, pylogging_name="rtprune.mupdf", pylogging_level=logging.DEBUG)
    return pymupdf


@contextmanager
def opened_pdf(document: Document, options: InputOptions) -> Iterator[Source]:
    """Open a PDF; raises InputError or EncryptedError."""
    pymupdf = _pymupdf()
    try:
        pdf = pymupdf.open(**_where(document), filetype="pdf")
    except Exception as error:
        log.debug("MuPDF cannot open %s", document.name, exc_info=True)
        if "encryption handler" in str(error.__cause__):
            message = f"{document.name} is encrypted in a way that cannot be read"
            raise EncryptedError(message, "Save an unprotected copy first") from None
        raise InputError(f"{document.name} is damaged or truncated", "Repair the file or get it again") from None
    with pdf:
        if pdf.needs_pass and not pdf.authenticate(options.password or ""):
            if options.password is None:
                raise EncryptedError(f"{document.name} is encrypted", "Give --password")
            raise EncryptedError(f"the password for {document.name} is wrong", "Check --password")
        warning = f"{document.name} is damaged: what could be repaired is read" if pdf.is_repaired else None
        made = itertools.count(1)

        def raster(number: int) -> Image:
            try:
                return _pdf_page(pdf, document, number, options)
            finally:
                if next(made) % PAGES_KEPT == 0:
                    _forget(pdf)

        yield Source(_pdf_count(pdf), options.dpi, raster, warning)


def _pdf_count(pdf: Any) -> int:
    try:
        return int(pdf.page_count)
    except Exception:  # a broken page tree: the caller reports a file without pages
        log.debug("MuPDF cannot count pages", exc_info=True)
        return 0


def _where(document: Document) -> dict[str, Any]:
    if document.data is not None:
        return {"stream": document.data}
    assert document.path is not None
    try:
        str(document.path).encode()
    except UnicodeEncodeError:  # MuPDF takes names as UTF-8 only
        return {"stream": document.path.read_bytes()}
    return {"filename": str(document.path)}


def _pdf_page(pdf: Any, document: Document, number: int, options: InputOptions) -> Image:
    from PIL import Image

    pymupdf = _pymupdf()
    pymupdf.TOOLS.reset_mupdf_warnings()
    page = pdf.load_page(number - 1)
    scale = options.dpi / 72
    width, height = page.rect.width * scale, page.rect.height * scale
    guard(document, number, width, height, options.max_pixels, "Lower --dpi, or raise")
    drawing = page.get_displaylist()
    guard_images(document, number, drawing, options.max_pixels)
    pixmap = drawing.get_pixmap(matrix=pymupdf.Matrix(scale, scale), colorspace=pymupdf.csRGB, alpha=False)
    image: Image.Image = Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples_mv)
    # MuPDF paints a page whose objects are missing as blank paper and only warns. (Its own is_unicolor takes five
    # seconds for a blank page.)
    if re.search("error|cannot|non-page|not a stream", pymupdf.TOOLS.mupdf_warnings()) and image.getcolors(1):
        message = f"{page_name(document, number)} is damaged: its content is missing"
        raise InputError(message, "Repair the file or get it again")
    return image


def _forget(pdf: Any) -> None:
    """Drop what MuPDF keeps of the pages so far: decoded images and fonts, up to 256 MB, and every object it parsed,
    without a limit. All of it is read again where it is needed."""
    mupdf = _pymupdf().mupdf
    try:
        mupdf.fz_empty_store()
        mupdf.pdf_minimize_document(mupdf.pdf_document_from_fz_document(pdf.this))
    except Exception:  # tidying up must not cost the page
        log.debug("MuPDF cannot drop what it keeps", exc_info=True)
