"""Owns what a summary says in words: which point is best at each budget of tokens, and how pruning does beside the line
of unpruned modes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rtprune_cli.bench.accuracy.plan import BASELINE
from rtprune_cli.bench.accuracy.table import hundredths, interval, interval_alone, verdict
from rtprune_cli.storage import Json

MOST_NAMED = 4  # of those that are equal within chance


def conclusions(configurations: Sequence[Json], best: Sequence[Json]) -> list[str]:
    """Sentences: the best at each budget, from the smallest, then the line. Of summary.json's parts of these names."""
    rows = {row["name"]: row for row in configurations}
    return [*_budgets(rows, best), *_line(configurations)]


def title(row: Json) -> str:
    """A configuration as sentences name it: "base unpruned" for "base none"."""
    name = str(row["name"])
    return f"{name.removesuffix(BASELINE)}unpruned" if row["method"] == BASELINE else name


def _budgets(rows: dict[str, Json], best: Sequence[Json]) -> Iterator[str]:
    if len({row["visual_tokens"] for row in rows.values()} - {None}) < 2:
        return
    for each in best:
        until = None if each["until"] is None else math.ceil(each["until"]) - 1
        if until is not None and until < each["visual_tokens"]:
            continue  # no whole number of tokens lies between this point and the next
        budget = "Without a limit" if until is None else f"Up to {until} visual tokens a page"
        accuracy = each["accuracy"]
        words = f"{budget}: {_point(rows[each['configuration']])}, accuracy {hundredths(accuracy['value'])} %"
        words = f"{words} {interval_alone(accuracy)}".rstrip()
        named = [
            f"{_point(rows[other['configuration']])} {interval(other['difference'], sign=True)}"
            for other in each["equal"]
        ]
        if named:
            more = f", and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
            words += f"; equal within chance: {', '.join(named[:MOST_NAMED])}{more}"
        yield f"{words}."


def _point(row: Json) -> str:
    return f"{title(row)} ({row['visual_tokens']:.0f})"


def _line(configurations: Sequence[Json]) -> Iterator[str]:
    beside = [row["line"] for row in configurations if row["line"]]
    if not beside:
        return
    inside = [each for each in beside if each["difference"]]
    found = [verdict(each["difference"], lower=False) for each in inside]
    below, above, on = (found.count(word) for word in ("worse", "better", ""))
    words = (
        f"Beside the line of unpruned modes, at equal tokens: of {len(inside)} pruned points {below} lie below it by "
        f"more than chance, {above} above it, {on} on it within chance"
    )
    if outside := len(beside) - len(inside):
        words += f"; {outside} with fewer or more tokens than any unpruned mode: not measured"
    yield f"{words}."
