"""Owns what synthetic pages say: English words with numbers, codes and names between them, by a generator's seed.

The words come in no order that means anything, and one in eight is a number or a code: a language model that does not
look at the page cannot guess them. Nothing here reads as markdown, whose marks the scorers take off: no sentence ends
in a number, which a line break would turn into "1874." and so into a list, and there is no dollar, star or hash.

What a page says is chosen by :data:`WORDS`. Natural and random pages of one seed are the same but for the order of
their letters (shuffling.py), so they show what a reader owes to the language.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal, get_args

from rtprune_cli.tiny.writing import DIGITS, LETTERS, words

Words = Literal["mixed", "natural", "random"]
"""mixed: English with numbers and codes between. natural: English, with numbers only where a layout or style asks for
them. random: natural pages with the letters of each line in random order."""
WORDS: tuple[Words, ...] = get_args(Words)
CODE_LETTERS = LETTERS.upper().translate(str.maketrans("", "", "IO"))  # no telling them from digits in some fonts
CODE_DIGITS = DIGITS.translate(str.maketrans("", "", "01"))
NUMBERS, CODES = 0.08, 0.05  # shares of the words of a sentence
SENTENCE = (6, 18)  # words
PARAGRAPH = (2, 6)  # sentences


class Writer:
    """Words, lines and paragraphs, each call another; ``natural``: without numbers and codes in sentences."""

    def __init__(self, rng: random.Random, *, natural: bool = False) -> None:
        self._rng = rng
        self._numbers, self._codes = (0.0, 0.0) if natural else (NUMBERS, CODES)
        # Of forms, each with what stands behind it.
        self._labels: dict[str, Callable[[], str]] = {
            "Name": self.name, "Date": self.date, "City": self.word, "Code": self.code, "Room": self.code,
            "Sum": self.amount, "Year": self.year, "Item": self.name, "Family name": self.name,
            "Date of birth": self.date, "Street and number": self.address, "Telephone": self.telephone,
            "Order number": self.code, "Occupation": self.name, "Amount due": self.amount, "Reference": self.code,
            "Valid until": self.date, "Account holder": self.name, "Place of work": self.name, "Weight": self.amount,
            "Contact person": self.name, "Year of issue": self.year, "Serial number": self.code,
        }  # fmt: skip

    def word(self) -> str:
        """A word with a capital."""
        return self._rng.choice(words()).capitalize()

    def name(self) -> str:
        """Two or three words with capitals."""
        return " ".join(self.word() for _ in range(self._rng.randint(2, 3)))

    def amount(self) -> str:
        """12.50, 3,075.00."""
        return f"{self._rng.randint(1, 10 ** self._rng.randint(1, 5)):,}.{self._rng.randrange(100):02}"

    def year(self) -> str:
        """1874."""
        return str(self._rng.randint(1800, 2030))

    def date(self) -> str:
        """5/11/1998."""
        return f"{self._rng.randint(1, 28)}/{self._rng.randint(1, 12)}/{self.year()}"

    def telephone(self) -> str:
        """555 018 4429."""
        return " ".join(f"{self._rng.randrange(10**size):0{size}}" for size in (3, 3, 4))

    def address(self) -> str:
        """Two words and a number."""
        return f"{self.word()} {self.word()} {self._rng.randint(2, 299)}"

    def code(self) -> str:
        """Letters and digits by chance, a letter first: QX7T-493."""
        rng = self._rng
        first = rng.choice(CODE_LETTERS) + "".join(rng.choices(CODE_LETTERS + CODE_DIGITS, k=rng.randint(2, 3)))
        more = "".join(rng.choices(CODE_LETTERS + CODE_DIGITS, k=rng.randint(2, 4)))
        return first if rng.random() < 0.5 else f"{first}-{more}"

    def number(self) -> str:
        """A whole number, an amount, a share, a year or a date."""
        return self._rng.choice((self.count, self.amount, self.percent, self.year, self.date))()

    def count(self) -> str:
        """0 to 9999."""
        return str(self._rng.randrange(10_000))

    def percent(self) -> str:
        """17%."""
        return f"{self._rng.randint(0, 100)}%"

    def sentence(self) -> list[str]:
        """The words of a sentence, with its commas and full stop."""
        found = [self._rng.choice(words()).capitalize()]
        for _ in range(self._rng.randint(*SENTENCE) - 2):
            draw = self._rng.random()
            if draw < self._numbers:
                found.append(self.number())
            elif draw < self._numbers + self._codes:
                found.append(self.code())
            else:
                found.append(self._rng.choice(words()) + ("," if self._rng.random() < 0.08 else ""))
        return [*found, self._rng.choice(words()) + self._rng.choice(".....?!")]

    def paragraph(self) -> list[str]:
        """The words of some sentences."""
        return [word for _ in range(self._rng.randint(*PARAGRAPH)) for word in self.sentence()]

    def title(self) -> list[str]:
        """The words of a title."""
        return [self.word() for _ in range(self._rng.randint(3, 6))]

    def heading(self) -> list[str]:
        """The words of the title of a section."""
        return [self.word() for _ in range(self._rng.randint(1, 4))]

    def fields(self, count: int, *, short: bool = False) -> list[tuple[str, Callable[[], str]]]:
        """``count`` labels of a form, each with what makes values for it; ``short``: of four letters at most."""
        names = [name for name in self._labels if len(name) <= 4 or not short]
        return [(name, self._labels[name]) for name in self._rng.sample(names, count)]

    def cells(self, count: int) -> list[Callable[[], str]]:
        """What makes the cells of a table's columns, the first of words."""
        kinds = (self.amount, self.percent, self.code, self.date, self.word)
        return [self.word, *self._rng.choices(kinds, k=count - 1)]
