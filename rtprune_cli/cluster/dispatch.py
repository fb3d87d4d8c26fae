"""Which reader gets which pages, and what becomes of the pages of a reader that is lost. Nothing of Ray is in here.

Pages leave in chunks and come back one by one, in any order. A reader has at most ``room`` pages in flight; it is given
the next ones before it is through with those, and no more at a time than the others.

Of the pages in flight with a reader that was lost, one may be at fault, and nobody knows which: all of them are
suspects. They are tried again a chunk at a time, on a reader that has nothing else, while the others go on; of a chunk
that loses its reader, each page by itself. What loses its reader by itself twice has failed: once may be chance, as
where machines are taken away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import PurePosixPath

from rtprune_cli.cluster.shipping import FileStamp
from rtprune_cli.errors import ReaderLostError
from rtprune_cli.pipeline import Closed, Event, Opened
from rtprune_cli.records import DocumentPlan, Earlier, PageResult, failed

CHUNK = 16  # pages that are sent together, at most

TRIES = 2  # of a page by itself that cost a reader each, and it has failed

PageKey = tuple[PurePosixPath, int]  # a document's folder, and the page


@dataclass(frozen=True)
class Chunk:
    """Pages of one document that are sent to a reader together, as a plan of them alone. ``stamp`` is what the driver
    sees of the document's file; None: the reader is not to look for the same."""

    plan: DocumentPlan
    stamp: FileStamp | None = None

    @property
    def pages(self) -> list[int]:
        """Those to be read."""
        return [page for page in self.plan.pages if page not in self.plan.earlier.pages]


@dataclass
class _Unit:
    """Pages that are read together: a single one, or those of a context. ``lost``: how often their reader was, and
    ``alone`` how often of these it had nothing else to read."""

    folder: PurePosixPath
    pages: tuple[int, ...]
    first: bool
    lost: int = 0
    alone: int = 0


@dataclass
class _Reader:
    flight: dict[PageKey, _Unit] = field(default_factory=dict)
    on_trial: bool = False  # it has suspects, and nothing else
    alone: bool = False  # it was given but one of them


@dataclass
class _Document:
    plan: DocumentPlan
    left: set[int]


