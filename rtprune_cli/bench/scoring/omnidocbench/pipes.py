"""Owns pipe tables in markdown -> HTML, as the official converter writes it, faults included (utils/table_utils.py).

Those faults, copied since published numbers hold them: cells that hold a colon or three hyphens vanish, and lines
between two pipe tables may end up within the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rtprune_cli.bench.scoring.omnidocbench.spans import between, without

_WRAPPER = re.compile(r"</?t(?:able|head|body)>")


def pipe_rows(text: str) -> Iterator[tuple[int, int]]:
    r"""(start, end) of what ``\|\s*.*?\s*\|\n`` finds across lines: a pipe to the next one that ends its line."""
    start = text.find("|")
    while start >= 0 and (close := text.find("|\n", start + 1)) >= 0:
        yield start, close + 2
        start = text.find("|", close + 2)


def pipes_to_html(markdown: str) -> str:
    """The whole page with its pipe tables as HTML tables."""
    source = markdown.replace("\r", "") + "\n"
    parts, at = [], 0
    for start, end in pipe_rows(source):
        parts += [source[at:start], _table(source[start:end])]
        at = end
    joined = _joined("".join([*parts, source[at:]]))
    return joined.replace("<table>", '<table border="1" >').replace("<td>", '<td colspan="1" rowspan="1">')


def _table(rows: str) -> str:
    """One match as a table, a tag a line: its first line is the head, its second (the rule) is dropped."""
    lines = [line.strip() for line in rows.strip().split("\n")]
    # The indentation counts: it becomes a space between tags, and the edit distance is over all of the HTML.
    out = ["<table>", "  <thead>", "    <tr>", *_cells(lines[0], "th"), "    </tr>", "  </thead>", "  <tbody>"]
    for line in lines[2:]:
        out += ["    <tr>", *_cells(line, "td"), "    </tr>"]
    return "\n".join([*out, "  </tbody>", "</table>", ""])


def _cells(line: str, tag: str) -> list[str]:
    return [f"      <{tag}>{cell.strip()}</{tag}>" for cell in line.split("|")[1:-1]]


def _joined(text: str) -> str:
    """Tables that follow each other (each row became one) as one table; the state lags a line behind."""
    out: list[str] = []
    block: list[str] = []
    inside = False
    last = ""
    for line in text.split("\n"):
        if "<table>" in line:
            inside = True
            # No newline before it, unlike below: with it the text before a table becomes part of its first line.
            block.append(last)
        elif inside:
            if not _is_rule(last) and "</thead>" not in last:
                block.append("\n" + last)
            if "</table>" in last:
                inside = False
                out.append(_one_table("".join(block)))
                block = []
        else:
            out.append(last)
        last = line
    if last:
        out.append(_one_table("".join([*block, "\n", last])) if inside or "</table>" in last else last)
    return "\n".join(out)


def _is_rule(line: str) -> bool:
    return ":" in line or "---" in line


def _one_table(html: str) -> str:
    html = without(html, "<!--", "-->")
    rows: list[str] = []
    for span in between(html, "<table>", "</table>"):
        lines = []
        for line in html[span.start : span.end].split("\n"):
            if "<th>" in line:
                line = line.replace("<th>", "<td>").replace("</th>", "</td>")
            if not _WRAPPER.search(line):
                lines.append(line)
        if len(lines) > 2:
            rows += lines
    return "\n\n<table>\n" + "\n".join(rows) + "\n</table>\n\n"
