"""Owns the full-size architecture with random weights: what it costs to run needs no download of what it knows."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rtprune_cli.device import hardware
from rtprune_cli.model import OcrModel, experts
from rtprune_cli.model.adapters import adapter_of, network_config
from rtprune_cli.model.loading import ATTENTION, finish

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The official config.json of each architecture, of its public checkpoint.
CONFIGS = {"deepseek-ocr": "deepseek_ocr.json"}
BOS, FIRST_TEXT_ID = 0, 3
TEXT_AFTER = 9  # tokens after the image: "\n<|grounding|>Convert the document to markdown." has so many
TEXT_TOKENS = 1 + TEXT_AFTER


def read_arch(name: str) -> dict[str, Any]:
    """The official config.json of an architecture; ``name`` is one of :data:`CONFIGS`."""
    config: dict[str, Any] = json.loads(Path(__file__).with_name(CONFIGS[name]).read_text(encoding="utf-8"))
    return config


def prompt_ids(page: int, vocabulary: int) -> tuple[list[int], list[int]]:
    """Token ids before the image and after it, as many as the real prompt has. An architecture has no tokenizer.

    Each page has its own: a network that never learnt to read its image would write the same text on every page, and a
    batch of them would need the experts of one.
    """
    generator = random.Random(page)
    return [BOS], [generator.randrange(FIRST_TEXT_ID, vocabulary) for _ in range(TEXT_AFTER)]


def skeleton(config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """The network of an official config.json on the meta device: shapes without memory.

    ``device`` is where it is to run, which decides how it computes the experts.
    """
    import transformers

    with torch.device("meta"):
        network: PreTrainedModel = getattr(transformers, adapter_of(config).network)._from_config(
            network_config(config),
            dtype=dtype,
            attn_implementation=ATTENTION,
            experts_implementation=experts.implementation(device),
        )
    return network


def fill(network: PreTrainedModel, device: torch.device, seed: int) -> None:
    """Give a skeleton memory on ``device`` and fill it in place, so that there is never a second copy.

    transformers' own initialisation does it: matrices from a normal distribution of deviation 0.02, norms 1, biases
    and SAM's positions 0. It also computes the buffers that no checkpoint holds, rotary frequencies and CLIP's
    position ids. On top of it, text embeddings get deviation 1, about that of the visual tokens, and what each layer
    of the decoder adds is scaled as in GPT-2: else every token comes to point the same way, the batch writes one word
    over and over, and its pages share 6 experts (measured at 4 pages; then 20.7, where an even choice needs 20.8).
    """
    network.to_empty(device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network.initialize_weights()
    text = network.config.text_config
    with torch.no_grad():
        network.get_input_embeddings().weight.mul_(1 / text.initializer_range)
        for name, weight in network.model.language_model.layers.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                weight.mul_(1 / math.sqrt(2 * text.num_hidden_layers))


def build(name: str, device: torch.device, dtype: torch.dtype, seed: int) -> OcrModel:
    """An architecture with random weights, 6.7 GB of them in bfloat16. It can do everything but read."""
    config = read_arch(name)
    hardware.set_up(device, dtype)
    network = skeleton(config, device, dtype)
    fill(network, device, seed)
    return OcrModel(
        name=name,
        revision="random weights",
        folder=Path(__file__).parent,
        mode="base",
        prompt="markdown",
        device=device,
        dtype=dtype,
        config=config,
        network=finish(network),
    )
