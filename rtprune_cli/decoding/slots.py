"""Which sequence has which slot of the cache, and how large the slots are."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtprune_cli.decoding.cache import KvCache
from rtprune_cli.decoding.loops import LoopGuard
from rtprune_cli.decoding.runner import ModelRunner
from rtprune_cli.records import DecoderInput

# Where memory is short, slots have one of few sizes, this and 1.5, 2, 3, 4 ... times as much, chosen to hold a page of
# usual length: what outgrows its slot moves, and the latest pages are preempted: they make room and start again.
SMALLEST_CAPACITY = 512
USUAL_OUTPUT = 1024  # tokens; the mean of the pages that are done, once there are some


@dataclass(eq=False)
class Sequence:
    """A page that is being written, in a row of the batch. ``length`` counts the tokens in the cache, those of steps
    that are under way included; ``most``, with a window, is how many it ever holds."""

    key: object
    prompt: DecoderInput
    budget: int
    loop: LoopGuard
    length: int
    most: int | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    done: bool = False

    def length_after(self, steps: int) -> int:
        """Tokens in the cache when so many more were written."""
        return self.length + steps if self.most is None else min(self.length + steps, self.most)


class Slots:
    """Sequences in the slots of a cache. Those in use come first once :meth:`close_gaps` was called."""

    def __init__(
        self, cache: KvCache, runner: ModelRunner, *, rows: int, largest: int, fixed: int | None = None
    ) -> None:
        """``largest``: a slot that no page outgrows; ``fixed``: the size of slots as long as no page outgrows it.
        ``rows``, the most that are used, may be lowered later."""
        self.rows = rows
        self._cache, self._runner, self._largest = cache, runner, largest
        self._fixed = fixed and min(fixed, largest)
        self._active: list[Sequence | None] = []
        self._outputs, self._finished = 0, 0

    @property
    def running(self) -> list[Sequence]:
        """The sequences in use, by slot."""
        return [sequence for sequence in self._active if sequence is not None]

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return self.longest_after(0)

    def longest_after(self, steps: int) -> int:
        """The same when so many more were written of each."""
        return max((sequence.length_after(steps) for sequence in self._active if sequence is not None), default=0)

    def room_for(self, group: list[Sequence]) -> int:
        """How many of these could start now without taking a slot from one that runs; lays the cache out for them."""
        capacity = self._capacity_for(max(self.longest, *(sequence.length for sequence in group)))
        running = len(self.running)
        count = min(len(group), max(0, self._fitting(capacity) - running))
        if count:
            self.fit(capacity, running + count)
        return count

    def start(self, group: list[Sequence]) -> list[int]:
        """Give free slots to sequences; which, in their order."""
        free = [slot for slot, sequence in enumerate(self._active) if sequence is None]
        slots = [*free, *range(len(self._active), self._cache.rows)][: len(group)]
        self._active += [None] * (max(slots) + 1 - len(self._active))
        for slot, sequence in zip(slots, group, strict=True):
            self._active[slot] = sequence
        return slots

    def grow(self, tokens: int) -> list[Sequence]:
        """Make every slot hold as many tokens; those that were preempted, the latest first."""
        return [] if tokens <= self._cache.capacity else self.fit(self._size(tokens), 0)

    def fit(self, capacity: int, rows: int) -> list[Sequence]:
        """Make slots of ``capacity`` tokens, unless those that there are hold as much and are enough for ``rows``."""
        crowded = rows > self._cache.rows and self._fitting(capacity) > self._cache.rows
        if capacity <= self._cache.capacity and not crowded:
            return []
        slots = self._fitting(capacity)
        preempted = self.running[slots:]
        for sequence in preempted:
            self.free(sequence)
        self.close_gaps()
        self._runner.lay_out(slots, capacity, len(self._active), self.longest)
        return preempted[::-1]

    def free(self, sequence: Sequence) -> None:
        """A sequence is done with its slot."""
        sequence.done = True
        slot = self._active.index(sequence)
        self._active[slot] = None
        self._runner.free(slot)

    def finish(self, sequence: Sequence) -> None:
        """A sequence came to its end; how long pages usually are is learnt from it."""
        self.free(sequence)
        self._outputs, self._finished = self._outputs + len(sequence.tokens), self._finished + 1

    def spoil(self, sequence: Sequence) -> None:
        """A sequence wrote what are no numbers. It may have moved since: every free slot is cleaned."""
        self.free(sequence)
        used = {slot for slot, other in enumerate(self._active) if other is not None}
        self._cache.clear([slot for slot in range(self._cache.rows) if slot not in used])

    def clear(self) -> list[Sequence]:
        """Take all sequences out."""
        rows = self.running
        for sequence in rows:
            self.free(sequence)
        self._active.clear()
        return rows

    def close_gaps(self) -> None:
        """Sequences in use come first: a step runs over these alone."""
        while None in self._active:
            last = self._active.pop()
            if last is not None:
                slot = self._active.index(None)
                self._runner.move(len(self._active), slot, last.length)
                self._active[slot] = last

    def _fitting(self, capacity: int) -> int:
        """How many slots of this size the pool has."""
        return max(1, min(self.rows, self._cache.tokens // capacity))

    def _capacity_for(self, length: int) -> int:
        """A size of slot that sequences of this length will not soon outgrow."""
        if self._fixed and length < self._fixed:
            return self._fixed
        usual = self._outputs // self._finished if self._finished else USUAL_OUTPUT
        return self._size(min(length + usual, self._largest))

    def _size(self, tokens: int) -> int:
        """The smallest size of slot for as many tokens, which no page exceeds."""
        size = SMALLEST_CAPACITY
        while size < tokens:
            size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
        return min(size, self._largest)
