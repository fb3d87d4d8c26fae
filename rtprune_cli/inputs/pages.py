"""A document's pages as upright RGB images, opened by content and rasterised one at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rtprune_cli.errors import EmptyFileError, InputError, PageRangeError, RtpruneError
from rtprune_cli.failures import page_name
from rtprune_cli.inputs.content import read_head
from rtprune_cli.inputs.formats import PDF, Raster, Source, reason, warning
from rtprune_cli.inputs.images import opened_image
from rtprune_cli.inputs.pdf import opened_pdf
from rtprune_cli.inputs.ranges import parse_pages
from rtprune_cli.inputs.sideways import looks_sideways
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document, PageFault, PageImage, WarningRecord

log = logging.getLogger("rtprune")

# How image files begin that may hold "%PDF-" in a comment.
IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8", b"RIFF", b"\0\0\0\x0cjP")
LONGEST_STRIP = 20  # times as long as wide: of the model's 1024 pixels the shorter side has 50, some two lines of text


class OpenDocument:
    """A document that is open: how many pages, what is wrong with it, and its pages one at a time."""

    def __init__(self, document: Document, source: Source, options: InputOptions) -> None:
        self._document = document
        self._source = source
        self._options = options

    @property
    def count(self) -> int:
        """How many pages it has."""
        return self._source.pages

    @property
    def about(self) -> tuple[WarningRecord, ...]:
        """What a user should know of it; to be said once."""
        return self._source.about

    def attachments(self) -> list[tuple[str, bytes]]:
        """The names and bytes of the files inside."""
        return self._source.attachments()

    def read(self, page: int) -> PageImage | PageFault:
        """Rasterise a 1-based page. MuPDF is not safe for threads: one at a time in a process."""
        started, start = time.time(), time.perf_counter()
        try:
            drawn = self._source.raster(page)
        except RtpruneError as error:
            return PageFault(self._document, page, error, about=self.about)
        # Decoders fed with hostile bytes raise almost anything; the page fails, the document goes on.
        except Exception as error:
            name = page_name(self._document, page)
            log.debug("%s", name, exc_info=True)
            message = f"{name} cannot be read: {reason(error)}"
            error = InputError(message, "Repair the file or scan the page again")
            return PageFault(self._document, page, error, about=self.about)
        drawn, text = _turned(drawn, self._options.rotate), drawn.text
        if self._options.skip_blank and not drawn.warnings and not drawn.has_ink:
            text = ""
        rasterise_ms = (time.perf_counter() - start) * 1000
        return PageImage(
            self._document, page, drawn.image, drawn.dpi, rasterise_ms, drawn.warnings + _hard_to_read(drawn),
            self.about, drawn.reader, text, started,
        )  # fmt: skip


def _turned(drawn: Raster, rotate: str) -> Raster:
    from PIL import Image

    turns = {"90": Image.Transpose.ROTATE_270, "180": Image.Transpose.ROTATE_180, "270": Image.Transpose.ROTATE_90}
    return drawn if rotate not in turns else replace(drawn, image=drawn.image.transpose(turns[rotate]))


def _hard_to_read(drawn: Raster) -> tuple[WarningRecord, ...]:
    """What the model will hardly read on a page that is whole."""
    width, height = drawn.image.size
    if max(width, height) > LONGEST_STRIP * min(width, height):
        message = f"the page is a strip of {width} x {height} pixels, too long to be read: cut it into pages"
        return warning("stretched", message)
    if looks_sideways(drawn.image):
        return warning("sideways", "the lines seem to run vertically: see --rotate")
    return ()


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
    with (opened_pdf if is_pdf(document, head) else opened_image)(document, options) as source:
        if source.pages < 1:
            raise InputError(f"{document.name} is damaged: no page can be found", "Repair the file or get it again")
        yield OpenDocument(document, source, options)


def is_pdf(document: Document, head: bytes) -> bool:
    """By its header, which may stand after some junk; or by its name, where it looks like nothing else."""
    if head.startswith(IMAGE_STARTS):
        return False
    return b"%PDF-" in head or document.suffix == PDF


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
        for each in opened.about:
            log.warning("%s", each.message)
        for page in pages:
            yield opened.read(page)  # no name for it: the consumer may be done with it while the next one is made


def _selected(document: Document, options: InputOptions, count: int) -> list[int]:
    try:
        return parse_pages(options.pages, count)[: options.max_pages]
    except PageRangeError as error:
        raise PageRangeError(f"{document.name}: {error.message}", error.hint) from None
