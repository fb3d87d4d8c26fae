"""Whether the lines of a page run upright, as on a scan that was put in turned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

SIDE = 800  # pixels of the longer side where lines are looked for
LEAST_SIDE = 300  # pixels of the shorter side, there: a page, and not a label or a heading
LEAST_INK, MOST_INK = 0.01, 0.35  # shares of a page of text
LEAST_LINES = 15  # bands of ink with paper between them
MOST_THICK = 0.03  # of the page: the usual line; bars of a chart are thicker
LEAST_REGULAR = 0.5  # share of lines that are as far from the next as most are, within a quarter
LEAST_LENGTH = 0.3  # of the usual line, over the page
SIDEWAYS = 5  # times as many bands across the page as down it


def looks_sideways(image: Image) -> bool:
    """Whether bands of ink, like lines of text, stand beside one another from left to right, and not below one another.

    Told only where it is plain: a page of several columns whose lines do not meet, with little text, a photograph or a
    drawing says nothing, and one that is upside down looks like one that is not.
    """
    import numpy as np

    grey = image.convert("L").reduce(max(1, round(max(image.size) / SIDE)))
    paper = int(np.searchsorted(np.cumsum(grey.histogram()), grey.width * grey.height / 2))  # the median
    dark = np.asarray(grey) < paper - 64
    if min(dark.shape) < LEAST_SIDE or not LEAST_INK <= float(dark.mean()) <= MOST_INK:
        return False
    across, down = bands(dark.mean(0)), bands(dark.mean(1))
    if len(across) < max(LEAST_LINES, SIDEWAYS * len(down)):
        return False
    starts, ends = np.array(across).T
    pitch = np.diff(starts)
    regular = np.abs(pitch - np.median(pitch)) <= np.median(pitch) / 4
    lengths = [np.ptp(np.flatnonzero(dark[:, left:right].any(axis=1))) for left, right in across]
    return bool(
        np.median(ends - starts) <= MOST_THICK * dark.shape[1]
        and regular.mean() >= LEAST_REGULAR
        and np.median(lengths) >= LEAST_LENGTH * dark.shape[0]
    )


def bands(profile: NDArray[np.floating[Any]]) -> list[tuple[int, int]]:
    """The stretches of ink between stretches of hardly any, as half-open ranges."""
    import numpy as np

    inked = np.concatenate([[False], profile > 0.1 * np.percentile(profile, 90), [False]])
    edges = np.flatnonzero(inked[1:] != inked[:-1])
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
