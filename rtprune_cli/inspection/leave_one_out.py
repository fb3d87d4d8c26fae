"""Owns the question which visual tokens a page's text hangs on: each taken out alone, and the page read without it.

The page is not pruned otherwise: the others keep their values and positions, as they would if the token were dropped.
Figure 6 of RTPrune's paper says of its pages that over 95 % of single tokens can go without a change. Letters: N visual
tokens of a page, T of them tried.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rtprune_cli.engine.prompts import PromptDecoder
from rtprune_cli.failures import Failure, PageFailure
from rtprune_cli.markdown import as_written
from rtprune_cli.pruning import untouched
from rtprune_cli.records import DecoderInput, PrunedTokens, VisualTokens
from rtprune_cli.views.grid import KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtprune_cli.model import OcrModel
    from rtprune_cli.views.tokenmap import TokenMap

Z = 1.959964  # of a normal distribution, for 95 %
FIRST, LAST = -1, -2  # the readings with all tokens, beside those without a token of an index


@dataclass(frozen=True)
class LeaveOneOut:
    """``tried`` (T,): indices of the tokens that were taken out, rising; ``edits`` (T,): Levenshtein distance, in
    characters, of the text without each to ``text``, that of the page with all ``total`` tokens. 0 is no change.

    ``noise``: that distance between two readings with all tokens, the first and the last. It is 0 in float32; where it
    is not, other prompts of a batch change a text, and a small number of edits means nothing.
    """

    text: str
    total: int
    tried: NDArray[np.int64]
    edits: NDArray[np.int64]
    noise: int = 0

    @property
    def unchanged(self) -> int:
        """How many of the tokens tried can go, one at a time."""
        return int((self.edits == 0).sum())

    @property
    def sentence(self) -> str:
        """How many of the tokens tried can go, in words; of a sample with its interval."""
        count, same = len(self.tried), self.unchanged
        low, high = share_interval(same, count, self.total)
        sampled = f" (a sample: {low:.1%} to {high:.1%} of all {self.total})" if count < self.total else ""
        return f"{same} of {count} visual tokens can go, one at a time, without a change of the text{sampled}"

    def record(self, tokens: TokenMap) -> dict[str, Any]:
        """The sums as JSON: over all tokens tried, by kind, and by what pruning makes of the token."""
        states = np.where(tokens.stays, "kept", np.where(tokens.merged, "merged", "dropped"))
        kinds = np.array(KINDS)[tokens.kind]
        low, high = share_interval(self.unchanged, len(self.tried), self.total)
        return {
            "tried": len(self.tried),
            "unchanged": self.unchanged,
            "share_unchanged": {"value": round(self.unchanged / len(self.tried), 6), "low": low, "high": high},
            "most_edits": int(self.edits.max()),
            "noise": self.noise,
            "by_kind": self._by(kinds),
            "by_state": self._by(states),
            "characters": len(self.text),
            "text": self.text,
        }

    def _by(self, names: NDArray[np.str_]) -> dict[str, dict[str, int]]:
        own, same = names[self.tried], self.edits == 0
        return {
            str(name): {"tried": int((own == name).sum()), "unchanged": int(same[own == name].sum())}
            for name in dict.fromkeys(own.tolist())
        }


@torch.inference_mode()
def leave_one_out(
    model: OcrModel, decoder: PromptDecoder, tokens: VisualTokens, prompt: str, tried: Sequence[int]
) -> LeaveOneOut:
    """Read a page with all its visual tokens, then without each of those to be ``tried``, indices in rising order.

    A text is what `rtprune ocr` would write, without boxes and other tags: a box that moves by a pixel is no change.

    Raises:
        PageFailure: one of the readings failed.
        torch.AcceleratorError: the GPU failed.
    """
    from rapidfuzz.distance import Levenshtein

    def prompts() -> Iterator[tuple[int, DecoderInput]]:
        yield FIRST, model.make_prompt(untouched(tokens), prompt)
        for index in tried:
            yield index, model.make_prompt(without(tokens, index), prompt)
        yield LAST, model.make_prompt(untouched(tokens), prompt)

    texts: dict[int, str] = {}
    failure: Failure | None = None
    for key, result in decoder.decode(prompts()):  # all of them, or the next page would get what is left
        if isinstance(result, Failure):
            failure = failure or result
        else:
            texts[key] = as_written(model.decode_text(result.token_ids))
    if failure is not None:
        raise PageFailure(failure)
    edits = [Levenshtein.distance(texts[FIRST], texts[index]) for index in tried]
    noise = Levenshtein.distance(texts[FIRST], texts[LAST])
    return LeaveOneOut(texts[FIRST], len(tokens.tokens), np.array(tried, np.int64), np.array(edits, np.int64), noise)


def draw(total: int, most: int | None, seed: int) -> list[int]:
    """``most`` of ``total`` tokens by chance, in rising order; None: all."""
    count = total if most is None else min(most, total)
    return sorted(random.Random(seed).sample(range(total), count))


def without(tokens: VisualTokens, index: int) -> PrunedTokens:
    """All of a page's tokens but one; the others are as they are, at their places."""
    total = len(tokens.tokens)
    keep = torch.cat([torch.arange(index), torch.arange(index + 1, total)])
    prunable = int(tokens.prunable.sum())
    kept = prunable - int(tokens.prunable[index])
    left = torch.cat([tokens.tokens[:index], tokens.tokens[index + 1 :]])
    return PrunedTokens(left, keep, total, prunable, kept, int(tokens.newline[index]), 1.0, 0.0, 0.0)


def share_interval(count: int, of: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share in ``total`` tokens, of which ``of`` were drawn and ``count`` have it.

    Wilson's score interval (1927) for draws without replacement: a draw counts the more, the fewer tokens are left
    undrawn. Where all were drawn, the share is known.
    """
    share = count / of
    if of >= total:
        return round(share, 6), round(share, 6)
    worth = of * (total - 1) / (total - of)
    middle, scale = share + Z**2 / (2 * worth), 1 + Z**2 / worth
    half = Z * math.sqrt(share * (1 - share) / worth + Z**2 / (4 * worth**2))
    return round(max(0.0, (middle - half) / scale), 6), round(min(1.0, (middle + half) / scale), 6)
