"""One page made ready, whichever process does it."""

from __future__ import annotations

import time
from contextlib import ExitStack

from rtprune_cli.errors import PageFailedError, RtpruneError
from rtprune_cli.failures import at_page
from rtprune_cli.inputs.pages import OpenDocument, open_document
from rtprune_cli.options import InputOptions, Mode
from rtprune_cli.records import Document, PageFault, PageImage, PreparedPage
from rtprune_cli.views import make_views

Outcome = PreparedPage | PageFault


class PageLoader:
    """Makes pages ready, one at a time. Keeps the last document open: a damaged one is repaired at each opening."""

    def __init__(self, options: InputOptions, mode: Mode) -> None:
        self._options = options
        self._mode = mode
        self._stack = ExitStack()
        self._document: Document | None = None
        self._opened: OpenDocument | None = None

    def load(self, document: Document, page: int) -> Outcome:
        """Rasterise and resize a 1-based page. What can be wrong with it or its document is in the answer."""
        try:
            if self._opened is None or document != self._document:
                self.close()
                self._opened = self._stack.enter_context(open_document(document, self._options))
                self._document = document
        except RtpruneError as error:
            return PageFault(document, None, error)
        image = self._opened.read(page)
        return image if isinstance(image, PageFault) else self._prepared(image)

    def close(self) -> None:
        """Close the document that is open."""
        self._opened = self._document = None
        self._stack.close()

    def _prepared(self, page: PageImage) -> Outcome:
        start = time.perf_counter()
        try:
            with at_page(page.document, page.page):
                views = make_views(page.image, self._mode)
        except PageFailedError as error:
            return PageFault(page.document, page.page, error, page.warning)
        return PreparedPage(page, views, (time.perf_counter() - start) * 1000)
