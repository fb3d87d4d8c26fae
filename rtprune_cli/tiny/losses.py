"""The training objective: text loss, and the helpers that make a small model read soon (docs/tiny-model.md).

Letters: B pages, N visual tokens with newlines and separator, C cells, T characters, L decoder positions, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtprune_cli.tiny.charset import BOS, EOS, FREE_OCR, PAD, VOCAB_SIZE, encode
from rtprune_cli.tiny.labels import COLUMNS, CONTEXT, GRID, IGNORE, LINES, SLOTS, Batch
from rtprune_cli.tiny.network import patch_embedding

CELLS = GRID * GRID
VISUAL = GRID * (GRID + 1) + 1
PROMPT = encode(FREE_OCR)
TEXT_START = 1 + VISUAL + len(PROMPT)  # position of the first character; bos, visual tokens and prompt precede it
NORM_MARGIN = 0.35  # text cells' norm over blank cells', natural logarithm


class Heads(nn.Module):
    """Training-only read-outs; they are not part of the checkpoint."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.patch = nn.Linear(channels, VOCAB_SIZE)
        self.cell = nn.Linear(width, (SLOTS + 2 * CONTEXT) * VOCAB_SIZE)
        self.cell_line = nn.Linear(width, LINES)
        self.cell_column = nn.Linear(width, COLUMNS)
        self.line = nn.Linear(width, LINES)
        self.column = nn.Linear(width, COLUMNS)
        self.slot = nn.Linear(width, SLOTS)


@dataclass
class Objective:
    """Settings of the loss; ``guided`` maps a decoder layer to the heads told where to look."""

    weights: dict[str, float]
    guided: dict[int, list[int]]
    corruption: float
    prune_share: float = 0.0
    generator: torch.Generator = field(default_factory=torch.Generator)


@dataclass
class Vision:
    """What the vision side gives: SAM's neck (B, h, w, channels) and the projected cells (B, C, D)."""

    neck: Tensor
    cells: Tensor


def encode_vision(network: Any, gray: Tensor) -> Vision:
    """Vision pass over gray uint8 pages (B, SIDE, SIDE); the same arithmetic as get_image_features."""
    tower = network.model.vision_tower
    sam = tower.sam_encoder
    hidden = patch_embedding(sam, gray.float() / 127.5 - 1) + sam.pos_embed
    for layer in sam.layers:
        hidden = layer(hidden)
    neck = sam.neck(hidden)
    compressed = sam.proj(neck)
    clip = tower.vision_encoder(compressed).last_hidden_state[:, 1:]
    cells = network.model.multi_modal_projector(torch.cat([clip, compressed.flatten(2).transpose(1, 2)], -1))
    return Vision(neck.permute(0, 2, 3, 1), cells)


def visual_index(cell: Tensor) -> Tensor:
    """Decoder position of a cell: bos first, a newline token after every row of cells."""
    return 1 + cell + cell // GRID


def decoder_inputs(network: Any, cells: Tensor, ids: Tensor) -> Tensor:
    """Embeddings of bos, the cells with newlines and separator, the prompt, and the characters but the last."""
    b, _, d = cells.shape
    model = network.model
    grid = cells.reshape(b, GRID, GRID, d)
    newline = model.image_newline.expand(b, GRID, 1, d)
    separator = model.view_separator.expand(b, 1, d)
    visual = torch.cat([torch.cat([grid, newline], 2).flatten(1, 2), separator], 1)
    embed = model.get_input_embeddings()
    before = embed(torch.full((b, 1), BOS, device=ids.device))
    after = embed(torch.tensor(PROMPT, device=ids.device).expand(b, -1))
    return torch.cat([before, visual, after, embed(ids[:, :-1])], 1)


def pruned_mask(cells: Tensor, text: Tensor, objective: Objective) -> Tensor:
    """Which visual tokens stay, (B, N - 1) bool, newlines included, separator not.

    On a share of the pages some of the lowest-norm tokens go, never more than there are blank cells; the
    newlines of rows that lost everything go as well, except the first row's (the tool's rule).
    Masked tokens keep their positions, so masking equals removing.
    """
    b = len(cells)
    draw = torch.rand(b, 2, generator=objective.generator).to(cells.device)
    blank = (~text).sum(1)
    count = (draw[:, 1] * (blank + 1)).long() * (draw[:, 0] < objective.prune_share)
    rank = cells.detach().norm(dim=-1).argsort(1).argsort(1)
    keep = (rank >= count[:, None]).reshape(b, GRID, GRID)
    newline = keep.any(2, keepdim=True)
    newline[:, 0] = True
    return torch.cat([keep, newline], 2).flatten(1)


