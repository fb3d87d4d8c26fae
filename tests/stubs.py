"""A real network that misbehaves where a test wants it to: pages loop, never end, or raise.

def script(prompt: Prompt) -> Act | None:
    return Act(cycle=tuple(range(20, 40))) if prompt.pruned else None

network = ScriptedNetwork(tiny.network, script)
model = dataclasses.replace(tiny, network=network)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from rtprune_cli.decoding.cache import _Prompts, _Steps
from rtprune_cli.decoding.runner import ModelRunner

VISUAL_START = 1  # the image tokens follow the bos token, in every prompt of the project


@dataclass(frozen=True)
class View:
    """An encoded image: the ``ordinal``-th, from 0, that this network encoded; retries in another mode count anew.

    ``side`` of its global view in pixels tells the mode, ``brightness`` of that view (0 black to 1 white) the page.
    """

    ordinal: int
    side: int
    brightness: float


@dataclass(frozen=True)
class Prompt:
    """A page's prompt as the decoder gets it: ``length`` in tokens, one of ``batch``, the ``ordinal``-th from 0.

    ``view`` is the image in it, None when this network encoded none.
    """

    ordinal: int
    batch: int
    length: int
    pruned: bool
    view: View | None


@dataclass(frozen=True)
class Act:
    """What becomes of a page after its first ``after`` tokens, which are the network's own.

    It writes ``cycle`` for ever, or raises ``fault``, or (``endless``) goes on as the network would but without eos, or
    its numbers ``overflow``.
    """

    cycle: tuple[int, ...] = ()
    fault: Exception | None = None
    endless: bool = False
    overflow: bool = False
    after: int = 0


@dataclass
class _Row:
    act: Act
    written: int = 0


class ScriptedNetwork:
    """``network``, except for the pages to which ``script`` gives an act.

    ``on_encode`` may raise for the images of one call of the vision encoder. Memory is short for more than
    ``most_rows`` in one call of the decoder. For the test to look at: ``prompts``, and ``batches``, the number of rows
    of each call of the decoder.
    """

    def __init__(
        self,
        network: Any,
        script: Callable[[Prompt], Act | None],
        on_encode: Callable[[Sequence[View]], None] = lambda _: None,
        most_rows: int | None = None,
    ) -> None:
        self.network, self.script, self.on_encode = network, script, on_encode
        self.most_rows = most_rows
        decoder = network.model.language_model
        layers = [self._first_layer, *decoder.layers[1:]]
        self.model = SimpleNamespace(
            language_model=SimpleNamespace(rotary_emb=decoder.rotary_emb, layers=layers, norm=decoder.norm)
        )
        self.prompts: list[Prompt] = []
        self.batches: list[int] = []
        self._images: list[tuple[View, Tensor]] = []  # with the visual tokens (N, D)
        self._rows: dict[int, _Row] = {}  # by place in the batch
        self._called: list[_Row] = []  # those of the decoder's last call, in its order

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> Any:
        brightness = (pixel_values.float().mean(dim=(1, 2, 3)) + 1) / 2  # pixels lie in [-1, 1]
        first, side = len(self._images), int(pixel_values.shape[-1])
        views = [View(first + i, side, value) for i, value in enumerate(brightness.tolist())]
        self.on_encode(views)
        output = self.network.get_image_features(pixel_values=pixel_values, **kwargs)
        self._images += zip(views, output.pooler_output, strict=True)
        return output

    def _first_layer(self, hidden: Tensor, *, position_ids: Tensor, past_key_values: Any, **kwargs: Any) -> Any:
        if isinstance(past_key_values, _Prompts):
            places = past_key_values._rows.tolist()
            self._rows |= dict(zip(places, self._start(hidden, position_ids), strict=True))
        else:
            # None: a prompt pass that is only timed. Rows that are not in use have no act.
            places = range(len(hidden)) if isinstance(past_key_values, _Steps) else []
        self._called = [self._rows.get(place, _Row(Act())) for place in places]
        self.batches.append(len(hidden))
        if self.most_rows is not None and len(hidden) > self.most_rows:
            raise torch.OutOfMemoryError("secret details")
        for row in self._called:
            if row.act.fault is not None and row.written == row.act.after:
                raise row.act.fault
        return self.network.model.language_model.layers[0](
            hidden, position_ids=position_ids, past_key_values=past_key_values, **kwargs
        )

    def lm_head(self, hidden: Tensor) -> Tensor:
        every = self.network.lm_head(hidden)
        for logits, row in zip(every, self._called, strict=False):
            since = row.written - row.act.after
            if since >= 0 and (row.act.cycle or row.act.endless):
                logits[self.network.config.eos_token_id] = float("-inf")
            if since >= 0 and row.act.cycle:
                logits[row.act.cycle[since % len(row.act.cycle)]] = float("inf")
            if since >= 0 and row.act.overflow:
                logits[:] = float("nan")
            row.written += 1
        return every

    def follow(self, source: int, target: int) -> None:
        """A row went to another place."""
        self._rows[target] = self._rows.pop(source)

    def _start(self, embeds: Tensor, positions: Tensor) -> list[_Row]:
        rows = []
        for own_embeds, own_positions in zip(embeds, positions.cpu(), strict=True):
            length = int(own_positions.argmax()) + 1  # padding is on the right, at position 0
            pruned = int(own_positions[length - 1]) >= length
            view = self._view(own_embeds[:length], own_positions[:length])
            self.prompts.append(Prompt(len(self.prompts), len(embeds), length, pruned, view))
            rows.append(_Row(self.script(self.prompts[-1]) or Act()))
        return rows

    def _view(self, embeds: Tensor, positions: Tensor) -> View | None:
        """The image whose visual tokens lie nearest, at their positions: pruning changes a kept token only a little."""

        def distance(image: tuple[View, Tensor]) -> float:
            index = positions - VISUAL_START
            inside = (index >= 0) & (index < len(image[1]))
            return float((embeds[inside] - image[1][index[inside]]).norm(dim=-1).mean())

        # of equal images the one encoded last
        return min(reversed(self._images), key=distance)[0] if self._images else None


def _follow(move: Callable[..., None]) -> Callable[..., None]:
    """Rows change their places in the batch: let the acts go with them."""

    def move_both(runner: ModelRunner, source: int, target: int, length: int) -> None:
        move(runner, source, target, length)
        if isinstance(runner._network, ScriptedNetwork):
            runner._network.follow(source, target)

    return move_both


ModelRunner.move = _follow(ModelRunner.move)  # type: ignore[method-assign]


class NgramScan:
    """The no-repeat rule for one text as it is defined: look at every n-gram that starts within the window."""

    def __init__(self, n: int, window: int) -> None:
        self._n, self._window = n, window
        self.tokens: list[int] = []

    def push(self, token: int) -> None:
        self.tokens.append(token)

    def banned(self) -> list[int]:
        n, seen = self._n, self.tokens
        if not n or len(seen) < n - 1:
            return []
        start, end = max(0, len(seen) - self._window) if self._window else 0, seen[len(seen) - n + 1 :]
        return [seen[i + n - 1] for i in range(start, len(seen) - n + 1) if seen[i : i + n - 1] == end]
