"""JSON as rtprune_cli/storage.py writes it: what the standard library would write, of more than it takes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtprune_cli.storage import to_json

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@given(values)
def test_it_is_indented_as_the_standard_library_does(value: Any) -> None:
    for indent in (1, 2):
        assert to_json(value, indent=indent).decode() == json.dumps(value, ensure_ascii=False, indent=indent) + "\n"
    assert to_json(value).decode() == json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


@dataclass(frozen=True)
class Named:
    name: str
    inner: Any = None


@pytest.mark.parametrize("indent", [None, 1])
def test_what_json_has_no_words_for(indent: int | None) -> None:
    value = {"a": [math.nan, -math.inf, 1.5], "b": Named("x", (Named("y"), Path("z"))), 3: True}
    expected = {"a": [None, None, 1.5], "b": {"name": "x", "inner": [{"name": "y", "inner": None}, "z"]}, "3": True}
    assert json.loads(to_json(value, indent=indent)) == expected