def corrupt(ids: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Replace a share of the characters by others, so that the model learns to go on after its own errors."""
    draw = torch.rand(ids.shape, generator=generator).to(ids.device)
    other = torch.randint(PAD + 11, VOCAB_SIZE - 3, ids.shape, generator=generator).to(ids.device)
    return torch.where((draw < share) & (ids > EOS) & (ids != PAD), other, ids)


def vision_losses(vision: Vision, heads: Heads, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Dense losses and their accuracies on text."""
    blank_weight = torch.ones(VOCAB_SIZE, device=vision.cells.device)
    blank_weight[PAD] = 0.1  # most patches are blank and would drown the rest
    patches = heads.patch(vision.neck).flatten(0, 2)
    patch_target = batch["patches"].flatten()
    slots = heads.cell(vision.cells).unflatten(-1, (-1, VOCAB_SIZE))
    text = batch["cell_line"] != IGNORE
    # Slots of blank cells carry no more than "blank": one in the loss is enough.
    slot_target = batch["slots"].clone()
    slot_target[..., 1:][~text] = IGNORE
    slot_loss = F.cross_entropy(slots.flatten(0, 2), slot_target.flatten(), blank_weight, ignore_index=IGNORE)
    losses = {
        "patch": F.cross_entropy(patches, patch_target, blank_weight),
        "cell": slot_loss,
        "cell_line": F.cross_entropy(heads.cell_line(vision.cells).flatten(0, 1), batch["cell_line"].flatten()),
        "cell_column": F.cross_entropy(heads.cell_column(vision.cells).flatten(0, 1), batch["cell_column"].flatten()),
        "norm": norm_loss(vision.cells, text),
    }
    with torch.no_grad():
        inked = patch_target != PAD
        own = batch["slots"][..., :SLOTS]
        filled = own != PAD
        scores = {
            "patch_ok": (patches.argmax(-1) == patch_target)[inked].float().mean(),
            "cell_ok": (slots[..., :SLOTS, :].argmax(-1) == own)[filled].float().mean(),
        }
    return losses, scores


def norm_loss(cells: Tensor, text: Tensor) -> Tensor:
    """Hinge: every text cell's norm above the page's blank mean by the margin, and blank cells below the text mean.

    RTPrune keeps tokens of high norm; the full-size model has them on text by itself, this one is told to.
    """
    log = (cells.norm(dim=-1) + 1e-6).log()
    blank = ~text
    blank_mean = (log * blank).sum(1, keepdim=True) / blank.sum(1, keepdim=True).clamp(min=1)
    text_mean = (log * text).sum(1, keepdim=True) / text.sum(1, keepdim=True).clamp(min=1)
    above = F.relu(NORM_MARGIN - (log - blank_mean)) * text
    below = F.relu(NORM_MARGIN - (text_mean - log)) * blank
    return above.sum() / text.sum() + below.sum() / blank.sum().clamp(min=1)


def total_loss(network: Any, heads: Heads, batch: Batch, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and every part of it by name."""
    vision = encode_vision(network, batch["gray"])
    losses, scores = vision_losses(vision, heads, batch)
    ids = batch["ids"]
    text = batch["cell_line"] != IGNORE
    inputs = decoder_inputs(network, vision.cells, corrupt(ids, objective.corruption, objective.generator))
    mask = torch.ones(inputs.shape[:2], dtype=torch.long, device=inputs.device)
    mask[:, 1:VISUAL] = pruned_mask(vision.cells, text, objective).long()
    positions = torch.arange(inputs.shape[1], device=inputs.device).expand(len(inputs), -1)
    output = network.model.language_model(
        inputs_embeds=inputs,
        attention_mask=mask,
        position_ids=positions,
        output_attentions=True,
        output_hidden_states=True,
        use_cache=False,
    )
    # The state at position p predicts the character at p + 1.
    read = slice(TEXT_START - 1, None)
    logits = network.lm_head(output.last_hidden_state[:, read])
    target = ids.masked_fill(ids == PAD, IGNORE).flatten()
    losses["text"] = F.cross_entropy(logits.flatten(0, 1), target)
    valid = batch["cell"] != IGNORE
    place = visual_index(batch["cell"].clamp(min=0))
    seen = mask.gather(1, place).bool() & valid  # a text cell may have been pruned
    guided = []
    for layer, which in objective.guided.items():
        mass = output.attentions[layer][:, which, read].gather(
            3, place[:, None, :, None].expand(-1, len(which), -1, 1)
        )[..., 0]
        guided.append(-(mass.transpose(1, 2)[seen] + 1e-6).log().mean())
    losses["guided"] = torch.stack(guided).mean()
    first, second = (output.hidden_states[i][:, read] for i in (1, 2))
    for name, hidden, head in (
        ("line", first, heads.line),
        ("column", first, heads.column),
        ("slot", second, heads.slot),
    ):
        losses[name] = F.cross_entropy(head(hidden).flatten(0, 1), batch[name].flatten())
    weights = objective.weights
    group = {"line": "place", "column": "place", "slot": "place", "cell_line": "place", "cell_column": "place"}
    total = sum((weights[group.get(name, name)] * loss for name, loss in losses.items()), torch.zeros(()))
    with torch.no_grad():
        scores["text_ok"] = (logits.argmax(-1) == ids)[valid].float().mean()
    return total, {**losses, **scores}
