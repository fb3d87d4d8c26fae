"""Write the JSON schema of a page record, and its table of fields into docs/report-format.md, from the record itself.

python docs/make_report_format.py
"""

from __future__ import annotations

import json
from pathlib import Path

import rtprune_cli
from rtprune_cli.report.schema import schema, table

SCHEMA = Path(rtprune_cli.__file__).with_name("report.schema.json")
PAGE = Path(__file__).with_name("report-format.md")
START, END = "<!-- fields: python docs/make_report_format.py -->\n", "<!-- end of fields -->\n"


def made() -> dict[Path, str]:
    """The text of each file."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    return {
        SCHEMA: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        PAGE: f"{before}{START}\n{table()}\n\n{END}{after}",
    }


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text, encoding="utf-8")
