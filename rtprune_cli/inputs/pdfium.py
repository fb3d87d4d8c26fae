"""PDF pages through pypdfium2: a second reader for what MuPDF cannot draw, and the only one where it is not there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rtprune_cli.errors import InputError
from rtprune_cli.inputs.content import where
from rtprune_cli.inputs.formats import Raster, Source
from rtprune_cli.inputs.mupdf import damaged, wrong_password
from rtprune_cli.inputs.sizes import pixels_of
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document

log = logging.getLogger("rtprune")

PASSWORD_ERROR, SECURITY_ERROR = 4, 5  # FPDF_ERR_PASSWORD and FPDF_ERR_SECURITY in fpdfview.h


@contextmanager
def opened_by_pdfium(document: Document, options: InputOptions) -> Iterator[Source]:
    """Open a PDF.

    Raises:
        InputError: it cannot be opened.
        EncryptedError: a password is missing or wrong.
    """
    import pypdfium2  # type: ignore[import-untyped]

    try:
        pdf = pypdfium2.PdfDocument(where(document), password=options.password)
    except pypdfium2.PdfiumError as error:
        log.debug("PDFium cannot open %s", document.name, exc_info=True)
        if getattr(error, "err_code", None) in (PASSWORD_ERROR, SECURITY_ERROR):
            raise wrong_password(document, options.password) from None
        raise damaged(document) from None
    try:
        try:
            pdf.init_forms()  # without, fields are drawn without what was filled in
        except Exception:
            log.debug("PDFium cannot read the forms of %s", document.name, exc_info=True)
        yield Source(len(pdf), lambda number: _page(pdf, document, number, options))
    finally:
        pdf.close()


def _page(pdf: Any, document: Document, number: int, options: InputOptions) -> Raster:
    try:
        page = pdf[number - 1]
    except Exception:
        raise InputError(f"page {number} of {document.name} cannot be loaded", "Repair the file") from None
    try:
        width, height = page.get_size()
        dpi = pixels_of(document, number, width, height, options)
        bitmap = page.render(scale=dpi / 72)
        try:
            image = bitmap.to_pil().convert("RGB")
        finally:
            bitmap.close()
        return Raster(image, dpi, reader="pdfium")
    finally:
        page.close()
