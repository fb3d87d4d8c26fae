"""Which of the inputs of a run belong to a shard: the same on every machine, and whatever else there is to read.

An input goes by its key: where it lies below the folder that all inputs have in common. So a key does not depend on
where a machine mounts that folder, on how the command spells it or on the order of the inputs; inputs of one name in
different folders have different keys; and a new file in the folder moves no other one to another shard.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from rtprune_cli.records import Document


def shard_keys(found: Sequence[Document]) -> list[str]:
    """The key of each input, for inputs as :func:`rtprune_cli.inputs.find_files` gives them, not named yet.

    What is inside another document (``--attachments``) has the key of that, so that it is read in the same shard.
    """
    top = _common_folder({_folder_of(item) for item in found if item.path is not None and item.data is None})
    keys: list[str] = []
    outer: Document | None = None
    for item in found:
        held = item.path is None and item.data is not None
        inside = held and outer is not None and item.name.startswith(f"{outer.name}/")
        if not inside:
            outer = item
        keys.append(keys[-1] if inside else _key(item, top))
    return keys


def shard_of(key: str, count: int) -> int:
    """The shard of an input, from 1 to ``count``: by its key's SHA-256, since Python's own hash differs by process."""
    digest = hashlib.sha256(os.fsencode(key)).digest()
    return 1 + int.from_bytes(digest[:8]) % count


def _folder_of(item: Document) -> str:
    """The folder that was named and in which the input was found; of a file that was named, the one in which it lies.

    ``item.folder`` is the way from there.
    """
    assert item.path is not None
    folder = os.path.abspath(item.path)
    for _ in item.folder.parts:
        folder = os.path.dirname(folder)
    return folder


def _common_folder(folders: Iterable[str]) -> str | None:
    try:
        return os.path.commonpath(list(folders))
    except ValueError:  # none, or on several drives
        return None


def _key(item: Document, top: str | None) -> str:
    if item.path is None:
        return item.name
    if item.data is not None:  # a pipe, whose path is a number that the shell gave it
        return item.path.name
    path = Path(os.path.abspath(item.path))
    place = path if top is None else path.relative_to(top)
    return unicodedata.normalize("NFC", place.as_posix())  # macOS may give another form of the same name
