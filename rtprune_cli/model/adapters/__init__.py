"""Families of checkpoints, told apart by config.json's architecture: one table, and no question of a model's name
anywhere else. The hub checkpoints' remote code is never run.

adapter.py says what a family is, translate.py has what config files share; each other file is a family.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rtprune_cli.errors import ModelError
from rtprune_cli.model.adapters import deepseek_ocr, deepseek_ocr2, unlimited_ocr
from rtprune_cli.model.adapters.adapter import IMAGE, Adapter, ContextRules, PromptTexts, gives_words

__all__ = [
    "ADAPTERS",
    "IMAGE",
    "Adapter",
    "ContextRules",
    "PromptTexts",
    "adapter_of",
    "gives_words",
    "network_config",
    "read_config",
]

FAMILIES = (deepseek_ocr.ADAPTER, deepseek_ocr2.ADAPTER, unlimited_ocr.ADAPTER)
# Not by model_type: "deepseek_vl_v2" is shared with DeepSeek-VL2.
ADAPTERS = {architecture: adapter for adapter in FAMILIES for architecture in adapter.architectures}


def adapter_of(config: dict[str, Any]) -> Adapter:
    """The adapter for a config.json.

    Raises:
        ModelError: the family is not known.
        LookupError: it names no architecture.
    """
    architecture = config["architectures"][0]
    if architecture not in ADAPTERS:
        known = ", ".join(adapter.name for adapter in FAMILIES)
        raise ModelError(f"architecture {architecture} is not supported", f"Supported: {known}")
    return ADAPTERS[architecture]


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a known family.

    Raises:
        ModelError: no readable config, or a model family that is not known.
    """
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        adapter_of(raw)
    except FileNotFoundError:
        raise ModelError(f"{folder} has no config.json", "Give a hub id or a folder in the official layout") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read", "Pull the checkpoint again") from error
    return dict(raw)


def network_config(raw: dict[str, Any]) -> Any:
    """transformers' configuration of an official ``config.json``, or of one that transformers wrote itself.

    Raises:
        ModelError: a section or size is missing.
    """
    import transformers

    adapter = adapter_of(raw)
    network = getattr(transformers, adapter.network)
    try:
        if raw["architectures"][0] == adapter.network:
            return network.config_class.from_dict(raw)
        return adapter.build_config(raw)
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"the checkpoint's config.json lacks {error}", f"Use a checkpoint in the official layout of {adapter.name}"
        ) from error
