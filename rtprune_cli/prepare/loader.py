"""One page made ready, whichever process does it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from rtprune_cli.errors import PageFailedError, RtpruneError
from rtprune_cli.failures import at_page
from rtprune_cli.inputs.pages import OpenDocument, open_document
from rtprune_cli.options import InputOptions
from rtprune_cli.records import Document, PackedImage, PageFault, PageImage, PreparedPage, ViewSpec
from rtprune_cli.views import make_views

# A page with its views; one that needs none, as it was not asked for them or its text is known; or what went wrong
Outcome = PreparedPage | PageImage | PageFault

# Pixels above which a page waits for its turn in packed form. An A4 page at 200 dpi has 3.9 million; packing takes some
# 60 ms of it, as long as drawing, and saves 10 MB.
PACKED_PIXELS = 4_500_000


class PageLoader:
    """Makes pages ready, one at a time. Keeps the last document open: a damaged one is repaired at each opening."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._key: tuple[Document, InputOptions] | None = None
        self._opened: OpenDocument | None = None

    def load(self, document: Document, page: int, options: InputOptions, spec: ViewSpec | None) -> Outcome:
        """Rasterise a 1-based page, and with a ``spec`` resize it. What can be wrong with it or its document is in the
        answer."""
        try:
            if self._opened is None or self._key != (document, options):
                self.close()
                self._opened = self._stack.enter_context(open_document(document, options))
                self._key = document, options
        except RtpruneError as error:
            return PageFault(document, None, error)
        image = self._opened.read(page)
        return image if isinstance(image, PageFault) else self._prepared(image, spec)

    def close(self) -> None:
        """Close the document that is open."""
        self._opened = self._key = None
        self._stack.close()

    def _prepared(self, page: PageImage, spec: ViewSpec | None) -> Outcome:
        if spec is None:
            return page
        start = time.perf_counter()
        try:
            with at_page(page.document, page.page):
                views = None if page.text is not None else make_views(page.image, spec)
                if page.size[0] * page.size[1] > PACKED_PIXELS:
                    page = replace(page, pixels=PackedImage.of(page.image))
        except PageFailedError as error:
            return PageFault(page.document, page.page, error, page.warnings, page.about)
        return page if views is None else PreparedPage(page, views, (time.perf_counter() - start) * 1000)
