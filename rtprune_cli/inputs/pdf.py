"""PDF pages through PyMuPDF."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rtprune_cli.errors import EncryptedError, InputError
from rtprune_cli.inputs.formats import Source, guard
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("rtprune")


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
        yield Source(_pdf_count(pdf), options.dpi, lambda page: _pdf_page(pdf, document, page, options), warning)


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
    pixmap = page.get_pixmap(dpi=options.dpi, colorspace=pymupdf.csRGB, alpha=False)
    # MuPDF paints a page whose objects are missing as blank paper and only warns.
    if pixmap.is_unicolor and re.search("error|cannot|non-page", pymupdf.TOOLS.mupdf_warnings()):
        message = f"page {number} of {document.name} is damaged: its content is missing"
        raise InputError(message, "Repair the file or get it again")
    image: Image.Image = Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples_mv)
    return image
