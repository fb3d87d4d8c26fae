"""What synthetic pages say: English words with punctuation, numbers, and random strings.

Random strings matter: a language model cannot guess them, so the decoder has to look at the page.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

PUNCTUATION = ".,;:!?'\"()-/&%$#@+*="
LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"


@cache
def words() -> tuple[str, ...]:
    """The common English words that ship with the package."""
    return tuple((Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split())


def line_words(rng: random.Random, random_share: float, number_share: float) -> list[str]:
    """14 words of one line, of one kind: random strings, numbers or English by the two shares."""
    kind = rng.random()
    if kind < random_share:
        pools = [LETTERS] * 6 + [LETTERS.upper()] * 3 + [DIGITS] * 3 + [PUNCTUATION]
        return ["".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 9))) for _ in range(14)]
    if kind < random_share + number_share:
        return [number(rng) for _ in range(14)]
    found = [rng.choice(words()) for _ in range(14)]
    style = rng.random()
    if style < 0.1:
        return [word.upper() for word in found]
    if style < 0.25:
        return [word.capitalize() for word in found]
    if style < 0.75:
        found = [_punctuated(rng, word) for word in found]
        found[0] = found[0][0].upper() + found[0][1:]
    return found


def _punctuated(rng: random.Random, word: str) -> str:
    draw = rng.random()
    if draw < 0.70:
        return word
    if draw < 0.74:
        return f'"{word}"' if rng.random() < 0.5 else f"({word})"
    if draw < 0.77:
        return f"{word}-{rng.choice(words())}"
    if draw < 0.80:
        return f"{word}'s"
    if draw < 0.84:
        return number(rng)
    return word + rng.choice(",,,....;:!?")


def number(rng: random.Random) -> str:
    """A count, year, amount, share, date or number sign."""
    draw = rng.random()
    if draw < 0.35:
        return str(rng.randint(0, 10 ** rng.randint(1, 6)))
    if draw < 0.5:
        return str(rng.randint(1800, 2030))
    if draw < 0.65:
        return f"{rng.randint(0, 999)}.{rng.randint(0, 99):02d}"
    if draw < 0.75:
        return f"${rng.randint(1, 999)},{rng.randint(0, 999):03d}"
    if draw < 0.85:
        return f"{rng.randint(0, 100)}%"
    if draw < 0.95:
        return f"{rng.randint(1, 31)}/{rng.randint(1, 12)}/{rng.randint(0, 99):02d}"
    return f"#{rng.randint(1, 999)}"
