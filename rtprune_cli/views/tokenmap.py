"""Where on the page each visual token lies, and what became of it: what reports and overlays are drawn from.

Letters: N visual tokens of a page in the decoder's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtprune_cli.views.grid import NEWLINE, token_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtprune_cli.records import PrunedTokens, Views, VisualTokens


@dataclass(frozen=True)
class TokenMap:
    """The visual tokens of one page.

    ``kind`` (N,) and ``boxes`` (N, 4) in page pixels are those of :class:`rtprune_cli.views.grid.TokenGrid`; ``norms``
    (N,) are L2 norms before merging; ``stays`` (N,) bool says what enters the decoder.
    """

    kind: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    norms: NDArray[np.float32]
    stays: NDArray[np.bool_]

    @property
    def placed(self) -> bool:
        """Whether tokens have a place on the page; else every box is NaN."""
        return not np.isnan(self.boxes).all()

    @property
    def merged(self) -> NDArray[np.bool_]:
        """(N,): prunable tokens that are gone."""
        return ~self.stays & (self.kind < NEWLINE)


def token_map(views: Views, size: tuple[int, int], tokens: VisualTokens, pruned: PrunedTokens) -> TokenMap:
    """The map of a page whose image is ``size`` (width, height) pixels."""
    count = len(tokens.tokens)
    stays = np.zeros(count, dtype=np.bool_)
    stays[pruned.keep.cpu().numpy()] = True
    grid, norms = token_grid(views), tokens.tokens.float().norm(dim=-1).cpu().numpy()
    return TokenMap(grid.kinds(), grid.boxes(size), norms, stays)
