"""Owns how the result of the glyph probe looks on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rtprune_cli.bench.accuracy.table import interval, percent, share
from rtprune_cli.storage import Json

if TYPE_CHECKING:
    from rich.console import Console

# Headings, and what stands below them
COLUMNS: dict[str, Callable[[Json], str]] = {
    "glyphs": lambda row: f"{row['glyphs']:,} ({share(row['share'], 1)})",
    "unpruned": lambda row: percent(row["unpruned"]),
    "dropped": lambda row: percent(row["dropped"]),
    "merged": lambda row: percent(row["merged"]),
    "merged - unpruned": lambda row: interval(row["merged_rise"], sign=True),
    "merged - dropped": lambda row: interval(row["merging"], sign=True),
}


def print_result(result: Json, console: Console) -> None:
    """A table for each kind of words and ratio, below each what merging did; at last how the words compare."""
    settings = result["settings"]

    def say(text: str, **style: Any) -> None:
        console.print(text, markup=False, highlight=False, **style)

    for words in settings["words"]:
        for ratio in settings["ratios"]:
            wanted = {"words": words, "ratio": ratio}
            _print_rates([row for row in result["rates"] if wanted.items() <= row.items()], wanted, console)
            for row in result["contrasts"]:
                # Those of the glyphs that lie wholly on one kind are in the file: they say the same of fewer glyphs
                if wanted.items() <= row.items() and row["reading"] == "merged" and row["of"] == "pruned":
                    say(
                        f"the error rises by {interval(row['difference'], sign=True)} more on pruned cells than on kept"
                    )
            for row in result["movement"]:
                if wanted.items() <= row.items():
                    say(movement_words(row))
    for row in result["contrasts"]:
        if row["words"] is None:
            difference = interval(row["difference"], sign=True)
            say(f"ratio {row['ratio']}, {row['reading']}: the error rises by {difference} more on random words")
    note = f"[95 % intervals, paired by page, {settings['resamples']:,} resamples]; differences in points"
    say(note, style="dim")


def movement_words(row: Json) -> str:
    """How far merging moved the kept tokens."""
    change, cosine = row["change"], row["cosine"]
    return (
        f"merging moves a kept token by {share(change['median'], 1)} of its length (median; 95 % of them by at most "
        f"{share(change['p95'], 1)}); cosine at least {cosine['min']:.4f}"
    )


def _print_rates(rows: list[Json], of: dict[str, str], console: Console) -> None:
    from rich.table import Table

    title = f"wrong glyphs by the cells on which they lie: {of['words']} words, ratio {of['ratio']}"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("cells")
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row["place"], *(cell(row) for cell in COLUMNS.values()))
    console.print(table)
