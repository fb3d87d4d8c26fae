"""Owns what is measured on one page: its map of tokens, the density of each cell, and the plan of the merging.

Letters: N visual tokens of a page in decoder order, K of them prunable and kept, M merged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rtprune_cli.engine.steps import encode_and_prune
from rtprune_cli.options import PruneOptions
from rtprune_cli.pruning import Pruner
from rtprune_cli.pruning.rtprune import cosines, text_density
from rtprune_cli.pruning.transport import pot_plan, sinkhorn
from rtprune_cli.views.grid import CELL, GLOBAL_CELL, KINDS, NEWLINE, token_grid
from rtprune_cli.views.tokenmap import TokenMap, token_map

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from rtprune_cli.model import OcrModel
    from rtprune_cli.records import Views

MOST_INTO = 5  # kept tokens that the record names for a merged one


@dataclass(frozen=True)
class TransportPlan:
    """Where the merged tokens of a page go, by optimal transport: every token has a mass of 1 to give or to take.

    ``mass`` (K, M) goes from merged token j to kept token i; ``unmoved`` (M,) goes from the merged tokens to the
    dustbin, ``unfilled`` (K,) is what the kept ones take from theirs. ``kept`` (K,) and ``merged`` (M,) are the
    tokens' indices.
    """

    kept: NDArray[np.int64]
    merged: NDArray[np.int64]
    mass: NDArray[np.float64]
    unmoved: NDArray[np.float64]
    unfilled: NDArray[np.float64]

    def into(self, column: int, most: int = MOST_INTO) -> list[tuple[int, float]]:
        """The kept tokens that take most of merged token ``column``, with their shares; of equal ones the first."""
        rows = np.argsort(-self.mass[:, column], kind="stable")[:most]
        return [(int(self.kept[row]), float(self.mass[row, column])) for row in rows]


@dataclass(frozen=True)
class Inspection:
    """One page, measured. ``density`` (C,) is the share of edge pixels of each cell of the global view, row by row, and
    ``cells`` (C, 4) their boxes in page pixels: of what is seen, wherever the tokens lie.

    ``size`` (width, height) of the page in pixels; ``grid`` (columns, rows) of tiles, None without.
    """

    size: tuple[int, int]
    mode: str
    grid: tuple[int, int] | None
    tokens: TokenMap
    density: NDArray[np.float64]
    cells: NDArray[np.float64]
    plan: TransportPlan
    ratio: float
    r_similarity: float
    r_density: float

    @property
    def threshold(self) -> float:
        """The lowest norm of a kept token."""
        return float(self.tokens.norms[self.plan.kept].min())

    def record(self) -> dict[str, Any]:
        """The numbers as JSON, those of the tokens in decoder order."""
        column = {int(token): at for at, token in enumerate(self.plan.merged)}
        own = np.flatnonzero(self.tokens.kind == GLOBAL_CELL)
        density = dict(zip(own.tolist(), self.density, strict=True)) if self.tokens.placed else {}
        tokens = [self._token(index, column.get(index)) for index in range(len(self.tokens.kind))]
        for index, share in density.items():
            tokens[index]["density"] = _rounded(share, 5)
        return {
            "size": list(self.size),
            "mode": self.mode,
            "grid": None if self.grid is None else list(self.grid),
            "ratio": round(self.ratio, 6),
            "r_similarity": round(self.r_similarity, 6),
            "r_density": round(self.r_density, 6),
            "threshold_norm": _rounded(self.threshold, 5),
            "counts": {
                "total": len(self.tokens.kind),
                "kept": len(self.plan.kept),
                "merged": len(self.plan.merged),
                "newlines_dropped": int((~self.tokens.stays & (self.tokens.kind == NEWLINE)).sum()),
            },
            "placed": self.tokens.placed,
            **({} if self.tokens.placed else {"density": [_rounded(share, 5) for share in self.density]}),
            "tokens": tokens,
        }

    def _token(self, index: int, column: int | None) -> dict[str, Any]:
        kind, stays = KINDS[self.tokens.kind[index]], bool(self.tokens.stays[index])
        box = self.tokens.boxes[index]
        found: dict[str, Any] = {
            "index": index,
            "kind": kind,
            "box": None if np.isnan(box).any() else [round(float(edge), 1) for edge in box],
            "norm": _rounded(self.tokens.norms[index], 5),
            "state": "kept" if stays else "dropped" if column is None else "merged",
        }
        if column is not None:
            found["into"] = [[token, _rounded(mass, 6)] for token, mass in self.plan.into(column)]
            found["dustbin"] = _rounded(self.plan.unmoved[column], 6)
        return found


@torch.inference_mode()
def inspect(model: OcrModel, views: Views, size: tuple[int, int], options: PruneOptions) -> Inspection:
    """Encode and prune a page whose image is ``size`` (width, height) pixels; no text is decoded.

    Args:
        options: of the method rtprune with the merge ot.
    """
    batch = encode_and_prune(model, [views], Pruner(options))
    (tokens,), (pruned,) = batch.tokens, batch.pruning.result()
    found = token_map(views, size, tokens, pruned)
    prunable, grid = tokens.prunable.numpy(), token_grid(views)
    plan = transport_plan(tokens.tokens, prunable & found.stays, prunable & ~found.stays, options)
    return Inspection(
        size,
        views.mode,
        grid.tiles,
        found,
        cell_density(batch.pixels[0], options.sobel_threshold),
        grid.cells(size),
        plan,
        pruned.ratio,
        pruned.r_similarity,
        pruned.r_density,
    )


def cell_density(pixels: Tensor, threshold: float) -> NDArray[np.float64]:
    """The share of edge pixels of each cell, row by row, of a normalised view (3, S, S); their mean is r_den."""
    cells = pixels.shape[-1] // CELL
    grid = pixels.reshape(3, cells, CELL, cells, CELL).permute(1, 3, 0, 2, 4).reshape(-1, 3, CELL, CELL)
    # As each cell is padded on its own, a cell is a view of one cell.
    return text_density(grid, threshold).double().cpu().numpy()


def transport_plan(
    tokens: Tensor, kept: NDArray[np.bool_], merged: NDArray[np.bool_], options: PruneOptions
) -> TransportPlan:
    """The plan that merging.py applies to the visual tokens (N, D), by the solver of ``options``, dustbins with it."""
    rows, columns = np.flatnonzero(kept), np.flatnonzero(merged)
    if not len(columns):
        return TransportPlan(rows, columns, np.zeros((len(rows), 0)), np.zeros(0), np.ones(len(rows)))
    masks = torch.from_numpy(np.stack([kept, merged])).to(tokens.device)
    values = tokens.float()
    scores = cosines(values[None], values.norm(dim=-1)[None], masks.any(0))
    at, of = (torch.from_numpy(each).to(tokens.device) for each in (rows, columns))
    if options.solver == "pot":
        mass = pot_plan(scores[0][at][:, of], options.dustbin_score, options.ot_reg).double().cpu().numpy()
        return TransportPlan(rows, columns, mass, 1 - mass.sum(0), 1 - mass.sum(1))
    u, kernel, v = sinkhorn(
        scores, masks[:1].float(), masks[1:].float(), options.dustbin_score, options.iterations, options.ot_reg
    )
    u, v = u[0, at].double(), v[0, of].double()
    mass = (u[:, None] * kernel[0][at][:, of].double() * v).cpu().numpy()
    u_bin, v_bin = _dustbins(float(u.sum()), float(v.sum()), len(rows), len(columns), options)
    score = math.exp(options.dustbin_score / options.ot_reg)
    return TransportPlan(rows, columns, mass, (score * u_bin * v).cpu().numpy(), (score * v_bin * u).cpu().numpy())


def _dustbins(u: float, v: float, kept: int, merged: int, options: PruneOptions) -> tuple[float, float]:
    """The dustbins' scalings, which the solver does not hand out, from the sums ``u`` and ``v`` of the tokens'.

    With s = exp(score), s * u_bin * (v + v_bin) = M and s * v_bin * (u + u_bin) = K are the dustbins' marginals: a
    quadratic equation of one positive root.
    """
    score = math.exp(options.dustbin_score / options.ot_reg)
    middle = score * u * v - (merged - kept)
    u_bin = (-middle + math.sqrt(middle**2 + 4 * score * v * merged * u)) / (2 * score * v)
    return u_bin, kept / (score * (u + u_bin))


def _rounded(value: Any, digits: int) -> float:
    return round(float(value), digits)
