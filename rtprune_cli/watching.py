"""Owns what a run tells of itself while it goes on: whoever shows it need not import what reads."""

from __future__ import annotations

from collections.abc import Sequence

from rtprune_cli.records import DocumentPlan, PageResult
from rtprune_cli.report import Totals


class Watcher:
    """What a run tells of itself while it goes on. This one listens to nothing."""

    def begin(self, totals: Totals) -> None:
        """The sums of the run, which grow from now on."""

    def loading(self) -> None:
        """The model's weights are being loaded."""

    def planned(self, plan: DocumentPlan) -> None:
        """It is known which pages of this document are to be read, long before they come."""

    def opened(self, plan: DocumentPlan) -> None:
        """The pages of this document come next; or it is ``finished`` already."""

    def page(self, result: PageResult) -> None:
        """A page was read, or failed."""

    def workers(self, alive: int) -> None:
        """So many processes prepare pages ahead of the model now."""

    def rates(self, pages: Sequence[float], alive: int, wanted: int) -> None:
        """So many pages a second each reader of a cluster reads now, of those that have read; so many are ``alive``, of
        those that were ``wanted``."""

    def closed(self, plan: DocumentPlan, totals: Totals) -> None:
        """All pages of this document are written; the totals are of those that were read now."""
