"""One step of all rows on the device. Nothing here waits for the device or asks it for a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rtprune_cli.decoding.cache import KvCache
from rtprune_cli.decoding.forward import prefill, run_decoder
from rtprune_cli.decoding.fused import FusedStep
from rtprune_cli.decoding.repeats import RepeatRule
from rtprune_cli.device.graphs import Graphs, send
from rtprune_cli.records import DecoderInput

NOT_A_TOKEN = -1  # written for a row whose logits are not numbers


class ModelRunner:
    """The rows' state: the token to feed next, its position, how many tokens were put into the cache, and how many of
    these are the prompt's, each (rows,).

    With a ``window`` of W tokens the cache is a ring behind the prompt of P tokens: the t-th token that was written
    lies at P + t mod W, so that the last W are there and no others. Their order does not matter, since keys are stored
    with their position in them.

    Rows that are not in use stand still at position 0, so that a step may run over them: whatever they write lies in
    their own slot. All state stays where it is in memory, as recorded graphs ask.
    """

    def __init__(
        self,
        network: Any,
        cache: KvCache,
        rule: RepeatRule,
        *,
        rows: int,
        device: torch.device,
        graphs: Graphs,
        window: int | None = None,
        fused: FusedStep | None = None,
    ) -> None:
        """``fused`` runs the layers of a step; None: the network's own do."""
        self._fused = fused
        self._network, self._cache, self._rule, self._graphs = network, cache, rule, graphs
        self._device, self._window = device, window
        # token, position, length, 1 for rows in use, and the prompt's length
        self._state = torch.zeros(5, rows, dtype=torch.long, device=device)
        self._token, self._position, self._length, self._used, self._prompt = self._state

    @torch.inference_mode()
    def start(self, slots: Sequence[int], prompts: Sequence[DecoderInput]) -> Tensor:
        """Run prompts into free rows; what was chosen for each, (2, B): see :meth:`_choose`."""
        rows = send(torch.tensor(slots), self._device)
        lengths = [len(prompt.embeds) for prompt in prompts]
        facts = torch.tensor([[prompt.next_position for prompt in prompts], lengths, [1] * len(prompts), lengths])
        logits = prefill(self._network, prompts, self._cache.prompts(rows))
        self._rule.reset(rows)
        chosen = self._choose(rows, logits)
        self._state[:, rows] = torch.cat([_fed(chosen)[None], send(facts, self._device)])
        return chosen

    @torch.inference_mode()
    def step(self, count: int, reach: int) -> Tensor:
        """What is chosen for each of the first ``count`` rows, (2, count): see :meth:`_choose`. No row is longer than
        ``reach`` afterwards."""
        if not self._graphs.recording(self._device):
            return self._step(count, reach)
        # The kernels of a fused step read from memory how far they reach.
        key = (count,) if self._fused else (count, reach)
        chosen: Tensor = self._graphs.run(key, lambda: self._step(count, reach))
        return chosen.clone()

    def _step(self, count: int, reach: int) -> Tensor:
        place = last = self._length[:count]
        if self._window is not None:
            prompt = self._prompt[:count]
            place = prompt + (last - prompt) % self._window
            last = torch.minimum(last, prompt + self._window - 1)
        embeds = self._network.get_input_embeddings()(self._token[:count])
        if self._fused is not None:
            hidden = self._fused(embeds, self._position[:count], self._cache, place, last)
        else:
            seen = torch.arange(reach, device=self._device) <= last[:, None]
            mask = torch.zeros_like(seen, dtype=embeds.dtype).masked_fill(~seen, float("-inf"))[:, None, None]
            cache, positions = self._cache.steps(count, reach, place), self._position[:count, None]
            hidden = run_decoder(self._network, embeds[:, None], positions, mask, cache)[:, -1]
        chosen = self._choose(slice(count), self._network.lm_head(hidden))
        self._state[1:3, :count] += self._used[:count]
        self._token[:count] = _fed(chosen)
        return chosen

    def _choose(self, rows: slice | Tensor, logits: Tensor) -> Tensor:
        """The next token of each row and its log-probability, in one tensor (2, k), which the host fetches at once.

        float64 holds every token id as it is.
        """
        if self._fused is not None and self._fused.pick is not None:
            best, token, logprob = self._fused.pick(logits, *self._rule.facts(rows))
        else:
            logits = logits.float()
            best, token = self._rule.ban(rows, logits).max(dim=-1)
            logprob = logits.log_softmax(dim=-1).gather(1, token[:, None])[:, 0]
        self._rule.push(rows, token)
        # In a row with a logit beyond all numbers the log-probability is 0.
        return torch.stack([torch.where(best.isnan(), NOT_A_TOKEN, token).double(), logprob.nan_to_num(0.0).double()])

    def lay_out(self, rows: int, capacity: int, used_rows: int, used: int) -> None:
        """Lay the cache out anew (:meth:`KvCache.lay_out`), and let go what was recorded on the old slots."""
        self._graphs.clear()
        self._cache.lay_out(rows, capacity, used_rows, used)

    def move(self, source: int, target: int, length: int) -> None:
        """A row in use goes to a free slot."""
        self._cache.move(source, target, length)
        self._rule.move(source, target)
        self._state[:, target] = self._state[:, source]
        self.free(source)

    def free(self, slot: int) -> None:
        """A row is done."""
        self._state[:, slot] = 0


def _fed(chosen: Tensor) -> Tensor:
    """The tokens (k,) of what was chosen as the network takes them: a row without one gets any."""
    return chosen[0].long().clamp_min(0)
