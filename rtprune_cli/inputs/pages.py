"""A document's pages as upright RGB images, opened by content and rasterised one at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager

from rtprune_cli.errors import EmptyFileError, InputError, PageRangeError, RtpruneError
from rtprune_cli.inputs.content import read_head
from rtprune_cli.inputs.formats import Source, reason
from rtprune_cli.inputs.images import opened_image
from rtprune_cli.inputs.pdf import opened_pdf
from rtprune_cli.inputs.ranges import parse_pages
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document, PageFault, PageImage

log = logging.getLogger("rtprune")


def select_pages(document: Document, options: InputOptions) -> list[int]:
    """The 1-based pages that :func:`read_pages` will yield, in that order; nothing is rasterised.

    Raises:
        InputError: as in :func:`read_pages`.
        PageRangeError: as in :func:`read_pages`.
    """
    with _opened(document, options) as source:
        return _selected(document, options, source.pages)


def read_pages(
    document: Document, options: InputOptions, skip: Collection[int] = ()
) -> Generator[PageImage | PageFault, None, None]:
    """Rasterise the pages that ``options.pages`` selects, one in memory at a time.

    Pages in ``skip`` are left out: an earlier run has read them. A page that fails is yielded as a
    :class:`PageFault` and the next one follows. MuPDF is not safe for threads: exhaust or close one iterator before
    another thread starts one.

    Raises:
        EmptyFileError: zero bytes.
        EncryptedError: a password is missing or wrong.
        UnsupportedFileError: not a type that is read.
        InputError: missing, forbidden or damaged beyond repair.
        PageRangeError: ``options.pages`` does not fit the document.
    """
    with _opened(document, options) as source:
        pages = [page for page in _selected(document, options, source.pages) if page not in skip]
        if source.warning:
            log.warning("%s", source.warning)
        for page in pages:
            start = time.perf_counter()
            try:
                image = source.raster(page)
            except RtpruneError as error:
                yield PageFault(document, page, error)
                continue
            # Decoders fed with hostile bytes raise almost anything; the page fails, the document goes on.
            except Exception as error:
                log.debug("page %d of %s", page, document.name, exc_info=True)
                message = f"page {page} of {document.name} cannot be read: {reason(error)}"
                yield PageFault(document, page, InputError(message, "Repair the file or scan the page again"))
                continue
            yield PageImage(document, page, image, source.dpi, (time.perf_counter() - start) * 1000)
            del image  # the consumer may be done with it while the next page is made


def _selected(document: Document, options: InputOptions, count: int) -> list[int]:
    try:
        return parse_pages(options.pages, count)
    except PageRangeError as error:
        raise PageRangeError(f"{document.name}: {error.message}", error.hint) from None


@contextmanager
def _opened(document: Document, options: InputOptions) -> Iterator[Source]:
    """Open by content, not by extension."""
    head = read_head(document)
    if not head:
        raise EmptyFileError(f"{document.name} is empty", "Copy or download the file again")
    opener = opened_pdf if b"%PDF-" in head else opened_image
    with opener(document, options) as source:
        if source.pages < 1:
            raise InputError(f"{document.name} is damaged: no page can be found", "Repair the file or get it again")
        yield source
