"""Owns the form in which texts are compared: no emphasis, one space, ASCII quotes and dashes."""

from __future__ import annotations

import re
import unicodedata

# The dots stop at line ends, and a mark that is not closed on its line is looked for once a line: linear.
_MARKUP = (
    (re.compile(r"<br/?>"), " "),
    (re.compile(r"\*\*(.*?)\*\*"), r"\1"),
    (re.compile(r"__(.*?)__"), r"\1"),
    (re.compile(r"</?[bi]>"), ""),
    (re.compile(r"(\*\*|__)(.*?)\1"), r"\2"),  # again: what the first turn laid open
    (re.compile(r"(\*|_)(.*?)\1"), r"\2"),
    (re.compile(r"\s+"), " "),
)
_ASCII = str.maketrans({
    **dict.fromkeys("\u2018\u2019\u201a", "'"),
    **dict.fromkeys("\u201c\u201d\u201e", '"'),
    **dict.fromkeys("\u2011\u2012\u2013\u2014\u2212", "-"),
    "\uff3f": "_",
    "\u00b5": "\u03bc",  # micro sign, Greek mu
})  # fmt: skip


def normalised(text: str) -> str:
    """``text`` for comparing, of a test and of a page alike; spaces at the ends stay."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return unicodedata.normalize("NFC", text).translate(_ASCII)
