"""What is imported of transformers, in processes of their own: of the real one, and of a stand-in of a few lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAME = "UnlimitedOcrForConditionalGeneration"
OWN = "import sys\nfrom rtprune_cli import libraries\nlibraries.own_process()\n"
KIND = f"kind = libraries.network_class({NAME!r})\n"
FAKES = {
    "torch/__init__.py": "",
    "torch/_dynamo/__init__.py": "print('compiler')\nOPTION = 1\n"
    "def disable(f=None, deep=True):\n    return f or (lambda g: g)\n",
    "torch/_dynamo/inner.py": "class Items:\n    pass\n",
    "transformers/utils/__init__.py": "from .import_utils import *\n",
    "transformers/utils/import_utils.py": "def is_torch_distributed_available():\n    return True\n"
    "def is_scipy_available():\n    return True\n",
    "transformers/__init__.py": "import importlib\n"
    "def __getattr__(name):\n    return getattr(importlib.import_module('transformers.model'), name)\n",
    "transformers/model.py": "import torch._dynamo\nfrom torch._dynamo.inner import Items\nfrom . import utils\n"
    "@torch._dynamo.disable\ndef one():\n    return 1\n"
    "@torch._dynamo.disable(deep=False)\ndef two():\n    return 2\n"
    f"class {NAME}:\n    told = utils.is_scipy_available(), utils.is_torch_distributed_available()\n",
}


@pytest.fixture
def fakes(tmp_path: Path) -> Path:
    for name, text in FAKES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(code: str, *paths: Path) -> list[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*paths, Path.cwd())))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    return done.stdout.splitlines()


def test_the_compiler_is_imported_when_it_is_used_and_not_before(fakes: Path) -> None:
    code = OWN + KIND + "import transformers as t\nprint(t.one(), t.two(), kind.told)\nprint(type(t.Items()).__name__)"
    assert run(code, fakes) == ["1 2 (False, False)", "compiler", "Items"]


def test_what_cannot_do_without_the_compiler_gets_it(fakes: Path) -> None:
    (fakes / "transformers" / "model.py").open("a").write("assert torch._dynamo.OPTION == 1\n")
    assert run(OWN + KIND + "print(kind.told)", fakes) == ["compiler", "(True, True)"]


def test_in_a_process_of_others_nothing_is_left_out(fakes: Path) -> None:
    others = OWN.replace("libraries.own_process()", "")
    assert run(others + KIND + "print(kind.told)", fakes) == ["compiler", "(True, True)"]


@pytest.mark.slow
def test_reading_needs_no_compiler() -> None:
    code = f"""
libraries.import_ahead({NAME!r})
from rtprune_cli.model import load
from rtprune_cli.options import ModelOptions
load(ModelOptions(model="tiny"))
print({{"torch._dynamo", "torch.distributed.tensor", "scipy"}} & set(sys.modules))
"""
    assert run(OWN + code) == ["set()"]
