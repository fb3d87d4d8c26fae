"""Where the settings of a run come from: flag, RTPRUNE_* variable, rtprune.toml, default, in this order.

The order is resolved here rather than by the command line's library, so that every value is read and checked alike
and knows its place, for ``config show`` and for the error that must name it.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache, partial
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from rtprune_cli.errors import UsageError
from rtprune_cli.options import LogOptions, OcrOptions

FILE = "rtprune.toml"
PREFIX = "RTPRUNE_"
CONFIG_VARIABLE = "RTPRUNE_CONFIG"
LOG = "log"  # the group of LogOptions; the others are OcrOptions' fields, "" for its own settings
WORDS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
QUOTE = '"'
WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """One field of the options classes that a user can set: ``kind`` is bool, int, float or str."""

    name: str
    group: str
    kind: type
    default: Any
    help: str
    short: str = ""
    off: str | None = None
    choices: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    metavar: str = ""
    rare: bool = False
    parse: Callable[[str], Any] | None = None
    shown: str = ""
    words: tuple[str, ...] = ()
    count: bool = False
    secret: bool = False

    @property
    def key(self) -> str:
        """Its name in rtprune.toml."""
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        return f"--{self.key}"

    @property
    def no_flag(self) -> str:
        """What switches a boolean off again; empty when nothing does."""
        if self.kind is not bool:
            return ""
        return f"--no-{self.key}" if self.off is None else self.off

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def default_text(self) -> str:
        """The default as help shows it; empty where it goes without saying."""
        if self.default in (None, False) or self.count:
            return self.shown
        if self.default is True:
            return "on"
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    @property
    def forms(self) -> str:
        """The words that it takes as help shows them, html|markdown; empty where it takes any."""
        return "|".join((*self.choices, *self.also))

    @property
    def placeholder(self) -> str:
        """What stands for its value in help: its words where they are few, a noun, N for a whole number."""
        return self.metavar or self.forms or (f"{self.shown}|N" if self.shown else "N")

    def from_text(self, text: str) -> Any:
        """The value of a flag or variable.

        Raises:
            UsageError: the text is no value of this kind; what the value may be is the class's to check.
        """
        try:
            if self.parse:
                return self.parse(text)
            return WORDS[text.strip().lower()] if self.kind is bool else self.kind(text)
        except (KeyError, ValueError):
            raise UsageError(f"{self.key} is {text!r}", f"Give {self._wanted('')}") from None

    def from_toml(self, value: Any) -> Any:
        """The value of a key.

        Raises:
            UsageError: the value is of another kind; a number in quotes is no number.
        """
        if self.parse and isinstance(value, str):
            return self.from_text(value)
        if self.kind is float and type(value) is int:
            return float(value)
        if type(value) is not self.kind:  # True is an int to isinstance
            shown = "***" if self.secret else _toml(value)
            raise UsageError(f"{self.key} is {shown}", f"Give {self._wanted(QUOTE)}")
        return value

    def _wanted(self, quote: str) -> str:
        """What a value may be."""
        words = [self.shown, *self.words] if self.shown else []
        *first, last = [*(f"{quote}{word}{quote}" for word in words), WANTED[self.kind]]
        return f"{', '.join(first)} or {last}" if first else last

    def from_python(self, value: Any) -> Any:
        """The value of an argument: numbers of other libraries, and a number for a word that is one, are taken.

        Raises:
            UsageError: the value is of another kind. A text for a number is the class's to check.
        """
        if isinstance(value, str) and self.parse:
            return value
        if not isinstance(value, bool):
            if self.kind is float and isinstance(value, Real):
                return float(value)
            if self.kind is int and isinstance(value, Integral):
                return int(value)
            if str(value) in self.choices:
                return str(value)
        return self.from_toml(value)


@dataclass(frozen=True)
class Value:
    """A setting's value; ``source`` as ``config show`` says it, ``place`` as an error does (empty: no need to)."""

    value: Any
    source: str = "default"
    place: str = ""


