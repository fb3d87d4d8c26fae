"""Forms of checkpoints that are not loaded: copies for other programs, and adapters. Each is refused by its own name.

A look reads config.json and the headers of the weights, no weights. What is full and plain passes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rtprune_cli.errors import ModelError
from rtprune_cli.options import DEFAULT_MODEL

USE_FULL = f"Use the full weights that it was made of, such as --model {DEFAULT_MODEL}"
MERGE = "Merge it into {base} first (peft: merge_and_unload, then save_pretrained), and give the folder of that"

# Ends of the names of tensors that stand beside quantised weights.
COMPANIONS = {
    ".absmax": "bitsandbytes, 4-bit",
    ".SCB": "bitsandbytes, 8-bit",
    ".g_idx": "gptq",
    ".qzeros": "gptq or awq",
    ".qweight": "gptq or awq",
    ".weight_packed": "compressed-tensors",
    ".weight_scale_inv": "fp8",
    ".scale_weight": "fp8",
    ".weight_scale": "weights with scales",
}
HEADER_LIMIT = 100_000_000  # bytes; the format's own
WHOLE_NUMBERS = {"I8", "U8", "I16", "U16", "I32", "U32"}  # weights of these types are codes, to be looked up or scaled


@dataclass(frozen=True)
class Contents:
    """What a look at a checkpoint shows. Whatever is missing or broken counts as empty: its loader will say so."""

    files: dict[str, Path]

    @classmethod
    def of(cls, place: Path) -> Contents:
        """Of a folder, or of a file alone."""
        return cls({file.name: file for file in ([place] if place.is_file() else sorted(place.glob("*")))})

    @cached_property
    def config(self) -> dict[str, Any]:
        return self._read("config.json")

    @cached_property
    def adapter(self) -> dict[str, Any]:
        return self._read("adapter_config.json")

    @cached_property
    def weights(self) -> list[Path]:
        """The files of a model's own weights."""
        return [path for name, path in self.files.items() if path.suffix == ".safetensors" and not _of_adapter(name)]

    @cached_property
    def headers(self) -> list[dict[str, Any]]:
        return [_header(path) for path in self.weights]

    @cached_property
    def tensors(self) -> dict[str, str]:
        """Names of the tensors, with their types."""
        return {name: str(about.get("dtype")) for header in self.headers for name, about in header.items()}

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return _mapping(json.loads(self.files[name].read_text(encoding="utf-8")))
        except (KeyError, OSError, ValueError):
            return {}


def _header(path: Path) -> dict[str, Any]:
    """The JSON that a safetensors file begins with, behind its length in 8 bytes."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            found = _mapping(json.loads(file.read(length))) if length <= HEADER_LIMIT else {}
    except (OSError, ValueError):
        return {}
    return {name: about for name, about in found.items() if isinstance(about, dict)}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _of_adapter(name: str) -> bool:
    return name.startswith(("adapter_config.", "adapter_model."))


def _gguf(contents: Contents) -> str:
    return "a GGUF copy" if not contents.weights and any(name.endswith(".gguf") for name in contents.files) else ""


def _adapter(contents: Contents) -> str:
    return "a LoRA adapter" if not contents.weights and any(map(_of_adapter, contents.files)) else ""


def _unmerged(contents: Contents) -> str:
    marks = ("base_model.model.", ".base_layer.", ".lora_A.")
    found = any(mark in name for name in contents.tensors for mark in marks)
    return "a checkpoint with an unmerged adapter (PEFT)" if found else ""


def _mlx(contents: Contents) -> str:
    written = any(_mapping(header.get("__metadata__")).get("format") == "mlx" for header in contents.headers)
    quantised = "group_size" in _mapping(contents.config.get("quantization"))
    return "an MLX copy" if written or quantised else ""


def _declared(contents: Contents) -> str:
    """By what config.json says of the whole model, or of its decoder."""
    for section in (
        contents.config,
        *(_mapping(contents.config.get(key)) for key in ("language_config", "text_config")),
    ):
        about = _mapping(section.get("quantization_config"))
        if method := about.get("quant_method"):
            bits = 4 if about.get("load_in_4bit") else 8 if about.get("load_in_8bit") else about.get("bits")
            return f"a quantised copy ({method}, {bits}-bit)" if bits else f"a quantised copy ({method})"
    return ""


def _seen(contents: Contents) -> str:
    """By the tensors, where config.json says nothing."""
    for end, what in COMPANIONS.items():
        if any(name.endswith(end) for name in contents.tensors):
            return f"a quantised copy ({what})"
    types = {dtype for name, dtype in contents.tensors.items() if name.endswith(".weight")} & WHOLE_NUMBERS
    return f"a quantised copy (weights of type {min(types)})" if types else ""


@dataclass(frozen=True)
class Form:
    """One form: ``see`` says what it is, in the checkpoint's own case, or "" where it is not that."""

    see: Callable[[Contents], str]
    way_out: str


# In the order of asking: an MLX copy has what others are known by, too.
FORMS = (
    Form(_gguf, USE_FULL),
    Form(_adapter, MERGE),
    Form(_unmerged, MERGE),
    Form(_mlx, USE_FULL),
    Form(_declared, USE_FULL),
    Form(_seen, USE_FULL),
)


def refuse(place: Path, name: str) -> None:
    """Refuse a folder, or a file alone, that holds a checkpoint called ``name`` in one of the :data:`FORMS`.

    Raises:
        ModelError: it does.
    """
    contents = Contents.of(place)
    for form in FORMS:
        if kind := form.see(contents):
            base = contents.adapter.get("base_model_name_or_path") or "its base model"
            raise ModelError(f"{name} is {kind}, which is not loaded", form.way_out.format(base=base))
