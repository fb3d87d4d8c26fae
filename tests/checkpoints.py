"""Checkpoints that the program can read with: the small golden ones, which have no tokenizer, and one made for tests.

Its 400 ids fit every golden config.json: bos 0, eos 1, the image 399. It writes any text: byte by byte, but for a few
merges, so that ids are not all of one byte and boxes are not long. ``<PAGE>`` is no token of its own but three pieces.
"""

from __future__ import annotations

import itertools
import shutil
import string
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

# As the tokenizers of the real models spell them
CONTROL = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>")
TAGS = ("<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>", "<td>", "</td>", "<tr>", "</tr>", "<image>")
SPACE, LINE_END = "\u0120", "\u010a"  # how a byte-level vocabulary spells these bytes
MERGES = [
    *itertools.product(string.digits, repeat=2),
    *((SPACE, letter) for letter in string.ascii_lowercase),
    (",", SPACE),
    (LINE_END, LINE_END),
    ("P", "A"),
    ("G", "E"),
    ("PA", "GE"),
]


def make_tokenizer() -> Tokenizer:
    """The tokenizer: control tokens, 256 bytes, merges, tags; 400 in all, the image's place the last."""
    pieces = [*CONTROL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, MERGES), *TAGS]
    vocabulary = {piece: token for token, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in (*CONTROL, *TAGS)])
    return tokenizer


def make_checkpoint(source: Path, folder: Path) -> Path:
    """Copy a golden checkpoint's folder to ``folder``, and add the tokenizer."""
    shutil.copytree(source, folder)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
