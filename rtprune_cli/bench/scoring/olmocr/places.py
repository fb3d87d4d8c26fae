"""Is there for each symbol of one formula a symbol of another, with the same neighbours?

The official search tries symbols in order and takes exponential time on formulas of few different symbols. Whether
there is an answer does not depend on how it is looked for. Here values that no answer can hold are struck out first and
after each guess (arc consistency, Mackworth 1977), so that guesses are few; what takes too long all the same has none.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

DIRECTIONS = ("up", "down", "left", "right")
MOST_LOOKS = 500_000  # at a symbol as a possible partner: about a second

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


class _Link(NamedTuple):
    """The partner of ``later`` has that of ``earlier`` for its neighbour in ``direction``."""

    later: int
    earlier: int
    direction: int


class _Search:
    def __init__(self, truth: Places, other: Places) -> None:
        self._truth, self._other = truth, other
        self._looks = 0
        self._links: dict[int, list[_Link]] = defaultdict(list)  # of either symbol
        for later, around in enumerate(truth.neighbours):
            for direction, earlier in enumerate(around):
                if 0 <= earlier < later:
                    for either in (later, earlier):
                        self._links[either].append(_Link(later, earlier, direction))
        self._twins: dict[str, list[int]] = defaultdict(list)
        for number, symbol in enumerate(truth.symbols):
            self._twins[symbol].append(number)
        # (direction, symbol of the other formula): those that have it for a neighbour there
        self._beside: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, around in enumerate(other.neighbours):
            for direction, neighbour in enumerate(around):
                self._beside[direction, neighbour].append(number)

    def answer(self) -> bool | None:
        try:
            return self._answer()
        except _GaveUp:
            return None

    def _answer(self) -> bool:
        stack: list[Iterator[_Partners]] = [iter([self._possible()])]
        while stack:
            partners = next(stack[-1], None)
            if partners is None:
                stack.pop()
                continue
            open_ = [number for number, found in enumerate(partners) if len(found) > 1]
            if not all(partners):
                continue
            if not open_:
                return True
            stack.append(self._guesses(partners, min(open_, key=lambda number: len(partners[number]))))
        return False

    def _guesses(self, partners: _Partners, guessed: int) -> Iterator[_Partners]:
        """What is left for each partner that a symbol may have."""
        for partner in sorted(partners[guessed]):
            self._look(len(partners))
            tried = [set(found) for found in partners]
            self._strike_out(tried, [(guessed, each) for each in partners[guessed] if each != partner])
            yield tried

    def _look(self, count: int = 1) -> None:
        self._looks += count
        if self._looks > MOST_LOOKS:
            raise _GaveUp

    def _possible(self) -> _Partners:
        """Partners by symbol and neighbours, less those that others rule out; without an answer some have none."""
        by_symbol: dict[str, list[int]] = defaultdict(list)
        for number, symbol in enumerate(self._other.symbols):
            by_symbol[symbol].append(number)
        partners = []
        for symbol, around in zip(self._truth.symbols, self._truth.neighbours, strict=True):
            wanted = [(at, self._truth.symbols[each]) for at, each in enumerate(around) if each >= 0]
            self._look(len(by_symbol[symbol]))
            partners.append({each for each in by_symbol[symbol] if self._has(each, wanted)})
        around_ = self._other.neighbours
        ruled_out: list[tuple[int, int]] = []
        for later, earlier, direction in {link for links in self._links.values() for link in links}:
            self._look(len(partners[later]))
            seen = {around_[each][direction] for each in partners[later]}
            ruled_out += [(earlier, each) for each in partners[earlier] - seen]
            ruled_out += [
                (later, each) for each in partners[later] if around_[each][direction] not in partners[earlier]
            ]
        for number, found in enumerate(partners):
            if len(found) == 1:
                ruled_out += self._of_twins(partners, number)
        self._strike_out(partners, ruled_out)
        return partners

    def _has(self, number: int, wanted: Iterable[tuple[int, str]]) -> bool:
        around, symbols = self._other.neighbours[number], self._other.symbols
        return all(around[at] >= 0 and symbols[around[at]] == symbol for at, symbol in wanted)

    def _strike_out(self, partners: _Partners, ruled_out: Iterable[tuple[int, int]]) -> None:
        """Strike out partners of symbols and what follows from that, until nothing does or a symbol is left without."""
        waiting = deque(ruled_out)
        while waiting:
            number, partner = waiting.popleft()
            if partner not in partners[number]:
                continue
            self._look()
            partners[number].discard(partner)
            if not partners[number]:
                return
            waiting.extend(self._consequences(partners, number, partner))
            if len(partners[number]) == 1:
                waiting.extend(self._of_twins(partners, number))

    def _consequences(self, partners: _Partners, number: int, gone: int) -> Iterator[tuple[int, int]]:
        for later, earlier, direction in self._links[number]:
            if number == later:
                neighbour = self._other.neighbours[gone][direction]
                if partners[later].isdisjoint(self._beside[direction, neighbour]):
                    yield earlier, neighbour
            else:
                yield from ((later, each) for each in self._beside[direction, gone])

    def _of_twins(self, partners: _Partners, number: int) -> list[tuple[int, int]]:
        """The only partner of a symbol is nobody else's."""
        (partner,) = partners[number]
        return [(twin, partner) for twin in self._twins[self._truth.symbols[number]] if twin != number]
