"""The training objective: text loss, and the helpers that make a small model read soon (docs/tiny-model.md).

Letters: B pages, N visual tokens with newlines and separator, C = G x G cells, S segments, T tokens to write,
L decoder positions, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtprune_cli.tiny.charset import BOS, CHARACTERS, FIRST_CHARACTER, PAD, VOCAB_SIZE
from rtprune_cli.tiny.labels import COLUMNS, CONTEXT, IGNORE, LINES, SEGMENTS, SLOTS, TrainingBatch
from rtprune_cli.tiny.network import patch_embedding

NORM_MARGIN = 0.35  # text cells' norm over blank cells', natural logarithm


class Heads(nn.Module):
    """Training-only read-outs; they are not part of the checkpoint."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.patch = nn.Linear(channels, VOCAB_SIZE)
        self.cell = nn.Linear(width, SEGMENTS * (SLOTS + 2 * CONTEXT) * VOCAB_SIZE)
        self.cell_line = nn.Linear(width, SEGMENTS * LINES)
        self.cell_column = nn.Linear(width, SEGMENTS * COLUMNS)
        self.line = nn.Linear(width, LINES)
        self.column = nn.Linear(width, COLUMNS)
        self.slot = nn.Linear(width, SEGMENTS * SLOTS)


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
    """Vision pass over gray uint8 pages (B, side, side); the same arithmetic as get_image_features."""
    tower = network.model.vision_tower
    sam = tower.sam_encoder
    hidden = patch_embedding(sam, gray.float() / 127.5 - 1)
    hidden = hidden + sam.interpolate_pos_encoding(*hidden.shape[1:3])
    for layer in sam.layers:
        hidden = layer(hidden)
    neck = sam.neck(hidden)
    compressed = sam.proj(neck)
    clip = tower.vision_encoder(compressed).last_hidden_state[:, 1:]
    cells = network.model.multi_modal_projector(torch.cat([clip, compressed.flatten(2).transpose(1, 2)], -1))
    return Vision(neck.permute(0, 2, 3, 1), cells)


def visual_index(cell: Tensor, grid: int) -> Tensor:
    """Decoder position of a cell: bos first, a newline token after every row of cells."""
    return 1 + cell + cell // grid


def decoder_inputs(network: Any, cells: Tensor, prompt: Tensor, ids: Tensor) -> Tensor:
    """Embeddings of bos, the cells with newlines and separator, the prompt, and the tokens to write but the last."""
    b, c, d = cells.shape
    model, grid = network.model, math.isqrt(c)
    newline = model.image_newline.expand(b, grid, 1, d)
    separator = model.view_separator.expand(b, 1, d)
    visual = torch.cat([torch.cat([cells.reshape(b, grid, grid, d), newline], 2).flatten(1, 2), separator], 1)
    embed = model.get_input_embeddings()
    before = embed(torch.full((b, 1), BOS, device=ids.device))
    return torch.cat([before, visual, embed(prompt.expand(b, -1)), embed(ids[:, :-1])], 1)


def pruned_mask(cells: Tensor, content: Tensor, objective: Objective) -> Tensor:
    """Which visual tokens stay, (B, N - 1) bool, newlines included, separator not.

    On a share of the pages some of the lowest-norm tokens go, never more than there are cells without content; the
    newlines of rows that lost everything go as well, except the first row's (the tool's rule).
    Masked tokens keep their positions, so masking equals removing.
    """
    b, c = content.shape
    grid = math.isqrt(c)
    draw = torch.rand(b, 2, generator=objective.generator).to(cells.device)
    blank = (~content).sum(1)
    count = (draw[:, 1] * (blank + 1)).long() * (draw[:, 0] < objective.prune_share)
    rank = cells.detach().norm(dim=-1).argsort(1).argsort(1)
    keep = (rank >= count[:, None]).reshape(b, grid, grid)
    newline = keep.any(2, keepdim=True)
    newline[:, 0] = True
    return torch.cat([keep, newline], 2).flatten(1)


