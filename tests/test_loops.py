"""When a text is a loop, where its second copy begins, and what repeats lawfully."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

import pytest
from stubs import NgramScan

from rtprune_cli.decoding.loops import LoopGuard
from rtprune_cli.options import DecodeOptions

WINDOW = DecodeOptions().loop_window
WORDS = ["stone", "river", "house", "light", "paper", "train", "garden", "letter", "seven", "night", "bridge", "cloud"]


def some_text(count: int, seed: int = 0) -> list[int]:
    """Tokens of ordinary text: hardly any comes twice."""
    return random.Random(seed).sample(range(1000, 100_000), count)


def tokenise(text: str) -> list[int]:
    """Words with the space before them, signs, and the table tags that are one token in the real vocabulary."""
    ids: dict[str, int] = {}
    return [ids.setdefault(token, len(ids)) for token in re.findall(r"</?td>| ?\w+| ?[^\w\s]|\s", text)]


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


@pytest.mark.parametrize("text", LAWFUL.values(), ids=LAWFUL.keys())
def test_lawful_repetition_is_no_loop(text: str) -> None:
    assert stops(LoopGuard(WINDOW), tokenise(text)) is None


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
