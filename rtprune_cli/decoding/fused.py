"""The decoder's layers for one new token of each row, in few kernels: what a step runs where kernels are chosen.

Two products of a layer and what stands between them are all that is left: 10 kernels a layer of experts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rtprune_cli.decoding.cache import KvCache, cache_shape
from rtprune_cli.decoding.kernels.chosen import Kernels, Sizes, choose, may_have


def fused_step(network: Any) -> FusedStep | None:
    """What runs the layers of a network's steps on its device; None where there are no kernels for them."""
    weight = network.get_input_embeddings().weight
    sizes = sizes_of(network) if may_have(weight.device) else None
    kernels = None if sizes is None else choose(sizes, weight.device, weight.dtype)
    return None if kernels is None or sizes is None else FusedStep(network, kernels, sizes)


def sizes_of(network: Any) -> Sizes | None:
    """The sizes of a network's decoder; None where one of its layers is not what the kernels compute."""
    config, layers = network.config.text_config, network.model.language_model.layers
    _, groups, head = cache_shape(config)
    sparse = [layer.mlp for layer in layers if hasattr(layer.mlp, "experts")]
    biased = any(name.endswith("bias") for layer in layers for name, _ in layer.named_parameters())
    if biased or config.hidden_act != "silu" or any(mlp.gate.topk_method != "greedy" for mlp in sparse):
        return None
    if not sparse:
        return None
    experts, inner = sparse[0].experts.num_experts, sparse[0].experts.down_proj.shape[2]
    return Sizes(
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        groups=groups,
        head=head,
        experts=experts,
        inner=inner,
        top_k=sparse[0].gate.top_k,
        shared=sparse[0].shared_experts.gate_proj.out_features // inner,
        vocabulary=config.vocab_size,
        eps=layers[0].input_layernorm.variance_epsilon,
        scale=float(sparse[0].gate.routed_scaling_factor),
    )


class FusedStep:
    """Runs the layers. The projections of queries, keys and values become views of one tensor, so that they are one
    product; the network computes what it did before."""

    def __init__(self, network: Any, kernels: Kernels, sizes: Sizes) -> None:
        self._decoder, self._kernels, self._sizes = network.model.language_model, kernels, sizes
        self._joint = [_joined(each.self_attn, "q_proj", "k_proj", "v_proj") for each in self._decoder.layers]
        self._dense = {
            number: _joined(layer.mlp, "gate_proj", "up_proj")
            for number, layer in enumerate(self._decoder.layers)
            if not hasattr(layer.mlp, "experts")
        }

    @property
    def kernels(self) -> tuple[str, ...]:
        """Their names."""
        return self._kernels.names

    @property
    def pick(self) -> Callable[..., tuple[Tensor, Tensor, Tensor]] | None:
        """Chooses the tokens; None: the runner does (runner.py)."""
        return self._kernels.pick

    @property
    def waits(self) -> bool:
        """Whether the layers' own experts are computed, which may ask the device for a number."""
        return self._kernels.experts is None

    def __call__(self, embeds: Tensor, positions: Tensor, cache: KvCache, places: Tensor, last: Tensor) -> Tensor:
        """The last hidden states (B, D) of embeddings (B, D) at ``positions`` (B,); their keys and values go to the
        first B slots of ``cache`` at ``places`` (B,), and each row sees its places up to ``last`` (B,)."""
        kernels, sizes = self._kernels, self._sizes
        cos, sin = (each[:, 0] for each in self._decoder.rotary_emb(embeds[:, None], position_ids=positions[:, None]))
        hidden, parts = embeds, embeds.new_empty(len(embeds), 0, embeds.shape[1])
        for number, layer in enumerate(self._decoder.layers):
            hidden, normed = kernels.add_norm(hidden, parts, layer.input_layernorm.weight, sizes.eps)
            asked = F.linear(normed, self._joint[number])
            seen = kernels.attend(asked, cos, sin, *cache.layer(number), places, last, sizes.heads)
            parts = layer.self_attn.o_proj(seen)[:, None]
            hidden, normed = kernels.add_norm(hidden, parts, layer.post_attention_layernorm.weight, sizes.eps)
            parts = self._said(number, layer.mlp, normed)
        return kernels.add_norm(hidden, parts, self._decoder.norm.weight, sizes.eps)[1]  # type: ignore[no-any-return]

    def _said(self, number: int, mlp: Any, normed: Tensor) -> Tensor:
        """What a layer's experts say, or its one network, as parts (B, P, D) of a sum."""
        if number in self._dense:
            gate, up = F.linear(normed, self._dense[number]).chunk(2, dim=-1)
            return mlp.down_proj(F.silu(gate) * up)[:, None]  # type: ignore[no-any-return]
        if self._kernels.experts is None:
            return mlp(normed[:, None])  # type: ignore[no-any-return]
        chosen, weights = self._kernels.route(
            normed, mlp.gate.weight, self._sizes.top_k, self._sizes.scale, self._sizes.shared
        )
        shared = mlp.shared_experts
        own = (each.weight for each in (shared.gate_proj, shared.up_proj, shared.down_proj))
        return self._kernels.experts(  # type: ignore[no-any-return]
            normed, chosen, weights, mlp.experts.gate_up_proj, mlp.experts.down_proj, *own
        )


@torch.no_grad()
def _joined(module: Any, *names: str) -> Tensor:
    """The weights of some linear layers as one tensor, of which theirs are views from now on."""
    layers = [getattr(module, name) for name in names]
    joint = torch.cat([layer.weight for layer in layers])
    for layer, own in zip(layers, joint.split([layer.out_features for layer in layers]), strict=True):
        layer.weight.data = own
    return joint
