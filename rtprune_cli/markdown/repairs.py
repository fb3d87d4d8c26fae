"""Habits of the model that can be undone, each by an option of its own: off, since a page may mean what it says."""

from __future__ import annotations

import re

from rtprune_cli.markdown.formulas import outside

# "double- and triple-annotated": the word stands for the end that the next one has too. In the languages that the model
# reads most; a word too many costs a hyphen that keeps its space, a word too few a hyphen that loses it.
_SUSPENDED = frozenset((
    "and", "or", "to", "nor", "but", "as", "und", "oder", "bis", "bzw", "sowie", "als", "wie", "statt", "et", "ou",
    "y", "o", "e", "en", "of", "och", "og", "eller", "i", "lub", "oraz", "ja", "tai", "és", "vagy", "a", "nebo",
))  # fmt: skip
_HYPHEN = re.compile(r"(?<=[^\W_])- (?=(\w{1,40}))")
_ITEM = re.compile(r"\s{0,9}- (?=\S)")
# The end of an item, and the dash of the next one without the space before it
_ITEM_END = re.compile(r"(?P<end>\b\w{1,60}|[.!?;:)])- (?P<next>[^\W\d_])")


def without_hyphen_spaces(text: str) -> str:
    """``high- quality`` and ``2025- 02- 18`` in one piece; ``double- and`` stays."""
    return outside(text, _join_hyphens) if "- " in text else text


def _join_hyphens(text: str) -> str:
    return _HYPHEN.sub(lambda found: "- " if found[1].lower() in _SUSPENDED else "-", text)


def with_items_apart(text: str) -> str:
    """The items of a list that the model wrote in one line, ``- one.- Two``, a line each.

    Only in lines that begin as an item does, before a capital letter, and not between two names: neither
    ``high- quality`` nor ``Retrieval- Augmentation`` is where an item ends.
    """
    return "\n".join(_apart(line) for line in text.split("\n"))


def _apart(line: str) -> str:
    first = _ITEM.match(line)
    return line if first is None else first[0] + _ITEM_END.sub(_next_item, line[first.end() :])


def _next_item(found: re.Match[str]) -> str:
    joins = found["end"][0].isupper() or found["end"][0].isdigit() or found["next"].islower()
    return found[0] if joins else f"{found['end']}\n- {found['next']}"
