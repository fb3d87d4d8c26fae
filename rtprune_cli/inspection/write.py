"""Owns the files of an inspected page: its pictures as PNG and its numbers as JSON."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtprune_cli.inspection.in_order import draw_left_out_in_order, draw_norms_in_order
from rtprune_cli.inspection.overlays import draw_density, draw_kept, draw_left_out, draw_norms, draw_transport
from rtprune_cli.outputs.layout import LEFT_OUT, PICTURES, numbers_name, picture_name
from rtprune_cli.storage import atomic_write, make_folder, remove, to_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from rtprune_cli.inspection.leave_one_out import LeaveOneOut
    from rtprune_cli.inspection.measure import Inspection
    from rtprune_cli.records import PageImage

SCHEMA_VERSION = 1


def write_page(
    folder: Path, page: PageImage, found: Inspection, run: dict[str, Any], left_out: LeaveOneOut | None = None
) -> None:
    """Write page-0001.kept.png and the others, then page-0001.json, which stands only beside whole pictures.

    Args:
        folder: of the document; it is made.
        run: what is the same for all pages: settings, model, versions.
        left_out: what becomes of the text without each token, where it was asked for.

    Raises:
        OutputError: it cannot be written.
    """
    make_folder(folder)
    pictures = _pictures(page.image, found, left_out)
    for name in PICTURES:
        if name not in pictures:  # an earlier run, with tiles or more questions, may have had one
            remove(folder / picture_name(page.page, name))
    remove(folder / numbers_name(page.page))
    for name, picture in pictures.items():
        atomic_write(folder / picture_name(page.page, name), _png(picture))
    record = {
        "schema_version": SCHEMA_VERSION,
        "document": page.document.name,
        "page": page.page,
        **found.record(),
        **run,
    }
    if left_out is not None:
        record["leave_one_out"] = left_out.record(found.tokens)
        for index, edits in zip(left_out.tried.tolist(), left_out.edits.tolist(), strict=True):
            record["tokens"][index]["edits"] = edits
    atomic_write(folder / numbers_name(page.page), to_json(record))


def _pictures(page: Image, found: Inspection, left_out: LeaveOneOut | None) -> dict[str, Image]:
    """By kind; of tokens without a place on the page those that need none."""
    pictures = {"density": draw_density(page, found)}
    if not found.tokens.placed:
        pictures["norms"] = draw_norms_in_order(found)
        if left_out is not None:
            pictures[LEFT_OUT[0]] = draw_left_out_in_order(found, left_out)
        return pictures
    pictures["kept"] = draw_kept(page, found)
    pictures["norms"] = draw_norms(page, found)
    pictures["transport"] = draw_transport(page, found)
    if found.grid is not None:
        pictures["kept-tiles"] = draw_kept(page, found, "tile")
    if left_out is not None:
        pictures[LEFT_OUT[0]] = draw_left_out(page, found, left_out)
        if found.grid is not None:
            pictures[LEFT_OUT[1]] = draw_left_out(page, found, left_out, "tile")
    return pictures


def _png(picture: Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
