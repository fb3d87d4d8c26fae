"""Character and word error rates of a page."""

from __future__ import annotations

import re
import unicodedata

from rtprune_cli.bench.scoring.flatten import plain
from rtprune_cli.bench.scoring.records import Marks, Metric, Part

METRICS = (Metric("cer", "CER", lower=True), Metric("wer", "WER", lower=True))

# Scripts written without spaces between words: Han with its extensions and compatibility forms, kana, bopomofo.
_CJK = (
    "\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U000323af"
)
_WORD = re.compile(f"[{_CJK}]|[^\\s{_CJK}]+")


def normalised(text: str) -> str:
    """Unicode NFC, every run of whitespace one space, none at the ends. Case and punctuation count."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def words(text: str) -> list[str]:
    """What stands between whitespace; a Chinese character or kana is a word of its own."""
    return _WORD.findall(text)


def character_edits(truth: str, prediction: str) -> tuple[int, int]:
    """(edits, characters): the Levenshtein distance in code points, and the length of ``truth``, at least 1.

    An empty truth counts as one character, so that what was invented for it counts and nothing is divided by zero.
    """
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(truth, prediction), max(1, len(truth))


def word_edits(truth: str, prediction: str) -> tuple[int, int]:
    """(edits, words), as :func:`character_edits`, in :func:`words`."""
    from rapidfuzz.distance import Levenshtein

    expected = words(truth)
    return Levenshtein.distance(expected, words(prediction)), max(1, len(expected))


def error_rates(truth: str, prediction: str | None) -> dict[str, tuple[Part]]:
    """``cer`` and ``wer`` of texts that are normalised already; without a prediction all of the truth is an edit.

    Pooled over pages, they are all edits over all characters (words) of the truth; above 1 where much was invented.
    """
    if prediction is None:
        characters, count = max(1, len(truth)), max(1, len(words(truth)))
        return {"cer": (Part(characters, characters),), "wer": (Part(count, count),)}
    return {
        "cer": (Part(*character_edits(truth, prediction)),),
        "wer": (Part(*word_edits(truth, prediction)),),
    }


def score_text(truth: str, prediction: str | None) -> Marks:
    """CER and WER of a page: ``truth`` is text, ``prediction`` markdown, of which the text counts; None: no page."""
    text = None if prediction is None else normalised(plain(prediction))
    notes = {"missing_pages": 1.0} if prediction is None else {}
    return Marks(error_rates(normalised(truth), text), notes)
