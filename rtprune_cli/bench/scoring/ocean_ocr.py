"""The metrics of Ocean-OCR's evaluation: edit distance, overlap of words, BLEU, METEOR.

Definitions are those of guoxy25/Ocean-OCR eval.py at aa378d2, but for the sides: it hands truth and prediction over the
wrong way round, so that its precision is the recall, its recall the precision, and its BLEU and METEOR are of the truth
against the prediction. Edit distance and F-measure do not depend on it.
"""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from rtprune_cli.bench.scoring.flatten import plain
from rtprune_cli.bench.scoring.records import Marks, Metric, Part
from rtprune_cli.bench.scoring.text import error_rates, normalised

METRICS = (
    Metric("edit", "Edit distance", lower=True),
    Metric("f_measure", "F-measure", lower=False),
    Metric("precision", "Precision", lower=False),
    Metric("recall", "Recall", lower=False),
    Metric("bleu", "BLEU", lower=False),
)
METEOR = Metric("meteor", "METEOR", lower=False)

_HAN = re.compile("[\u4e00-\u9fa5]")
_SCENE_MARKS = str.maketrans({"}": "", "\n": " ", "-": " ", "*": " "})
_SCENE_SPLIT = re.compile(r"[（）()，,\s]+")


@dataclass(frozen=True)
class ImageTruth:
    """The text of an image, and the set it is of, which decides what counts: ``handwritten_en``."""

    text: str
    kind: str


def score_image(truth: ImageTruth, prediction: str | None) -> Marks:
    """All metrics of one image; a mean over images is their mean, but for ``cer`` and ``wer``, which are pooled.

    Without a prediction the edit distance and the error rates are 1 and the others 0.
    """
    expected = comparable(truth.text, truth.kind)
    if prediction is None:
        values = {"edit": 1.0, **_overlap(expected, "")}
        found = None
    else:
        found = comparable(plain(prediction, keep_dollars=True), truth.kind)
        values = {"edit": edit(expected, found), **_overlap(expected, found)}
    scores = {name: (Part(value),) for name, value in values.items()}
    return Marks(scores | error_rates(expected, found), {"missing_pages": 1.0} if found is None else {})


def comparable(text: str, kind: str) -> str:
    """As eval.py writes a text of a kind of image before it compares; whitespace is one space besides.

    Of a document the line ends go: its truth has one line. Of a scene the words are sorted, without brackets and
    commas.
    """
    if kind.startswith("scene"):
        parts = _SCENE_SPLIT.split(text.replace("\\text{", "").translate(_SCENE_MARKS).strip())
        text = " ".join(sorted(part for part in parts if part))
    elif kind.startswith("handwritten"):
        text = text.replace("*", " ")
    return normalised(text)


def edit(truth: str, prediction: str) -> float:
    """Levenshtein distance in code points over the length of the longer text; 0 of two empty ones."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.normalized_distance(truth, prediction)


def tokens(truth: str, prediction: str) -> tuple[list[str], list[str]]:
    """Both texts as words: by jieba where either holds a Chinese character, else between whitespace."""
    if _HAN.search(truth) or _HAN.search(prediction):
        cut = _jieba()
        return cut(truth), cut(prediction)
    return truth.split(), prediction.split()


@functools.cache
def has_meteor() -> bool:
    """Is WordNet there, which METEOR looks synonyms up in? It is no package, but a download of NLTK's."""
    import nltk

    for name in ("corpora/wordnet.zip", "corpora/wordnet"):
        try:
            nltk.data.find(name)
        except LookupError:
            continue
        return True
    return False


def _overlap(truth: str, prediction: str) -> dict[str, float]:
    """Of the sets of words, and BLEU without smoothing."""
    expected, found = tokens(truth, prediction)
    common = len(set(expected) & set(found))
    values = {
        "f_measure": 2 * common / (len(set(expected)) + len(set(found))) if common else 0.0,
        "precision": common / len(set(found)) if common else 0.0,
        "recall": common / len(set(expected)) if common else 0.0,
        "bleu": _bleu(expected, found) if common else 0.0,
    }
    if has_meteor():
        from nltk.translate.meteor_score import meteor_score

        values["meteor"] = float(meteor_score([expected], found))
    return values


def _bleu(expected: list[str], found: list[str]) -> float:
    from nltk.translate.bleu_score import sentence_bleu

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no n-gram in common, which is what 0 says
        return float(sentence_bleu([expected], found))


@functools.cache
def _jieba() -> Callable[[str], list[str]]:
    import jieba

    jieba.setLogLevel(logging.WARNING)
    cut: Callable[[str], list[str]] = jieba.lcut
    return cut
