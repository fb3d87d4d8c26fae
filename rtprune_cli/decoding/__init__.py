"""Greedy decoding with continuous batching: prompts in, token ids out.

Data flows one way: forward.py runs the network over prompts and steps, cache.py holds keys and values, repeats.py bans,
batch.py is one step of all rows on the device, places.py says which row lies where in the cache, decoder.py which page
is in which row.
Letters: B pages or rows, L prompt length after pruning, D hidden size, V vocabulary.
"""

from rtprune_cli.decoding.decoder import Decoder, decode
from rtprune_cli.decoding.forward import prefill

__all__ = ["Decoder", "decode", "prefill"]
