r"""Owns formulas of several lines: each line is a formula of its own, if the lines are independent (match_quick.py).

That is: one environment round the whole (array, aligned, split, gather, cases ...), or bare lines with ``\\`` between.
A brace round the whole, rows that continue the first, or text in them keep lines together. Places count from the start
of the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rtprune_cli.bench.scoring.omnidocbench.v16.breaks import cells_of, split_rows
from rtprune_cli.bench.scoring.omnidocbench.v16.latex import undelimited, untagged

DEEPEST = 100  # environments within each other in which ``cases`` is looked for

_NAMES = (
    "array", "aligned", "align", "align*", "alignedat", "alignedat*", "split", "gather", "gather*", "gathered",
    "multline", "multline*", "flalign", "flalign*", "eqnarray", "eqnarray*", "cases",
)  # fmt: skip
_ENVIRONMENT = re.compile(r"\\begin\{(" + "|".join(map(re.escape, _NAMES)) + r")\}\s*((?:\{[^{}]*\}\s*)*)")
_NESTED = re.compile(
    r"\\begin\{(?:" + "|".join(re.escape(n) for n in _NAMES if n not in ("gather", "gather*")) + r")\}"
)
_ALIGNED = ("aligned", "align", "align*", "alignedat", "alignedat*")
_PREFIX = re.compile(r"(?:\\left\s*\\\{|\\left\.)\s*")
_LOGIC = re.compile(
    r"\\(?:Rightarrow|Leftrightarrow|Longrightarrow|Longleftrightarrow|longrightarrow|longleftrightarrow|implies|"
    r"therefore|because|uparrow|downarrow|Updownarrow|forall|exists)\b|单调|否定"
)
_CONTINUES = re.compile(
    r"\(?\d+\)?|\\(?:Rightarrow|Leftrightarrow|Longrightarrow|Longleftrightarrow|implies|therefore|uparrow|downarrow|"
    r"Updownarrow|leftarrow|rightarrow)"
)
_EXPLAINS = re.compile(r"\\(?:text|mathrm|operatorname)\s*\{")
_LABEL = re.compile(r"\\label\s*\{[^{}]*\}")
_TAG = re.compile(r"\\tag\*?\s*\{[^{}]*\}")
_GAPS = (r"\qquad", r"\quad", r"\,", r"\;", r"\!", r"\>", r"\:", "~")
_COLUMN_NOISE = re.compile(r"[\s|]+|[@!]\{[^}]*\}")
_GROUP = re.compile(r"\{([^{}]*)\}")


class FormulaRow(NamedTuple):
    r"""A line as the formula ``\[...\]``, and where it begins and ends in the source."""

    formula: str
    start: int
    end: int


class _Block(NamedTuple):
    """Lines and what follows them, by their places in the source; ``tail_end`` is 0 where nothing follows."""

    body: str
    start: int
    tail: str
    tail_end: int


def formula_rows(source: str) -> list[FormulaRow] | None:
    """The lines of a formula, or None where it is one."""
    block = _environment(source) or _bare(source)
    lines = [untagged(line).strip() for line in split_rows(block.body)] if block else []
    lines = [line for line in lines if line]
    if not block or len(lines) < 2:
        return None
    rows, place = [], 0
    for line in lines:
        found = block.body.find(line, place)
        place = found if found >= 0 else place
        rows.append(FormulaRow(rf"\[{line}\]", block.start + place, block.start + place + len(line) - 1))
        place += len(line)
    tail = untagged(block.tail).strip()
    last = f"{lines[-1]} {tail}".strip() if tail else lines[-1]
    rows[-1] = FormulaRow(rf"\[{last}\]", rows[-1].start, block.tail_end - 1 if block.tail_end else rows[-1].end)
    return rows


def _environment(source: str) -> _Block | None:
    """The lines of the environment that is the whole formula, if they are independent."""
    formula = undelimited(source)
    prefix = _PREFIX.match(formula)
    formula = formula[prefix.end() :] if prefix else formula
    end = formula.rstrip()
    suffix = next((each for each in (r"\right.", r"\right\}") if end.endswith(each)), "")
    core = end.removesuffix(suffix).rstrip() if suffix else formula
    opening = _ENVIRONMENT.match(core)
    close = _closing(core, opening[1], opening.end()) if opening else -1
    if not opening or close < 0:
        return None
    name, body, closing = opening[1], core[opening.end() : close], rf"\end{{{opening[1]}}}"
    tail = _without_end_labels(core[close + len(closing) :]).strip()
    groups = _GROUP.findall(opening[2])
    braced = bool(prefix or suffix)
    if not _independent(name, groups[0] if groups else "", body, braced) or (tail and len(split_rows(tail)) > 1):
        return None
    start = max(source.find(body), 0)
    tail_end = 0
    if tail and (place := source.find(closing, start + len(body))) >= 0:
        tail_start = source.find(tail, place + len(closing))
        tail_end = tail_start + len(tail) if tail_start >= 0 else 0
    return _Block(body, start, tail, tail_end)


def _bare(source: str) -> _Block | None:
    formula = undelimited(source)
    if "\\\\" not in formula or len(split_rows(formula)) < 2:
        return None
    return _Block(formula, max(source.find(formula), 0), "", 0)


def _closing(text: str, name: str, start: int) -> int:
    """Where the environment that began before ``start`` ends, or -1."""
    depth = 1
    for hit in re.finditer(rf"\\(begin|end)\{{{re.escape(name)}\}}", text[start:]):
        depth += 1 if hit[1] == "begin" else -1
        if not depth:
            return start + hit.start()
    return -1


def _independent(name: str, columns: str, body: str, braced: bool) -> bool:
    rows = split_rows(body)
    nested = _NESTED.search(body) is not None
    continued = any(_CONTINUES.match(untagged(_unmarked(row)).strip()) for row in rows[1:])
    if name == "cases":
        return _is_logic(body, rows)
    if name in _ALIGNED:
        if nested and continued:
            return False
        own_sides = sum(1 for row in rows if len(cells := cells_of(row)) > 1 and untagged(cells[0]).strip())
        return not (braced and (nested or own_sides >= 2 or _any_explains(rows[1:]) or continued))
    if name == "array":
        spec = _COLUMN_NOISE.sub("", columns)
        if not spec or not set(spec) <= set("lcr") or not (len(spec) == 1 or (len(spec) == 2 and spec != "cc")):
            return False
        return not ((nested and continued) or (braced and set(spec) == {"l"} and len(rows) > 1))
    return True


def _is_logic(body: str, rows: Sequence[str]) -> bool:
    """Whether ``cases`` holds a derivation rather than a function's values."""
    if len(rows) < 2 or any(len(cells_of(row)) > 1 for row in rows) or not _LOGIC.search(body):
        return False
    if _NESTED.search(body) or any(_LOGIC.search(_unmarked(row)) for row in rows[1:]) or _any_explains(rows[1:]):
        return True
    return _LOGIC.search(_unmarked(rows[0])) is not None


