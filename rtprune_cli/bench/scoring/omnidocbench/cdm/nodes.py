"""Owns what a parsed formula is made of, and what a command becomes with its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtprune_cli.bench.scoring.omnidocbench.cdm.commands import DELIMITERS, FONT_ALIASES, INFIX, KnownCommand
from rtprune_cli.bench.scoring.omnidocbench.cdm.lexer import LatexError


@dataclass
class LatexNode:
    r"""A part of a formula. What the others mean depends on ``kind``.

    ``text``: the character or command. ``parts``: what it is made of, in the order of printing; an optional argument,
    base, subscript or superscript that is not there is None. ``rows`` of an array, ``columns`` their alignments where
    they were given. ``ends``: the delimiters of ``\left...\right``, or the delimiter of a ``\big``.
    """

    kind: str
    text: str = ""
    parts: Sequence[LatexNode | None] = ()
    rows: Sequence[Sequence[LatexNode]] = ()
    columns: Sequence[str] | None = None
    ends: Sequence[str] = ()


def with_fraction(nodes: list[LatexNode]) -> list[LatexNode]:
    r"""``a \over b`` as ``\frac {a} {b}``.

    Raises:
        LatexError: there are two.
    """
    places = [place for place, node in enumerate(nodes) if node.kind == "infix"]
    if not places:
        return nodes
    if len(places) > 1:
        raise LatexError("two fractions in one group")
    sides = nodes[: places[0]], nodes[places[0] + 1 :]
    groups = [
        side[0] if len(side) == 1 and side[0].kind == "group" else LatexNode("group", parts=side) for side in sides
    ]
    return [LatexNode("fraction", INFIX[nodes[places[0]].text], groups)]


def command_node(name: str, command: KnownCommand, arguments: Sequence[LatexNode | None]) -> LatexNode:
    """The node of a command with its arguments.

    Raises:
        LatexError: it cannot stand with these.
    """
    first = arguments[0] if arguments else None
    if None in arguments and command.kind in ("text", "phantom", "unprintable"):
        raise LatexError(f"{name} without what it takes in")
    match command.kind:
        case "text" | "phantom":
            return LatexNode(command.kind, name, _inside(first))
        case "fraction":
            return LatexNode("fraction", r"\binom" if "binom" in name else r"\frac", arguments)
        case "font":
            return LatexNode("font", FONT_ALIASES.get(name, name), arguments)
        case "rule":
            return LatexNode("rule", name, ends=[size.ends[0] for size in arguments[1:] if size])
        case "side" | "delimiter":
            if first is None or first.text not in DELIMITERS:
                raise LatexError(f"no delimiter after {name}")
            side = command.kind == "side"
            return LatexNode("side", first.text) if side else LatexNode("delimiter", name, ends=(first.text,))
        case "environment":
            if first is None or first.kind != "group":
                raise LatexError("an environment without a name")
            return LatexNode("environment", "".join(each.text if each else "" for each in first.parts))
    return LatexNode(command.kind, name, arguments)


def _inside(node: LatexNode | None) -> Sequence[LatexNode | None]:
    return node.parts if node is not None and node.kind == "group" else (node,)


def column_letters(given: LatexNode | None) -> list[str]:
    """The alignments that are named by a letter; lines, widths and the like are none.

    Raises:
        LatexError: there is no argument.
    """
    if given is None:
        raise LatexError("an array without columns")
    return [node.text for node in _inside(given) if node is not None and node.text in ("l", "c", "r")]