@dataclass(frozen=True)
class Resolved:
    """The settings of a run. ``file`` is the rtprune.toml that was read or looked for."""

    ocr: OcrOptions
    log: LogOptions
    values: Mapping[str, Value]
    file: Path
    file_was_read: bool
    warnings: tuple[str, ...] = field(default=())


@cache
def all_settings() -> dict[str, Setting]:
    """Every setting by its field's name, in the order in which the classes declare them."""
    hints = get_type_hints(OcrOptions)
    groups = {f.name: hints[f.name] for f in fields(OcrOptions) if "help" not in f.metadata}
    found = [s for group, cls in {**groups, "": OcrOptions, LOG: LogOptions}.items() for s in _of_class(group, cls)]
    return {s.name: s for s in found}


def _of_class(group: str, cls: type) -> list[Setting]:
    known = {f.name for f in fields(Setting)}
    hints = get_type_hints(cls)
    return [
        Setting(f.name, group, _kind(hints[f.name]), f.default, **{k: v for k, v in f.metadata.items() if k in known})
        for f in fields(cls)
        if "help" in f.metadata
    ]


def _kind(hint: Any) -> type:
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        (hint,) = [kind for kind in kinds if get_origin(kind) is not Literal] or kinds  # without the word for None
    return str if get_origin(hint) is Literal else hint


def resolve(flags: Mapping[str, Any], config: str | None, user_file: Path, environ: Mapping[str, str]) -> Resolved:
    """Take each setting from its first source that has it.

    ``flags`` are those that were given, by field name: text as typed, booleans, or a count. ``config`` names a file,
    which RTPRUNE_CONFIG does too; without either it is ``user_file``, which need not exist.

    Raises:
        UsageError: the file cannot be used, or a value is wrong; says where the value stands.
    """
    named, place = (config, "") if config else (environ.get(CONFIG_VARIABLE), CONFIG_VARIABLE)
    file = Path(named).expanduser() if named else user_file
    # os.path: a home that may not be looked into, as in a container run for another user, holds no file either.
    table = _read_file(file, place) if named or os.path.exists(file) else None
    values = {
        **{name: Value(setting.default) for name, setting in all_settings().items()},
        **_from_file(table or {}, file),
        **_from_environment(environ),
        **_from_flags(flags),
    }
    ocr, log = make_options(values)
    return Resolved(ocr, log, values, file, table is not None, _unknown_variables(environ))


def early_log_options(flags: Mapping[str, Any], environ: Mapping[str, str]) -> LogOptions:
    """How to speak while the settings are being resolved: the defaults where even this cannot be read."""
    log = {s.variable: s.name for s in all_settings().values() if s.group == LOG}
    try:
        values = {
            **_from_environment({variable: text for variable, text in environ.items() if variable in log}),
            **_from_flags({name: value for name, value in flags.items() if name in log.values()}),
        }
        return LogOptions(**{name: value.value for name, value in values.items()})
    except UsageError:
        return LogOptions()


def _from_flags(flags: Mapping[str, Any]) -> dict[str, Value]:
    settings = all_settings()
    return {
        name: Value(settings[name].from_text(given) if isinstance(given, str) else given, "flag")
        for name, given in flags.items()
    }


def _from_environment(environ: Mapping[str, str]) -> dict[str, Value]:
    values = {}
    for setting in all_settings().values():
        if text := environ.get(setting.variable):
            value = _placed(setting.variable, setting.from_text, text)
            values[setting.name] = Value(value, setting.variable, setting.variable)
    return values


def _unknown_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    known = [setting.variable for setting in all_settings().values()] + [CONFIG_VARIABLE]
    return tuple(
        f"the variable {name} is no setting and is ignored. {_suggestion(name, known)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and environ[name] and name not in known
    )


