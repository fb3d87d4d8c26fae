"""The documents in an output folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from rtprune_cli.errors import InputError, UsageError
from rtprune_cli.inputs.formats import printable, reason
from rtprune_cli.outputs.layout import BLOCKS, RECORDS

LACKING = "read with --no-json or an earlier version; run rtprune ocr again"


class FoundBlocks(NamedTuple):
    """A document to convert: its NAME.json, which may be ``missing``, and the place of that in the tree."""

    path: Path
    place: Path
    missing: bool = False

    @property
    def stem(self) -> str:
        """NAME."""
        return self.path.name.removesuffix(BLOCKS)


def find_blocks(given: Path) -> list[FoundBlocks]:
    """The documents of an output folder, a document's folder, or a NAME.json, in order of their names.

    Raises:
        UsageError: there is none.
        InputError: the folder cannot be read.
    """
    name = printable(str(given))
    if not given.exists():
        raise UsageError(f"{name} does not exist", "Name an output folder of rtprune ocr")
    if not given.is_dir():
        return [FoundBlocks(given, Path(given.name))]

    def refuse(error: OSError) -> None:
        folder = printable(str(error.filename))
        raise InputError(f"the folder {folder} cannot be read: {reason(error)}", "Check its permissions")

    found: list[FoundBlocks] = []
    for folder, below, names in os.walk(given.absolute(), onerror=refuse):
        below[:] = sorted(each for each in below if not each.startswith("."))
        stem = os.path.basename(folder)
        if any(f"{stem}{ending}" in names for ending in (BLOCKS, RECORDS)):
            path = Path(folder, f"{stem}{BLOCKS}")
            found.append(FoundBlocks(path, path.relative_to(given.absolute()), path.name not in names))
    if all(each.missing for each in found):
        message = f"{name} holds no NAME.json of a document" if found else f"{name} holds no document"
        raise UsageError(message, f"It was {LACKING}" if found else "Name an output folder of rtprune ocr")
    return found
