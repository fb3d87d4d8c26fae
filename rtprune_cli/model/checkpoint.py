"""A checkpoint that was found, not yet loaded: which it is, what it is best at, where and how it will run."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rtprune_cli.device import hardware
from rtprune_cli.errors import UsageError
from rtprune_cli.hub import checkpoint_folder
from rtprune_cli.model import experts
from rtprune_cli.model.adapters import Adapter, ContextRules, adapter_of, read_config
from rtprune_cli.model.loading import ATTENTION, load_network, weights_size
from rtprune_cli.options import (
    Mode,
    ModelOptions,
    OcrOptions,
    PruneOptions,
    Recommended,
    ResolvedOptions,
    check_mode,
    view_side,
)
from rtprune_cli.records import ViewSpec
from rtprune_cli.views.grid import NO_PLACE, page_tokens

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
    def adapter(self) -> Adapter:
        """What its family of checkpoints is."""
        return adapter_of(self.config)

    @property
    def trained_modes(self) -> tuple[Mode, ...]:
        """The modes in which it learnt to read."""
        own = self.config.get("rtprune", {})
        return tuple(own.get("modes", [own["mode"]] if "mode" in own else self.adapter.modes))

    @property
    def trained_prompts(self) -> tuple[str, ...] | None:
        """The prompts that it learnt to answer; None: whatever it is asked."""
        own = self.config.get("rtprune", {})
        return tuple(own["prompts"]) if "prompts" in own else self.adapter.tasks

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
        """The options with what this checkpoint is best at where nothing was chosen.

        Raises:
            UsageError: it cannot do what was chosen.
        """
        best = replace(self.adapter.recommended, mode=self.mode, prompt=self.prompt)
        resolved = options.resolved(*self._context(options, best))
        self.view_spec(resolved.mode)
        self.check_method(resolved.prune)
        return resolved

    def _context(self, options: OcrOptions, best: Recommended) -> tuple[Recommended, int]:
        """What is best for as many pages together as the options say, and how many there is room for."""
        if options.pages_per_context == 1:
            return best, 1
        rules = self.context_rules
        if (options.mode or rules.mode) != rules.mode or (options.prompt or best.prompt) != best.prompt:
            raise UsageError(
                f"many pages together are read in mode {rules.mode} with the prompt {best.prompt} alone",
                "Leave --mode and --prompt out, or --pages-per-context",
            )
        page = page_tokens(self.view_spec(rules.mode))
        most = self.positions // (page + rules.usual_text)
        asked = options.pages_per_context if isinstance(options.pages_per_context, int) else most
        if asked * page >= self.positions:  # no text would fit behind them
            raise UsageError(
                f"{asked} pages together are too many for {self.name}",
                f"It has room for {most} and their text: --pages-per-context auto",
            )
        return replace(best, mode=rules.mode, no_repeat_window=rules.no_repeat_window), most

    @property
    def context_rules(self) -> ContextRules:
        """How it reads many pages as one text.

        Raises:
            UsageError: it reads one page at a time.
        """
        if self.adapter.contexts is None:
            raise UsageError(f"{self.name} reads one page at a time", "Leave --pages-per-context out")
        return self.adapter.contexts

    @property
    def positions(self) -> int:
        """Tokens that its decoder can tell apart by their place: those of prompt and text together."""
        text = self.config.get("language_config") or self.config["text_config"]
        return int(text["max_position_embeddings"])

    def view_spec(self, mode: Mode) -> ViewSpec:
        """How it sees pages in a mode.

        Raises:
            UsageError: its encoder cannot see views of that side.
        """
        layout, mode = self.adapter.layout, check_mode(mode)
        if layout.sides and view_side(mode) not in layout.sides:
            known = " or ".join(str(side) for side in layout.sides)
            raise UsageError(
                f"{self.adapter.name} cannot see views of {view_side(mode)} pixels (mode {mode})",
                f"Use mode {self.adapter.recommended.mode}, or a single view of {known} pixels: side-N",
            )
        return ViewSpec(mode, layout)

    def check_method(self, options: PruneOptions) -> None:
        """Refuse a pruning method that looks at what this encoder does not have.

        Raises:
            UsageError: it does.
        """
        if self.adapter.tower != "clip" and (options.reads_attention or options.reads_features):
            raise UsageError(
                f"the method {options.method} looks at CLIP, which {self.adapter.name} does not have",
                "Choose another, such as rtprune, norm-only, divprune or dart",
            )

    def check_places(self, what: str) -> None:
        """Refuse ``what`` asks where on the page a visual token lies, where they lie nowhere.

        Raises:
            UsageError: they do.
        """
        if not self.adapter.layout.placed:
            raise UsageError(
                f"{what} cannot be measured with {self.adapter.name}: {NO_PLACE}",
                "What pruning costs as a whole, rtprune bench measures with every model",
            )

    def load(self) -> OcrModel:
        """The model with its weights.

        Raises:
            ModelError: weights that cannot be read, tensors that do not fit their places.
            EnvironmentFault: the device has not enough memory for the weights.
        """
        from rtprune_cli.model.network import OcrModel  # which is a checkpoint itself

        hardware.set_up(self.device, self.dtype)
        return OcrModel(**self.parts, network=load_network(self))

    @property
    def parts(self) -> dict[str, Any]:
        """What it is made of: a model has this and a network."""
        return {each.name: getattr(self, each.name) for each in fields(Checkpoint)}


def locate(options: ModelOptions) -> Checkpoint:
    """Find a checkpoint: the bundled one, a local folder, or a hub id (downloaded once).

    Raises:
        ModelError: missing weights, pickle weights, an unknown family.
        EnvironmentFault: the device is not there.
    """
    device = hardware.pick_device(options.device)
    origin = checkpoint_folder(options.model, options.revision, offline=options.offline)
    config = read_config(origin.folder)
    recommended = adapter_of(config).recommended
    best = {"mode": recommended.mode, "prompt": recommended.prompt, **config.get("rtprune", {})}
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