class Dispatcher:
    """The state of a run on a cluster."""

    def __init__(self, plans: Iterable[DocumentPlan], *, context: int = 1, room: int) -> None:
        """``context`` pages of a document are read together; ``room``: pages in flight with one reader, at most."""
        self._plans, self._context = iter(plans), context
        self.room = max(room, context)
        self._documents: dict[PurePosixPath, _Document] = {}
        self._units: deque[_Unit] = deque()
        self._suspects: deque[_Unit] = deque()
        self._readers: dict[int, _Reader] = {}
        self._events: deque[Event] = deque()
        self._exhausted = False
        self.readers_lost = 0
        self.pages_again = 0

    @property
    def done(self) -> bool:
        """Whether every page of every document has come, and every event was taken."""
        self._refill(1)
        return self._exhausted and not self._documents and not self._events

    def events(self) -> Iterator[Event]:
        """Documents that begin and end, and pages that failed with their readers."""
        while self._events:
            yield self._events.popleft()

    def join(self, reader: int) -> None:
        """A reader is there."""
        self._readers[reader] = _Reader()

    def assign(self, reader: int) -> list[Chunk]:
        """The pages that a reader is given now; none where it has enough."""
        state = self._readers[reader]
        if state.on_trial:
            if state.flight:
                return []
            state.on_trial = state.alone = False
        if self._suspects and not any(other.on_trial for other in self._readers.values()):
            if state.flight:
                return []  # until it is empty
            suspects = self._next_suspects()
            state.on_trial, state.alone = True, len(suspects) == 1
            return self._sent(state, suspects)
        free = min(self.room - len(state.flight), max(CHUNK, self._context))
        if free <= 0:
            return []  # what is asked most often: all readers are looked at whenever one has said something
        self._refill(free)
        return self._sent(state, _taken(self._units, free))

    def _next_suspects(self) -> list[_Unit]:
        """Some that are tried together, or one that was tried so before."""
        if self._suspects[0].lost > 1:
            return [self._suspects.popleft()]
        return _taken(self._suspects, max(CHUNK, self._context))

    def arrived(self, reader: int, result: PageResult) -> Event | None:
        """A page came; what to do with it, None where it had come before or is not waited for."""
        state, folder = self._readers.get(reader), result.document.folder
        document = self._documents.get(folder)
        if state is None or document is None:
            return None
        page = result.record.page
        if page is None:  # the document as a whole cannot be read there
            pages, document.left = document.left, set()
            self._forget(folder, pages)
        else:
            state.flight.pop((folder, page), None)
            if page not in document.left:
                return None
            document.left.discard(page)
        self._close(folder)
        return replace(result, document=document.plan.document)

    def lost(self, reader: int) -> None:
        """A reader is gone, and with it what it had in flight."""
        state = self._readers.pop(reader)
        self.readers_lost += 1
        units = list({id(unit): unit for unit in state.flight.values()}.values())
        for unit in units:
            unit.lost += 1
            unit.alone += state.alone
            if unit.alone == TRIES:
                self._fail(unit)
            else:
                self._suspects.append(unit)
                self.pages_again += len(unit.pages)
        self._suspects = deque(sorted(self._suspects, key=lambda unit: -unit.lost))

    def _refill(self, wanted: int) -> None:
        """Take documents in until so many pages are there to be given away."""
        # No unit is without a page: those of a long document need not all be counted each time.
        while not self._exhausted and sum(len(unit.pages) for unit in islice(self._units, max(0, wanted))) < wanted:
            plan = next(self._plans, None)
            if plan is None:
                self._exhausted = True
                return
            self._open(plan)

    def _open(self, plan: DocumentPlan) -> None:
        folder = plan.document.folder
        left = [page for page in plan.pages if page not in plan.earlier.pages]
        self._events.append(Opened(plan))
        if plan.error is not None:
            self._events.append(failed(plan.document, None, plan.error))
        if plan.error is not None or plan.earlier.finished or not left:
            self._events.append(Closed(plan))
            return
        self._documents[folder] = _Document(plan, set(left))
        for start in range(0, len(plan.pages), self._context):
            pages = tuple(page for page in plan.pages[start : start + self._context] if page in left)
            if pages:
                self._units.append(_Unit(folder, pages, first=pages[0] == left[0]))

    def _sent(self, state: _Reader, units: Sequence[_Unit]) -> list[Chunk]:
        for unit in units:
            state.flight.update(dict.fromkeys(((unit.folder, page) for page in unit.pages), unit))
        chunks: list[list[_Unit]] = []
        for unit in units:
            last = chunks[-1] if chunks else []
            fits = sum(len(each.pages) for each in last) + len(unit.pages) <= CHUNK
            if last and last[0].folder == unit.folder and fits:
                last.append(unit)
            else:
                chunks.append([unit])
        return [self._chunk(chunk) for chunk in chunks]

    def _chunk(self, units: Sequence[_Unit]) -> Chunk:
        plan = self._documents[units[0].folder].plan
        pages = {page for unit in units for page in unit.pages}
        asked = plan.pages if self._context > 1 else tuple(page for unit in units for page in unit.pages)
        done = Earlier(pages=frozenset(asked) - pages)  # contexts are counted from the document's first page
        return Chunk(replace(plan, pages=asked, earlier=done, goes_on=not any(unit.first for unit in units)))

    def _fail(self, unit: _Unit) -> None:
        document = self._documents[unit.folder]
        hint = "Run the same command without --cluster to see what it does"
        for page in document.left.intersection(unit.pages):
            error = ReaderLostError(
                f"page {page} of {document.plan.document.name} ends its reader even when it is read alone", hint
            )
            self._events.append(failed(document.plan.document, page, error))
        document.left.difference_update(unit.pages)
        self._close(unit.folder)

    def _close(self, folder: PurePosixPath) -> None:
        if not self._documents[folder].left:
            self._events.append(Closed(self._documents.pop(folder).plan))

    def _forget(self, folder: PurePosixPath, pages: set[int]) -> None:
        self._units = deque(unit for unit in self._units if unit.folder != folder)
        self._suspects = deque(unit for unit in self._suspects if unit.folder != folder)
        for state in self._readers.values():
            for page in pages:
                state.flight.pop((folder, page), None)


def _taken(units: deque[_Unit], room: int) -> list[_Unit]:
    """The first units that have together no more pages than there is room for, taken out."""
    found: list[_Unit] = []
    while units and len(units[0].pages) <= room:
        found.append(units.popleft())
        room -= len(found[-1].pages)
    return found
