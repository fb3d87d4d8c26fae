"""What is under way: a page, or pages that are read as one text. Where it stands, and its results when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rtprune_cli.engine.contexts import ContextSteps, alone
from rtprune_cli.engine.steps import Alone, EncodedPage, Request, Steps
from rtprune_cli.errors import PageFailedError
from rtprune_cli.failures import Failure, PageFailure
from rtprune_cli.records import (
    Decoded,
    DecoderInput,
    PageImage,
    PageResult,
    PreparedContext,
    PreparedPage,
    WarningRecord,
    failed,
)

Wanted = Request | Sequence[Request] | DecoderInput | None  # None: it is done


@dataclass(eq=False)
class ActivePage:
    """A page under way: where it stands, what it waits for, and its result, with which the rest is let go."""

    page: PageImage | None
    steps: Steps
    waiting: tuple[EncodedPage, DecoderInput] | None = None  # for its text
    result: PageResult | None = None
    warnings: tuple[WarningRecord, ...] = ()  # that a failure has too

    def resume(self, value: Any) -> Wanted:
        """Give the page what it waits for; what it asks for next."""
        try:
            return _resumed(self.steps, value)
        except StopIteration as end:
            self.end(end.value)
            return None

    def fail(self, error: PageFailedError) -> None:
        """It cannot be read."""
        assert self.page is not None
        warnings = self.page.warnings + self.warnings
        self.end(failed(self.page.document, self.page.page, error, warnings))

    def end(self, result: PageResult) -> None:
        """It may wait long for its turn, and needs neither pixels nor tokens any more."""
        self.result, self.page, self.waiting = result, None, None

    @property
    def results(self) -> list[PageResult] | None:
        """In order, when all are there."""
        return None if self.result is None else [self.result]


@dataclass(eq=False)
class ActiveContext:
    """Pages under way as one text. ``encoded`` are those that have been, by their place; when the context came to
    nothing, ``alone`` says why, and its pages go on by themselves (``begun``)."""

    context: PreparedContext | None
    steps: ContextSteps
    page: PageImage | None
    encoded: dict[int, EncodedPage] = field(default_factory=dict)
    alone: Alone | None = None
    begun: list[PageResult | ActivePage] = field(default_factory=list)

    def resume(self, value: Any) -> Wanted:
        """Give the context what it waits for; what it asks for next."""
        assert self.context is not None
        try:
            return _resumed(self.steps, value)
        except StopIteration as end:
            if isinstance(end.value, Alone):
                self.alone = end.value
            else:
                read = iter(end.value)
                self.begun = [next(read) if isinstance(item, PreparedPage) else item for item in self.context.items]
                self.context = None
            self._let_go()
            return None

    def fail(self, error: PageFailedError) -> None:
        """Something went wrong that may be one page's fault: which one's, they find out by themselves."""
        assert self.context is not None
        self.alone = alone(self.context.pages, error.message)
        self._let_go()

    def take(self, place: int, page: EncodedPage) -> list[EncodedPage] | None:
        """A page was encoded; all of them in order, when this was the last."""
        assert self.context is not None
        self.encoded[place] = page
        count = len(self.context.pages)
        return [self.encoded[each] for each in range(count)] if len(self.encoded) == count else None

    def _let_go(self) -> None:
        self.page = None
        self.encoded.clear()

    @property
    def results(self) -> list[PageResult] | None:
        """In order, when all are there."""
        found = [item.result if isinstance(item, ActivePage) else item for item in self.begun]
        whole = [item for item in found if item is not None]
        return whole if found and len(whole) == len(found) else None


Active = ActivePage | ActiveContext


def _resumed(steps: Any, value: Decoded | Failure | Any) -> Any:
    return steps.throw(PageFailure(value)) if isinstance(value, Failure) else steps.send(value)
