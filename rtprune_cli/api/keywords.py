"""Settings as keyword arguments: each goes to its options class, by the names of the flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from rtprune_cli.inputs import check_pages
from rtprune_cli.options import OcrOptions
from rtprune_cli.settings import Setting, Value, all_settings, make_options

# Groups of settings that say how pages are read. Of the output's, only those of the markdown's style do.
GROUPS = ("model", "prune", "decode", "input", "")

Pages = str | int | Iterable[int]


def options_from(given: Mapping[str, Any]) -> OcrOptions:
    """The options of settings that were given by name; what is None keeps its default.

    Raises:
        TypeError: no setting has the name, or it says nothing of how pages are read.
        UsageError: a value is wrong.
    """
    known, values = _known(), {}
    for name, value in given.items():
        if name not in known:
            raise TypeError(_refusal(name, known))
        if value is not None:
            values[name] = Value(known[name].from_python(value), source="argument")
    options, _ = make_options(values)
    return options


def page_list(pages: Pages) -> str:
    """Pages as the setting has them: ``3``, ``[1, 3]`` and ``range(1, 4)`` as a text.

    Raises:
        PageRangeError: the text is malformed.
    """
    given = pages if isinstance(pages, str) else ",".join(map(str, [pages] if isinstance(pages, int) else pages))
    check_pages(given)
    return given


def _known() -> dict[str, Setting]:
    from rtprune_cli.markdown import MarkdownStyle

    style = {each.name for each in fields(MarkdownStyle)}
    return {name: each for name, each in all_settings().items() if each.group in GROUPS or name in style}


def _refusal(name: str, known: Iterable[str]) -> str:
    if name in all_settings():
        return f"{name!r} is a setting of what is written, and nothing is; see rtprune_cli.ocr and `rtprune ocr`"
    close = get_close_matches(name.replace("-", "_"), known, n=1)
    meant = f". Did you mean {close[0]!r}?" if close else "; settings are named as the flags of `rtprune ocr --help`"
    return f"there is no setting {name!r}{meant}"
