"""Write the JSON schemas of what a run writes, and their tables of fields into the docs, from the records themselves.

python docs/make_report_format.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rtprune_cli
from rtprune_cli.records import Block, BlocksSource, DocumentBlocks, PageBlocks
from rtprune_cli.report.schema import blocks_schema, schema, table

PACKAGE, DOCS = Path(rtprune_cli.__file__).parent, Path(__file__).parent
END = "<!-- end of fields -->\n"


def made() -> dict[Path, str]:
    """The text of each file."""
    kinds = {"document": BlocksSource, "pages": PageBlocks, "blocks": Block}
    return {
        PACKAGE / "report.schema.json": _json(schema()),
        PACKAGE / "blocks.schema.json": _json(blocks_schema()),
        DOCS / "report-format.md": _filled(DOCS / "report-format.md", {"fields": table()}),
        DOCS / "blocks.md": _filled(
            DOCS / "blocks.md",
            {"file": table(DocumentBlocks), **{name: table(kind) for name, kind in kinds.items()}},
        ),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _filled(page: Path, tables: Mapping[str, str]) -> str:
    """The page with its tables renewed."""
    text = page.read_text(encoding="utf-8")
    for name, made_table in tables.items():
        start = f"<!-- {name}: python docs/make_report_format.py -->\n"
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n{made_table}\n\n{END}{rest.partition(END)[2]}"
    return text


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text, encoding="utf-8")
