"""One worker process for what is done one at a time: looking into documents, and pages that none works ahead for.

Whatever opens a file that nobody vouches for happens in a process that can be killed. It is kept for the next run of
this process: starting one takes half a second.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from rtprune_cli.errors import DocumentTimeoutError, InputError, PageTimeoutError, RtpruneError
from rtprune_cli.failures import page_name, tell_warnings
from rtprune_cli.inputs.content import here
from rtprune_cli.inputs.formats import EXTENSIONS, PDF, printable
from rtprune_cli.inputs.pages import open_document
from rtprune_cli.inputs.pages import select_pages as select_pages_here
from rtprune_cli.inputs.passing import PassingFile
from rtprune_cli.options import InputOptions
from rtprune_cli.prepare import worker
from rtprune_cli.prepare.loader import Outcome, PageLoader
from rtprune_cli.prepare.pool import Call, Job, Overdue, Pool, handle
from rtprune_cli.records import Document, PageFault, PageImage, ViewSpec

log = logging.getLogger("rtprune")

CRASHED = "Repair the file, or see whether the machine ran out of memory"


class Guard:
    """A worker process that is started when it is first asked, and again after it had to be killed."""

    def __init__(self) -> None:
        self._pool = Pool(places=1)
        self._lock = threading.RLock()  # one at a time, whichever thread asks
        self._owner = os.getpid()
        self._level = -1
        self._here: PageLoader | None = None  # where no process can be started

    def start(self) -> None:
        """Have the process begin, while this one does something else."""
        self._renew()
        self._pool.warm_up()

    def select(self, document: Document, options: InputOptions) -> list[int]:
        """As :func:`rtprune_cli.inputs.select_pages`.

        Raises:
            DocumentTimeoutError: the document takes too long to open.
        """
        if not self._works():
            with self._lock:
                return select_pages_here(document, options)
        pages, records = self._ask(document, options, worker.count, options)
        handle(records)
        return list(pages)

    def attachments(self, document: Document, options: InputOptions) -> list[tuple[str, bytes]]:
        """The names and bytes of the files inside a document; with the errors of :meth:`select`."""
        if not self._works():
            with open_document(document, options) as opened:
                return opened.attachments()
        return list(self._ask(document, options, worker.attachments, options))

    def load(self, document: Document, page: int, options: InputOptions, spec: ViewSpec | None) -> Outcome:
        """A page, with its views by ``spec``, or without one as an image. What can be wrong with it is in the
        answer."""
        if not self._works():
            assert self._here is not None
            return self._here.load(document, page, options, spec)
        with sendable(document) as source:
            call = Call(Job(document, [page]), page, source, options, spec)
            try:
                made: Outcome = self._asked(call, lambda: self._pool.load(call))
                return made
            except Overdue:
                return timed_out(call)
            except Exception:
                log.debug("%s", page_name(document, page), exc_info=True)
                return crashed(call)

    def close(self) -> None:
        """Let go of the document that is open."""
        if self._here is not None:
            self._here.close()

    def stop(self) -> None:
        """End the process at once; the next call starts another."""
        self._pool.close()
        self._pool = Pool(places=1)

    def _ask(self, document: Document, options: InputOptions, work: Any, *arguments: Any) -> Any:
        with sendable(document) as source:
            call = Call(Job(document, []), 0, source, options, None)
            try:
                return self._asked(call, lambda: self._pool.ask(call, work, *arguments))
            except RtpruneError:
                raise
            except Overdue:
                message = f"{document.name} takes more than {options.page_timeout:g} seconds to open"
                raise DocumentTimeoutError(message, "Repair the file, or raise --page-timeout") from None
            except Exception:
                log.debug("%s", document.name, exc_info=True)
                message = f"{document.name} cannot be opened: it crashed the process that tried"
                raise InputError(message, CRASHED) from None

    def _asked(self, call: Call, ask: Callable[[], Any]) -> Any:
        """What ``ask`` returns; once more where the process was lost before it began with this call. After anything
        that is not an answer the process is ended."""
        with self._lock:
            for again in (True, False):
                try:
                    return ask()
                except RtpruneError:
                    raise
                except BaseException as error:
                    innocent = isinstance(error, Exception) and not self._pool.began(call)
                    self.stop()
                    if not (again and innocent):
                        raise
        return None

    def _works(self) -> bool:
        """Whether a process can be started at all; says so where none can, and then this one does the work."""
        with self._lock:
            self._renew()
            if self._here is None and not self._pool.works_alone():
                log.warning("no worker process can be started: pages are prepared one after the other")
                self._here = PageLoader()
            return self._here is None

    def _renew(self) -> None:
        """A child of a fork has no part in its parent's process; a log that says more wants one that says more."""
        if self._owner != os.getpid():
            self._pool, self._owner = Pool(places=1), os.getpid()
        if self._level != log.getEffectiveLevel():
            self._level = log.getEffectiveLevel()
            self.stop()


