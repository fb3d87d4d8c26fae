"""Is there for each symbol of one formula a symbol of another, with the same neighbours?

The official search tries symbols in order and takes exponential time on formulas of few different symbols. Whether
there is an answer does not depend on how it is looked for. Here values that no answer can hold are struck out first and
after each guess (arc consistency, Mackworth 1977), so that guesses are few; what takes too long all the same has none.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

DIRECTIONS = ("up", "down", "left", "right")
MOST_LOOKS = 2_000_000  # at a symbol as a possible partner: about a second

_Partners = list[set[int]]  # of each symbol of the truth: those that it may stand for


@dataclass(frozen=True)
class Places:
    """Symbols in order, and of each the number of its neighbour in each of :data:`DIRECTIONS`, -1 for none."""

    symbols: Sequence[str]
    neighbours: Sequence[Sequence[int]]


def placed_alike(truth: Places, other: Places) -> bool | None:
    """Whether every symbol of ``truth`` has a partner of its own in ``other``; None where the search is given up.

    A partner is the same symbol, and has in every direction in which the truth's has a neighbour one of that symbol;
    where that neighbour comes earlier in the truth, its partner must be this very one. What ``other`` has besides does
    not matter.
    """
    missing = Counter(truth.symbols)
    missing.subtract(other.symbols)
    if max(missing.values(), default=0) > 0:
        return False
    return _Search(truth, other).answer()


class _GaveUp(Exception):
    pass


class _Search:
    def __init__(self, truth: Places, other: Places) -> None:
        self._truth, self._other = truth, other
        self._looks = 0
        # (later, earlier, direction): the partner of the later one has that of the earlier one for a neighbour
        self._links: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for later, around in enumerate(truth.neighbours):
            for direction, earlier in enumerate(around):
                if 0 <= earlier < later:
                    self._links[later].append((later, earlier, direction))
                    self._links[earlier].append((later, earlier, direction))
        self._alike: dict[str, list[int]] = defaultdict(list)
        for number, symbol in enumerate(truth.symbols):
            self._alike[symbol].append(number)

    def answer(self) -> bool | None:
        try:
            return self._answer()
        except _GaveUp:
            return None

    def _answer(self) -> bool:
        start = self._possible()
        stack: list[tuple[Iterator[_Partners], Iterable[int]]] = [(iter([start]), range(len(start)))]
        while stack:
            guesses, changed = stack[-1]
            partners = next(guesses, None)
            if partners is None:
                stack.pop()
                continue
            if not self._reduce(partners, changed):
                continue
            open_ = [number for number, found in enumerate(partners) if len(found) > 1]
            if not open_:
                return True
            guessed = min(open_, key=lambda number: len(partners[number]))
            stack.append((self._guesses(partners, guessed), [guessed]))
        return False

    def _guesses(self, partners: _Partners, guessed: int) -> Iterator[_Partners]:
        for partner in sorted(partners[guessed]):
            self._look(len(partners))
            yield [{partner} if number == guessed else set(found) for number, found in enumerate(partners)]

    def _look(self, count: int) -> None:
        self._looks += count
        if self._looks > MOST_LOOKS:
            raise _GaveUp

    def _possible(self) -> _Partners:
        """By each symbol alone and those of its neighbours."""
        by_symbol: dict[str, list[int]] = defaultdict(list)
        for number, symbol in enumerate(self._other.symbols):
            by_symbol[symbol].append(number)
        partners = []
        for symbol, around in zip(self._truth.symbols, self._truth.neighbours, strict=True):
            wanted = [(at, self._truth.symbols[each]) for at, each in enumerate(around) if each >= 0]
            self._look(len(by_symbol[symbol]))
            partners.append({each for each in by_symbol[symbol] if self._has(each, wanted)})
        return partners

    def _has(self, number: int, wanted: Iterable[tuple[int, str]]) -> bool:
        around, symbols = self._other.neighbours[number], self._other.symbols
        return all(around[at] >= 0 and symbols[around[at]] == symbol for at, symbol in wanted)

    def _reduce(self, partners: _Partners, changed: Iterable[int]) -> bool:
        """Strike out, from what changed on, until nothing more follows; False where a symbol is left without."""
        if not all(partners):
            return False
        waiting = deque(changed)
        while waiting:
            number = waiting.popleft()
            for other, kept in self._consequences(partners, number):
                if len(kept) == len(partners[other]):
                    continue
                if not kept:
                    return False
                partners[other] = kept
                waiting.append(other)
        return True

    def _consequences(self, partners: _Partners, number: int) -> Iterable[tuple[int, set[int]]]:
        """What the partners that a symbol may have leave for others, one at a time."""
        around = self._other.neighbours
        for later, earlier, direction in self._links[number]:
            self._look(len(partners[later]))
            yield earlier, partners[earlier] & {around[each][direction] for each in partners[later]}
            yield later, {each for each in partners[later] if around[each][direction] in partners[earlier]}
        if len(partners[number]) == 1:
            for twin in self._alike[self._truth.symbols[number]]:
                if twin != number:
                    yield twin, partners[twin] - partners[number]
