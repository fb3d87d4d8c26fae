r"""Owns LaTeX outside of pictures, as the v1.6 evaluator reads it: delimiters, tags, circled characters, plain text.

Official: data_preprocess.py and text_postprocess.py. It hands LaTeX to pylatexenc in a process of its own for 30
seconds, and leaves alone what looks broken or like prose; here only the latter decides, so that no result depends on
the machine: what is parsed has 8,000 characters at most.
"""

from __future__ import annotations

import re

from rtprune_cli.bench.scoring.omnidocbench.normalise import latex_to_text

LONGEST = 8_000  # characters that are parsed
DELIMITERS = (("$$", "$$"), (r"\[", r"\]"), (r"\(", r"\)"), ("$", "$"))

_CIRCLED = str.maketrans(
    {chr(0x2460 + n): str(n + 1) for n in range(20)}
    | {chr(0x24D0 + n): chr(ord("a") + n) for n in range(26)}
    | {chr(0x24B6 + n): chr(ord("A") + n) for n in range(26)}
)
_CIRCLE = re.compile(r"\\textcircled\s*\{([^{}]+)\}")
_TAG = re.compile(r"\\tag(?![^\W\d_])\s*(?:\*\s*)?\{")
_PHANTOM = re.compile(r"\\phantom\{")

_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{3,}")
_SIGNAL = re.compile(r"\\[A-Za-z]+|[_^{}$&%#]|\\[\[\]()]\]")
_MATH_COMMANDS = tuple(
    "\\" + n for n in ["frac", "sqrt", "left", "right", "begin", "end", "sum", "int", "alpha", "beta"]
)
_ENVIRONMENT = re.compile(r"\\(begin|end)\{([^{}]+)\}")
_ESCAPED = re.compile(r"\\[{}\[\]()]")
_COUNTED_PAIRS = tuple(
    (re.compile(one), re.compile(other))
    for one, other in ((r"\\left\b", r"\\right\b"), (r"\\\(", r"\\\)"), (r"\\\[", r"\\\]"))
)
_DOLLAR = re.compile(r"(?<!\\)\$")


def uncircled(text: str) -> str:
    """Circled numbers and letters, as characters or as a macro, as what is inside the circle."""
    return _CIRCLE.sub(lambda hit: hit[1].strip(), text).translate(_CIRCLED)


def undelimited(text: str) -> str:
    """A formula without the delimiters that enclose it, all pairs of them."""
    start, end = _trimmed(text, 0, len(text))
    while pair := next(
        (
            (opening, closing)
            for opening, closing in DELIMITERS
            if end - start >= len(opening) + len(closing)
            and text.startswith(opening, start, end)
            and text.endswith(closing, start, end)
        ),
        None,
    ):
        start, end = _trimmed(text, start + len(pair[0]), end - len(pair[1]))
    return text[start:end]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def untagged(text: str) -> str:
    r"""Without ``\tag{...}``, ``\notag`` and ``\nonumber``; of a tag that stays open only the macro goes."""
    return _without_groups(text, _TAG, r"\tag").replace(r"\notag", "").replace(r"\nonumber", "")


def without_phantoms(text: str) -> str:
    r"""Without ``\phantom{...}``."""
    return _without_groups(text, _PHANTOM, r"\phantom")


def _without_groups(text: str, opening: re.Pattern[str], macro: str) -> str:
    hit = opening.search(text)
    if not hit:
        return text
    partner = _partners(text)
    parts, at = [], 0
    while hit:
        parts.append(text[at : hit.start()])
        at = partner.get(hit.end() - 1, hit.start() + len(macro) - 1) + 1
        hit = opening.search(text, at)
    return "".join([*parts, text[at:]])


def _partners(text: str) -> dict[int, int]:
    """Place of each opening brace -> of the one that closes it; escaped ones count as well."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for hit in re.finditer(r"[{}]", text):
        if hit[0] == "{":
            opened.append(hit.start())
        elif opened:
            found[opened.pop()] = hit.start()
    return found


def as_text(latex: str, fallback: str | None = None) -> str:
    """A formula as Unicode; ``fallback``, or without one the formula itself, where it is not parsed."""
    source = latex.strip()
    left_alone = source if fallback is None else fallback
    if not source:
        return left_alone if fallback is not None else ""
    if not any(mark in source for mark in "\\{}$"):
        return source
    if is_prose(source) or _is_weak(source) or is_broken(source):
        return left_alone
    text = latex_to_text(source)
    return left_alone if text is None else text


def is_prose(source: str) -> bool:
    """Whether this is a sentence rather than a formula."""
    if len(source) < 32 or any(mark in source for mark in "{}$^_") or len(_SIGNAL.findall(source)) > 2:
        return False
    if any(command in source for command in _MATH_COMMANDS):
        return False
    return len(_WORD.findall(source)) >= 6 and source.count(" ") >= 5


def _is_weak(source: str) -> bool:
    """Whether there is too little LaTeX in it to parse."""
    commands, words = len(_COMMAND.findall(source)), len(_WORD.findall(source))
    marks = sum(source.count(mark) for mark in "{}$^_=&%#")
    if source in ("\\", "\\\\") or (source.endswith("\\") and not source.endswith("\\\\") and not commands):
        return True
    if "\\" in source and not commands and not marks:
        return True
    return (words >= 2 and not commands and marks <= 1) or (words >= 4 and commands <= 1 and marks <= 2)


def is_broken(source: str, *, formula: bool = True) -> bool:
    """Whether it is too long, or braces or environments do not pair; of a ``formula``, or its delimiters."""
    source = source.strip()
    if len(source) > LONGEST or not _braces_pair(source) or not _environments_pair(source):
        return True
    if not formula:
        return False
    counts_differ = any(len(one.findall(source)) != len(other.findall(source)) for one, other in _COUNTED_PAIRS)
    return counts_differ or len(_DOLLAR.findall(source)) % 2 == 1


def _braces_pair(source: str) -> bool:
    depth = 0
    for brace in re.findall(r"[{}]", _ESCAPED.sub("", source)):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def _environments_pair(source: str) -> bool:
    opened: list[str] = []
    for kind, name in _ENVIRONMENT.findall(source):
        if kind == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            return False
    return not opened
