"""Owns full-size architectures with random weights: what they cost to run needs no download of what they know."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rtprune_cli.bench.speed.plan import ARCHITECTURES, Architecture
from rtprune_cli.device import hardware
from rtprune_cli.model import Checkpoint, OcrModel, experts
from rtprune_cli.model.adapters import adapter_of, network_config
from rtprune_cli.model.loading import ATTENTION, finish

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BOS, FIRST_TEXT_ID = 0, 3


def read_arch(name: str) -> dict[str, Any]:
    """The official config.json of an architecture, of its public checkpoint; ``name`` as in :data:`ARCHITECTURES`."""
    path = Path(__file__).with_name(ARCHITECTURES[name].config)
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """How the family of a checkpoint is timed."""
    return ARCHITECTURES[checkpoint.adapter.name.lower()]


def prompt_ids(number: int, vocabulary: int, after: int) -> tuple[list[int], list[int]]:
    """Token ids before the images and after them, as many as the real prompt has. An architecture has no tokenizer.

    Each page or context, by its ``number``, has its own: a network that never learnt to read its image would write the
    same text on every page, and a batch of them would need the experts of one.
    """
    generator = random.Random(number)
    return [BOS], [generator.randrange(FIRST_TEXT_ID, vocabulary) for _ in range(after)]


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

    transformers' own initialisation does it: matrices and learned queries from a normal distribution of deviation
    0.02 (for SAM it would take 1e-10, and what SAM sees would be lost), norms 1, biases and SAM's positions 0. It also
    computes the buffers that no checkpoint holds, rotary frequencies and CLIP's position ids. On top of it, text
    embeddings get deviation 1, about that of the visual tokens, and what each layer
    of the decoder adds is scaled as in GPT-2: else every token comes to point the same way, the batch writes one word
    over and over, and its pages share 6 experts (measured at 4 pages; then 20.7, where an even choice needs 20.8).
    """
    text = network.config.text_config
    network.config.vision_config.sam_config.initializer_range = text.initializer_range
    network.to_empty(device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network.initialize_weights()
    with torch.no_grad():
        network.get_input_embeddings().weight.mul_(1 / text.initializer_range)
        for name, weight in network.model.language_model.layers.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                weight.mul_(1 / math.sqrt(2 * text.num_hidden_layers))


def describe(name: str, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """An architecture before it has weights."""
    return Checkpoint(
        name=name,
        revision="random weights",
        folder=Path(__file__).parent,
        mode="base",
        prompt="markdown",
        device=device,
        dtype=dtype,
        config=read_arch(name),
    )


def build(found: Checkpoint, seed: int) -> OcrModel:
    """An architecture with random weights, 6.7 GB of them in bfloat16. It can do everything but read."""
    hardware.set_up(found.device, found.dtype)
    network = skeleton(found.config, found.device, found.dtype)
    fill(network, found.device, seed)
    return OcrModel(**found.parts, network=finish(network))
