"""Matplotlib's pictures inside a page: in its colours, light or dark, with words for those who cannot see them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
_HEAD = ' role="img" style="stroke-linejoin: round; stroke-linecap: butt"'
_BLACK = "#000000"


def inline_svg(svg: str, *, name: str, title: str, words: str, colours: Mapping[str, str]) -> str:
    """An SVG of matplotlib as an element of a page.

    Args:
        svg: as ``savefig`` writes it, with ``svg.fonttype`` none; the text takes the colour of the page's text by the
            page's style (``svg text { fill: currentColor }``).
        name: unique in the page, of letters, digits and hyphens: what is defined in the picture is called after it.
        title: what it is.
        words: what it shows.
        colours: property of the page's style (``--high``) by colour (``#0072b2``): drawn in the property's colour, and
            where there is none in its own. Black is the colour of the text.
    """
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'( id="|(?:href="|url\()#)', rf"\g<1>{name}-", svg)
    # Width and height are the page's: those in points would be larger than a phone.
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf"<svg {_NAMESPACES} \1{_HEAD}>", svg, count=1)
    svg = svg.replace(">", f">\n<title>{escape(title)}</title><desc>{escape(words)}</desc>", 1)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", svg)
    painted = {_BLACK: "currentColor", **{colour: f"var({its}, {colour})" for colour, its in colours.items()}}
    for colour, paint in painted.items():
        svg = re.sub(rf'(?<=: ){re.escape(colour)}(?=[;"])', paint, svg, flags=re.IGNORECASE)
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"
