"""Attention of a GLNet's blocks for those who ask: among slots, and among tokens.

The forward pass is left as it is: hooks keep the input of every self-attention, and the weights are
computed when they are read.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from glmix.blocks import AttentionBlock, Block, GLMixBlock
from glmix.glnet import GLNet, Stage
from glmix.layers import SelfAttention


class Attention(Mapping[str, Tensor]):
    """Block name (`stride.index`) → weights, computed anew each time they are read.

    GLMix blocks have (B, K, K), row i what slot i takes from the others; attention blocks have
    (B, N, N), rows of tokens. Rows sum to 1; the mean over heads; no gradient flows.
    """

    def __init__(self) -> None:
        self._inputs: dict[str, tuple[SelfAttention, Tensor]] = {}

    def keep(self, name: str, module: SelfAttention, x: Tensor) -> None:
        """Note what entered the self-attention of a block."""
        self._inputs[name] = (module, x)

    def of(self, images: slice) -> "Attention":
        """That of some images of the batch, or their mirror images."""
        found = Attention()
        for name, (module, x) in self._inputs.items():
            found.keep(name, module, x[images])
        return found

    def __getitem__(self, name: str) -> Tensor:
        module, x = self._inputs[name]
        with torch.no_grad():
            return module.weights(x.to(module.in_proj_weight.dtype))

    def __iter__(self) -> Iterator[str]:
        return iter(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)


@contextmanager
def recorded_attention(net: GLNet) -> Iterator[Attention]:
    """Within, every forward pass of `net` leaves its attention in what this yields.

    Args:
        net: its answers do not change.
    """
    found = Attention()
    handles = [
        attention.register_forward_pre_hook(_keeper(found, name))
        for name, attention in attention_modules(net).items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def attention_modules(net: GLNet, tokens: bool | None = None) -> dict[str, SelfAttention]:
    """Block name → its self-attention, in network order.

    Args:
        net: any GLNet.
        tokens: True for the attention among tokens alone, False for that among slots, None for all.
    """
    found: dict[str, SelfAttention] = {}
    for stage in net.stages:
        for i, block in enumerate(cast(Stage, stage).blocks):
            module = _attention_of(cast(Block, block), tokens)
            if module is not None:
                found[f"{4 * 2 ** cast(Stage, stage).index}.{i}"] = module
    return found


def _attention_of(block: Block, tokens: bool | None) -> SelfAttention | None:
    if isinstance(block, AttentionBlock) and tokens is not False:
        return block.mha_op
    if isinstance(block, GLMixBlock) and block.has_slots and tokens is not True:
        return block.relation_mha
    return None


def _keeper(found: Attention, name: str) -> Callable[[nn.Module, Any], None]:
    def keep(module: nn.Module, args: Any) -> None:
        found.keep(name, cast(SelfAttention, module), args[0].detach())

    return keep
