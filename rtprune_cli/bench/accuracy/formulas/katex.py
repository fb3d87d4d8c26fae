"""KaTeX in a browser without a window: a formula in, what stands where out.

KaTeX 0.16.21 lies in ``katex-0.16.21/`` (MIT, LICENSE beside it): its script and its styles, byte by byte as in the npm
package katex of that version and in olmOCR-Bench. Its fonts are not there: the official run has none either, for they
are named by relative addresses in a page that has no address.
"""

from __future__ import annotations

import json
from importlib.resources import files
from types import TracebackType
from typing import Any

from rtprune_cli.bench.accuracy.formulas.browser import START_LIMIT, Browser, BrowserEnded, NoAnswer, NoBrowser
from rtprune_cli.bench.scoring.olmocr.drawn import DrawnFormula, DrawnText
from rtprune_cli.errors import EnvironmentFault

KATEX = "0.16.21"
WINDOW = (800, 400)  # pixels
TIME_LIMIT = 10.0  # seconds for a formula; most take some thousandths
TRIES = 2  # at a formula with which the browser ended


class Katex:
    """A browser with one page, in which formulas are drawn one after the other. A context manager.

    The browser starts again after a formula with which it ended.
    """

    def __init__(self) -> None:
        self._browser: Browser | None = None
        self.chromium = ""

    def __enter__(self) -> Katex:
        """
        Raises:
            NoBrowser: there is none; its text says what to install.
        """
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._end()

    def draw(self, latex: str) -> DrawnFormula | None:
        """What KaTeX makes of a formula; None where that takes too long, or ends the browser.

        Raises:
            EnvironmentFault: the browser does not start again.
        """
        for _ in range(TRIES):
            try:
                return _read(self._started().evaluate(f"drawn({json.dumps(latex)})", TIME_LIMIT))
            except NoAnswer:
                return None
            except BrowserEnded:
                self._end()
        return None

    def _started(self) -> Browser:
        if self._browser is None:
            try:
                self._start()
            except NoBrowser as error:
                raise EnvironmentFault(
                    f"the browser that draws formulas ended and does not start again: {error}",
                    "Run the same command again: what was drawn is kept",
                ) from None
        assert self._browser is not None
        return self._browser

    def _end(self) -> None:
        if self._browser is not None:
            self._browser.close()
            self._browser = None

    def _start(self) -> None:
        folder = files(__package__).joinpath(f"katex-{KATEX}")
        style = folder.joinpath("katex.min.css").read_text(encoding="utf-8")
        page = folder.joinpath("page.html").read_text(encoding="utf-8")
        self._browser = Browser(page.replace("</head>", f"<style>{style}</style>\n</head>"), WINDOW)
        self.chromium = self._browser.version
        try:
            for name in ("katex.min.js", "draw.js"):
                script = folder.joinpath(name).read_text(encoding="utf-8")
                self._browser.evaluate(f"{script};0", START_LIMIT)
        except (NoAnswer, BrowserEnded):
            self._end()
            raise NoBrowser("Chromium ends when KaTeX is loaded") from None


def _read(found: Any) -> DrawnFormula:
    return DrawnFormula(found["mathml"], tuple(DrawnText(*text) for text in found["texts"]))
