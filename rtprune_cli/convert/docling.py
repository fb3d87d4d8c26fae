"""A document as a DoclingDocument, for the programs that are built on it."""

from __future__ import annotations

import logging
import mimetypes
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtprune_cli.convert.html_table import parse_table
from rtprune_cli.errors import EnvironmentFault
from rtprune_cli.packages import pip_install
from rtprune_cli.records import Block, DocumentBlocks, PageBlocks
from rtprune_cli.records.block import PICTURES, is_caption
from rtprune_cli.storage import to_json

if TYPE_CHECKING:
    from docling_core.types.doc import DoclingDocument, NodeItem, ProvenanceItem, TableData

log = logging.getLogger("rtprune")

CODE = frozenset(("code", "algorithm"))
# Labels of the model's -> those of docling-core's DocItemLabel; all others are text.
TEXTS = {
    "header": "page_header",
    "footer": "page_footer",
    "page_number": "page_footer",
    "footnote": "footnote",
    "page_footnote": "footnote",
    "table_footnote": "footnote",
    "figure_footnote": "footnote",
    "image_footnote": "footnote",
    "reference": "reference",
    "ref_text": "reference",
}
FURNITURE = frozenset(("page_header", "page_footer"))

_ITEM = re.compile(r"\s{0,20}([-*•]|\d{1,3}[.)])\s+(\S.*)")


def check_docling() -> None:
    """
    Raises:
        EnvironmentFault: docling-core is not installed.
    """
    try:
        import docling_core.types.doc  # noqa: F401
    except ImportError:
        hint = f"Install it: {pip_install('docling-core')}"
        raise EnvironmentFault("DoclingDocuments need the package docling-core", hint) from None


def to_docling(document: DocumentBlocks, stem: str, crops: Path, destination: Path) -> bytes:
    """The document as JSON of docling-core's.

    ``crops`` is the folder to which the blocks' pictures are relative, ``destination`` the one that the result goes to.
    """
    from docling_core.types.doc import DoclingDocument, DocumentOrigin

    filename = document.path.name if document.path else document.document.name
    origin, digest = None, document.document.sha256 or ""
    if re.fullmatch(r"[0-9a-f]{64}", digest):
        kind = mimetypes.guess_type(filename)[0] or "application/pdf"
        try:
            origin = DocumentOrigin(mimetype=kind, binary_hash=int(digest[:16], 16), filename=filename)
        except ValueError:  # a type of image that docling-core does not know
            log.debug("docling-core takes no origin of %s", kind, exc_info=True)
    made = DoclingDocument(name=stem, origin=origin)
    for page in document.pages:
        _Page(made, page, crops, destination).add()
    return to_json(made.export_to_dict(), indent=1)


class _Page:
    """A page on its way into a document."""

    def __init__(self, made: DoclingDocument, page: PageBlocks, crops: Path, destination: Path) -> None:
        self._made, self._page = made, page
        self._crops, self._destination = crops, destination
        self._size = page.points or page.size  # in points where they are known, else in pixels

    def add(self) -> None:
        from docling_core.types.doc import Size

        if self._size is not None:
            self._made.add_page(self._page.page, Size(width=self._size[0], height=self._size[1]))
        holder: Any = None  # the picture or table right before, which takes captions and footnotes
        for block in self._page.blocks:
            item = self._add(block)
            if block.html is not None or _is_picture(block):
                holder = item
            elif holder is not None and is_caption(block.label):
                holder.captions.append(item.get_ref())
            elif holder is not None and block.label.endswith("_footnote"):
                holder.footnotes.append(item.get_ref())
            else:
                holder = None

    def _add(self, block: Block) -> Any:
        from docling_core.types.doc import ContentLayer, DocItemLabel

        made, text = self._made, (block.text or "").strip()
        prov = self._provenance(block, len(text))
        if block.html is not None:
            return made.add_table(_table(block.html), prov=prov)
        if block.latex is not None:
            return made.add_formula(block.latex, prov=prov)
        if _is_picture(block):
            return made.add_picture(image=self._image(block), prov=prov)
        if block.level is not None:
            if block.level == 1:
                return made.add_title(text, prov=prov)
            return made.add_heading(text, level=block.level - 1, prov=prov)
        if is_caption(block.label):
            return made.add_text(DocItemLabel.CAPTION, text, prov=prov)
        if block.label in CODE:
            return made.add_code(text, prov=prov)
        if items := list_items(text):
            return self._list(items, prov)
        label = TEXTS.get(block.label, "text")
        layer = ContentLayer.FURNITURE if label in FURNITURE else None
        return made.add_text(DocItemLabel(label), text, prov=prov, content_layer=layer)

    def _list(self, items: list[tuple[str, str]], prov: ProvenanceItem | None) -> NodeItem:
        from docling_core.types.doc import GroupLabel

        group = self._made.add_group(label=GroupLabel.LIST, name="list")
        for marker, text in items:
            self._made.add_list_item(text, enumerated=marker[0].isdigit(), marker=marker, parent=group, prov=prov)
        return group

    def _provenance(self, block: Block, length: int) -> ProvenanceItem | None:
        from docling_core.types.doc import BoundingBox, CoordOrigin, ProvenanceItem

        if block.box is None or self._page.size is None or self._size is None:
            return None
        left, top, right, bottom = (
            min(max(value / pixels * size, 0.0), size)  # docling-core warns of boxes that reach beyond, if by rounding
            for value, pixels, size in zip(block.box, self._page.size * 2, self._size * 2, strict=True)
        )
        box = BoundingBox(l=left, t=top, r=right, b=bottom, coord_origin=CoordOrigin.TOPLEFT)
        return ProvenanceItem(page_no=self._page.page, bbox=box, charspan=(0, length))

    def _image(self, block: Block) -> Any:
        from docling_core.types.doc import ImageRef, Size

        if block.crop is None or block.box is None:
            return None
        left, top, right, bottom = block.box
        place = self._crops / block.crop
        try:
            relative = os.path.relpath(place, self._destination)
        except ValueError:  # on another drive
            relative = str(place)
        return ImageRef(
            mimetype="image/png",
            dpi=self._page.dpi or 72,
            size=Size(width=right - left, height=bottom - top),
            uri=Path(relative),
        )


def _is_picture(block: Block) -> bool:
    return block.label in PICTURES and block.text is None and block.latex is None


def _table(source: str) -> TableData:
    from docling_core.types.doc import TableCell, TableData

    grid = parse_table(source)
    cells = [
        TableCell(
            text=cell.text,
            row_span=cell.rows,
            col_span=cell.columns,
            start_row_offset_idx=cell.row,
            end_row_offset_idx=cell.row + cell.rows,
            start_col_offset_idx=cell.column,
            end_col_offset_idx=cell.column + cell.columns,
            column_header=cell.header,
        )
        for cell in grid.cells
    ]
    return TableData(num_rows=grid.rows, num_cols=grid.columns, table_cells=cells)


def list_items(text: str) -> list[tuple[str, str]]:
    """The marker and text of each item, if all of ``text`` is a list; else none. Lines without a marker go on."""
    items: list[tuple[str, str]] = []
    for line in text.splitlines():
        if found := _ITEM.fullmatch(line):
            items.append((found[1], found[2].strip()))
        elif line.strip():
            if not items:
                return []
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
    alone = len(items) == 1 and items[0][0][0].isdigit()  # "1. Introduction" is a line of text
    return [] if alone else items