def _any_explains(rows: Iterable[str]) -> bool:
    return any(_EXPLAINS.search(row) for row in rows)


def _unmarked(row: str) -> str:
    """A row without the alignment marks that it begins with."""
    return re.sub(r"^[&\s]+", "", row)


def _without_end_labels(text: str) -> str:
    """What follows an environment, less labels, tags and numbers in brackets at its end."""
    text = _LABEL.sub("", text)
    while text := text.rstrip():
        if (tag := _TAG.search(text)) and tag.end() == len(text):
            text = _without_end_gaps(text[: tag.start()])
            continue
        opening = text.rfind({")": "(", "]": "["}.get(text[-1], "\0"))
        if opening < 0 or not _is_end_label(text[opening + 1 : -1].strip(), text[:opening]):
            break
        text = _without_end_gaps(text[:opening])
    return text


def _is_end_label(label: str, before: str) -> bool:
    if not label or (before and not before[-1].isspace() and not any(gap in before[-10:] for gap in _GAPS)):
        return False
    if re.fullmatch(r"[a-z]{1,3}", label):
        return False
    return re.fullmatch(r"[A-Za-z0-9.\-#]+|(?:\\[A-Za-z#]+)+", label) is not None


def _without_end_gaps(text: str) -> str:
    text = text.rstrip()
    while gap := next((each for each in _GAPS if text.endswith(each)), ""):
        text = text.removesuffix(gap).rstrip()
    return text


# --- Derivations in cases ----------------------------------------------------------------------------------------


def with_arrays(formula: str, depth: int = 0) -> str:
    r"""``formula`` with each ``cases`` that holds a derivation as an array behind a brace."""
    if depth > DEEPEST:
        return formula
    parts, at = [], 0
    while (place := formula.find(r"\begin{", at)) >= 0:
        parts.append(formula[at:place])
        opening = _ENVIRONMENT.match(formula, place)
        if not opening:
            at = place + len(r"\begin{")
            parts.append(formula[place:at])
            continue
        name, closing = opening[1], rf"\end{{{opening[1]}}}"
        close = _closing(formula, name, opening.end())
        if close < 0:
            at = place
            break
        at = close + len(closing)
        body = with_arrays(formula[opening.end() : close], depth + 1)
        if name == "cases" and _becomes_array(body, formula[at : at + 200].lstrip()):
            parts.append(rf"\left\{{ \begin{{array}}{{l}} {body.strip()} \end{{array}} \right.")
        else:
            parts.append(formula[place : opening.end()] + body + closing)
    return "".join([*parts, formula[at:]])


def _becomes_array(body: str, after: str) -> bool:
    rows = split_rows(body)
    if len(rows) < 2 or any(len(cells_of(row)) > 1 for row in rows):
        return False
    return bool(_LOGIC.search(body) or _LOGIC.search(after) or _ENVIRONMENT.match(after))
