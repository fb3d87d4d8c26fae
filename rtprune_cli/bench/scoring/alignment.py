"""Which characters of a truth came out right: the truth aligned with a prediction by Levenshtein's edits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def right_characters(truth: str, prediction: str) -> NDArray[np.bool_]:
    """(len(truth),): whether each character of ``truth`` is one of the prediction's in a shortest alignment.

    A character that was replaced or left out is wrong; what was invented between two characters is no character's
    fault. Of several shortest alignments it is one: of "aab" and "ab" either a may be the one that is missing, and so a
    lost character may be counted at a neighbour that is the same letter, or stands in the same wrong stretch.
    """
    from rapidfuzz.distance import Levenshtein

    right = np.ones(len(truth), dtype=np.bool_)
    for edit in Levenshtein.editops(truth, prediction):
        if edit.tag != "insert":
            right[edit.src_pos] = False
    return right


def right_glyphs(truth: str, prediction: str) -> NDArray[np.bool_]:
    """:func:`right_characters` of those that are no whitespace: the ones that are printed."""
    printed = np.array([not character.isspace() for character in truth], dtype=np.bool_)
    return right_characters(truth, prediction)[printed]
