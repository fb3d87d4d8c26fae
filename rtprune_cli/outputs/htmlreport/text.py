"""Markdown of a page -> HTML that is safe to show. The text is hostile: only what is named here comes through.

Tables come as HTML from the model and stay; every other tag shows its letters, as LaTeX does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rtprune_cli.outputs.layout import CROP_NAME, IMAGES

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline

# Tags that the model may write itself; all else that looks like a tag is text.
_WRITTEN = {"table", "thead", "tbody", "tr", "td", "th", "caption", "br", "sub", "sup", "b", "i", "em", "strong", "u"}
_ALLOWED = _WRITTEN | {
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "code", "pre", "hr", "img",
}  # fmt: skip
_ATTRIBUTES = {"td": {"rowspan", "colspan"}, "th": {"rowspan", "colspan"}, "img": {"src"}, "ol": {"start"}}
_INLINE = {"sub", "sup", "b", "i", "em", "strong", "u"}  # those within a word
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]{0,15})(?:\s[^<>]{0,400})?/?>")
_CROP = re.compile(rf"{IMAGES}/({CROP_NAME})")
_CROP_MARK = re.compile(rf"!\[[^\]\n]*\]\({IMAGES}/{CROP_NAME}\)")
# Nothing of a page is a link or its definition; headings by underline and code by indent are formulas and columns.
_OFF = ["link", "autolink", "reference", "lheading", "code"]
_MATHS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
_DOLLARS = re.compile(r"\$(?=[^\s$])[^$\n]{0,4000}(?<=[^\s\\])\$(?!\d)")
_MAX_NESTING = 20


def to_html(text: str, folder: str) -> str:
    """``text`` as HTML; its crops are looked for below ``folder``, the document's place beside the report."""
    import nh3

    return nh3.clean(
        _parser().render(text.encode("utf-8", "replace").decode()),  # halves of letters
        tags=_ALLOWED,
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute_filter(folder),
        link_rel=None,
    )


def without_tags(text: str) -> str:
    """``text`` as a search looks at it: less the tags that come through :func:`to_html`, and its crops."""

    def seen(tag: re.Match[str]) -> str:
        name = tag[1].lower()
        return tag[0] if name not in _WRITTEN else "" if name in _INLINE else " "

    return _TAG.sub(seen, _CROP_MARK.sub(" ", text))


def _attribute_filter(folder: str) -> Callable[[str, str, str], str | None]:
    place = quote(folder, errors="replace")

    def check(tag: str, name: str, value: str) -> str | None:
        if tag == "img":
            crop = _CROP.fullmatch(value)
            return f"{place}/{IMAGES}/{crop[1]}" if crop else None
        return value if re.fullmatch(r"\d{1,3}", value, re.ASCII) else None  # spans of millions stall browsers

    return check


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    options = {"html": True, "breaks": True, "maxNesting": _MAX_NESTING}
    parser = MarkdownIt("commonmark", options).enable("table").disable(_OFF)
    parser.inline.ruler.before("escape", "latex", _latex)
    parser.add_render_rule("html_block", _raw)
    parser.add_render_rule("html_inline", _raw)
    return parser


def _raw(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    return _only_written(tokens[index].content)


def _only_written(text: str) -> str:
    """HTML whose other tags show their letters."""
    parts, end = [], 0
    for tag in _TAG.finditer(text):
        if tag[1].lower() in _WRITTEN:
            parts += [_letters(text[end : tag.start()]), tag[0]]
            end = tag.end()
    return "".join([*parts, _letters(text[end:])])


def _letters(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _latex(state: StateInline, silent: bool) -> bool:
    r"""Between ``\(`` and ``\)``, ``\[`` and ``\]``, ``$$`` and ``$$``, ``$`` and ``$``: letters, without emphasis and
    escapes."""
    closing = _MATHS.get(state.src[state.pos : state.pos + 2])
    if closing is not None:
        end = state.src.find(closing, state.pos + 2, state.posMax)
        end = -1 if end < 0 else end + 2
    else:
        inline = _DOLLARS.match(state.src, state.pos, state.posMax)
        end = inline.end() if inline else -1
    if end < 0:
        return False
    if not silent:
        state.push("text", "", 0).content = state.src[state.pos : end]
    state.pos = end
    return True
