"""Repetition in a page's text while it is being written: when it is a loop, and where the loop's second copy begins.

The no-repeat rule (decode.py) forbids exact repeats, so a model in a loop goes on with near variants of its passage: no
period is exact, but nearly every n-gram has been there before. Long tables, leaders and forms repeat lawfully, and to
cut those loses text while to miss a loop only costs time: in doubt the guard lets a page go on.

Three things are a loop. A repeated tail (:class:`_Tail`). A longer one in which a number that counts up is as good as
one that was there before: "Figure 35: ...", "Figure 36: ...". And text of which a part keeps coming back, between
changes so many that no tail lasts: a table that is written anew in one variant after another (:class:`_Passages`). The
last two need to know what the tokens are (:class:`TokenKinds`).

The guard misses variants of what is no text, such as a table of numbers, numbers that go up by steps that vary, and
short things that count, as in "item 35, item 36, ...": those are filler. A page that only rambles repeats nothing. Such
pages end at the token limit. A no-repeat rule shorter than 24 tokens can hide a loop in the same way. The guard is
fooled by pages that state one passage over and over, like a sheet of twenty equal labels, or by three hundred
unlabelled table cells that are all 0.00, or 0 or 1: a larger window lets those pass.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

# A token is repeated when it ends an n-gram of N that the page had before. Shorter ones recur in any table; longer ones
# see too little between the changes that the no-repeat rule forces, every 30 tokens or so.
N = 8
# The repetition ends after more unrepeated tokens in a row than GAP, that is after GAP - N + 2 new ones: a row's label,
# an entry of a table of contents. A change of a few tokens inside a loop leaves N - 1 more unrepeated and stays below.
GAP = 12
# Each unrepeated token undoes PENALTY repeated ones: two thirds must be repeated. One new token after every 29 leaves
# 22 of 30; three quarters, the rounder share, would miss that.
PENALTY = 2
# Filler, a token that is also among the SPAN before it, weighs a quarter: leaders, rules, empty cells, cells of zeros.
# A page may hold a thousand of those, but hardly 512 tokens of prose for the third time.
FILLER_SPAN = 5
FILLER_WEIGHT = 0.25
# So do, where tags are known, tokens with a tag among the N that end in them: a page may have a hundred equal rows.
# At the token limit the text is cut off anyway, so less is enough, and filler counts in full.
AT_LIMIT = 64

# A tail that counts is a loop when it is as many times the window: a page may have a hundred numbered rows of 16 tokens
# that are equal but for their number, or sixty of 50.
COUNTING = 6
# A number counts up when, behind as many equal symbols, the last one was the same, one less, or less by the same step.
# Fewer would take a box's third number for its fourth.
CONTEXT = 8
MOST_DIGITS = 18  # of a number, the last ones; int() refuses more than some thousand

# What keeps coming back is seen by n-grams of text that are shorter than a tail's, since more changes lie between.
PASSAGE_N = 6
# From the third time on. What comes for the ninth is a short phrase, of numbered lines or labels, or was enough before.
PASSAGE_TIMES = range(2, 8)
# ``window`` tokens of it within as many windows: a quarter. Of a real loop it was 28 %, of readable pages up to 9 %.
PASSAGE_SPAN = 4

# Where the loop begins, each symbol that is not copied undoes so many that are: three quarters must be. With two
# thirds, what the rows of a sound table share is soon taken for copies; with four fifths, a real copy was missed.
COPIES_PENALTY = 3

# No passage of text runs across these: tags and their names, boxes, rows of markdown tables, numbers, ends of lines
_TAG = re.compile(r"[<>|]|^(tr|td|th|table|br)$")
_BREAK = re.compile(rf"[\[\]\n\u010a]|^[0-9]+$|{_TAG.pattern}")
# A vocabulary of characters, as the bundled model's: n-grams of six characters come back in any text.
_SMALL_VOCABULARY = 10_000

# Symbols: a token is its own; a number that counts up is _COUNTED, another _NUMBER less its value (-2 hashes as -1).
_COUNTED, _NUMBER = -1, -3


@dataclass(frozen=True)
class TokenKinds:
    """What the tokens of a vocabulary are; the guard that is not told sees exact repetition alone.

    ``numbers``: those of digits alone, and their digits. ``breaks``: those that no passage of text runs across;
    ``tags`` are some of these.
    """

    numbers: Mapping[int, str] = field(default_factory=dict)
    breaks: Container[int] = frozenset()
    tags: Container[int] = frozenset()

    @classmethod
    def of(cls, vocabulary: Mapping[str, int]) -> TokenKinds:
        """Of a tokenizer's vocabulary, in which U+0120 may stand for a space and U+010A for the end of a line."""
        if len(vocabulary) < _SMALL_VOCABULARY:
            return cls()
        texts = {token: text.lstrip(" \u0120") for text, token in vocabulary.items()}
        numbers = {token: text for token, text in texts.items() if text.isascii() and text.isdigit()}
        breaks, tags = (
            frozenset(token for token, text in texts.items() if kind.search(text)) for kind in (_BREAK, _TAG)
        )
        return cls(numbers, breaks, tags)


