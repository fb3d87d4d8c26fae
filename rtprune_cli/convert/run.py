"""All documents of an output folder, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rtprune_cli import stopping
from rtprune_cli.convert.blocks_file import read_blocks
from rtprune_cli.convert.docling import check_docling, to_docling
from rtprune_cli.convert.find import LACKING, FoundBlocks, find_blocks
from rtprune_cli.convert.searchable import LayerOptions, to_searchable
from rtprune_cli.convert.text import to_text
from rtprune_cli.errors import InputError, RtpruneError, UsageError
from rtprune_cli.inputs.formats import printable, reason
from rtprune_cli.outputs.layout import DOCLING, SEARCHABLE, TEXT
from rtprune_cli.storage import atomic_write, make_folder

log = logging.getLogger("rtprune")

FORMATS = {"docling": DOCLING, "text": TEXT, "searchable-pdf": SEARCHABLE}  # and the endings of their files


@dataclass(frozen=True)
class ConvertOptions:
    """``to`` is one of FORMATS; ``output`` None: each result goes beside its NAME.json."""

    to: str
    output: Path | None = None
    layer: LayerOptions = field(default_factory=LayerOptions)

    def __post_init__(self) -> None:
        if self.to not in FORMATS:
            raise UsageError(f"unknown format {self.to!r}", f"Use one of {', '.join(FORMATS)}")


def convert(given: Path, options: ConvertOptions) -> Iterator[Path | InputError]:
    """Convert every document in ``given``: what was written, or why there is nothing, for each.

    Raises:
        UsageError: there is no document.
        EnvironmentFault: a package is missing.
        OutputError: a result cannot be written.
    """
    if options.to == "docling":
        check_docling()
    for found in find_blocks(given):
        stopping.check()
        try:
            yield _converted(found, options)
        except InputError as error:
            log.debug("%s", found.path, exc_info=True)
            yield error


def _converted(found: FoundBlocks, options: ConvertOptions) -> Path:
    if found.missing:
        raise InputError(f"{printable(str(found.path))} is not there", f"It was {LACKING}")
    document = read_blocks(found.path)
    folder = found.path.parent if options.output is None else options.output / found.place.parent
    destination = folder / f"{found.stem}{FORMATS[options.to]}"
    try:
        if options.to == "text":
            data = to_text(document)
        elif options.to == "docling":
            data = to_docling(document, found.stem, found.path.parent, folder)
        else:
            data = to_searchable(document, found.path, destination, options.layer)
    except (RtpruneError, MemoryError):
        raise
    except Exception as error:  # libraries that are fed with whatever people have raise almost anything
        log.debug("%s", found.path, exc_info=True)
        name = printable(document.document.name)
        message = f"{name} cannot be converted: {reason(error)}"
        raise InputError(message, "Report this with the output of -vv") from None
    make_folder(folder)
    atomic_write(destination, data)
    return destination
