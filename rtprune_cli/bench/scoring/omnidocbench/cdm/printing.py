"""Owns how a parsed formula is written again: a blank between tokens, scripts in braces, the subscript first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rtprune_cli.bench.scoring.omnidocbench.cdm.lexer import LatexError
from rtprune_cli.bench.scoring.omnidocbench.cdm.nodes import LatexNode

_UPRIGHT = "mathrm"
_NO_CELL = "{ } "


def printed(nodes: Sequence[LatexNode]) -> str:
    """The formula as text.

    Raises:
        LatexError: it holds what cannot be printed (a colour, a missing argument).
        RecursionError: it is nested too deeply.
    """
    printer = _Printer()
    printer.all(nodes, "")
    return "".join(printer.out)


class _Printer:
    """``out`` is what is printed so far, in pieces that each end in a blank."""

    def __init__(self) -> None:
        self.out: list[str] = []

    def all(self, nodes: Iterable[LatexNode | None], font: str) -> None:
        for node in nodes:
            self.one(node, font)

    def one(self, node: LatexNode | None, font: str) -> None:
        """Print a node in the font around it."""
        if node is None:
            raise LatexError("an argument is missing")
        parts, write = node.parts, self.out.append
        match node.kind:
            case "letter":
                write(_spelt(node.text) if font == _UPRIGHT else f"{node.text} ")
            case "symbol" | "big symbol":
                write(f"{node.text} ")
            case "space":
                write("~ " if node.text == " " else f"{node.text} ")
            case "group":
                self._braced("", parts, font)
            case "text":
                self._braced(r"\mathrm ", parts, font)
            case "phantom":
                self._braced(r"\phantom ", parts, font)
            case "line":
                self._braced(f"{node.text} ", parts, font)
            case "scripts":
                self._scripts(parts, font)
            case "fraction" | "lap":
                write(f"{node.text} ")
                self.all(parts, font)
            case "array":
                self._array(node, font)
            case "root":
                self._root(parts, font)
            case "fenced":
                write(rf"\left{node.ends[0]} ")
                self.all(parts, font)
                write(rf"\right{node.ends[1]} ")
            case "accent":
                write(f"{node.text} ")
                self._as_group(parts[0], font)
            case "operator" | "operator with limits":
                star = "*" if node.kind == "operator with limits" else ""
                write(rf"\operatorname{star} {{ {_spelt(node.text[1:])}}} ")
            case "font":
                write(f"{node.text} ")
                self.all(parts, node.text[1:])
            case "delimiter":
                write(f"{node.text} {node.ends[0]} ")
            case "size" if node.text == r"\rm":
                self._braced(r"\mathrm ", parts, _UPRIGHT)
            case "size" | "style":
                write(f"{node.text} ")
                self.all(parts, font)
            case "rule":
                write(rf"\rule {{ {node.ends[0]} }} {{ {node.ends[1]} }} ")
            case _:
                raise LatexError(f"{node.text or node.kind} cannot be printed")

    def _braced(self, command: str, parts: Iterable[LatexNode | None], font: str) -> None:
        self.out.append(f"{command}{{ ")
        self.all(parts, font)
        self.out.append("} ")

    def _as_group(self, node: LatexNode | None, font: str) -> None:
        self._braced("", node.parts if node is not None and node.kind == "group" else (node,), font)

    def _scripts(self, parts: Sequence[LatexNode | None], font: str) -> None:
        self.one(parts[0], font)
        for mark, script in zip("_^", parts[1:], strict=True):
            if script is not None:
                self.out.append(f"{mark} ")
                self._as_group(script, font)

    def _root(self, parts: Sequence[LatexNode | None], font: str) -> None:
        index, body = parts
        self.out.append(r"\sqrt ")
        if index is not None:
            self.out.append("[ ")
            self.all(index.parts, font)
            self.out.append("] ")
        self.one(body, font)

    def _array(self, node: LatexNode, font: str) -> None:
        """Rows with anything in them. Of a cell without anything nothing is left, nor of a brace that ends a cell."""
        columns = ["l"] * len(node.rows[0]) if node.columns is None else node.columns
        self.out.append("".join([r"\begin{array} { ", *(f"{column} " for column in columns), "} "]))
        for row in node.rows:
            if not any(cell.parts for cell in row):
                continue
            for number, cell in enumerate(row):
                if number:
                    self.out.append("& ")
                self.one(cell, font)
                self._drop(_NO_CELL)
            self.out.append(r"\\ ")
        self.out.append(r"\end{array} ")

    def _drop(self, ending: str) -> None:
        tail = "".join(self.out[-3:])
        if len(tail) > len(ending) and tail.endswith(ending):
            self.out[-3:] = [tail.removesuffix(ending)]


def _spelt(text: str) -> str:
    """Character by character; one outside of the Basic Multilingual Plane comes out as two that are broken."""
    return "".join("\ufffd \ufffd " if ord(character) > 0xFFFF else f"{character} " for character in text)
