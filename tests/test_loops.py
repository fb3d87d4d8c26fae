"""When a text is a loop, where its second copy begins, and what repeats lawfully."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence

import pytest
from conftest import GOLDEN
from stubs import NgramScan

from rtprune_cli.decoding.loops import LoopGuard, TokenKinds
from rtprune_cli.options import DecodeOptions

WINDOW = DecodeOptions().loop_window
WORDS = ["stone", "river", "house", "light", "paper", "train", "garden", "letter", "seven", "night", "bridge", "cloud"]


VOCABULARY = {f"<{number}>": number for number in range(10_000)}  # of the real one's order of size
# What the real model wrote, in the real vocabulary's tokens (tests/golden/README.md)
REAL = json.loads((GOLDEN / "raw" / "loops" / "tokens.json").read_text(encoding="utf-8"))


def some_text(count: int, seed: int = 0) -> list[int]:
    """Tokens of ordinary text: hardly any comes twice."""
    return random.Random(seed).sample(range(1000, 100_000), count)


def tokenise(text: str) -> list[int]:
    """Words with the space before them, signs, and the table tags that are one token in the real vocabulary."""
    tokens = re.findall(r"</?td>|<\|/?\w+\|>|</| ?\w+| ?[^\w\s]|\s", text)
    return [VOCABULARY.setdefault(token, len(VOCABULARY)) for token in tokens]


def real_page(name: str) -> list[int]:
    return [VOCABULARY.setdefault(REAL["pieces"][piece], len(VOCABULARY)) for piece in REAL["pages"][name]]


def told() -> LoopGuard:
    """A guard that knows all tokens that were made so far."""
    return LoopGuard(WINDOW, TokenKinds.of(VOCABULARY))


def title(seed: int, words: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) + str(draw.randrange(1000)) for _ in range(words))


def table(rows: Iterable[Iterable[object]]) -> str:
    return "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)


def stops(guard: LoopGuard, tokens: Sequence[int]) -> int | None:
    """After how many tokens the guard sees a loop."""
    for count, token in enumerate(tokens, start=1):
        guard.push(token)
        if guard.looping:
            return count
    return None


@pytest.mark.parametrize("period", [1, 3, 7, 8, 9, 50, 200, 1024])
def test_of_an_exact_loop_one_copy_stays(period: int) -> None:
    text = some_text(300 + period)
    guard = LoopGuard(WINDOW)
    count = stops(guard, text + text[300:] * (4 * WINDOW // period + 10))
    # twice the period until the third copy, whose tokens count; those of a very short one count a quarter
    needed = WINDOW if period > 5 else 4 * WINDOW
    assert count is not None and count <= 300 + 2 * period + needed + 8
    assert guard.kept == 300 + period


def test_a_passage_that_the_text_before_begins_with_keeps_its_copy() -> None:
    text, passage = some_text(300), some_text(60, seed=1)
    text[100:112] = passage[:12]
    guard = LoopGuard(WINDOW)
    assert stops(guard, text + passage * 20) is not None
    assert guard.kept == len(text) + len(passage)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [(30, 90), (35, 0)], ids=["vllm", "evaluation"])
@pytest.mark.parametrize("change", ["skip", "substitute", "insert"])
@pytest.mark.parametrize("period", [1, 3, 7, 20, 50, 200])
def test_a_loop_is_seen_through_what_the_no_repeat_rule_changes(
    period: int, change: str, rule: tuple[int, int]
) -> None:
    # The model wants the cycle's next token; where that is banned it leaves it out, or writes a new one instead of it
    # or before it. New ones differ every time, the worst case for the guard.
    text, strangers = some_text(100 + period), iter(range(100_000, 200_000))
    cycle, place = text[100:], 0
    ngrams, loop = NgramScan(*rule), LoopGuard(WINDOW)
    for token in text[:100]:
        ngrams.push(token)
        loop.push(token)
    for _ in range(4 * WINDOW * 2):
        banned, token = ngrams.banned(), cycle[place % period]
        if token in banned:
            following = cycle[(place + 1) % period]
            skip = change == "skip" and following not in banned
            token = following if skip else next(strangers)
            place += {"skip": 2 if skip else 1, "substitute": 1, "insert": 0}[change]
        else:
            place += 1
        ngrams.push(token)
        loop.push(token)
        if loop.looping:
            break
    # changed tokens, and those whose n-gram holds one, make up to a third of the tail
    needed = WINDOW if period > 5 else 4 * WINDOW
    assert loop.looping and len(ngrams.tokens) <= 100 + 1.4 * needed + 3 * period
    assert loop.kept == 100 + period


LAWFUL = {
    "empty cells": table([[""] * 6] * 10),
    "a page of empty cells": table([[""] * 10] * 30),
    "cells of zeros": table([[0] * 10] * 30),
    "numbers, many of them equal": table([random.Random(row).choices([0, 0, 0, 1, 7, 25], k=8) for row in range(40)]),
    "a budget without entries": table([[title(row, 3), *["0.00"] * 8] for row in range(30)]),
    "table of contents": "".join(f"{i}. {title(i, 2)}{' .' * 40} {3 * i}\n" for i in range(45)),
    "table of contents, short": "".join(f"{title(i, 1)}{' .' * 40} {3 * i}\n" for i in range(45)),
    "bibliography": "".join(
        f"[{i}] {title(i, 3)}, {title(i + 50, 6)}. In Proceedings of the IEEE Conference on Computer Vision and "
        f"Pattern Recognition (CVPR), pp. {7 * i}-{7 * i + 9}, 2019.\n"
        for i in range(45)
    ),
    "numbered lines": "".join(
        f"{i}. The undersigned confirms receipt of one copy of this letter and of its two enclosures today.\n"
        for i in range(60)
    ),
    "form letters": f"Dear Sir, {title(0, 36)}.\n\n" * 3,
    "labels": f"Return to {title(0, 30)}\n" * 15,
    "two copies of a long form": title(0, 700) * 2,
}
RANDOM = random.Random(0)
COUPON = "This coupon entitles the holder to one free item of the kind that is named above, but not to cash. " * 2
# Where numbers count, or rows and passages repeat: what a guard could take for a loop that knows what the tokens are
LAWFUL_COUNTING = {
    "an inventory": table([number, "screw M4", 100] for number in range(1, 101)),
    "a hundred equal rows": table([["open", "none", "n/a"]] * 100),
    "equal lines of a form": "Name: ____________ Date: ____________\n" * 60,
    "lines to sign": "".join(f"{number}. Name: ________ Date: ________\n" for number in range(1, 101)),
    "numbers that all differ": table([[f"{RANDOM.uniform(0, 999):.2f}" for _ in range(8)] for _ in range(60)]),
    "telephone numbers": "".join(f"Tel. (0{RANDOM.randrange(999)}) {RANDOM.randrange(99999)}\n" for _ in range(300)),
    "draws of a lottery": table([draw, *sorted(RANDOM.sample(range(1, 50), 6))] for draw in range(150)),
    "all numbers to 1000": table(range(start, start + 10) for start in range(0, 1000, 10)),
    "a timetable": table([f"{5 + i // 6:02}:{i % 6}0", f"{6 + i // 6:02}:{i % 6}5"] for i in range(100)),
    "boxes at equal distances": "".join(
        f"<|ref|>text<|/ref|><|det|>[[50, {12 * i}, 333, {12 * i + 11}]]<|/det|>\n- option {i}\n\n" for i in range(80)
    ),
    "a list of figures": "".join(f"Figure {i}: Values measured at station {i}{' .' * 20} {i + 9}\n" for i in range(60)),
    "claims": "".join(
        f"{i}. The non-transitory medium of claim {max(1, i - 3)}, wherein the operations comprise {title(i, 9)}.\n"
        for i in range(50)
    ),
    "an examination": "".join(
        f"{i}. {title(i, 9)}?\nA. Only statement I is true.\nB. Both are true.\nC. Neither statement is true.\n"
        for i in range(30)
    ),
    "bank statement": table([RANDOM.randrange(30), "Card payment at Market Street", i * 37 % 991] for i in range(100)),
    "coupons": "".join(f"{title(number, 12)}\n{COUPON}\nValid until {number} May\n\n" for number in range(16)),
    "a form in three copies": "".join(f"{title(copy, 8)}\n{title(0, 250)}\n" for copy in (1, 2, 3)),
}


@pytest.mark.parametrize("text", LAWFUL.values(), ids=LAWFUL.keys())
def test_lawful_repetition_is_no_loop(text: str) -> None:
    assert stops(LoopGuard(WINDOW), tokenise(text)) is None


@pytest.mark.parametrize("text", (LAWFUL | LAWFUL_COUNTING).values(), ids=(LAWFUL | LAWFUL_COUNTING).keys())
def test_lawful_repetition_is_no_loop_for_who_knows_the_tokens(text: str) -> None:
    tokens = tokenise(text)
    assert stops(told(), tokens) is None


@pytest.mark.parametrize("name", ["no_loop_poster", "no_loop_poster_2"])
def test_a_sound_page_of_the_real_model_is_no_loop(name: str) -> None:
    tokens = real_page(name)
    assert stops(told(), tokens) is None


def kept_text(guard: LoopGuard, tokens: Sequence[int]) -> str:
    texts = {token: text for text, token in VOCABULARY.items()}
    return "".join(texts[token] for token in tokens[: guard.kept]).replace("\u0120", " ").replace("\u010a", "\n")


def test_of_a_table_that_is_written_again_and_again_the_first_stays() -> None:
    tokens, plain = real_page("growing_table"), LoopGuard(WINDOW)
    guard = told()
    assert (stops(plain, tokens), plain.kept) == (6931, 5989)
    assert (stops(guard, tokens), guard.kept) == (4000, 1517)
    assert "<td>1955 \u00c2\u00b1 8</td></tr></table>" in kept_text(guard, tokens)[-70:]


def test_of_captions_that_count_the_first_stays() -> None:
    tokens, plain = real_page("figure_captions"), LoopGuard(WINDOW)
    guard = told()
    assert (stops(plain, tokens), plain.kept) == (1991, 940)
    assert (stops(guard, tokens), guard.kept) == (1991, 18)
    assert kept_text(guard, tokens).count("Figure") == 1


COUNTING_LOOPS = {
    "captions": [f"Figure {i}: Comparison of the architectures of different review systems\n" for i in range(2, 400)],
    "rows": [f"<tr><td>{i}</td><td>screw M4</td><td>A-{i + 100}</td></tr>" for i in range(1, 400)],
    "boxes": [f"<|ref|>text<|/ref|><|det|>[[50, {i}, 333, {i + 1}]]<|/det|>\nBoulder\n\n" for i in range(300, 600)],
}


@pytest.mark.parametrize("copies", COUNTING_LOOPS.values(), ids=COUNTING_LOOPS.keys())
def test_a_loop_that_counts_is_seen_and_one_or_two_copies_stay(copies: list[str]) -> None:
    text = title(0, 300) + ".\n"
    tokens, before, period = tokenise(text + "".join(copies)), len(tokenise(text)), len(tokenise(copies[0]))
    assert stops(LoopGuard(WINDOW), tokens) is None
    guard = told()
    count = stops(guard, tokens)
    assert count is not None and count <= before + 6 * WINDOW * 1.6
    assert before + period / 2 <= guard.kept <= before + 2.5 * period


def test_what_was_repeated_before_a_loop_stays() -> None:
    rows = table([year, title(year, 2), "in force"] for year in range(1950, 1990))
    loop = title(7, 60) + "\n"
    tokens, before = tokenise(rows + "\n" + loop * 30), len(tokenise(rows + "\n" + loop))
    guard = told()
    assert stops(guard, tokens) is not None
    assert before - 1 <= guard.kept <= before  # the line's end before the first copy is one like those behind it


def test_a_vocabulary_of_characters_tells_nothing() -> None:
    assert TokenKinds.of({character: number for number, character in enumerate("0123456789<>abc")}) == TokenKinds()


def test_ordinary_text_between_the_copies_makes_no_loop() -> None:
    passage, between = some_text(100), some_text(600, seed=1)
    tokens = [token for i in range(30) for token in passage + between[6 * i : 6 * i + 6]]
    assert stops(LoopGuard(WINDOW), tokens) is None


def test_a_window_of_zero_sees_a_loop_only_at_the_limit() -> None:
    text = some_text(120)
    guard = LoopGuard(0)
    assert stops(guard, text + text[100:] * 100) is None
    assert guard.looping_at_limit
    assert guard.kept == 120


def test_a_short_tail_at_the_limit_is_no_loop() -> None:
    guard = LoopGuard(WINDOW)
    stops(guard, [*some_text(50), *[7] * 60])  # a rule of dashes
    assert not guard.looping_at_limit


def test_a_loop_that_the_text_left_is_none_at_the_limit() -> None:
    text = some_text(200)
    guard = LoopGuard(WINDOW)
    stops(guard, text[:20] * 10 + text[20:])
    assert not guard.looping_at_limit
    assert guard.kept == 20 * 10 + 180
