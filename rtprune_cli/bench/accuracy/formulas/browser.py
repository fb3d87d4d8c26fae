"""A Chromium without a window, driven by Playwright, with one page that asks nobody for anything.

Playwright's calls have no time limit and do not bear an exception from a signal in their midst; so they happen in a
thread of their own, and this one waits. What is evaluated may work on hostile texts: the page has no network and no
files, its security policy lets no script of its own run, and V8 ends what takes too long. The browser is a process of
Playwright's driver, which ends it when this process is gone, whatever way that went.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import threading
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from playwright.async_api import Browser as Chromium
    from playwright.async_api import CDPSession, Playwright

log = logging.getLogger("rtprune")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
# No name and no address is one: `offline` and the page's policy stop what asks, not the connecting ahead of it.
ARGUMENTS = ("--host-resolver-rules=MAP * ~NOTFOUND",)
START_LIMIT = 60.0  # seconds
MARGIN = 5.0  # seconds more than V8 is given, for layout and the way; then the browser counts as hung
CLOSE_LIMIT = 5.0  # seconds for each of two steps

Result = TypeVar("Result")


class NoBrowser(Exception):
    """There is none; the text says what is missing."""


class NoAnswer(Exception):
    """An expression took too long, or threw; the page goes on."""


class BrowserEnded(Exception):
    """The browser or its page crashed or hangs: :meth:`Browser.close` it."""


class Browser:
    """A browser with a page. ``version`` is the browser's own."""

    def __init__(self, page: str, window: tuple[int, int]) -> None:
        """Start it and show ``page``, HTML; ``window`` is its width and height in pixels.

        Raises:
            NoBrowser: Playwright or Chromium is not installed, or does not start.
        """
        try:
            import playwright.async_api  # noqa: F401  # here, as a missing package is told of here
        except ImportError:
            raise NoBrowser("Playwright is not installed") from None
        self.version = ""
        self._driver: Playwright | None = None
        self._chromium: Chromium | None = None
        self._page: CDPSession | None = None
        self._loop = asyncio.new_event_loop()
        # A daemon: an exit that forgets to close must not wait for it.
        self._thread = threading.Thread(target=self._loop.run_forever, name="rtprune-browser", daemon=True)
        self._thread.start()
        try:
            self._do(self._open(page, window), START_LIMIT)
        except BaseException as error:
            self.close()
            if isinstance(error, (NoBrowser, KeyboardInterrupt)):
                raise
            raise NoBrowser(f"Chromium does not start: {_first_line(error)}") from None

    def evaluate(self, expression: str, limit: float) -> Any:
        """The value of an expression of JavaScript, as JSON can hold it; ``limit`` in seconds.

        Raises:
            NoAnswer: it took too long, or threw.
            BrowserEnded: there is no page to evaluate it in any more.
        """
        from playwright.async_api import Error

        if self._page is None:
            raise BrowserEnded
        asked = {"expression": expression, "returnByValue": True, "timeout": 1000 * limit}
        try:
            answer = self._do(self._page.send("Runtime.evaluate", asked), limit + MARGIN)
        except Error as error:
            if "Execution was terminated" in error.message:
                raise NoAnswer from None
            log.debug("the browser: %s", _first_line(error))
            raise BrowserEnded from None
        except TimeoutError:
            raise BrowserEnded from None
        if "exceptionDetails" in answer:
            log.debug("the browser: %s", answer["exceptionDetails"])
            raise NoAnswer
        return answer["result"].get("value")

    def close(self) -> None:
        """End the browser and its driver; waits for :data:`CLOSE_LIMIT` twice at most."""
        if self._loop.is_closed():
            return
        with suppress(Exception):  # whatever does not close ends with the driver, and that with this process
            self._do(self._close(), 2 * CLOSE_LIMIT + 1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_LIMIT)
        if not self._thread.is_alive():
            self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Result], limit: float) -> Result:
        """Have the thread do it and wait; a signal may interrupt the wait.

        Raises:
            TimeoutError: it took longer than ``limit`` seconds.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(limit)
        except BaseException:
            future.cancel()
            raise

    async def _open(self, page: str, window: tuple[int, int]) -> None:
        from playwright.async_api import async_playwright

        self._driver = await async_playwright().start()
        self._chromium = await self._launch(self._driver)
        self.version = self._chromium.version
        context = await self._chromium.new_context(
            viewport={"width": window[0], "height": window[1]}, offline=True, service_workers="block"
        )
        await context.route("**/*", lambda route: route.abort())
        tab = await context.new_page()
        await tab.set_content(page)
        self._page = await context.new_cdp_session(tab)

    async def _launch(self, driver: Playwright) -> Chromium:
        """Playwright's own Chromium, else one of the system's; in its sandbox where that can be had."""
        from playwright.async_api import Error

        failure = "no Chromium was found"
        for path in _paths():
            for sandbox in _sandboxes():
                try:
                    return await driver.chromium.launch(executable_path=path, chromium_sandbox=sandbox, args=ARGUMENTS)
                except Error as error:
                    log.debug("%s: %s", path or "Playwright's browser", error.message)
                    if path is not None:
                        failure = f"{path} does not start: {_first_line(error)}"
                    elif "Executable doesn't exist" in error.message:
                        break
        raise NoBrowser(failure)

    async def _close(self) -> None:
        self._page = None
        if self._chromium is not None:
            with suppress(Exception):
                await asyncio.wait_for(self._chromium.close(), CLOSE_LIMIT)
        if self._driver is not None:
            with suppress(Exception):
                await asyncio.wait_for(self._driver.stop(), CLOSE_LIMIT)


def _paths() -> Iterator[str | None]:
    yield None
    yield from filter(None, map(shutil.which, NAMES))


def _sandboxes() -> tuple[bool, ...]:
    """Root has none, and where users may make no namespaces nobody has."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return (False,) if root else (True, False)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
