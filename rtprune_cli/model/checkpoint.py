"""A checkpoint that was found, not yet loaded: which it is, what it is best at, where and how it will run."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rtprune_cli.device import hardware
from rtprune_cli.hub import checkpoint_folder
from rtprune_cli.model import experts
from rtprune_cli.model.adapters import read_config
from rtprune_cli.model.loading import ATTENTION, load_network, weights_size
from rtprune_cli.options import MODES, Mode, ModelOptions, OcrOptions, ResolvedOptions

if TYPE_CHECKING:
    from rtprune_cli.model.network import OcrModel

SMALL_MODEL = 2**28  # bytes of weights; below, fixed costs rule: low precision and many threads gain nothing


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found, not yet loaded: ``name`` and ``revision`` say which, ``mode`` and ``prompt`` what
    it is best at, ``device`` and ``dtype`` where and how it will run. ``config`` is its config.json."""

    name: str
    revision: str
    folder: Path
    mode: Mode
    prompt: str
    device: torch.device
    dtype: torch.dtype
    config: dict[str, Any] = field(repr=False)

    @property
    def trained_modes(self) -> tuple[Mode, ...]:
        """The modes in which it learnt to read; the official checkpoints know all."""
        own = self.config.get("rtprune", {})
        return tuple(own.get("modes", [own["mode"]] if "mode" in own else MODES))

    @property
    def trained_prompts(self) -> tuple[str, ...] | None:
        """The prompts that it learnt to answer; None: whatever it is asked."""
        own = self.config.get("rtprune", {})
        return tuple(own["prompts"]) if "prompts" in own else None

    @property
    def attention(self) -> str:
        return ATTENTION

    @property
    def experts(self) -> str:
        """How the experts of a layer are computed."""
        return experts.describe(self.device, self.dtype)

    @property
    def is_small(self) -> bool:
        """Whether the model is done with a page in about the time that it takes to make one."""
        return weights_size(self.folder) < SMALL_MODEL

    def resolve(self, options: OcrOptions) -> ResolvedOptions:
        """The options with what this checkpoint is best at where no mode or prompt was chosen."""
        given = {each.name: getattr(options, each.name) for each in fields(OcrOptions)}
        chosen = {"mode": options.mode or self.mode, "prompt": options.prompt or self.prompt}
        return ResolvedOptions(**{**given, **chosen})

    def load(self) -> OcrModel:
        """The model with its weights.

        Raises:
            ModelError: weights that cannot be read, tensors that do not fit their places.
            EnvironmentFault: the device has not enough memory for the weights.
        """
        from rtprune_cli.model.network import OcrModel  # which is a checkpoint itself

        hardware.set_up(self.device, self.dtype)
        own = {each.name: getattr(self, each.name) for each in fields(Checkpoint)}
        return OcrModel(**own, network=load_network(self))


def locate(options: ModelOptions) -> Checkpoint:
    """Find a checkpoint: the bundled one, a local folder, or a hub id (downloaded once).

    Raises:
        ModelError: missing weights, pickle weights, an unknown family.
        EnvironmentFault: the device is not there.
    """
    device = hardware.pick_device(options.device)
    origin = checkpoint_folder(options.model, options.revision, offline=options.offline)
    config, adapter = read_config(origin.folder)
    best = {"mode": adapter.mode, "prompt": adapter.prompt, **config.get("rtprune", {})}
    return Checkpoint(
        name=options.model,
        revision=origin.revision,
        folder=origin.folder,
        mode=best["mode"],
        prompt=best["prompt"],
        device=device,
        dtype=hardware.pick_dtype(options.dtype, device, small=weights_size(origin.folder) < SMALL_MODEL),
        config=config,
    )


def load(options: ModelOptions) -> OcrModel:
    """:func:`locate` and load a checkpoint, with the errors of both."""
    return locate(options).load()
