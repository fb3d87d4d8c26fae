"""Owns the folder of synthetic pages: NAME.png beside NAME.txt, their groups, and what they were made with."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pymupdf

from rtprune_cli import __version__
from rtprune_cli.bench.accuracy.synthetic import a4, card
from rtprune_cli.bench.accuracy.synthetic.drawing import Drawing, to_png
from rtprune_cli.bench.accuracy.synthetic.shuffling import shuffled
from rtprune_cli.bench.accuracy.synthetic.words import WORDS
from rtprune_cli.errors import UsageError
from rtprune_cli.inputs.formats import printable
from rtprune_cli.storage import atomic_write, make_folder, remove, to_json

SHEETS = {"a4": a4.make_drawing, "card": card.make_drawing}
LAYOUTS = ("one-column", "two-columns", "table", "form", "sparse", "dense", "small-type", "large-type")
# A model's text of a layout that it cannot read says nothing about pruning: those of card must be asked for.
DEFAULT = {"a4": LAYOUTS, "card": tuple(layout for layout in LAYOUTS if layout in card.INSIDE)}
MIXED = WORDS[0]
GROUPS, SETTINGS = "groups.json", "pages.json"
RECIPE = 2  # goes up whenever a seed gives other pages than before


def make_page(
    number: int, seed: int, sheet: str, layouts: Sequence[str], words: str = MIXED
) -> tuple[Drawing, dict[str, str]]:
    """The page of a number, from 0, and its groups; ``words`` is one of WORDS.

    ``layouts`` take turns. A layout's pages are the same whichever others there are.
    """
    layout = layouts[number % len(layouts)]
    name = f"{seed} {sheet} {layout} {number // len(layouts)}"
    drawing, groups = SHEETS[sheet](layout, random.Random(name), natural=words != MIXED)
    if words == "random":
        drawing = shuffled(drawing, random.Random(f"{name} letters"))
    return drawing, {"layout": layout, **groups}


def page_name(number: int, layouts: Sequence[str]) -> str:
    """The stem of a page's files: 0001-one-column is the first."""
    return f"{number + 1:04}-{layouts[number % len(layouts)]}"


def known_layouts(layouts: Iterable[str], sheet: str) -> tuple[str, ...]:
    """The layouts in the order in which they take turns; where none is named, those of :data:`DEFAULT`.

    Raises:
        UsageError: the sheet or one of the layouts is unknown.
    """
    if sheet not in SHEETS:
        raise UsageError(f"unknown sheet {sheet!r}", f"Use one of {', '.join(SHEETS)}")
    wanted = set(layouts) or set(DEFAULT[sheet])
    if unknown := sorted(wanted - set(LAYOUTS)):
        raise UsageError(f"unknown layout {unknown[0]!r}", f"Use some of {', '.join(LAYOUTS)}")
    return tuple(layout for layout in LAYOUTS if layout in wanted)


def check_words(words: str) -> None:
    """Raises UsageError where it is not one of WORDS."""
    if words not in WORDS:
        raise UsageError(f"unknown words {words!r}", f"Use one of {', '.join(WORDS)}")


def make_pages(
    folder: Path, count: int, seed: int, sheet: str, layouts: Iterable[str] = (), words: str = MIXED
) -> None:
    """Write ``count`` pages, or those of them that are not there yet; more that are there stay.

    Writes NAME.png, gray at 200 dpi, NAME.txt, the truth in reading order, groups.json, {NAME: {group: value}}, and
    pages.json. ``sheet`` is one of SHEETS, ``words`` of WORDS. Equal arguments give equal files on the same versions of
    Python, PyMuPDF and this tool.

    Raises:
        UsageError: unknown sheet, layout or words, or the folder has something else in it.
        OutputError: it cannot be written.
    """
    layouts = known_layouts(layouts, sheet)
    check_words(words)
    make_folder(folder)
    settings = {"recipe": RECIPE, "seed": seed, "sheet": sheet, "layouts": list(layouts), "words": words}
    _claim(folder, settings)
    groups: dict[str, dict[str, str]] = _read(folder / GROUPS) or {}
    for number in range(count):
        name = page_name(number, layouts)
        image, truth = folder / f"{name}.png", folder / f"{name}.txt"
        drawing, groups[name] = make_page(number, seed, sheet, layouts, words)
        text = f"{drawing.text}\n".encode()
        if not (image.is_file() and truth.is_file() and truth.read_bytes() == text):
            remove(image)
            atomic_write(truth, text)
            atomic_write(image, to_png(drawing))  # last: what has an image has its truth
    atomic_write(folder / GROUPS, to_json(groups, indent=1))


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Note what the folder's pages are made with, or find that it is the same as before."""
    path = folder / SETTINGS
    found = _read(path)
    if found is None:
        if path.exists() or any(not each.name.startswith(".") for each in folder.iterdir()):
            raise UsageError(f"{printable(str(folder))} holds other files", "Choose another folder with -o")
        versions = {"rtprune": __version__, "pymupdf": pymupdf.__version__}
        atomic_write(path, to_json({**settings, "versions": versions}, indent=1))
    # Folders from before there was a choice of words hold mixed ones.
    elif changed := [name for name, value in settings.items() if {"words": MIXED, **found}.get(name) != value]:
        raise UsageError(
            f"the pages in {printable(str(folder))} were made with other settings ({', '.join(changed)})",
            "Choose another folder with -o",
        )


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