def _read_file(path: Path, place: str) -> dict[str, Any]:
    where = f" ({place})" if place else ""
    text = ""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # Windows' editors may leave a byte order mark
        return tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(f"the settings file {path} does not exist{where}", "Check the path") from None
    except OSError as error:
        raise UsageError(f"the settings file {path} cannot be read{where}", error.strerror or "") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path} is not UTF-8 text (at line {line})", "Save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        reason = str(error).replace("at end of document", f"at line {len(text.splitlines())}")
        raise UsageError(f"{path} is not TOML: {reason}", 'Write lines such as mode = "base" and dpi = 200') from None


def _from_file(table: Mapping[str, Any], path: Path) -> dict[str, Value]:
    settings = {setting.key: setting for setting in all_settings().values()}
    values: dict[str, Value] = {}
    for written, value in table.items():
        setting = settings.get(written.replace("_", "-"))
        if setting is None and isinstance(value, dict):
            raise UsageError(f"{path} has a table [{written}]", "Write key = value lines without tables")
        if setting is None:
            raise UsageError(f"unknown key {written!r} in {path}", _suggestion(written.replace("_", "-"), settings))
        if setting.name in values:
            raise UsageError(f"{setting.key} stands twice in {path}", "Leave one of them out")
        place = f"{written} in {path}"
        values[setting.name] = Value(_placed(place, setting.from_toml, value), str(path), place)
    return values


def _suggestion(word: str, known: Any) -> str:
    close = get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]}?" if close else "See: rtprune ocr --help"


def _placed(place: str, make: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call ``make``; a usage error gets the place that it comes from, where that is not the command line."""
    try:
        return make(*args, **kwargs)
    except UsageError as error:
        raise type(error)(f"{error.message} ({place})" if place else error.message, error.hint) from None


def make_options(values: Mapping[str, Value]) -> tuple[OcrOptions, LogOptions]:
    """The options of these values, by setting; what is missing or a default is left to the classes.

    Raises:
        UsageError: a value is wrong; says where it stands.
    """
    given: dict[str, dict[str, Value]] = {setting.group: {} for setting in all_settings().values()}
    for name, value in values.items():
        if value.source != "default":
            given[all_settings()[name].group][name] = value
    log = _checked(LogOptions, given.pop(LOG))
    own = given.pop("")
    hints = get_type_hints(OcrOptions)
    groups = {group: _checked(hints[group], of_group) for group, of_group in given.items()}
    return _checked(partial(OcrOptions, **groups), own), log


def _checked(make: Callable[..., T], given: Mapping[str, Value]) -> T:
    """``make(**given)``, whose refusal names the places of the values that it is about."""
    for name, value in given.items():
        _placed(value.place, make, **{name: value.value})
    # What is left to refuse is a combination: it takes those without which there is nothing to refuse.
    plain = {name: value.value for name, value in given.items()}
    needed = [value.place for name, value in given.items() if value.place and _passes(make, plain, without=name)]
    return _placed(", ".join(needed), make, **plain)


def _passes(make: Callable[..., Any], given: Mapping[str, Any], without: str) -> bool:
    try:
        make(**{name: value for name, value in given.items() if name != without})
    except UsageError:
        return False
    return True


def to_toml(resolved: Resolved) -> str:
    """The settings as TOML, each with its source, that gives the same options when it is read as rtprune.toml.

    A setting without a value, and a secret, which is not shown, are commented out.
    """
    read = "Settings file" if resolved.file_was_read else "No settings file; looked for"
    lines = [f"# {read}: {_comment(str(resolved.file))}"]
    for name, setting in all_settings().items():
        value, source = resolved.values[name].value, _comment(resolved.values[name].source)
        text = f'"{setting.shown}"' if value is None and setting.shown else "" if value is None else _toml(value)
        if setting.secret and value is not None:
            lines.append(f'# {setting.key} = "***"  # {source}')
        else:
            lines.append(f"{setting.key} = {text}  # {source}" if text else f"# {setting.key} =  # {source}")
    return "\n".join(lines)


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _toml(value: Any) -> str:
    """A value as TOML writes it; what is no setting's value, a list or a date, in Python's way for an error."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON's escapes are TOML's, which wants DEL escaped too.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
