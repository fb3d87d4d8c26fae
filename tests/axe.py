"""axe-core over a page in a browser: the faults that keep people from reading it."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest

PHONE = {"width": 390, "height": 844}
CONTRAST = "color-contrast"
# Pictures are told in words, and of a table's rows two are like all others; to look at them takes most of the time.
_CONTEXT = {"include": [["html"]], "exclude": [["svg"], ["tbody tr:nth-child(n+3)"]]}


def serious_faults(tab: Any) -> set[str]:
    """The serious and critical faults of what a tab shows: on a desk light and dark, and on a phone."""
    pytest.importorskip("axe_playwright_python", reason="axe-core is not installed: pip install -e '.[dev]'")
    if not tab.evaluate("'axe' in window"):
        tab.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = _faults(tab, {})
    tab.emulate_media(color_scheme="dark")
    found |= _faults(tab, {"runOnly": [CONTRAST]})
    size = tab.viewport_size
    tab.set_viewport_size(PHONE)
    found |= _faults(tab, {"rules": {CONTRAST: {"enabled": False}}})
    tab.emulate_media(color_scheme="light")
    tab.set_viewport_size(size)
    return found


def _faults(tab: Any, options: dict[str, Any]) -> set[str]:
    options = {"resultTypes": ["violations"], **options}
    found = tab.evaluate("([context, options]) => axe.run(context, options)", [_CONTEXT, options])["violations"]
    return {
        f"{each['id']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    }
