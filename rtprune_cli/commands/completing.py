"""What TAB offers for values: choices, models, pages of the documentation, the last word of a list. torch, numpy and
the like are not imported: a person waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rtprune_cli.options import AUTO, BUNDLED_MODEL
from rtprune_cli.settings import Setting, all_settings

Completer = Callable[[str], list[str]]


def one_of(words: Iterable[str]) -> Callable[[], list[str]]:
    """Completes one of the words."""
    return lambda: list(words)


def list_of(words: Iterable[str]) -> Completer:
    """Completes the last word of a list with commas; those before it stay, and are not offered again."""
    known = tuple(words)

    def complete(incomplete: str) -> list[str]:
        before, comma, _ = incomplete.rpartition(",")
        given = before.split(",")
        return [f"{before}{comma}{word}" for word in known if word not in given]

    return complete


def ratios(*, auto: bool = False) -> list[str]:
    """Ratios to choose from, as --ratio offers them; ``auto`` is none where they are compared."""
    return [word for word in all_settings()["ratio"].offers if auto or word != AUTO]


def completer(setting: Setting) -> Callable[..., list[str]] | None:
    """What completes a setting's value; None leaves it to the shell, which completes files."""
    if setting.name == "model":
        return complete_models
    if setting.name == "pages":
        return complete_pages
    words = setting.offers or setting.choices
    return one_of(words) if words else None


def complete_pages(incomplete: str) -> list[str]:
    """Ranges of pages: the first ones, or after a number and its dash an end, in the last part of a list."""
    before, comma, last = incomplete.rpartition(",")
    first, dash, _ = last.partition("-")
    if not first.isdigit():
        offered = list(all_settings()["pages"].offers)
    elif dash:
        offered = [f"{first}-{int(first) + 9}", f"{first}-end"]
    else:
        offered = [first, f"{first}-", f"{first}-{int(first) + 9}", f"{first}-end"]
    return [f"{before}{comma}{each}" for each in offered]


def complete_models() -> list[str]:
    """The bundled model and those in the cache."""
    from rtprune_cli.hub import cached_models

    try:
        return sorted({model.name for model in cached_models()})
    except Exception:  # whatever is wrong with the cache is not said in the middle of a command line
        return [BUNDLED_MODEL]
