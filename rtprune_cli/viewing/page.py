"""The page: the report of the folder as it is now, or of a part of a long one, below a search and a run's progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import PurePosixPath

from rtprune_cli.outputs.html import plots_of, settings_of, shown_page, sums
from rtprune_cli.outputs.htmlreport import Frame, Shown, report_page, security_policy
from rtprune_cli.outputs.layout import STATE, Layout, view_names
from rtprune_cli.outputs.webpage import Templates
from rtprune_cli.viewing.files import may_read
from rtprune_cli.viewing.following import SeenDocument, SeenPage
from rtprune_cli.viewing.watching import PART, FolderWatch

STATUS, SEARCH = f"{STATE}/status", f"{STATE}/search"  # paths that no document of a folder has

Listed = list[tuple[SeenDocument, SeenPage]]


def live_page(watch: FolderWatch, part: int) -> Iterator[str]:
    """The page in pieces, ``part`` of its list from 0 on: the last one where there are fewer."""
    version, pages = watch.version, watch.pages()
    parts = max(1, -(-len(pages) // PART))
    part = min(part, parts - 1)
    chosen = pages[part * PART : (part + 1) * PART]
    layout = Layout(watch.root)
    files = {page.record.folder: document.files for document, page in pages}
    summary, documents, _ = sums(files.__getitem__, (page.record for _, page in pages))
    plots = plots_of(page.record for _, page in chosen)
    markdown = {document.folder: document.markdown for document in documents}
    latest = (
        each for each in reversed(documents) if may_read(watch.root, layout.of(PurePosixPath(each.folder)).records)
    )
    frame = _frame(version, len(pages), part, parts)
    shown = _shown(watch, chosen, markdown)
    yield from report_page(summary, settings_of(layout, latest), documents, shown, plots, frame)


def policy() -> str:
    """The security policy of the page, as a header has it: as the page says itself, and in no frame of another."""
    return f"{security_policy(Frame('', *_own()))}; frame-ancestors 'none'"


def _shown(watch: FolderWatch, pages: Listed, markdown: Mapping[str, str | None]) -> Iterator[Shown]:
    for document, group in groupby(pages, key=lambda each: each[0]):
        chosen = [page for _, page in group]
        texts = dict(zip((page.record.page for page in document.pages), watch.texts(document), strict=True))
        for page in chosen:
            yield _page(watch, document, page, texts.get(page.record.page), markdown[page.record.folder])


def _page(watch: FolderWatch, document: SeenDocument, page: SeenPage, text: str | None, markdown: str | None) -> Shown:
    tokens = document.files.views / view_names(page.record.page or 0)[2]
    if document.files.layout.md_only or not may_read(watch.root, tokens):
        return Shown(page.record, text, None, None, markdown)
    return shown_page(document.files, page.record, text, markdown)


def _frame(version: int, total: int, part: int, parts: int) -> Frame:
    markup = (
        Templates(__package__)
        .environment()
        .get_template("frame.html.jinja")
        .render(
            version=version,
            total=total,
            part=part,
            parts=[(at, at * PART + 1, min(total, (at + 1) * PART)) for at in range(parts)],
            status=STATUS,
            search=SEARCH,
        )
    )
    return Frame(markup, *_own())


@cache
def _own() -> tuple[str, str]:
    """The style and the script of what stands around the report."""
    templates = Templates(__package__)
    return templates.read("view.css"), templates.read("view.js")
