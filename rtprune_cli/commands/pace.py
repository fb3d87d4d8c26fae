"""How far a run is, how fast, and when it will be through: in pages, of the documents whose pages are known."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from rtprune_cli.commands.wording import counted
from rtprune_cli.records import DocumentPlan

WINDOW = 600.0  # seconds: the time left is estimated from the pages of the last ten minutes
LATEST = 60.0  # seconds: the speed shown is that of the last minute
GROUND_SECONDS, GROUND_PAGES = 5.0, 3  # before that, a speed says nothing of the time that is left
LEAST = GROUND_PAGES + 1  # ticks that are looked at however old they are: pages may take minutes
GROUND_DOCUMENTS = 5  # with pages, from which the length of the others is estimated


@dataclass(frozen=True)
class Tick:
    """The counts before the first page of a second that began with it, ``at``."""

    at: float
    pages: int
    tokens: int


@dataclass(frozen=True)
class Speed:
    """Pages and text tokens a second."""

    pages: float
    tokens: float


class Pace:
    """Counts of a run. It costs the same however many documents there are, and keeps a count a second at most."""

    def __init__(self, documents: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.documents = documents
        self.closed = 0
        self.read = 0  # pages that came, also those that failed
        self._clock = clock
        self._planned = self._with_pages = 0  # documents
        self._to_read = self._before = 0  # pages of those that are planned
        self._open: dict[PurePosixPath, list[int]] = {}  # planned documents: pages to read, and read
        self._samples: deque[Tick] = deque()
        self._tokens = 0
        self._last = 0.0  # when the last page came

    def planned(self, plan: DocumentPlan) -> None:
        """The pages of a document are known."""
        folder = plan.document.folder
        if folder in self._open:
            return
        before = len(plan.pages) if plan.earlier.finished else len(plan.earlier.pages)
        todo = 0 if plan.error is not None else len(plan.pages) - before
        self._open[folder] = [todo, 0]
        self._planned += 1
        self._with_pages += todo > 0
        self._to_read += todo
        self._before += before

    def page(self, folder: PurePosixPath, tokens: int) -> None:
        """A page came, with so many text tokens."""
        self._open[folder][1] += 1
        self._count(1, tokens)

    def close(self, folder: PurePosixPath) -> None:
        """No more pages of a document come: those that did not, of one that cannot be read, are none that are left."""
        todo, read = self._open.pop(folder)
        self.closed += 1
        if todo > read:
            self._count(todo - read, 0)

    def _count(self, pages: int, tokens: int) -> None:
        self._last = now = self._clock()
        if not self._samples or now - self._samples[-1].at >= 1:
            self._samples.append(Tick(now, self.read, self._tokens))
        while len(self._samples) > LEAST and self._samples[0].at < now - WINDOW:
            self._samples.popleft()
        self.read += pages
        self._tokens += tokens

    @property
    def all_known(self) -> bool:
        """Whether the pages of every document are known."""
        return self._planned >= self.documents

    @property
    def pages_left(self) -> int:
        """Of the documents whose pages are known."""
        return self._to_read - self.read

    @property
    def expected(self) -> float | None:
        """Pages that this run reads, known or estimated from the other documents; None where there is no telling."""
        if self.all_known:
            return float(self._to_read)
        if not self._with_pages:
            return None
        return self._to_read + (self.documents - self._planned) * self._to_read / self._with_pages

    @property
    def share(self) -> float:
        """Of the run, from 0 to 1."""
        expected = self.expected
        return min(1.0, self.read / expected) if expected else 0.0

    def speed(self, within: float = LATEST) -> Speed | None:
        """Of so many seconds before the last page, or of the last few pages; None before a second has passed."""
        samples = list(self._samples)  # at once: the display asks from a thread of its own
        if not samples:
            return None
        last = samples[-1]
        first = next(each for each in samples if each.at >= last.at - within or each is samples[-LEAST:][0])
        seconds = last.at - first.at
        return Speed((last.pages - first.pages) / seconds, (last.tokens - first.tokens) / seconds) if seconds else None

    def seconds_left(self) -> float | None:
        """Until the run is through; None where there is no ground to say so."""
        samples, expected = list(self._samples), self.expected
        grounded = self.all_known or self._with_pages >= GROUND_DOCUMENTS
        if not grounded or not samples or expected is None:
            return None
        first, last = samples[0], samples[-1]
        seconds, pages = last.at - first.at, last.pages - first.pages
        if seconds < GROUND_SECONDS or pages < GROUND_PAGES:
            return None
        left = (expected - self.read) * seconds / pages - (self._clock() - self._last)
        return left if left >= 0 else None  # pages are late: their speed is no longer known

    def of_document(self, plan: DocumentPlan) -> tuple[int, int]:
        """Pages of a document that are done, earlier ones too, and all that were asked for."""
        before = len(plan.earlier.pages)
        return before + self._open.get(plan.document.folder, [0, 0])[1], len(plan.pages)

    def how_far(self, failed: int) -> str:
        """Where a run that ended early stands, and what is left, to be said after why it ended."""
        done, parts = self._before + self.read, [f"{failed} failed"] if failed else []
        if self.documents > 1 and done:
            parts.insert(0, f"{self.closed} of {counted(self.documents, 'document')} done")
        known = f"{done} of {counted(done + self.pages_left, 'page')}" if self.all_known else counted(done, "page")
        if self.all_known:
            left = counted(self.pages_left, "page") if self.pages_left else ""
        else:
            left = counted(self.documents - self.closed, "document")
        after = f"after {known}" if done else "before the first page"
        return (
            after
            + (f" ({', '.join(parts)})" if parts else "")
            + (f"; {left} {'is' if left.startswith('1 ') else 'are'} left" if left else "")
        )
