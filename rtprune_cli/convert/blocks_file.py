"""The file NAME.json of a document that was read, as records."""

from __future__ import annotations

import json
from pathlib import Path

from rtprune_cli.errors import InputError
from rtprune_cli.inputs.formats import printable, reason
from rtprune_cli.records import BLOCKS_VERSION, DocumentBlocks, parse

AGAIN = "run rtprune ocr again"


def read_blocks(path: Path) -> DocumentBlocks:
    """Read NAME.json.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    name = printable(str(path))
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{name} cannot be read: {reason(error)}", "Check its permissions") from None
    except (ValueError, RecursionError):
        raise InputError(f"{name} is not JSON", f"To write it anew, {AGAIN} with --force") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > BLOCKS_VERSION:
        raise InputError(f"{name} was written by a newer version of rtprune", "Convert it with that one")
    try:
        found: DocumentBlocks = parse(DocumentBlocks, data)
    except (LookupError, TypeError):
        found = None  # type: ignore[assignment]
    if found is None or not all(_is_possible(page.page, page.width, page.height) for page in found.pages):
        message = f"{name} does not hold the blocks of a document"
        raise InputError(message, f"Name the NAME.json that rtprune ocr wrote; to write it anew, {AGAIN}")
    return found


def _is_possible(number: int, width: int | None, height: int | None) -> bool:
    return number > 0 and all(side is None or side > 0 for side in (width, height))
