"""A shard of a run: its documents under the names that they have in the whole, and the note that says what it was.

The note stands in the shard's output folder, so that `rtprune merge` knows the order of the whole, and sees whether a
shard is missing or was given other inputs than the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rtprune_cli.inputs import shard_keys, shard_of
from rtprune_cli.outputs.layout import Layout
from rtprune_cli.outputs.naming import Occupancy, name_some
from rtprune_cli.records import Document, parse
from rtprune_cli.storage import atomic_write, make_folder, to_json


@dataclass(frozen=True)
class ShardNote:
    """Shard ``number``, from 1, of ``count``.

    ``documents`` are there in all; ``inputs`` is a SHA-256 over their keys and places, the same for every shard of one
    whole. ``folders`` are the places of the shard's own in the output folder, ``order`` which of all documents each
    is, from 0.
    """

    number: int
    count: int
    documents: int
    inputs: str
    folders: tuple[str, ...]
    order: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def places(self) -> Mapping[str, int]:
        """``folders`` with their ``order``."""
        return dict(zip(self.folders, self.order, strict=False))


def take_shard(
    found: Sequence[Document], part: tuple[int, int], occupancy: Callable[[Document], Occupancy]
) -> tuple[list[Document], ShardNote]:
    """The documents of a shard among all that were found, each with its place, and what to note of it."""
    number, count = part
    keys = shard_keys(found)
    chosen = [shard_of(key, count) == number for key in keys]
    named, own = name_some(found, chosen, occupancy)
    facts = sorted([key, str(document.folder)] for key, document in zip(keys, named, strict=True))
    return own, ShardNote(
        number,
        count,
        len(found),
        hashlib.sha256(to_json(facts)).hexdigest(),
        tuple(str(document.folder) for document in own),
        tuple(at for at, mine in enumerate(chosen) if mine),
    )


def note_path(layout: Layout, note: ShardNote) -> Path:
    """Where the note is in an output folder."""
    return layout.shards / f"{note.number}-of-{note.count}.json"


def write_note(layout: Layout, note: ShardNote) -> None:
    """Write the note into an output folder, in the place of an earlier one of this shard.

    Raises:
        OutputError: it cannot be written.
    """
    make_folder(layout.shards)
    atomic_write(note_path(layout, note), to_json(asdict(note)), layout.scratch)


def read_notes(layout: Layout) -> list[ShardNote]:
    """The notes in an output folder, by count and number; what is none is passed over."""
    notes = []
    for path in layout.shards.glob("*.json"):
        try:
            notes.append(parse(ShardNote, json.loads(path.read_bytes())))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # changed by hand, or of another version
    return sorted(notes, key=lambda note: (note.count, note.number))
