"""Markdown on standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TextIO

from rtprune_cli.outputs.naming import Occupancy
from rtprune_cli.outputs.pages import document_line, join, page_text, without_crops
from rtprune_cli.outputs.shards import ShardNote
from rtprune_cli.records import Document, Earlier, PageRecord, PageResult
from rtprune_cli.storage import output_error

STDOUT = "-"


class StreamOutput:
    """The same markdown page by page on a text stream (``-o -``): no folder, no report, no crops, nothing to resume."""

    def __init__(self, stream: TextIO | None = None, *, several: bool = False) -> None:
        """``several``: documents, each of which begins with a line that names it."""
        self._stream = sys.stdout if stream is None else stream
        self._first = True
        self._several = several
        self._document: Document | None = None

    def __enter__(self) -> StreamOutput:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def occupancy(self, document: Document, content: Callable[[], str]) -> Occupancy:
        """A stream has room for every document."""
        return "free"

    def earlier(self, document: Document, fingerprint: str) -> Earlier:
        """A stream remembers nothing."""
        return Earlier()

    def place(self, document: Document) -> str:
        """Standard output, for every document."""
        return STDOUT

    def text_path(self, document: Document) -> str | None:
        """None: there is no file."""
        return None

    def begin_shard(self, note: ShardNote) -> None:
        """A stream is not merged."""

    def start(self, document: Document, fingerprint: str, content: str, keep: frozenset[int]) -> None:
        """Nothing to open."""

    def add(self, result: PageResult) -> None:
        """Write one page and flush.

        Raises:
            BrokenPipeError: the reader has gone.
            OutputError: any other failure to write.
        """
        pages = [page_text(result.record, without_crops(result))]
        if self._several and result.document is not self._document:
            pages.insert(0, document_line(result.document))
            self._document = result.document
        self._write(b"" if self._first else b"\n", join(pages))
        self._first = False

    def finish(self, document: Document, pages: Sequence[int], settings: Mapping[str, Any]) -> None:
        """Nothing is left to write: pages went out as they came."""

    def skip(self, document: Document, records: Sequence[PageRecord]) -> None:
        """Never called: nothing is finished earlier."""

    def unsaved(self, *, wait: bool = False) -> Sequence[PageResult]:
        """None: what was written is out."""
        return ()

    def report_place(self) -> str | None:
        """None: there is no report."""
        return None

    def _write(self, *chunks: bytes) -> None:
        data = b"".join(chunks)
        try:
            buffer = getattr(self._stream, "buffer", None)
            self._stream.flush()
            if buffer is None:
                self._stream.write(data.decode())
            else:  # UTF-8 and bare newlines whatever the locale and the platform
                buffer.write(data)
                buffer.flush()
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise output_error("standard output", error) from None
