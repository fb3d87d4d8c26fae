"""Owns pages without language: a page whose letters have changed places, so that no word is left to be guessed."""

from __future__ import annotations

import random
from dataclasses import replace

from rtprune_cli.bench.accuracy.synthetic.drawing import Drawing
from rtprune_cli.bench.scoring.flatten import plain
from rtprune_cli.tiny.pages import Run

ATTEMPTS = 100


def shuffled(drawing: Drawing, rng: random.Random) -> Drawing:
    """The page with the letters of each run in random order; capitals change places among themselves.

    Digits, punctuation and spaces stay, and all else of the page. A run has the same letters as before, so it has the
    same width: what differs between the two pages is the language. A letter that stands alone stays too.

    The scorers take markdown's marks off, so letters that would read as one (&amp;) are drawn again.

    Raises:
        ValueError: the page's text reads as markdown whatever the letters.
    """
    for _ in range(ATTEMPTS):
        lines = tuple(tuple(_shuffled(run, rng) for run in line) for line in drawing.lines)
        found = replace(drawing, lines=lines)
        if plain(found.text) == found.text:
            return found
    raise ValueError("the page's own text reads as markdown")


def _shuffled(run: Run, rng: random.Random) -> Run:
    text = list(run.text)
    for kind in (str.islower, str.isupper):
        places = [place for place, character in enumerate(run.text) if kind(character)]
        letters = [run.text[place] for place in places]
        rng.shuffle(letters)
        for place, letter in zip(places, letters, strict=True):
            text[place] = letter
    return replace(run, text="".join(text))
