"""Greedy decoding with continuous batching: prompts in, token ids with their log-probabilities out.

scheduler.py says which page is in which row, when it ends, and what is tried again; slots.py which row has which slot
of the cache; runner.py is one step of all rows on the device, forward.py the pass through the network, cache.py keys
and values, repeats.py what may not be written again, loops.py when a text repeats itself.
Letters: B pages or rows, L prompt length after pruning, D hidden size, V vocabulary.
"""

from rtprune_cli.decoding.forward import prefill
from rtprune_cli.decoding.scheduler import Scheduler, decode

__all__ = ["Scheduler", "decode", "prefill"]
