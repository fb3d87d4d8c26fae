"""Compile the kernels of a decoding step for a card, without one, by its capability: python compile_kernels.py 80

In bfloat16, with the sizes of the published models. A line each: name, registers of a thread, bytes that did not fit.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rtprune_cli.decoding.kernels import attention, choosing, experts, norm

STATE, EXACT, NUMBER = "*bf16", "*fp32", "i32"  # a pointer to the model's numbers, to float32, and an integer
INTEGERS = {
    "seen": "*i64",
    "bans": "*i64",
    "runs": "*i32",
    "follows": "*i1",
    "bannable": "*i1",
    "repeated": "i32",
    "places": "*i64",
    "last": "*i64",
    "chosen": "*i32",
    "where": "*i32",
    "counts": "*i32",
}
FLOATS = {"parts", "partial", "weights", "said", "best", "logprob"}
NUMBERS = {"eps": "fp32", "scale": "fp32"}
TILE = {"SIZE": 1280, "INNER": 896, "COUNT": 64, "ROWS": experts.ROWS, "COLUMNS": experts.COLUMNS,
        "DEPTH": experts.DEPTH, "MOST": 8, "EXACT": False}  # fmt: skip
CONSTANTS: dict[Any, dict[str, Any]] = {
    norm._add_norm: {"SIZE": 1280, "PARTS": 8, "BLOCK": 2048},
    attention._attend: {"HEADS": 10, "GROUPS": 10, "SIZE": 128, "HALF": 64, "BLOCK": attention.BLOCK},
    attention._join: {"HEADS": 10, "SIZE": 128, "WIDE": 128, "MOST": attention.MOST_SPLITS},
    experts._route: {"SIZE": 1280, "EXPERTS": 64, "WIDE": 64, "TOP": 6, "SHARED": 2, "BLOCK": 32},
    experts._lists: {"MOST": 8, "WIDE": 8, "BLOCK": experts.MOST_TOKENS},
    experts._gate_up: TILE,
    experts._down: TILE,
    choosing._bans: {"WINDOW": 90, "WIDE": 128},
    choosing._best: {"SIZE": 129280, "WINDOW": 90, "BLOCK": choosing.BLOCK},
    choosing._pick: {"SIZE": 129280, "MOST": attention.MOST_SPLITS},
}


def kind_of(name: str) -> str:
    """The type of a kernel's argument, by its name."""
    if name.endswith(("_row", "_head", "_token")) or name in ("tokens", "splits"):
        return NUMBER
    return NUMBERS.get(name) or INTEGERS.get(name) or (EXACT if name in FLOATS else STATE)


def main() -> None:
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    for kernel, constants in CONSTANTS.items():
        names = kernel.arg_names
        signature = {name: "constexpr" if name in constants else kind_of(name) for name in names}
        source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in constants.items()})
        made = triton.compile(source, target=target)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(made.asm["cubin"])
            file.flush()
            said = subprocess.run(
                [tools / "cuobjdump", "-res-usage", file.name], capture_output=True, text=True, check=True
            ).stdout
        (registers,), (stack,) = re.findall(r"REG:(\d+)", said), re.findall(r"STACK:(\d+)", said)
        print(f"{kernel.__name__}: {registers} registers, {stack} bytes spilt")


main()