class _Tail:
    """A repeated tail: it begins with a repeated symbol and lasts while two thirds are repeated, without a gap.

    Only symbols whose n-gram comes at least for the third time count: a page may well say something long twice.
    """

    def __init__(self) -> None:
        self._length = 0
        self._gap = 0
        # Where it starts, and repeated symbols less penalties (0: there is none)
        self._start, self._score = 0, 0
        self.again, self.weight = 0, 0.0  # what counts, and what that weighs

    def push(self, times: int, light: bool) -> None:
        """Take in the next symbol: how often the n-gram that it ends was there before, and whether it weighs less."""
        if times:
            if not self._score:
                self._start, self.again, self.weight = self._length, 0, 0.0
            self._score += 1
            self._gap = 0
            if times > 1:
                self.again += 1
                self.weight += FILLER_WEIGHT if light else 1
        else:
            self._gap += 1
            self._score = max(0, self._score - PENALTY) if self._gap <= GAP else 0
        self._length += 1

    @property
    def lasts(self) -> bool:
        """Whether the text ends in one."""
        return self._score > 0

    @property
    def start(self) -> int:
        """How many symbols come before its second copy.

        The first repeated symbol ends the first N symbols of the second copy, whatever the period, so of an exact loop
        one copy stays.
        """
        return self._start - (N - 1)


class _Counting:
    """A text with one symbol a number, the same for all that count up, and its tail.

    Others keep their value: masked too, all rows of a table of numbers would look the same.
    """

    def __init__(self, kinds: TokenKinds) -> None:
        self._kinds = kinds
        self._length = 0
        self._number, self._began = "", 0  # the number that is being written, and where it began
        self._known: dict[int, tuple[int, int]] = {}  # by what stands before: the last number, and its step to that
        self._symbols: list[int] = []
        self._exact: list[int] = []  # the same, where each number has its value
        self._places: list[int] = []  # how many tokens come before each
        self._seen: dict[int, int] = {}
        self._since = N  # the last number, as many symbols
        self._tail = _Tail()

    def push(self, token: int, times: int, filler: bool) -> None:
        """Take in the next token, and what it is to the tail of the tokens: of n-grams without numbers, the same."""
        digits = self._kinds.numbers.get(token)
        if digits is not None:
            self._began = self._began if self._number else self._length
            self._number = (self._number + digits)[-MOST_DIGITS:]
        else:
            if self._number:
                self._since = 0
                self._exact.append(_NUMBER - int(self._number))
                self._add(self._symbol(int(self._number)), self._began)
                self._number = ""
            self._since += 1
            self._exact.append(token)
            if self._since < N:
                self._add(token, self._length)
            else:
                self._symbols.append(token)
                self._places.append(self._length)
                self._tail.push(times, filler)
        self._length += 1

    def _add(self, symbol: int, place: int) -> None:
        filler = symbol in self._symbols[-FILLER_SPAN:]
        self._symbols.append(symbol)
        self._places.append(place)
        gram = hash(tuple(self._symbols[-N:]))
        times = self._seen.get(gram, 0)
        self._seen[gram] = times + 1
        self._tail.push(times, filler)

    def _symbol(self, number: int) -> int:
        context = hash(tuple([max(symbol, _COUNTED) for symbol in self._symbols[-CONTEXT:]]))
        last, step = self._known.get(context, (None, 0))
        grown = 0 if last is None else number - last
        self._known[context] = number, grown
        return _NUMBER - number if last is None or grown not in (0, 1, step) else _COUNTED

    @property
    def weight(self) -> float:
        """How much of the tail counts; 0 without one."""
        return self._tail.weight if self._tail.lasts else 0

    @property
    def start(self) -> int:
        """How many tokens come before the tail's second copy."""
        return self._places[self._tail.start]

    def beginning(self) -> int | None:
        """Where the text, which is known to end in a loop, begins to be copies; None where only filler repeats.

        That is where, from there on, copied symbols outnumber COPIES_PENALTY times the others by the most. All symbols
        of an n-gram that was there before are copied, be it that its numbers are the same or that they count up. Breaks
        and filler do not count: all boxes and tables share them.
        """
        symbols = self._symbols
        copied = [False] * len(symbols)
        for text in (symbols, self._exact):
            seen = set[int]()
            for end in range(PASSAGE_N, len(text) + 1):
                gram = hash(tuple(text[end - PASSAGE_N : end]))
                if gram in seen:
                    copied[end - PASSAGE_N : end] = [True] * PASSAGE_N
                seen.add(gram)
        score, best, start = 0, 0, len(symbols)
        for place in range(len(symbols) - 1, -1, -1):
            symbol = symbols[place]
            if symbol not in self._kinds.breaks and symbol not in symbols[max(0, place - FILLER_SPAN) : place]:
                score += 1 if copied[place] else -COPIES_PENALTY
                if score > best:
                    best, start = score, place
        if not best:
            return None
        while copied[start - 1]:
            start -= 1
        if symbols[start - 1] <= _NUMBER:  # the second copy's counter, which is new: the copy began before it
            near = range(2, min(N, start) + 1)
            start -= next((back for back in near if symbols[start - back] in self._kinds.breaks), 1) - 1
        return self._places[start]


