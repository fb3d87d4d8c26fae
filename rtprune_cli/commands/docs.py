"""The command `rtprune docs`: the pages of the documentation, which the package brings along."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

import rtprune_cli
from rtprune_cli.commands.flags import flag
from rtprune_cli.commands.frame import reporting
from rtprune_cli.commands.helppage import MAX_WIDTH, wrapped
from rtprune_cli.errors import EnvironmentFault, UsageError
from rtprune_cli.options import LogOptions

INDEX = "index"  # has a row for each page: what it is for
ENDING = ".md"


def complete_page_names() -> list[tuple[str, str]]:
    """The pages, and what each is for."""
    try:
        return list(pages().items())
    except EnvironmentFault:
        return []


# No parameter is named as a setting of `rtprune ocr` that means something else: docs/make_cli.py goes by the name.
def docs_command(
    page: Annotated[
        str | None,
        typer.Argument(
            metavar="PAGE", help="The page to show; without it, a list of them.", autocompletion=complete_page_names
        ),
    ] = None,
    word: Annotated[
        str | None, typer.Argument(metavar="WORD", help="Show only what the page says of this word.")
    ] = None,
    search: Annotated[
        str | None, flag("output", "--search", metavar="WORD", help="Find a word in all pages.")
    ] = None,
    path: Annotated[bool, flag("output", "--path", metavar=None, help="Print the folder of the pages.")] = False,
) -> None:  # fmt: skip
    """Show the documentation, which needs no network.

    On a terminal a page is set and shown in a pager; elsewhere it is printed as markdown.
    """
    with reporting(LogOptions()):
        if path:
            typer.echo(str(folder()))
        elif search is not None:
            _print_found(search)
        elif page is None:
            _print_list()
        else:
            name, text = read_page(page)
            _show(text if word is None else about(word, name, text))


def folder() -> Path:
    """Where the pages lie: in the installed package, or beside it in a clone.

    Raises:
        EnvironmentFault: in neither.
    """
    package = Path(rtprune_cli.__file__).parent
    for found in (package / "docs", package.parent / "docs"):
        if (found / f"{INDEX}{ENDING}").is_file():
            return found
    raise EnvironmentFault("the pages of the documentation are not here", "Install rtprune again, whole")


def pages() -> dict[str, str]:
    """What each page is for, by its name: what the index says of it, else its title."""
    index = (folder() / f"{INDEX}{ENDING}").read_text(encoding="utf-8")
    purposes = {
        name: purpose.strip()
        for purpose, links in re.findall(r"^\|([^|]+)\|(.*\(.*\).*)\|$", index, re.MULTILINE)
        for name in re.findall(r"\(([\w-]+)\.md\)", links)
    }
    found: dict[str, str] = {}
    for file in sorted(folder().glob(f"*{ENDING}")):
        title = re.search(r"^# (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        if title and file.stem != INDEX:  # the others take in what lies elsewhere in a clone
            found[file.stem] = purposes.get(file.stem) or str(title[1])
    return found


def read_page(given: str) -> tuple[str, str]:
    """The name and the markdown of a page, which may be named as a file.

    Raises:
        UsageError: there is no such page.
    """
    name, known = Path(given).name.removesuffix(ENDING), pages()
    if name not in known:
        close = get_close_matches(name, known)
        meant = f"Did you mean {', '.join(close)}? " if close else ""
        raise UsageError(f"no page {given!r}", f"{meant}See: rtprune docs")
    return name, _markdown_of(name)


def _markdown_of(name: str) -> str:
    """A page that is there, without the comment that it may begin with."""
    text = (folder() / f"{name}{ENDING}").read_text(encoding="utf-8")
    return re.sub(r"^<!--.*?-->\s*", "", text, flags=re.DOTALL)


# --- Finding a word --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Passage:
    """A paragraph, an entry of a list, a row of a table with its head, or a block of code, under its heading."""

    heading: str
    text: str


def passages(text: str) -> Iterator[Passage]:
    """The passages of a page, in order."""
    heading, head, block, fenced = "", list[str](), list[str](), False
    for line in [*text.splitlines(), ""]:
        is_row = line.startswith("|") and not fenced
        ends = not fenced and (not line.strip() or line.startswith(("#", "- ", "|", "```")))
        if ends and block:
            yield Passage(heading, "\n".join(block))
            block = []
        if line.startswith("```"):
            fenced = not fenced
        if fenced or not (ends and not is_row and line.startswith("#")):
            head = [] if not is_row else head
        if is_row and len(head) < 2:
            head.append(line)
        elif is_row:
            yield Passage(heading, "\n".join([*head, line]))
        elif line.startswith("#") and not fenced:
            heading = line.lstrip("# ")
        elif line.strip() or fenced:
            block.append(line)


def about(word: str, name: str, text: str) -> str:
    """What a page says of a word: the passages that have it, under their headings.

    Raises:
        UsageError: nothing.
    """
    parts: list[str] = []
    for passage in passages(text):
        if word.lower() in passage.text.lower():
            title = f"## {passage.heading}"
            parts += [passage.text] if title in parts else [title, passage.text]
    if not parts:
        raise UsageError(f"page {name} says nothing of {word!r}", f"In all pages: rtprune docs --search {word}")
    return "\n\n".join(parts)


def _print_found(word: str) -> None:
    """The lines of all pages that have a word, each after its page's name."""
    found = [
        (name, line.strip())
        for name in pages()
        for line in _markdown_of(name).splitlines()
        if word.lower() in line.lower()
    ]
    if not found:
        raise UsageError(f"no page says anything of {word!r}", "See: rtprune docs")
    _print_rows(found)


# --- Showing ---------------------------------------------------------------------------------------------------------


def _print_list() -> None:
    _print_rows(list(pages().items()))
    if sys.stdout.isatty():
        typer.echo("\nrtprune docs PAGE shows one, rtprune docs --search WORD looks in all.")


def _print_rows(rows: list[tuple[str, str]]) -> None:
    """Names and texts: in columns on a terminal, elsewhere with a tab between them."""
    if not sys.stdout.isatty():
        for name, text in rows:
            typer.echo(f"{name}\t{text}")
        return
    first = max(len(name) for name, _ in rows) + 2
    for name, text in rows:
        for line in wrapped(text, _width() - first):
            typer.echo(f"{name:{first}}{line}")
            name = ""


def _show(markdown: str) -> None:
    """Markdown as it is; on a terminal set, and in a pager."""
    if not sys.stdout.isatty():
        typer.echo(markdown.rstrip("\n"))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    os.environ.setdefault("LESS", "FRX")  # colours; and a page that fits on the screen is printed
    console = Console(width=_width())
    with console.pager(styles=True):
        console.print(Markdown(markdown, hyperlinks=False))


def _width() -> int:
    from shutil import get_terminal_size

    return min(get_terminal_size().columns, MAX_WIDTH)