_guard = Guard()


def guard() -> Guard:
    """The one of this process."""
    return _guard


@contextmanager
def sendable(document: Document) -> Iterator[Document]:
    """The document as a worker finds it, as a file as long as this lasts: one at a URL, and bytes from standard input,
    which would have to go through a pipe for every page.

    Raises:
        InputError: it cannot be fetched.
    """
    if document.data is None:
        with here(document) as found:
            yield found
        return
    file = PassingFile("" if document.path is None else document.path.suffix, [document.data])
    try:
        yield replace(document, path=file.path, data=None)
    finally:
        file.close()


def timed_out(call: Call) -> PageFault:
    """Of a page that took too long."""
    document, page = call.job.document, call.page
    message = f"{page_name(document, page)} takes more than {call.options.page_timeout:g} seconds to draw"
    return PageFault(document, page, PageTimeoutError(message, "Repair the file, or raise --page-timeout"))


def crashed(call: Call) -> PageFault:
    """Of a page that killed its process."""
    document, page = call.job.document, call.page
    message = f"{page_name(document, page)} cannot be read: it crashed the process that prepared it"
    return PageFault(document, page, InputError(message, CRASHED))


def select_pages(document: Document, options: InputOptions) -> list[int]:
    """As :func:`rtprune_cli.inputs.select_pages`, in a process that can be killed.

    Raises:
        InputError: it cannot be opened.
        DocumentTimeoutError: it takes too long to open.
        PageRangeError: ``options.pages`` does not fit the document.
    """
    return guard().select(document, options)


def read_pages(
    document: Document, options: InputOptions, skip: Collection[int] = ()
) -> Iterator[PageImage | PageFault]:
    """As :func:`rtprune_cli.inputs.read_pages`, in a process that can be killed; with the errors of
    :func:`select_pages`."""
    pages: Sequence[int] = [page for page in select_pages(document, options) if page not in skip]
    told = False
    with sendable(document) as source:
        for page in pages:
            made = guard().load(source, page, options, None)
            assert isinstance(made, (PageImage, PageFault))
            tell_warnings(document, page, made.warnings if told else made.about + made.warnings)
            told = True
            yield replace(made, document=document)


def with_attachments(documents: Iterable[Document], options: InputOptions) -> list[Document]:
    """The documents, each PDF followed by the PDFs and images inside it, as documents of their own: ``a.pdf`` by those
    in ``a-attachments/``. What an attachment holds is not looked into."""
    found = []
    for document in documents:
        found.append(document)
        if document.suffix in ("", PDF):
            try:
                inside = guard().attachments(document, options)
            except RtpruneError:  # reading it says what is wrong
                continue
            folder = document.folder.with_name(f"{document.folder.name}-attachments")
            for name, data in inside:
                own = PurePosixPath(printable(name).replace("\\", "/")).name or "attachment"
                if PurePosixPath(own).suffix.lower() in EXTENSIONS:
                    stem = folder / PurePosixPath(own).stem
                    found.append(Document(None, f"{document.name}/{own}", stem, data))
    return found