class _Passages:
    """Text that keeps coming back, whatever lies between."""

    def __init__(self, window: int, breaks: Container[int]) -> None:
        self._window, self._breaks = window, breaks
        self._length = 0
        self._last: deque[int] = deque(maxlen=PASSAGE_N)  # since the last break
        self._seen: dict[int, int] = {}
        self._again: deque[int] = deque(maxlen=window)  # where the last tokens that count are

    def push(self, token: int) -> None:
        """Take in the next token."""
        self._length += 1
        if token in self._breaks:
            self._last.clear()
            return
        filler = token in self._last
        self._last.append(token)
        if len(self._last) == PASSAGE_N:
            gram = hash(tuple(self._last))
            times = self._seen.get(gram, 0)
            self._seen[gram] = times + 1
            if times in PASSAGE_TIMES and not filler:
                self._again.append(self._length)

    @property
    def dense(self) -> bool:
        """Whether ``window`` tokens of it are close together."""
        return len(self._again) == self._window and self._length - self._again[0] < PASSAGE_SPAN * self._window


class LoopGuard:
    """Watches the output of one page.

    ``window`` is how many repeated tokens are a loop; 0 never sees one before the token limit.
    """

    def __init__(self, window: int, kinds: TokenKinds | None = None) -> None:
        kinds = kinds or TokenKinds()
        self._window, self._told = window, window > 0 and bool(kinds.numbers)
        self._tags, self._since_tag = kinds.tags, N
        self._length = 0
        self._last: deque[int] = deque(maxlen=N)
        self._near: deque[int] = deque(maxlen=FILLER_SPAN)
        self._seen: dict[int, int] = {}  # n-grams by their hash, which takes a fraction of their memory
        self._tail = _Tail()
        self._counting = _Counting(kinds)
        self._passages = _Passages(window, kinds.breaks)

    def push(self, token: int) -> None:
        """Take in the next output token."""
        filler = token in self._near
        self._near.append(token)
        self._last.append(token)
        self._length += 1
        times = 0
        if self._length >= N:
            gram = hash(tuple(self._last))
            times = self._seen.get(gram, 0)
            self._seen[gram] = times + 1
        self._since_tag = 0 if token in self._tags else self._since_tag + 1
        self._tail.push(times, filler or self._since_tag < N)
        if self._told:
            self._counting.push(token, times, filler)
            self._passages.push(token)

    @property
    def looping(self) -> bool:
        """Whether to stop here."""
        return self._window > 0 and (
            (self._tail.weight >= self._window and self._tail.lasts)
            or self._counting.weight >= COUNTING * self._window
            or self._passages.dense
        )

    @property
    def looping_at_limit(self) -> bool:
        """Whether a text that the token limit ends here is cut off in a loop."""
        return self._tail.again >= AT_LIMIT and self._tail.lasts

    @property
    def kept(self) -> int:
        """How many tokens come before the second copy of what loops; all of them where nothing does.

        Of a certain loop the whole text is looked at: its tail may reach back to the last gap only, or across rows of a
        real table.
        """
        if self._told and self.looping:
            begun = self._counting.beginning()
            if begun is not None:
                return begun
            if self._counting.weight >= COUNTING * self._window:
                return self._counting.start
        return self._tail.start if self._tail.lasts else self._length
