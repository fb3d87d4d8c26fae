"""A real network that writes what a test wants, or misbehaves where it wants it to: pages loop, never end, or raise.

def script(prompt: Prompt) -> Act | None:
    return Act(cycle=tuple(range(20, 40))) if prompt.pruned else None

network = ScriptedNetwork(tiny.network, script)
model = dataclasses.replace(tiny, network=network)

In texts, and for whatever loads a model from here on, the command line for one:

writes(monkeypatch, ["one\\n<PAGE>\\ntwo", Says("x", loop="abc"), Says("x", fault=torch.OutOfMemoryError())])
writes(monkeypatch, lambda prompt: "<PAGE>\\n".join("ab") if len(prompt.views) > 1 else "a")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rtprune_cli.decoding.cache import _Prompts, _Steps
from rtprune_cli.decoding.runner import ModelRunner
from rtprune_cli.model import Checkpoint, OcrModel

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

    ``views`` are the images in it, in order; none when this network encoded none.
    """

    ordinal: int
    batch: int
    length: int
    pruned: bool
    views: tuple[View, ...]

    @property
    def view(self) -> View | None:
        """The first image."""
        return self.views[0] if self.views else None


@dataclass(frozen=True)
class Act:
    """What becomes of a page after its first ``after`` tokens, which are the network's own, and then ``tokens``.

    It writes ``cycle`` for ever, or raises ``fault``, or (``endless``) goes on as the network would but without eos, or
    its numbers ``overflow``. The no-repeat rule holds here too: another token stands in a banned one's place.
    """

    cycle: tuple[int, ...] = ()
    fault: Exception | None = None
    endless: bool = False
    overflow: bool = False
    after: int = 0
    tokens: tuple[int, ...] = ()

    @property
    def turn(self) -> int:
        """Tokens before the rest happens."""
        return self.after + len(self.tokens)

    def token(self, written: int) -> int | None:
        """What it makes a page write that has ``written`` tokens; None: whatever the network would."""
        if written >= self.turn:
            return self.cycle[(written - self.turn) % len(self.cycle)] if self.cycle else None
        return self.tokens[written - self.after] if written >= self.after else None


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
            if row.act.fault is not None and row.written == row.act.turn:
                raise row.act.fault
        return self.network.model.language_model.layers[0](
            hidden, position_ids=position_ids, past_key_values=past_key_values, **kwargs
        )

    def lm_head(self, hidden: Tensor) -> Tensor:
        every = self.network.lm_head(hidden)
        for logits, row in zip(every, self._called, strict=False):
            token, its_turn = row.act.token(row.written), row.written >= row.act.turn
            if token is not None or (row.act.endless and its_turn):
                logits[self.network.config.eos_token_id] = float("-inf")
            if token is not None:
                logits[token] = float("inf")
            if row.act.overflow and its_turn:
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
            views = self._views(own_embeds[:length], own_positions[:length])
            self.prompts.append(Prompt(len(self.prompts), len(embeds), length, pruned, views))
            rows.append(_Row(self.script(self.prompts[-1]) or Act()))
        return rows

    def _views(self, embeds: Tensor, positions: Tensor) -> tuple[View, ...]:
        """The images in a prompt, one after another: those whose visual tokens lie nearest, at their positions."""
        found: list[View] = []
        start, end = VISUAL_START, int(positions[-1]) + 1
        while nearest := self._nearest(embeds, positions - start, end - start):
            view, tokens, distance = nearest
            if found and distance > 0.5:  # text: pruning changes a kept token less than that
                break
            found.append(view)
            start += len(tokens)
        return tuple(found)

    def _nearest(self, embeds: Tensor, index: Tensor, room: int) -> tuple[View, Tensor, float] | None:
        """The image that lies nearest at ``index`` (its tokens' own is 0 to N - 1), of those with at most ``room``
        tokens: with its tokens and their mean distance, in their mean length. Of equal ones the one encoded last."""
        nearest = None
        for view, tokens in reversed(self._images):
            inside = (index >= 0) & (index < len(tokens))
            if len(tokens) > room or not inside.any():
                continue
            own = tokens[index[inside]]
            distance = float((embeds[inside] - own).norm(dim=-1).mean() / own.norm(dim=-1).mean())
            if nearest is None or distance < nearest[2]:
                nearest = view, tokens, distance
        return nearest


@dataclass(frozen=True)
class Says:
    """What a page writes: ``text``, and then eos, or ``loop`` for ever, or it raises ``fault``."""

    text: str
    loop: str = ""
    fault: Exception | None = None

    def act(self, model: OcrModel) -> Act:
        tokens, cycle = (
            tuple(model.tokenizer.encode(text, add_special_tokens=False).ids) for text in (self.text, self.loop)
        )
        return Act(() if self.fault else cycle or (model.eos_token_id,), self.fault, tokens=tokens)


# A text for each prompt in the order in which they start (one beyond the last fails), or a function of the prompt. A
# page that is tried again, after a failure or in another mode, starts anew. None: whatever the network would write.
Texts = Sequence[str | Says | None] | Callable[[Prompt], str | Says | None]


def scripted(model: OcrModel, texts: Texts, **settings: Any) -> OcrModel:
    """``model`` with a :class:`ScriptedNetwork` (and its ``settings``) that writes ``texts``."""

    def script(prompt: Prompt) -> Act | None:
        said = texts(prompt) if callable(texts) else texts[prompt.ordinal]
        if said is None:
            return None
        return (Says(said) if isinstance(said, str) else said).act(model)

    return replace(model, network=ScriptedNetwork(model.network, script, **settings))  # type: ignore[arg-type]


def writes(monkeypatch: pytest.MonkeyPatch, texts: Texts, **settings: Any) -> list[ScriptedNetwork]:
    """Whatever is loaded from here on is :func:`scripted`, each time anew; the networks as they were loaded."""
    networks: list[ScriptedNetwork] = []
    real = Checkpoint.load

    def load(checkpoint: Checkpoint) -> OcrModel:
        model = scripted(real(checkpoint), texts, **settings)
        networks.append(model.network)  # type: ignore[arg-type]
        return model

    monkeypatch.setattr(Checkpoint, "load", load)
    return networks


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
