"""Owns analysis.html: one file that shows an analysis, says what it means, and needs no network and no other file."""

from __future__ import annotations

from rtprune_cli.analysis import tables
from rtprune_cli.analysis.depth import MAIN_ROW, MAIN_SIZE, SIZES
from rtprune_cli.analysis.depth_plots import depth_pictures
from rtprune_cli.analysis.estimates import RESAMPLES
from rtprune_cli.analysis.findings import WHO, findings, number, percent, summary
from rtprune_cli.analysis.panels import Drawn
from rtprune_cli.analysis.plots import time_pictures
from rtprune_cli.analysis.trajectory import ALPHA, BINS, DRAWS
from rtprune_cli.outputs.webpage import Templates, policy_hash
from rtprune_cli.outputs.webpage.facts import fact_tables
from rtprune_cli.outputs.webpage.svg import can_draw
from rtprune_cli.packages import pip_install
from rtprune_cli.storage import Json

FACTS = ("started", "pages", "failed", "model", "settings", "versions")  # that the page tells of the run
MOST_GROUPS = 9  # are shown one by one; the others are in the first table, and in analysis.json


def analysis_page(analysis: Json) -> str:
    """The page of what analysis.json holds; the same input gives the same bytes."""
    from markupsafe import Markup

    templates = Templates(__package__)
    script = templates.script("analysis.js")
    groups = analysis["groups"][:MOST_GROUPS]
    found = findings(groups[0]) if groups else []
    page = (
        templates.environment()
        .get_template("analysis.html.jinja")
        .render(
            analysis=analysis,
            groups=groups,
            more=len(analysis["groups"]) - len(groups),
            findings=found,
            summary=summary(found),
            constants={
                "alpha": ALPHA, "draws": DRAWS, "resamples": RESAMPLES, "least": 1 / (1 + DRAWS), "bins": BINS,
                "row": WHO[MAIN_ROW], "size": MAIN_SIZE,
            },
            independent=[
                (size, 1 - (1 - share) ** groups[0]["depth"]["layers"]) for size, share in SIZES.items() if groups
            ],
            pictures=_pictures(groups, analysis["norm_edges"]) if groups else {},
            tables=tables,
            overview=tables.overview(analysis["groups"]),
            drawn_by="" if can_draw() else pip_install("matplotlib"),
            percent=percent,
            number=number,
            markup=Markup,
            command=analysis["command"],
            facts=fact_tables("run", {name: analysis[name] for name in FACTS}),
            style=Markup(templates.style("analysis.css")),
            script=Markup(script),
            script_hash=policy_hash(script),
        )
    )  # fmt: skip
    return page.encode("utf-8", "replace").decode("utf-8")  # names of files can hold halves of letters


def _pictures(groups: list[Json], edges: list[float]) -> dict[str, Drawn]:
    """By what they show; none without matplotlib."""
    return {**depth_pictures(groups), **time_pictures(groups, edges)} if can_draw() else {}
