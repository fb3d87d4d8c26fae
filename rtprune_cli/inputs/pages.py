"""A document's pages as upright RGB images, opened by content and rasterised one at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager

from rtprune_cli.errors import EmptyFileError, InputError, PageRangeError, RtpruneError
from rtprune_cli.failures import page_name
from rtprune_cli.inputs.content import read_head
from rtprune_cli.inputs.formats import Source, reason
from rtprune_cli.inputs.images import opened_image
from rtprune_cli.inputs.pdf import opened_pdf
from rtprune_cli.inputs.ranges import parse_pages
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document, PageFault, PageImage

log = logging.getLogger("rtprune")


class OpenDocument:
    """A document that is open: how many pages, what is wrong with it, and its pages one at a time."""

    def __init__(self, document: Document, source: Source) -> None:
        self._document = document
        self._source = source

    @property
    def count(self) -> int:
        """How many pages it has."""
        return self._source.pages

    @property
    def warning(self) -> str | None:
        """What a user should know of it; to be said once."""
        return self._source.warning

    def read(self, page: int) -> PageImage | PageFault:
        """Rasterise a 1-based page. MuPDF is not safe for threads: one at a time in a process."""
        start = time.perf_counter()
        try:
            image = self._source.raster(page)
        except RtpruneError as error:
            return PageFault(self._document, page, error, self.warning)
        # Decoders fed with hostile bytes raise almost anything; the page fails, the document goes on.
        except Exception as error:
            name = page_name(self._document, page)
            log.debug("%s", name, exc_info=True)
            message = f"{name} cannot be read: {reason(error)}"
            error = InputError(message, "Repair the file or scan the page again")
            return PageFault(self._document, page, error, self.warning)
        rasterise_ms = (time.perf_counter() - start) * 1000
        return PageImage(self._document, page, image, self._source.dpi, rasterise_ms, self.warning)


@contextmanager
def open_document(document: Document, options: InputOptions) -> Iterator[OpenDocument]:
    """Open a document by its content, not by its extension.

    Raises:
        EmptyFileError: zero bytes.
        EncryptedError: a password is missing or wrong.
        UnsupportedFileError: not a type that is read.
        InputError: missing, forbidden or damaged beyond repair.
    """
    head = read_head(document)
    if not head:
        raise EmptyFileError(f"{document.name} is empty", "Copy or download the file again")
    opener = opened_pdf if b"%PDF-" in head else opened_image
    with opener(document, options) as source:
        if source.pages < 1:
            raise InputError(f"{document.name} is damaged: no page can be found", "Repair the file or get it again")
        yield OpenDocument(document, source)


def select_pages(document: Document, options: InputOptions) -> list[int]:
    """The 1-based pages that :func:`read_pages` will yield, in that order; nothing is rasterised.

    Raises:
        InputError: as in :func:`open_document`.
        PageRangeError: ``options.pages`` does not fit the document.
    """
    with open_document(document, options) as opened:
        return _selected(document, options, opened.count)


def read_pages(
    document: Document, options: InputOptions, skip: Collection[int] = ()
) -> Generator[PageImage | PageFault, None, None]:
    """Rasterise the pages that ``options.pages`` selects, one in memory at a time.

    Pages in ``skip`` are left out: an earlier run has read them. A page that fails is yielded as a
    :class:`PageFault` and the next one follows. MuPDF is not safe for threads: exhaust or close one iterator before
    another thread starts one.

    Raises:
        InputError: as in :func:`open_document`.
        PageRangeError: ``options.pages`` does not fit the document.
    """
    with open_document(document, options) as opened:
        pages = [page for page in _selected(document, options, opened.count) if page not in skip]
        if opened.warning:
            log.warning("%s", opened.warning)
        for page in pages:
            yield opened.read(page)  # no name for it: the consumer may be done with it while the next one is made


def _selected(document: Document, options: InputOptions, count: int) -> list[int]:
    try:
        return parse_pages(options.pages, count)
    except PageRangeError as error:
        raise PageRangeError(f"{document.name}: {error.message}", error.hint) from None
