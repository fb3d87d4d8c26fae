"""Owns the HTML report of a run: what is kept of a page while it is read, and the page that is made of all of them."""

from __future__ import annotations

from rtprune_cli.outputs.htmlreport.documents import DocumentRow, document_row
from rtprune_cli.outputs.htmlreport.plot import PagePlot, page_plot, plot_point
from rtprune_cli.outputs.htmlreport.render import Frame, Shown, page_key, report_page, security_policy
from rtprune_cli.outputs.htmlreport.view import TOKENS_VERSION, page_view

__all__ = [
    "TOKENS_VERSION",
    "DocumentRow",
    "Frame",
    "PagePlot",
    "Shown",
    "document_row",
    "page_key",
    "page_plot",
    "page_view",
    "plot_point",
    "report_page",
    "security_policy",
]
