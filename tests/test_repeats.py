"""The no-repeat rule on the device, held against a plain scan."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from stubs import NgramScan

from rtprune_cli.decoding.repeats import RepeatRule

VOCABULARY = 12


def make_rule(n: int, window: int, rows: int = 1, exempt: Iterable[int] = ()) -> RepeatRule:
    return RepeatRule(n, window, frozenset(exempt), rows=rows, vocabulary=VOCABULARY, device=torch.device("cpu"))


def banned(rule: RepeatRule, row: int = 0) -> set[int]:
    logits = rule.ban(slice(row, row + 1), torch.zeros(1, VOCABULARY))
    return set(logits[0].isinf().nonzero().flatten().tolist())


def ban(tokens: list[int], n: int, window: int, exempt: Iterable[int] = ()) -> set[int]:
    rule = make_rule(n, window, exempt=exempt)
    for token in tokens:
        rule.push(slice(0, 1), torch.tensor([token]))
    return banned(rule)


def test_the_token_that_followed_is_banned() -> None:
    assert ban([1, 2, 3, 9, 1, 2], n=3, window=99) == {3}
    assert ban([1, 2, 3, 9, 1, 5], n=3, window=99) == set()


def test_nothing_is_banned_without_an_n() -> None:
    assert ban([1, 2, 3, 9, 1, 2], n=0, window=99) == set()


def test_what_lies_before_the_window_is_forgotten() -> None:
    assert ban([1, 2, 3, 9, 1, 2], n=3, window=6) == {3}
    assert ban([1, 2, 3, 9, 1, 2], n=3, window=5) == set()


def test_exempt_tokens_are_never_banned() -> None:
    assert ban([1, 2, 3, 9, 1, 2], n=3, window=99, exempt=[3, 1000]) == set()


def test_other_logits_stay_as_they_are() -> None:
    rule = make_rule(1, 5)
    rule.push(slice(0, 1), torch.tensor([4]))
    logits = torch.randn(1, VOCABULARY)
    found = rule.ban(slice(0, 1), logits)
    assert found[0, 4] == float("-inf")
    assert torch.equal(found[0, 5:], logits[0, 5:])


@pytest.mark.parametrize(("n", "window"), [(1, 4), (2, 10), (3, 20), (4, 60), (3, 3), (30, 90)])
def test_rows_equal_a_plain_scan_each(n: int, window: int) -> None:
    texts = torch.randint(0, 3, (3, 60), generator=torch.Generator().manual_seed(0))
    texts[2] = torch.arange(60) % 7  # a loop, long enough for n 30
    rule, scans = make_rule(n, window, rows=3), [NgramScan(n, window) for _ in range(3)]
    for tokens in texts.T:
        for row, scan in enumerate(scans):
            assert banned(rule, row) == set(scan.banned())
            scan.push(int(tokens[row]))
        rule.push(slice(0, 3), tokens)


def test_a_row_that_starts_again_knows_nothing() -> None:
    rule = make_rule(2, 9, rows=2)
    for token in (1, 2, 1):
        rule.push(torch.tensor([0, 1]), torch.tensor([token, token]))
    rule.reset(torch.tensor([1]))
    assert (banned(rule, 0), banned(rule, 1)) == ({2}, set())


def test_a_row_that_moves_takes_its_text_along() -> None:
    rule = make_rule(2, 9, rows=2)
    for token in (1, 2, 1):
        rule.push(torch.tensor([1]), torch.tensor([token]))
    rule.move(1, 0)
    assert banned(rule, 0) == {2}