def corrupt(ids: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Replace a share of the characters by others, so that the model learns to go on after its own errors."""
    draw = torch.rand(ids.shape, generator=generator).to(ids.device)
    other = torch.randint(FIRST_CHARACTER, FIRST_CHARACTER + len(CHARACTERS), ids.shape, generator=generator)
    return torch.where((draw < share) & (ids >= FIRST_CHARACTER), other.to(ids.device), ids)


def vision_losses(vision: Vision, heads: Heads, batch: TrainingBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Dense losses and their accuracies on text."""
    blank_weight = torch.ones(VOCAB_SIZE, device=vision.cells.device)
    blank_weight[PAD] = 0.1  # most patches are blank and would drown the rest
    patches = heads.patch(vision.neck).flatten(0, 2)
    patch_target = batch["patches"].flatten()
    slot_target = batch["slots"].flatten()
    supervised = (slot_target != IGNORE).nonzero()[:, 0]
    slot_target = slot_target[supervised]
    slots = heads.cell(vision.cells).reshape(-1, VOCAB_SIZE)[supervised]
    losses = {
        "patch": F.cross_entropy(patches, patch_target, blank_weight),
        "cell": F.cross_entropy(slots, slot_target, blank_weight),
        "cell_line": F.cross_entropy(heads.cell_line(vision.cells).reshape(-1, LINES), batch["cell_line"].flatten()),
        "cell_column": F.cross_entropy(
            heads.cell_column(vision.cells).reshape(-1, COLUMNS), batch["cell_column"].flatten()
        ),
        "norm": norm_loss(vision.cells, batch["content"]),
    }
    with torch.no_grad():
        inked = patch_target != PAD
        filled = (slot_target != PAD) & (supervised % (SLOTS + 2 * CONTEXT) < SLOTS)
        scores = {
            "patch_ok": (patches.argmax(-1) == patch_target)[inked].float().mean(),
            "cell_ok": (slots.argmax(-1) == slot_target)[filled].float().mean(),
        }
    return losses, scores


def norm_loss(cells: Tensor, content: Tensor) -> Tensor:
    """Hinge: norms of cells with content above the page's blank mean by the margin, of blank cells below the others.

    RTPrune keeps tokens of high norm; the full-size model has them on text by itself, this one is told to.
    """
    log = (cells.norm(dim=-1) + 1e-6).log()
    blank = ~content
    blank_mean = (log * blank).sum(1, keepdim=True) / blank.sum(1, keepdim=True).clamp(min=1)
    content_mean = (log * content).sum(1, keepdim=True) / content.sum(1, keepdim=True).clamp(min=1)
    above = F.relu(NORM_MARGIN - (log - blank_mean)) * content
    below = F.relu(NORM_MARGIN - (content_mean - log)) * blank
    return above.sum() / content.sum() + below.sum() / blank.sum().clamp(min=1)


def total_loss(
    network: Any, heads: Heads, batch: TrainingBatch, objective: Objective
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and every part of it by name."""
    vision = encode_vision(network, batch["gray"])
    losses, scores = vision_losses(vision, heads, batch)
    ids, prompt, grid = batch["ids"], batch["prompt"], math.isqrt(vision.cells.shape[1])
    corrupted = corrupt(ids, objective.corruption, objective.generator)
    inputs = decoder_inputs(network, vision.cells, prompt, corrupted)
    mask = torch.ones(inputs.shape[:2], dtype=torch.long, device=inputs.device)
    separator = 1 + grid * (grid + 1)
    mask[:, 1:separator] = pruned_mask(vision.cells, batch["content"], objective).long()
    positions = torch.arange(inputs.shape[1], device=inputs.device).expand(len(inputs), -1)
    output = network.model.language_model(
        inputs_embeds=inputs,
        attention_mask=mask,
        position_ids=positions,
        output_attentions=True,
        output_hidden_states=True,
        use_cache=False,
    )
    # The state at position p predicts the token at p + 1; the last of the prompt predicts the first to write.
    read = slice(separator + len(prompt), None)
    logits = network.lm_head(output.last_hidden_state[:, read])
    target = ids.masked_fill(ids == PAD, IGNORE).flatten()
    losses["text"] = F.cross_entropy(logits.flatten(0, 1), target)
    valid = batch["cell"] != IGNORE
    place = visual_index(batch["cell"].clamp(min=0), grid)
    seen = mask.gather(1, place).bool() & valid  # the cell may have been pruned
    guided = []
    for layer, which in objective.guided.items():
        mass = output.attentions[layer][:, which, read].gather(
            3, place[:, None, :, None].expand(-1, len(which), -1, 1)
        )[..., 0]
        guided.append(-(mass.transpose(1, 2)[seen].float() + 1e-6).log().mean())
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
