"""Matplotlib's pictures inside a page: in its colours, light or dark, with words for those who cannot see them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from html import escape

from rtprune_cli.packages import missing, pip_install

log = logging.getLogger("rtprune")

_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
_STYLE = ' style="stroke-linejoin: round; stroke-linecap: butt"'
_BLACK = "#000000"


def can_draw() -> bool:
    """Whether matplotlib is installed; without it a page has its numbers and no pictures."""
    return not missing("matplotlib")


def tell_if_not_drawn() -> None:
    """Warn, before the work begins, that what comes of it will have no pictures."""
    if not can_draw():
        log.warning(
            "matplotlib is not installed: the report gets its numbers and tables, and no pictures. For pictures: %s",
            pip_install("matplotlib"),
        )


def told_svg(svg: str, *, name: str, title: str, words: str) -> str:
    """An SVG of matplotlib that can stand in a page beside others, in its own size and colours.

    Args:
        svg: as ``savefig`` writes it, with ``svg.fonttype`` none.
        name: unique in the page, of letters, digits and hyphens: what is defined in the picture is called after it.
        title: what it is.
        words: what it shows.
    """
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'( id="|(?:href="|url\()#)', rf"\g<1>{name}-", svg)
    svg = svg.replace(">", f'{_STYLE} role="img">\n<title>{escape(title)}</title><desc>{escape(words)}</desc>', 1)
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


def inline_svg(svg: str, *, name: str, title: str, words: str, colours: Mapping[str, str]) -> str:
    """:func:`told_svg` as an element of a page, in the page's width, font and colours.

    Text takes the colour of the page's text by the page's style (``svg text { fill: currentColor }``).

    Args:
        svg: as there.
        name: as there.
        title: as there.
        words: as there.
        colours: as of :func:`painted`. Black is the colour of the text.
    """
    svg = told_svg(svg, name=name, title=title, words=words)
    # Width and height are the page's: those in points would be larger than a phone.
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg {_NAMESPACES} \1{_STYLE} role="img">', svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", svg)
    return painted(_painted(svg, {_BLACK: "currentColor"}), colours)


def painted(svg: str, colours: Mapping[str, str]) -> str:
    """A picture in a page's colours: ``colours`` gives a property of the page's style (``--high``) by colour
    (``#0072b2``), which is drawn in the property's colour, and where there is none in its own."""
    return _painted(svg, {colour: f"var({its}, {colour})" for colour, its in colours.items()})


def _painted(svg: str, paints: Mapping[str, str]) -> str:
    for colour, paint in paints.items():
        svg = re.sub(rf'(?<=: ){re.escape(colour)}(?=[;"])', paint, svg, flags=re.IGNORECASE)
    return svg
