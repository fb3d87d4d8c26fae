"""Which tokens would repeat an n-gram of a row's own output, found on the device for all rows at once."""

from __future__ import annotations

import torch
from torch import Tensor


class RepeatRule:
    """Bans the tokens that would write an n-gram again which started within the last ``window`` tokens.

    The rule of the official vLLM recipe (``deepseek_ocr.py``, NoRepeatNGramLogitsProcessor); n 0 bans nothing. Beside
    the last tokens of each row stands how many tokens before each of them equal the row's end: a new token lengthens
    those runs by one where it equals the token that it is compared with, and ends the others. So a step costs a few
    operations over (rows, window), and the host need not see a token before the next is chosen.
    """

    def __init__(
        self, n: int, window: int, exempt: frozenset[int], *, rows: int, vocabulary: int, device: torch.device
    ) -> None:
        """``exempt`` tokens are never banned; ``window`` is at least n, or nothing can ever be banned."""
        self._n = n if n <= window else 0
        window = window if self._n else 1
        # Latest last; -1 where a row has written less.
        self._tokens = torch.full((rows, window), -1, dtype=torch.long, device=device)
        self._runs = torch.zeros((rows, window), dtype=torch.int32, device=device)
        # its n-gram starts within the window
        self._follows = (torch.arange(window, device=device) >= n - 1) & bool(self._n)
        self._bannable = torch.ones(vocabulary, dtype=torch.bool, device=device)
        self._bannable[[token for token in exempt if token < vocabulary]] = False

    def reset(self, rows: Tensor) -> None:
        """Rows (k,) start on a new page."""
        if self._n:
            self._tokens[rows] = -1
            self._runs[rows] = 0

    def push(self, rows: slice | Tensor, tokens: Tensor) -> None:
        """Take in the next token (k,) of each of these rows."""
        if self._n:
            seen = self._tokens[rows]
            self._runs[rows] = torch.where(seen == tokens[:, None], self._runs[rows] + 1, 0)
            self._tokens[rows] = torch.cat([seen[:, 1:], tokens[:, None]], dim=1)

    def ban(self, rows: slice | Tensor, logits: Tensor) -> Tensor:
        """Logits (k, V) with those of banned tokens at -inf."""
        if not self._n:
            return logits
        seen = self._tokens[rows]
        token = seen.clamp_min(0)
        banned = (self._runs[rows] >= self._n - 1) & self._follows & (seen >= 0) & self._bannable[token]
        limit = torch.where(banned, float("-inf"), float("inf")).to(logits.dtype)
        return logits.scatter_reduce(1, token, limit, "amin")

    def facts(self, rows: slice | Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        """What :func:`~rtprune_cli.decoding.kernels.choosing.pick` has to know of these rows."""
        return self._tokens[rows], self._runs[rows], self._follows, self._bannable, self._n - 1

    def move(self, source: int, target: int) -> None:
        """A row goes to another slot."""
        if self._n:
            self._tokens[target] = self._tokens[source]
            self._runs[target] = self._runs[source]
