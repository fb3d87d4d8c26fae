"""Write docs/cli.md from the command line itself.

python docs/make_cli.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from rtprune_cli.commands.app import app
from rtprune_cli.commands.examples import EXAMPLES
from rtprune_cli.commands.helppage import SECTIONS, section_of
from rtprune_cli.settings import LOG, all_settings

PAGE = Path(__file__).with_name("cli.md")
FEW_SECTIONS = 3  # no more than these share a table
HEAD = """\
<!-- Made from the program: python docs/make_cli.py -->

# Command line

Every command takes `-h` or `--help`. What `--[no-]NAME` switches on, `--no-NAME` switches off again. Flags that are
settings also have a variable and a key in rtprune.toml, `RTPRUNE_BATCH_SIZE` and `batch-size` for `--batch-size`: see
[Settings](settings.md).
"""


def page() -> str:
    """The whole of docs/cli.md."""
    root = typer.main.get_command(app)
    parts = [HEAD, *_command("rtprune", root)]
    return "\n".join(parts).rstrip("\n") + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    """A command, then those below it; a group without flags of its own is only its commands."""
    params = [param for param in command.params if not param.hidden]
    below = getattr(command, "commands", {})
    if params or not below:
        yield f"## {name}\n"
        yield f"{command.help.strip()}\n"
        yield from _usage(name, params, below)
        yield from _params(params)
        yield from _examples(name)
    for child, found in below.items():
        yield from _command(f"{name} {child}", found)


def _usage(name: str, params: list[Any], below: Any) -> Iterator[str]:
    arguments = [_argument(param) for param in params if param.param_type_name == "argument"]
    yield f"```\n{' '.join([name, '[OPTIONS]', *(['COMMAND'] if below else arguments)])}\n```\n"


def _params(params: list[Any]) -> Iterator[str]:
    settings = all_settings()
    if settings.keys() <= {param.name for param in params} and not any(map(_is_argument, params)):
        yield "For the settings see [rtprune ocr](#rtprune-ocr). Besides them:\n"
        params = [param for param in params if param.name not in settings]
    sections: dict[str, list[Any]] = {title: [] for title in ("Arguments", *SECTIONS.values())}
    for param in params:
        sections["Arguments" if _is_argument(param) else section_of(param.rich_help_panel) or SECTIONS[LOG]].append(
            param
        )
    filled = {title: found for title, found in sections.items() if found}
    if len(filled) <= FEW_SECTIONS:
        filled = {"": [param for found in filled.values() for param in found]}
    for title, found in filled.items():
        if title:
            yield f"### {title}\n"
        yield "| | meaning | default |\n|---|---|---|"
        yield from map(_row, found)
        yield ""


def _examples(name: str) -> Iterator[str]:
    lines = [
        f"# {example.does}\n{example.command}" for example in EXAMPLES.get(name.removeprefix("rtprune").strip(), ())
    ]
    yield "```\n" + "\n".join(lines) + "\n```\n"


def _row(param: Any) -> str:
    setting = None if _is_argument(param) else all_settings().get(param.name)
    if setting and not param.help.startswith(setting.help):  # a flag of the command's own, as bench speed's --json
        setting = None
    default = setting.default_text if setting else "" if param.default in (None, False) else param.default
    names = _argument(param) if _is_argument(param) else _names(param)
    meaning = setting.help if setting else param.help
    if setting and setting.metavar and setting.forms:
        meaning += f"  [{setting.forms}]"
    return f"| `{_cell(names)}` | {_cell(meaning)} | {f'`{default}` ' if default else ''}|"


def _cell(text: str) -> str:
    """Text as it stands in a table."""
    return text.replace("|", "\\|")


def _names(param: Any) -> str:
    """``-o, --output TEXT``, ``--[no-]raw``, ``--offline, --online``."""
    names = sorted([*param.opts, *param.secondary_opts], key=lambda name: name.startswith("--"))
    for name in param.opts:
        if (off := f"--no-{name[2:]}") in names:
            names.remove(off)
            names[names.index(name)] = f"--[no-]{name[2:]}"
    return ", ".join(names) + (f" {param.metavar}" if param.metavar else "")


def _argument(param: Any) -> str:
    name = param.metavar or param.name.upper()
    return (name if param.required else f"[{name}]") + ("..." if param.nargs == -1 else "")


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
