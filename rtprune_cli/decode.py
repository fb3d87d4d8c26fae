"""Greedy decoding of several pages over a KV cache: prompt assembly, prefill, steps, and the rules that stop them.

Letters: B pages, L prompt length after pruning, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rtprune_cli.loops import LoopGuard
from rtprune_cli.options import DecodeOptions
from rtprune_cli.records import Decoded, DecoderInput, FinishReason, PrunedTokens
from rtprune_cli.timing import Stopwatch

if TYPE_CHECKING:
    from transformers import DynamicCache, UnlimitedOcrForConditionalGeneration


def assemble(before: Tensor, visual: PrunedTokens, after: Tensor) -> DecoderInput:
    """Prompt of one page: text before the image (b, D), the kept visual tokens, text after it (a, D).

    Every token keeps the position it has without pruning (RTPrune section 4, rule 6 in docs/how-it-works.md).
    """
    start, end = len(before), len(before) + visual.total
    positions = torch.cat([torch.arange(start), start + visual.keep, torch.arange(end, end + len(after))])
    return DecoderInput(torch.cat([before, visual.tokens, after]), positions, end + len(after))


class NgramGuard:
    """Which tokens would repeat an n-gram of this page's output that started within the last ``window`` tokens.

    The rule of the official vLLM recipe; window 0 looks at the whole output, n 0 bans nothing.
    """

    def __init__(self, n: int, window: int, exempt: frozenset[int]) -> None:
        self._n, self._window, self._exempt = n, window, exempt
        self.tokens: list[int] = []
        # (n-1)-gram -> (start, following token) of each of its occurrences
        self._followers: defaultdict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)

    def push(self, token: int) -> None:
        """Take in the next output token."""
        self.tokens.append(token)
        start = len(self.tokens) - self._n
        if self._n and start >= 0:
            self._followers[tuple(self.tokens[start:-1])].append((start, token))

    def banned(self) -> list[int]:
        """Tokens that must not come next."""
        prefix_start = len(self.tokens) - self._n + 1
        if not self._n or prefix_start < 0:
            return []
        oldest = len(self.tokens) - self._window if self._window else 0
        found = self._followers.get(tuple(self.tokens[prefix_start:]), ())
        return [token for start, token in found if start >= oldest and token not in self._exempt]


def prefill(
    network: UnlimitedOcrForConditionalGeneration, inputs: Sequence[DecoderInput]
) -> tuple[Tensor, DynamicCache, Tensor, float]:
    """Run the prompts of B pages, padded on the left.

    Returns:
        Logits of the first new token (B, V) in float32, the cache, the attention mask (B, L), and milliseconds.
    """
    from transformers import DynamicCache

    longest = max(len(page.embeds) for page in inputs)
    embeds = inputs[0].embeds.new_zeros(len(inputs), longest, inputs[0].embeds.shape[-1])
    positions = torch.zeros(len(inputs), longest, dtype=torch.long)
    mask = torch.zeros(len(inputs), longest, dtype=torch.long)
    for row, page in enumerate(inputs):
        pad = longest - len(page.embeds)
        embeds[row, pad:], positions[row, pad:], mask[row, pad:] = page.embeds, page.positions, 1
    cache = DynamicCache(config=network.config.text_config)
    mask, positions = mask.to(embeds.device), positions.to(embeds.device)
    clock = Stopwatch(embeds.device)
    logits = network(
        inputs_embeds=embeds,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return logits.float(), cache, mask, clock.stop()


@torch.inference_mode()
def decode(
    network: UnlimitedOcrForConditionalGeneration,
    inputs: Sequence[DecoderInput],
    options: DecodeOptions,
    *,
    eos_token_id: int,
    ngram_exempt: frozenset[int] = frozenset(),
) -> list[Decoded]:
    """Decode B pages together; each gets the tokens that it would get alone (exactly so in float32).

    A page ends at eos, after ``options.max_new_tokens``, at the decoder's last position, or when its text has run into
    a loop, whichever comes first. Of a loop only the first copy of its passage stays, also where the limit ended it.
    """
    last_position = int(network.config.text_config.max_position_embeddings)
    logits, cache, mask, prefill_ms = prefill(network, inputs)
    clock = Stopwatch(logits.device)
    pages = [NgramGuard(options.no_repeat_ngram, options.no_repeat_window, ngram_exempt) for _ in inputs]
    loops = [LoopGuard(options.loop_window) for _ in inputs]
    reasons: list[FinishReason] = ["length"] * len(inputs)
    budgets = [min(options.max_new_tokens, last_position - page.next_position) for page in inputs]
    rows = list(range(len(inputs)))  # the pages still in the batch, in cache order
    while rows:
        for place, row in enumerate(rows):
            if banned := pages[row].banned():
                logits[place, banned] = float("-inf")
        chosen = logits.argmax(dim=-1).tolist()
        staying = []
        for place, row in enumerate(rows):
            if chosen[place] == eos_token_id:
                reasons[row] = "eos"
            elif len(pages[row].tokens) < budgets[row]:
                pages[row].push(chosen[place])
                loops[row].push(chosen[place])
                if loops[row].looping:
                    reasons[row] = "loop"
                elif len(pages[row].tokens) < budgets[row]:
                    staying.append(place)
        if len(staying) < len(rows):
            if not staying:
                break
            cache.batch_select_indices(torch.tensor(staying, device=mask.device))
            mask, rows = mask[staying], [rows[place] for place in staying]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        tokens = [pages[row].tokens[-1] for row in rows]
        positions = [inputs[row].next_position + len(pages[row].tokens) - 1 for row in rows]
        step = torch.tensor([tokens, positions], device=mask.device)
        logits = network(
            input_ids=step[0, :, None],
            attention_mask=mask,
            position_ids=step[1, :, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1].float()  # fmt: skip
    decode_ms = clock.stop()
    share = len(inputs)
    decoded = []
    for page, loop, reason in zip(pages, loops, reasons, strict=True):
        if reason == "length" and loop.looping_at_limit:
            reason = "loop"
        kept = loop.kept if reason == "loop" else len(page.tokens)
        cut = len(page.tokens) - kept
        decoded.append(Decoded(page.tokens[:kept], reason, prefill_ms / share, decode_ms / share, loop_tokens_cut=cut))
    return decoded
