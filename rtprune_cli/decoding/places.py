"""Which row of the batch has which place in the cache, and how large the places are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rtprune_cli.decoding.batch import Batch
from rtprune_cli.decoding.cache import KvCache
from rtprune_cli.loops import LoopGuard
from rtprune_cli.records import DecoderInput

# Where memory is short, a row's place has one of few sizes, this and 1.5, 2, 3, 4 ... times as much, and is chosen to
# hold a page of usual length: what outgrows it moves, and the latest pages make room and start again.
SMALLEST_CAPACITY = 512
USUAL_OUTPUT = 1024  # tokens; the mean of the pages that are done, once there are some


@dataclass(eq=False)
class Row:
    """A page in the batch. ``length`` counts the tokens in the cache, those of steps that are under way included."""

    key: object
    prompt: DecoderInput
    budget: int
    loop: LoopGuard
    length: int
    tokens: list[int] = field(default_factory=list)
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    done: bool = False


class Places:
    """Rows in the places of a cache. Those in use come first once :meth:`close_gaps` was called."""

    def __init__(self, cache: KvCache, batch: Batch, *, rows: int, largest: int, fixed: int | None = None) -> None:
        """``largest``: a place that no page outgrows; ``fixed``: the size of places as long as no page outgrows it.
        ``rows``, the most that are used, may be lowered later."""
        self.rows = rows
        self._cache, self._batch, self._largest = cache, batch, largest
        self._fixed = fixed and min(fixed, largest)
        self._active: list[Row | None] = []
        self._outputs, self._finished = 0, 0

    @property
    def running(self) -> list[Row]:
        """The rows in use, by place."""
        return [row for row in self._active if row is not None]

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max((row.length for row in self._active if row is not None), default=0)

    def room_for(self, group: Sequence[Row]) -> int:
        """How many of these could start now without taking a place from one that runs; lays the cache out for them."""
        capacity = self._capacity_for(max(self.longest, *(row.length for row in group)))
        running = len(self.running)
        count = min(len(group), max(0, self._fitting(capacity) - running))
        if count:
            self.fit(capacity, running + count)
        return count

    def start(self, group: Sequence[Row]) -> list[int]:
        """Give free places to rows; which, in their order."""
        free = [place for place, row in enumerate(self._active) if row is None]
        places = [*free, *range(len(self._active), self._cache.rows)][: len(group)]
        self._active += [None] * (max(places) + 1 - len(self._active))
        for place, row in zip(places, group, strict=True):
            self._active[place] = row
        return places

    def grow(self, tokens: int) -> list[Row]:
        """Make every place hold as many tokens; the rows that had to make room, the latest first."""
        return [] if tokens <= self._cache.capacity else self.fit(self._size(tokens), 0)

    def fit(self, capacity: int, rows: int) -> list[Row]:
        """Make places of ``capacity`` tokens, unless those that there are hold as much and are enough for ``rows``."""
        crowded = rows > self._cache.rows and self._fitting(capacity) > self._cache.rows
        if capacity <= self._cache.capacity and not crowded:
            return []
        places = self._fitting(capacity)
        evicted = self.running[places:]
        for row in evicted:
            self.free(row)
        self.close_gaps()
        self._batch.lay_out(places, capacity, len(self._active), self.longest)
        return evicted[::-1]

    def free(self, row: Row) -> None:
        """A row is done with its place."""
        row.done = True
        place = self._active.index(row)
        self._active[place] = None
        self._batch.free(place)

    def finish(self, row: Row) -> None:
        """A row came to its end; how long pages usually are is learnt from it."""
        self.free(row)
        self._outputs, self._finished = self._outputs + len(row.tokens), self._finished + 1

    def spoil(self, row: Row) -> None:
        """A row wrote what are no numbers. It may have moved since: every free place is cleaned."""
        self.free(row)
        used = {place for place, other in enumerate(self._active) if other is not None}
        self._cache.clear([place for place in range(self._cache.rows) if place not in used])

    def clear(self) -> list[Row]:
        """Take all rows out."""
        rows = self.running
        for row in rows:
            self.free(row)
        self._active.clear()
        return rows

    def close_gaps(self) -> None:
        """Rows in use come first: a step runs over these alone."""
        while None in self._active:
            last = self._active.pop()
            if last is not None:
                place = self._active.index(None)
                self._batch.move(len(self._active), place, last.length)
                self._active[place] = last

    def _fitting(self, capacity: int) -> int:
        """How many places of this size the pool has."""
        return max(1, min(self.rows, self._cache.tokens // capacity))

    def _capacity_for(self, length: int) -> int:
        """A size of place that rows of this length will not soon outgrow."""
        if self._fixed and length < self._fixed:
            return self._fixed
        usual = self._outputs // self._finished if self._finished else USUAL_OUTPUT
        return self._size(min(length + usual, self._largest))

    def _size(self, tokens: int) -> int:
        """The smallest size of place for as many tokens, which no page exceeds."""
        size = SMALLEST_CAPACITY
        while size < tokens:
            size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
        return min(size, self._largest)
