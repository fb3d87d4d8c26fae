"""The bundled model's vocabulary: special tokens in the official spelling, then single characters."""

from __future__ import annotations

import json
import re
from pathlib import Path

SPECIALS = (
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜▁pad▁｜>",
    "<image>",
    "<|ref|>",
    "<|/ref|>",
    "<|det|>",
    "<|/det|>",
    "<|grounding|>",
    "<td>",
    "</td>",
    "<tr>",
    "</tr>",
)
BOS, EOS, PAD, IMAGE = 0, 1, 2, 3
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
FIRST_CHARACTER = len(SPECIALS)
VOCAB_SIZE = 112  # 13 specials + 96 characters, rounded up to a multiple of 16
NEWLINE = FIRST_CHARACTER

_ID = {c: FIRST_CHARACTER + i for i, c in enumerate(CHARACTERS)}


def encode(text: str) -> list[int]:
    """Ids of a text of printable ASCII and newlines; KeyError on anything else."""
    return [_ID[c] for c in text]


def encode_tagged(text: str) -> list[int]:
    """Ids of a text in which the special tokens stand by their spelling, as in a prompt; KeyError as above."""
    parts = re.split("(" + "|".join(map(re.escape, SPECIALS)) + ")", text)
    return [i for part in parts for i in ([SPECIALS.index(part)] if part in SPECIALS else encode(part))]


def decode(ids: list[int]) -> str:
    """Characters of the ids; special tokens are left out."""
    last = FIRST_CHARACTER + len(CHARACTERS)
    return "".join(CHARACTERS[i - FIRST_CHARACTER] for i in ids if FIRST_CHARACTER <= i < last)


def write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json for the `tokenizers` library.

    A byte-pair model without merges is a character tokenizer, and `Fuse` joins the characters
    without the spaces that most decoders put between tokens.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models

    vocab = {token: i for i, token in enumerate(SPECIALS)} | _ID
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIALS])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIALS[BOS],
        "eos_token": SPECIALS[EOS],
        "pad_token": SPECIALS[PAD],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
    }
    text = json.dumps(settings, ensure_ascii=False, indent=1) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
