"""Repetition in a page's text while it is being written: when it is a loop, and where the loop's second copy begins.

The no-repeat rule (decode.py) forbids exact repeats, so a model in a loop goes on with near variants of its passage: no
period is exact, but nearly every n-gram has been there before. Long tables, leaders and forms repeat lawfully, and to
cut those loses text while to miss a loop only costs time: in doubt the guard lets a page go on.

It misses what changes in every period: "item 35, item 36, ..." has a new number in each n-gram until a period is longer
than about 24 tokens, and a page that only rambles repeats nothing. Such pages end at the token limit. A no-repeat rule
shorter than 24 tokens can hide a loop in the same way. The guard is fooled by pages that state one passage over and
over, like a sheet of twenty equal labels, or by three hundred unlabelled table cells that are all 0.00, or 0 or 1: a
larger window lets those pass.
"""

from __future__ import annotations

from collections import defaultdict, deque

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
# At the token limit the text is cut off anyway, so less is enough, and filler counts in full.
AT_LIMIT = 64


class LoopGuard:
    """Watches the output of one page.

    The repeated tail begins with a repeated token and lasts while two thirds of its tokens are repeated, without a gap.
    Only tokens whose n-gram comes at least for the third time count towards ``window``: a page may well say something
    long twice. ``window`` 0 never sees a loop before the token limit.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._length = 0
        self._last: deque[int] = deque(maxlen=N)
        self._seen: defaultdict[tuple[int, ...], int] = defaultdict(int)
        self._gap = 0
        # The tail: where it starts, repeated tokens less penalties (0: there is none), and what counts
        self._start, self._score = 0, 0
        self._again, self._weight = 0, 0.0

    def push(self, token: int) -> None:
        """Take in the next output token."""
        filler = token in list(self._last)[-FILLER_SPAN:]
        self._last.append(token)
        times = 0
        if len(self._last) == N:
            gram = tuple(self._last)
            times = self._seen[gram]
            self._seen[gram] += 1
        if times:
            if not self._score:
                self._start, self._again, self._weight = self._length, 0, 0.0
            self._score += 1
            self._gap = 0
            if times > 1:
                self._again += 1
                self._weight += FILLER_WEIGHT if filler else 1
        else:
            self._gap += 1
            self._score = max(0, self._score - PENALTY) if self._gap <= GAP else 0
        self._length += 1

    @property
    def looping(self) -> bool:
        """Whether to stop here."""
        return 0 < self._window <= self._weight and self._score > 0

    @property
    def looping_at_limit(self) -> bool:
        """Whether a text that the token limit ends here is cut off in a loop."""
        return self._again >= AT_LIMIT and self._score > 0

    @property
    def kept(self) -> int:
        """How many tokens come before the tail's second copy; all of them without a tail.

        The first repeated token ends the first N tokens of the second copy, whatever the period, so of an exact loop
        one copy stays.
        """
        return self._start - (N - 1) if self._score else self._length
