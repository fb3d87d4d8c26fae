"""Optional packages: messages name them as pip finds them, for rtprune itself is on no index."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from conftest import DOCS

import rtprune_cli
from rtprune_cli import packages
from rtprune_cli.bench.accuracy.datasets.opening import NEEDED_BY
from rtprune_cli.remote import PACKAGES

SOURCE = Path(rtprune_cli.__file__).parent


def test_what_messages_name_is_in_an_extra() -> None:
    """Of what no extra has, pip would be asked for any version, and an extra's misspelt name would be told."""
    named = {"matplotlib", "ray", "docling-core", "pillow-heif", "playwright", *PACKAGES.values()}.union(
        *NEEDED_BY.values()
    )
    extras = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert named <= {re.split(r"[\[<>=]", each)[0] for wanted in extras.values() for each in wanted}


def test_a_command_can_be_pasted() -> None:
    assert re.fullmatch(r"pip install 'ray\[client\]>=[\d.]+'", packages.pip_install("ray"))
    assert packages.pip_install("of-nobody") == "pip install of-nobody"


def test_rtprune_that_is_not_installed_names_packages_without_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(packages, "requires", absent)
    packages._asked.cache_clear()
    try:
        assert packages.pip_install("matplotlib") == "pip install matplotlib"
    finally:
        packages._asked.cache_clear()


def test_packages_are_found_by_the_names_they_are_imported_by() -> None:
    assert packages.missing("beautifulsoup4", "numpy", "of-nobody") == ["of-nobody"]


def test_no_message_asks_pip_for_an_extra_of_rtprune() -> None:
    """It would look for rtprune on an index, where it is not."""
    found = [path.name for path in SOURCE.rglob("*.py") if "pip install 'rtprune[" in path.read_text(encoding="utf-8")]
    assert not found
