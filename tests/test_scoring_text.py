"""Markdown to text, and the error rates of texts."""

from __future__ import annotations

import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprune_cli.bench.scoring.flatten import plain
from rtprune_cli.bench.scoring.text import character_edits, normalised, score_text, word_edits, words


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("## Title ##", "Title"),
        ("#hashtag", "#hashtag"),
        ("**bold**, *it*, ~~no~~ and __u__", "bold, it, no and u"),
        ("**bold *both* bold**", "bold both bold"),
        ("snake_case_name, 2 * 3 * 4", "snake_case_name, 2 * 3 * 4"),
        ("- one\n* two\n3. three", "one\ntwo\n3. three"),
        ("> quote", "quote"),
        ("above\n\n---\n\nbelow", "above\n\nbelow"),
        ("see [the page](http://a.b/c_(d)) ![alt](images/x.png)", "see the page alt"),
        ("a note[^1]\n\n[^1]: is here", "a note1\n\n1 is here"),
        ("<!-- page 1 -->\n\ntext <!-- gone\n\n --> more", "text more"),
        ("a <!-- never ends", "a <!-- never ends"),
        ("&lt;b&gt; &amp; &eacute;", "<b> & é"),
        (r"5 \* 3 \_ \# \|", "5 * 3 _ # |"),
        ("x<sup>2</sup> <b>bold</b><br>next", "x2 bold\nnext"),
        ("if a <bc and d> e", "if a <bc and d> e"),
        ("| A | B |\n|---|:-:|\n| 1 | **2** \\| c |", "A B\n1 2 | c"),
        ("a | b", "a | b"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\n\nc"),
        ("```python\n# kept\n- kept\n```", "# kept\n- kept"),
        ("```markdown\n# Title\n```", "Title"),
        (r"so \(x_{1} + y_{2}\) and \[a*b*c\]", "so x_{1} + y_{2} and a*b*c"),
        ("costs $5 and $6, not $a_b$", "costs $5 and $6, not a_b"),
        (r"of $ x_{1}^{2} $ and $ y $ or $10 and a_b for $5", "of x_{1}^{2} and $ y $ or $10 and a_b for $5"),
        ("", ""),
    ],
)
def test_the_marks_of_markdown_go_and_the_text_stays(markdown: str, text: str) -> None:
    assert plain(markdown) == text


def test_all_delimiters_of_formulas_can_become_dollars() -> None:
    assert plain(r"\(a\) \[b\] $c$ $$d$$", keep_dollars=True) == "$a$ $$b$$ $c$ $$d$$"


@given(st.text(alphabet="ab *_`~[]()!<>/&#;$\\|-\n\x001{}", max_size=60))
def test_no_text_makes_flattening_fail_or_leave_placeholders(text: str) -> None:
    assert "\x00" not in plain(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        "[",
        "*a",
        "_a ",
        "`",
        "<a ",
        "<!--",
        "$a ",
        "\\(",
        "&#9",
        "![a](",
        "|\n",
        "\n ",
        "**a_`[<$\\(",
        "```md\nx\n",
        "> ",
    ],
)
def test_flattening_is_linear_on_hostile_text(unit: str) -> None:
    text = unit * (300_000 // len(unit))
    start = time.perf_counter()
    plain(text)
    assert time.perf_counter() - start < 5  # seconds; quadratic ones take minutes


def test_an_entity_of_thousands_of_digits_is_no_number() -> None:
    assert plain("&#" + "9" * 5000 + ";") == "\ufffd"


def test_texts_are_compared_in_one_form_of_unicode_and_space() -> None:
    assert normalised("  cafe\u0301\n\n au  lait ") == "caf\u00e9 au lait"
    assert normalised("A.") != normalised("a")


def test_chinese_characters_and_kana_are_words() -> None:
    assert words("OCR 文字識別 12% かな 한국어") == ["OCR", "文", "字", "識", "別", "12%", "か", "な", "한국어"]


def test_edits_are_counted_against_the_truth() -> None:
    assert character_edits("abcd", "abxde") == (2, 4)
    assert word_edits("one two three", "one too three four") == (2, 3)


def test_an_empty_truth_counts_as_one_character() -> None:
    assert character_edits("", "abc") == (3, 1)
    assert character_edits("", "") == (0, 1)
    assert word_edits("", "a b") == (2, 1)


def test_a_page_is_scored_by_its_text() -> None:
    marks = score_text("Title and text", "# Title\n\n**and** test")
    (cer,), (wer,) = marks.scores["cer"], marks.scores["wer"]
    assert (cer.total, cer.weight) == (1, 14)
    assert (wer.total, wer.weight) == (1, 3)
    assert pickle.loads(pickle.dumps(score_text)) is score_text


def test_a_missing_page_is_all_wrong_and_counted() -> None:
    marks = score_text("two words", None)
    assert marks.scores["cer"][0].total == marks.scores["cer"][0].weight == 9
    assert marks.scores["wer"][0].total == marks.scores["wer"][0].weight == 2
    assert marks.notes == {"missing_pages": 1}
    assert score_text("", None).scores["cer"][0].total == 1
