"""A worker process: its beginning and end, and how a page goes back to the parent."""

from __future__ import annotations

import io
import logging
import os
import pickle
import signal
import struct
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from rtprune_cli.inputs import select_pages
from rtprune_cli.options import InputOptions
from rtprune_cli.prepare.loader import Outcome, PageLoader
from rtprune_cli.records import Document, ViewSpec

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

log = logging.getLogger("rtprune")

KEPT_MEMORY = 64 * 2**20  # bytes of shared memory that a place for a page keeps for the next one
START = struct.Struct("d")  # when a call's work began, by the system's monotonic clock; 0 before that
PR_SET_PDEATHSIG = 1  # prctl(2)


class Answer(NamedTuple):
    """A pickled :class:`Outcome`. Its ``buffers`` are in the page's place in memory, or here where that has no room."""

    body: bytes
    sizes: list[int]
    buffers: list[bytes] | None
    records: list[logging.LogRecord]


class _Worker(NamedTuple):
    loader: PageLoader
    memory: Sequence[Connection]
    starts: Connection | None
    records: _Records


_worker: _Worker  # set by begin


def begin(level: int, parent: Connection, memory: Sequence[Connection], starts: Connection | None) -> None:
    """Begin a worker. ``starts`` is where it says when each call's work began."""
    global _worker
    _die_with_parent()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where signals cannot be blocked before it starts
    os.dup2(2, 1)  # standard output belongs to the results
    if level > logging.DEBUG:
        warnings.simplefilter("ignore")  # of libraries, as logs.py does
    records = _Records()
    log.handlers, log.propagate = [records], False
    log.setLevel(level)
    logging.getLogger().handlers = [records if level <= logging.DEBUG else logging.NullHandler()]
    _worker = _Worker(PageLoader(), memory, starts, records)


def _die_with_parent() -> None:
    """Have the system kill this process with its parent: inside MuPDF no thread of Python's can end it."""
    if sys.platform == "linux":
        import ctypes

        with suppress(Exception):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with(parent: Connection) -> None:
    """End this process when the parent has gone, however it went: it holds the other end and never writes."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def ready() -> None:
    """What a worker can do when it can do anything."""


def work(document: Document, page: int, place: int, options: InputOptions, spec: ViewSpec | None) -> Answer:
    """Make a page and put its pixels into that place in the shared memory. The options come with each call, through a
    pipe, so that a password is in no list of processes."""
    _begin_call(place, options)
    made = _worker.loader.load(document, page, options, spec)
    buffers: list[pickle.PickleBuffer] = []
    body = io.BytesIO()
    _Pickler(body, protocol=5, buffer_callback=buffers.append).dump(made)
    raw = [buffer.raw() for buffer in buffers]
    sizes = [view.nbytes for view in raw]
    in_memory = bool(_worker.memory) and _written(raw, _worker.memory[place].fileno())
    return Answer(body.getvalue(), sizes, None if in_memory else list(map(bytes, raw)), _worker.records.take())


def count(document: Document, place: int, options: InputOptions) -> tuple[list[int], list[logging.LogRecord]]:
    """The pages of a document that are asked for; raises what is wrong with it."""
    _begin_call(place, options)
    return select_pages(document, options), _worker.records.take()


def attachments(document: Document, place: int, options: InputOptions) -> list[tuple[str, bytes]]:
    """The names and bytes of the files inside a document."""
    from rtprune_cli.inputs.pages import open_document

    _begin_call(place, options)
    with open_document(document, options) as opened:
        return opened.attachments()


def _begin_call(place: int, options: InputOptions) -> None:
    if _worker.starts is not None:
        os.pwrite(_worker.starts.fileno(), START.pack(time.monotonic()), place * START.size)
    limit_memory(options.page_memory)


def limit_memory(gib: float) -> None:
    """Let this process take so many GiB beyond what it holds now, where the system has such a limit; 0: no limit.

    A page answers for what it takes itself: what earlier ones left in caches is not its fault.
    """
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = _held() + int(gib * 2**30) if gib else most
        if most != resource.RLIM_INFINITY and most >= 0:
            wanted = min(wanted, most)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))


def _held() -> int:
    """Bytes of data that this process has taken, as RLIMIT_DATA counts them; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def unpack(answer: Answer, document: Document, memory: Connection | None) -> Outcome:
    """What a worker made, in the parent. ``memory`` is the place that it was told; it may be used again after this."""
    buffers: Sequence[Any] | None = answer.buffers
    if buffers is None:
        assert memory is not None
        buffers = [np.empty(size, np.uint8) for size in answer.sizes]
        if buffers and os.preadv(memory.fileno(), buffers, 0) != sum(answer.sizes):
            raise OSError("a page is not in shared memory")
        if sum(answer.sizes) > KEPT_MEMORY:
            os.ftruncate(memory.fileno(), 0)
    made: Outcome = _Unpickler(answer.body, document, buffers).load()
    return made


def _written(buffers: list[memoryview], memory: int) -> bool:
    try:
        return not buffers or os.pwritev(memory, buffers, 0) == sum(buffer.nbytes for buffer in buffers)
    except OSError:  # no room for it, or more than one call writes
        return False


class _Pickler(pickle.Pickler):
    """Images as arrays, whose bytes stay out of the pickle. Their info goes too: crops are saved with it."""

    def reducer_override(self, obj: Any) -> Any:
        """What pickle asks of each object."""
        return (_image, (np.asarray(obj), obj.info)) if isinstance(obj, Image.Image) else NotImplemented

    def persistent_id(self, obj: Any) -> str | None:
        """The document stays here: the parent has it, and may have made a class of its own for it."""
        return "document" if isinstance(obj, Document) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, body: bytes, document: Document, buffers: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(body), buffers=buffers)
        self._document = document

    def persistent_load(self, pid: Any) -> Document:
        """The document of the page that was asked for."""
        return self._document


def _image(pixels: NDArray[np.uint8], info: dict[Any, Any]) -> Image.Image:
    image = Image.fromarray(pixels)
    image.info = info
    return image


class _Records(logging.Handler):
    """Keeps what is logged, in a form that can be sent."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text: what it was made of may not go through a pipe."""
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = (RuntimeError, RuntimeError(f"in a worker process:\n{text}"), None)
        self._records.append(record)

    def take(self) -> list[logging.LogRecord]:
        """Those since the last time."""
        taken, self._records = self._records, []
        return taken
