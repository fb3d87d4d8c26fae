"""Owns the pictures of what pruning did to a page: numbers and a page image in, an image with its legend out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtprune_cli.inspection.canvas import KEPT, MARGIN, Legend, Sheet, viridis, visible
from rtprune_cli.inspection.leave_one_out import LeaveOneOut
from rtprune_cli.inspection.measure import Inspection
from rtprune_cli.views.grid import GLOBAL_CELL, KINDS, NEWLINE, Kind

if TYPE_CHECKING:
    from PIL import Image

MOST_LINES = 300
LINES_A_TOKEN = 3


def draw_kept(page: Image.Image, found: Inspection, kind: Kind = "global") -> Image.Image:
    """Which cells of the global view, or of the tiles, were kept, and which newlines dropped."""
    sheet = Sheet(page)
    tokens = found.tokens
    own = tokens.kind == KINDS.index(kind)
    for index in np.flatnonzero(own & ~tokens.stays):
        sheet.cover(sheet.cell(tokens.boxes[index]))
    for index in np.flatnonzero(own & tokens.stays):
        sheet.frame(sheet.cell(tokens.boxes[index]), KEPT)
    dropped = newlines = 0
    for index in np.flatnonzero(tokens.kind == NEWLINE):
        if not own[index - 1]:
            continue
        newlines += 1
        dropped += not tokens.stays[index]
        cell = sheet.cell(tokens.boxes[index - 1])
        if not tokens.stays[index] and cell[3] > cell[1]:
            sheet.cross(sheet.width + MARGIN // 2, (cell[1] + cell[3]) // 2)
    kept, count = int((own & tokens.stays).sum()), int(own.sum())
    name = "tiles" if kind == "tile" else "global view"
    legend = Legend(sheet)
    legend.text(f"{name}, mode {found.mode}: {kept} of {count} tokens kept (ratio {found.ratio:.3f})")
    unseen = sum(not visible(box) for box in tokens.boxes[own])
    if unseen:
        legend.text(f"{unseen} of the {count} lie in the padding around the page, which is not shown")
    legend.swatch("kept", "kept")
    legend.swatch("merged", f"merged into the kept ones ({count - kept})")
    legend.swatch("dropped", f"newline token dropped ({dropped} of {newlines})")
    return legend.picture()


def draw_norms(page: Image.Image, found: Inspection) -> Image.Image:
    """Norms of the tokens of the global view, with the lowest norm that was kept."""
    own = found.tokens.kind == GLOBAL_CELL
    norms = found.tokens.norms[own].astype(np.float64)
    sheet = Sheet(page, gray=True)
    finite = norms[np.isfinite(norms)] if np.isfinite(norms).any() else np.zeros(1)  # float16 may overflow
    low, high = float(finite.min()), float(finite.max())
    sheet.heat(found.tokens.boxes[own], norms, (low, high), "{:.4g}")
    legend = Legend(sheet)
    legend.text("L2 norm of each token of the global view; those of highest norm are kept")
    legend.bar((low, high), "{:.4g}", found.threshold, "lowest norm kept")
    return legend.picture()


def draw_density(page: Image.Image, found: Inspection) -> Image.Image:
    """The share of edge pixels of each cell of the global view."""
    sheet = Sheet(page, gray=True)
    low, high = 0.0, max(float(found.density.max()), 0.01)
    sheet.heat(found.cells, found.density, (low, high), "{:.2f}")
    legend = Legend(sheet)
    legend.text(
        f"share of edge pixels of each cell; mean r_den {found.r_density:.3f}, r_sim {found.r_similarity:.3f}, "
        f"ratio {found.ratio:.3f}"
    )
    legend.bar((low, high), "{:.2f}", found.r_density, "mean, r_den")
    return legend.picture()


def draw_transport(page: Image.Image, found: Inspection) -> Image.Image:
    """Lines from merged tokens to the kept ones that take most of their mass, the strongest first."""
    sheet = Sheet(page, gray=True)
    sheet.fade(0.55)
    plan, boxes = found.plan, found.tokens.boxes
    legend = Legend(sheet)
    if not len(plan.merged):
        legend.text("no token was merged: there is nothing to transport")
        return legend.picture()
    links = [
        (mass, int(start), end)
        for column, start in enumerate(plan.merged)
        for end, mass in plan.into(column, LINES_A_TOKEN)
        if visible(boxes[start]) and visible(boxes[end]) and np.isfinite(mass)
    ]
    links.sort(key=lambda link: (-link[0], link[1], link[2]))
    shown = links[:MOST_LINES]
    least, most = (shown[-1][0], shown[0][0]) if shown else (0.0, 0.0)
    crowded = len(shown) > 100
    for mass, start, end in reversed(shown):
        strength = (mass - least) / (most - least) if most > least else 1.0
        width = round((1 if crowded else 2) + (4 if crowded else 6) * strength)
        sheet.line(sheet.middle(boxes[start]), sheet.middle(boxes[end]), width, viridis(0.85 * (1 - strength)))
    for end in sorted({end for _, _, end in shown}):
        sheet.square(sheet.middle(boxes[end]), 4 if crowded else 6)
    for column, start in enumerate(plan.merged):
        if visible(boxes[start]):
            sheet.dot(sheet.middle(boxes[start]), 5 if crowded else 9, 1 - float(plan.unmoved[column]))
    share = np.sort(plan.mass, axis=0)[-LINES_A_TOKEN:].sum() / len(plan.merged)
    legend.text(
        f"{len(shown)} lines: from each merged token to the {LINES_A_TOKEN} kept ones that take most of its "
        f"mass, {share:.1%} on average; {plan.unmoved.mean():.1%} goes to the dustbin, the rest to the other kept ones"
    )
    if len(links) > len(shown):
        legend.text(f"{len(links) - len(shown)} weaker lines are left out")
    legend.swatch("start", "merged: the paler, the more goes to the dustbin")
    legend.swatch("end", "kept")
    legend.swatch("line", f"mass {most:.3g} (dark, wide) to {least:.3g} (light, thin)")
    return legend.picture()


def draw_left_out(page: Image.Image, found: Inspection, left_out: LeaveOneOut, kind: Kind = "global") -> Image.Image:
    """How much of the text changes without each token of the global view, or of the tiles."""
    own = found.tokens.kind == KINDS.index(kind)
    here = own[left_out.tried]
    tried, edits = left_out.tried[here], left_out.edits[here]
    sheet = Sheet(page, gray=True)
    most = int(left_out.edits.max())
    for index in tried[edits == 0]:
        sheet.frame(sheet.cell(found.tokens.boxes[index]), KEPT)
    changed = edits > 0
    sheet.heat(found.tokens.boxes[tried[changed]], edits[changed].astype(np.float64), (0.0, float(most)), "{:.0f}")
    name = "tiles" if kind == "tile" else "global view"
    legend = Legend(sheet)
    legend.text(left_out.sentence)
    legend.text(
        f"{name}: {int((~changed).sum())} of {len(tried)} tried; numbers are edits, in characters, where it changes"
    )
    legend.swatch("kept", "the text stays the same without this token")
    if most:
        legend.bar((0.0, float(most)), "{:.0f}", float(left_out.edits.mean()), "mean over all tokens tried")
    return legend.picture()
