"""A real network that misbehaves where a test wants it to: pages loop, never end, or raise.

def script(prompt: Prompt) -> Act | None:
    return Act(cycle=tuple(range(20, 40))) if prompt.pruned else None

network = ScriptedNetwork(tiny.network, script)
model = dataclasses.replace(tiny, network=network)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

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

    It writes ``cycle`` for ever, or raises ``fault``, or (``endless``) goes on as the network would but without eos.
    """

    cycle: tuple[int, ...] = ()
    fault: Exception | None = None
    endless: bool = False
    after: int = 0


@dataclass
class _Row:
    act: Act
    written: int = 0


class ScriptedNetwork:
    """``network``, except for the pages to which ``script`` gives an act.

    ``on_encode`` may raise for the images of one call of the vision encoder. For the test to look at: ``prompts``, and
    ``batches``, the number of rows of each call of the decoder.
    """

    def __init__(
        self,
        network: Any,
        script: Callable[[Prompt], Act | None],
        on_encode: Callable[[Sequence[View]], None] = lambda _: None,
    ) -> None:
        self.network, self.script, self.on_encode = network, script, on_encode
        self.prompts: list[Prompt] = []
        self.batches: list[int] = []
        self._images: list[tuple[View, Tensor]] = []  # with the visual tokens (N, D)

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

    def __call__(self, **kwargs: Any) -> Any:
        cache = kwargs["past_key_values"]
        if "inputs_embeds" in kwargs:
            cache.rows = self._start(kwargs["inputs_embeds"], kwargs["position_ids"], kwargs["attention_mask"])
            _follow(cache)
        rows: list[_Row] = cache.rows
        self.batches.append(len(rows))
        for row in rows:
            if row.act.fault is not None and row.written == row.act.after:
                raise row.act.fault
        output = self.network(**kwargs)
        for place, row in enumerate(rows):
            logits, since = output.logits[place, -1], row.written - row.act.after
            if since >= 0 and (row.act.cycle or row.act.endless):
                logits[self.network.config.eos_token_id] = float("-inf")
            if since >= 0 and row.act.cycle:
                logits[row.act.cycle[since % len(row.act.cycle)]] = float("inf")
            row.written += 1
        return output

    def _start(self, embeds: Tensor, positions: Tensor, mask: Tensor) -> list[_Row]:
        rows = []
        for own_embeds, own_positions, own_mask in zip(embeds, positions.cpu(), mask.cpu(), strict=True):
            length = int(own_mask.sum())
            own_positions = own_positions[-length:]
            pruned = int(own_positions[-1]) >= length
            view = self._view(own_embeds[-length:], own_positions)
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


def _follow(cache: Any) -> None:
    """Rows leave the batch through the cache: let the acts leave with them."""
    select = cache.batch_select_indices

    def select_both(indices: Tensor) -> None:
        cache.rows = [cache.rows[place] for place in indices.tolist()]
        select(indices)

    cache.batch_select_indices = select_both
