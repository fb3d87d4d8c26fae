"""Owns the tokeniser's grammar: LaTeX -> tree, as KaTeX 0.6 reads it with the changes that im2markup made.

It is far from TeX's grammar: what it does not know is a letter, a second superscript replaces the first, a command that
stands as an argument without braces is passed over and the argument before it used again. All of that shows in scores.
"""

from __future__ import annotations

from collections.abc import Sequence

from rtprune_cli.bench.scoring.omnidocbench.cdm.commands import (
    COMMANDS,
    ENVIRONMENTS,
    FENCES,
    SIZES,
    SPACES,
    STYLES,
    SYMBOLS,
    KnownCommand,
    ReadingMode,
)
from rtprune_cli.bench.scoring.omnidocbench.cdm.lexer import (
    END,
    LatexError,
    LatexPiece,
    behind_blanks,
    piece_at,
    size_parts,
)
from rtprune_cli.bench.scoring.omnidocbench.cdm.nodes import LatexNode, column_letters, command_node, with_fraction

_ENDS = frozenset(("}", r"\end", r"\right", "&", r"\\", r"\cr"))
_PLAIN_TEX_ARRAYS = (r"\matrix", r"\pmatrix", r"\cases")
_LETTER = "letter"


class LatexParser:
    """One formula's parser. ``pieces`` are all that were read, environments as ``{array}``."""

    def __init__(self, latex: str) -> None:
        self._latex = latex
        self._mode: ReadingMode = "math"
        self._place = 0
        self._next = LatexPiece(END, 0)
        self.pieces: list[str] = []

    def parse(self) -> list[LatexNode]:
        """The whole formula.

        Raises:
            LatexError: it cannot be read.
            RecursionError: it is nested too deeply.
        """
        self._look(self._mode)
        nodes = self._expression()
        self._expect(END, consume=False)
        return nodes

    # --- Pieces --------------------------------------------------------------------------------------------------

    def _look(self, mode: ReadingMode) -> None:
        self._next = piece_at(self._latex, self._place, mode)

    def _consume(self) -> str:
        text = self._next.text
        self._place = self._next.end
        self.pieces.append(text)
        self._look(self._mode)
        return text

    def _expect(self, text: str, *, consume: bool = True) -> None:
        if self._next.text != text:
            raise LatexError(f"{text!r} expected, found {self._next.text!r}")
        if consume:
            self._consume()

    # --- Expressions ---------------------------------------------------------------------------------------------

    def _expression(self, *, until: str | None = None, stop_at_infix: bool = False) -> list[LatexNode]:
        nodes: list[LatexNode] = []
        while self._next.text not in _ENDS and self._next.text != until:
            before = self._place, self._next
            node = self._scripted()
            if node is None:
                break
            if stop_at_infix and node.kind == "infix":
                self._place, self._next = before
                break
            nodes.append(node)
        return with_fraction(nodes)

    def _scripted(self) -> LatexNode | None:
        base = self._implicit_group()
        if self._mode == "text":
            return base
        above: LatexNode | None = None
        below: LatexNode | None = None
        while True:
            mark = self._next.text
            if mark in (r"\limits", r"\nolimits"):
                if base is None or base.kind not in ("operator", "operator with limits", "big symbol"):
                    raise LatexError(f"{mark} without an operator")
                if base.kind != "big symbol":
                    base.kind = "operator with limits" if mark == r"\limits" else "operator"
                self._consume()
            elif mark == "^":
                above = self._script()
            elif mark == "_":
                below = self._script()
            elif mark == "'":
                primes = []
                while self._next.text == "'":
                    self._consume()
                    primes.append(LatexNode("symbol", r"\prime"))
                above = LatexNode("group", parts=primes)
            else:
                break
        return LatexNode("scripts", parts=(base, below, above)) if above or below else base

    def _script(self) -> LatexNode | None:
        self._consume()
        found = self._group()
        if not isinstance(found, str):
            return found
        if COMMANDS[found].greed <= 1:
            raise LatexError(f"{found} as a script")
        return self._call(found)

    def _implicit_group(self) -> LatexNode | None:
        """A symbol or command, with what it takes in: the rest of the group, or all up to its end."""
        found = self._symbol()
        if found is None:
            found = self._group()
        if isinstance(found, LatexNode):
            return self._array(found.text[1:]) if found.text in _PLAIN_TEX_ARRAYS else found
        if found is None:
            return None
        if found == r"\left":
            left = self._call(found).text
            inside = self._expression()
            self._expect(r"\right", consume=False)
            return LatexNode("fenced", parts=inside, ends=(left, self._command().text))
        if found == r"\begin":
            return self._environment()
        if found in SIZES:
            return LatexNode("size", found, self._expression())
        if found in STYLES:
            return LatexNode("style", found, self._expression(stop_at_infix=True))
        return self._call(found)

    def _symbol(self) -> LatexNode | str | None:
        """What stands next: the name of a command that is still to be called, or a symbol."""
        text = self._next.text
        if text in COMMANDS:
            return self._consume()
        if text in (END, "{"):
            return None
        known = "text" if self._mode == "text" else "math"
        kind = "space" if text in SPACES[known] else "symbol" if text in SYMBOLS[known] else _LETTER
        self._consume()
        return LatexNode(kind, text)

    def _group(self) -> LatexNode | str | None:
        if self._next.text != "{":
            return self._symbol()
        self._consume()
        nodes = self._expression()
        self._expect("}")
        return LatexNode("group", parts=nodes)

    def _bracketed(self) -> LatexNode | None:
        if self._next.text != "[":
            return None
        self._consume()
        nodes = self._expression(until="]")
        self._expect("]")
        return LatexNode("group", parts=nodes)

    # --- Commands ------------------------------------------------------------------------------------------------

    def _command(self) -> LatexNode:
        """The command that stands next."""
        name = self._group()
        assert isinstance(name, str), "only asked for where one stands"
        return self._call(name)

    def _call(self, name: str) -> LatexNode:
        command = COMMANDS[name]
        return command_node(name, command, self._arguments(command))

    def _arguments(self, command: KnownCommand) -> list[LatexNode | None]:
        found: list[LatexNode | None] = []
        node: LatexNode | None = None  # outside of the loop: an argument that cannot be taken is the one before it
        for number in range(command.optional + command.arguments):
            mode = command.modes[number] if command.modes else None
            optional = number < command.optional
            argument = self._argument(mode, optional=optional)
            if argument is None:
                if not optional:
                    raise LatexError(f"an argument of {command.kind} is missing")
                found.append(None)
                continue
            if isinstance(argument, LatexNode):
                node = argument
            elif COMMANDS[argument].greed > command.greed:
                node = self._call(argument)
            found.append(node)
        return found

    def _argument(self, mode: ReadingMode | None, *, optional: bool) -> LatexNode | str | None:
        outer = self._mode
        if mode in ("size", "color"):
            opening, closing = "[]" if optional else "{}"
            if optional and self._next.text != opening:
                return None
            self._mode = mode
            self._expect(opening)
            self._mode = outer
            node = LatexNode(mode, ends=(size_parts(self._next.text) if mode == "size" else self._next.text,))
            self._consume()
            self._expect(closing)
            return node
        if mode is None:
            return self._bracketed() if optional else self._group()
        self._mode = mode
        self._place = behind_blanks(self._latex, self._place)
        self._look(mode)
        found = self._bracketed() if optional else self._group()
        self._mode = outer
        self._look(outer)
        return found

    # --- Arrays --------------------------------------------------------------------------------------------------

    def _environment(self) -> LatexNode:
        name = self._call(r"\begin").text
        self._join_name(name)
        if name not in ENVIRONMENTS:
            raise LatexError(f"unknown environment {name!r}")
        columns = None
        if name in ("array", "tabular"):
            given = self._arguments(KnownCommand("array", 1))[0]
            columns = column_letters(given)
        node = self._array(name, columns, braced=False)
        self._expect(r"\end", consume=False)
        end = self._command().text
        self._join_name(name)
        if end != name:
            raise LatexError(f"{name} ends as {end!r}")
        return node

    def _join_name(self, name: str) -> None:
        r"""``\begin { a r r a y }`` is one piece less its command: ``\begin {array}``."""
        self.pieces[-len(name) - 2 :] = ["{" + name + "}"]

    def _array(self, name: str, columns: Sequence[str] | None = None, *, braced: bool = True) -> LatexNode:
        r"""Rows of cells, in braces as in ``\matrix{...}``, or up to the environment's end."""
        if braced:
            self._expect("{")
        rows = self._rows()
        if braced:
            self._expect("}")
        if name == "aligned":
            for row in rows:
                for cell in row[1::2]:
                    cell.parts = (LatexNode("group"), *cell.parts)
            columns = ["rl"[number % 2] for number in range(max(map(len, rows)))]
        elif name in ("cases", "picture"):
            columns = ["l", "l"]
        node = LatexNode("array", rows=rows, columns=columns)
        return LatexNode("fenced", parts=(node,), ends=FENCES[name]) if name in FENCES else node

    def _rows(self) -> list[list[LatexNode]]:
        rows: list[list[LatexNode]] = [[]]
        while True:
            rows[-1].append(LatexNode("group", parts=self._expression()))
            mark = self._next.text
            if mark == "&":
                self._consume()
            elif mark in (r"\\", r"\cr"):
                self._command()
                rows.append([])
            elif mark in (r"\end", "}"):
                return rows
            else:
                raise LatexError(f"{mark!r} in an array")
