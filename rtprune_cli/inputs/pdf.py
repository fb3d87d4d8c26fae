"""PDFs: MuPDF reads them, and PDFium those pages that it cannot."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from rtprune_cli.errors import EncryptedError, InputError
from rtprune_cli.failures import page_name
from rtprune_cli.inputs.formats import Raster, Source
from rtprune_cli.inputs.mupdf import gave_up, opened_by_mupdf
from rtprune_cli.inputs.pdfium import opened_by_pdfium
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document

log = logging.getLogger("rtprune")

MORE_INK = 1.02  # times MuPDF's; below, two programs differ by how they smooth


@contextmanager
def opened_pdf(document: Document, options: InputOptions) -> Iterator[Source]:
    """Open a PDF by the reader that ``options.pdf_reader`` names.

    Raises:
        InputError: it cannot be opened.
        EncryptedError: a password is missing or wrong.
    """
    if options.pdf_reader == "pdfium" or not _is_installed("pymupdf"):
        opened = opened_by_pdfium
    elif options.pdf_reader == "pymupdf" or not _is_installed("pypdfium2"):
        opened = opened_by_mupdf
    else:
        opened = _opened_by_both
    with opened(document, options) as source:
        yield source


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


@contextmanager
def _opened_by_both(document: Document, options: InputOptions) -> Iterator[Source]:
    with ExitStack() as stack:
        try:
            first = stack.enter_context(opened_by_mupdf(document, options))
        except EncryptedError:
            raise
        except InputError as error:
            try:
                second = stack.enter_context(opened_by_pdfium(document, options))
            except InputError:
                raise error from None
            if second.pages < 1:
                raise
            log.debug("%s is read by PDFium", document.name)
            yield second
            return
        pair = _Pair(document, options, first, stack)
        yield first._replace(raster=pair.raster)


class _Pair:
    """Draws by MuPDF, and by PDFium what MuPDF could not; that opens the file only when it is needed."""

    def __init__(self, document: Document, options: InputOptions, first: Source, stack: ExitStack) -> None:
        self._document, self._options, self._first, self._stack = document, options, first, stack
        self._second: Source | None = None
        self._lost = False

    def raster(self, number: int) -> Raster:
        """The page as MuPDF draws it; where that fails, lacks something or is blank, the one with more ink."""
        try:
            drawn = self._first.raster(number)
        except Exception:
            other = self._other(number)
            # Blank paper is what PDFium, too, makes of a page whose objects are missing.
            if other is None or not other.has_ink:
                raise
            return other
        if not drawn.warnings and drawn.has_ink:
            return drawn
        other = self._other(number)
        if other is None:
            return drawn
        if ink(other) <= MORE_INK * ink(drawn):
            # What MuPDF gave up on was no more than what PDFium, which does not give up, cannot draw either.
            return replace(drawn, warnings=()) if gave_up(drawn) else drawn
        # It, too, may lack something, and does not say so.
        return replace(other, warnings=drawn.warnings, text=drawn.text)

    def _other(self, number: int) -> Raster | None:
        """The page as PDFium draws it; None where it cannot."""
        try:
            if self._second is None and not self._lost:
                self._lost = True  # unless it opens
                self._second = self._stack.enter_context(opened_by_pdfium(self._document, self._options))
            if self._second is not None and number <= self._second.pages:
                return self._second.raster(number)
        except Exception:
            log.debug("PDFium cannot draw %s", page_name(self._document, number), exc_info=True)
        return None


def ink(drawn: Raster) -> float:
    """How much is on the page: the sum of what its pixels are darker than the lightest of them, a pixel at 100 dpi."""
    levels = drawn.image.convert("L").histogram()
    lightest = max((level for level, count in enumerate(levels) if count), default=255)
    dark = sum((lightest - level) * count for level, count in enumerate(levels[:lightest]))
    return dark / ((drawn.dpi or 100) / 100) ** 2
