"""GLNet: a timm backbone whose blocks mix a grid by convolution and by semantic slots.

After "Revisiting the Integration of Convolution and Attention for Vision Backbone" (Zhu et al.,
NeurIPS 2024). Module names are those of the released checkpoints; `variants.py` holds the models.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from timm.layers import SelectAdaptivePool2d, calculate_drop_path_rates, trunc_normal_
from timm.models import checkpoint_seq, register_notrace_function
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from glmix.blocks import AttentionBlock, Block, GLMixBlock
from glmix.checkpoints import released_names_hook
from glmix.clustering import SlotAssignment, exporting
from glmix.layers import (
    channels_last,
    overlapping_downsample,
    overlapping_stem,
    patch_downsample,
    patch_stem,
)


class Stage(nn.Module):
    """Blocks of one resolution."""

    def __init__(self, blocks: list[Block], index: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.index = index
        self.grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) → (B, D, h, w)."""
        if self.grad_checkpointing and self.training:
            return checkpoint_seq(self.blocks, x)
        for block in self.blocks:
            x = block(x)
        return x

    def forward_slots(self, x: Tensor) -> tuple[Tensor, list[SlotAssignment]]:
        """The same, with the slot assignment of every GLMix block."""
        assignments = []
        for i, block in enumerate(cast(Iterable[Block], self.blocks)):
            h, w = x.shape[-2:]
            x, logits = block.forward_slots(x)
            if logits is not None:
                assignments.append(SlotAssignment(logits, (h, w), self.index, i))
        return x, assignments


class GLNet(nn.Module):
    """Four stages at strides 4, 8, 16, 32.

    Args:
        in_chans: channels of the image.
        num_classes: classes of the head; 0 for none.
        global_pool: timm's name of the pooling before the head; empty, without a head, for the
            last grid as it is.
        depths: blocks a stage.
        embed_dims: channels a stage; multiples of `head_dim`.
        mixers: a stage's blocks by letter, repeated along its depth: `G` GLMix, `A` attention.
        head_dim: channels an attention head.
        mlp_ratio: hidden over outer channels of the MLPs.
        mlp_depthwise: depth-wise 3×3 convolution inside the MLPs.
        pos_conv: depth-wise 3×3 position encoding at the start of a block.
        overlapping: overlapping stem and transitions (3×3), instead of patches.
        slot_grid: rows and columns of the initial slots.
        slot_scale: initial value of the learnt inverse temperature; None for the paper's D^−½.
        slot_init: initial slots `pool` the block's input, or are `learnt`.
        clustering: `soft`, or `hard` by k-means on hashes.
        branches: local and global branch `parallel`, `local` or `global` alone, `global-local` or
            `local-global` one after the other.
        local_mixer: local branch by `conv` or by attention within a 7×7 `window`.
        local_kernel: side of the depth-wise convolution of the local branch.
        token_head: an auxiliary classifier on every token of the last grid (token labelling).
            The answer is then class logits + 0.5 · the maximum over tokens of its logits.
        layer_scale: initial value of the layer scales, None for none.
        drop_rate: dropout before the head.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        device: where the parameters are made; None for torch's default.
        dtype: of the parameters; None for torch's default.

    Raises:
        ValueError: if an argument has no meaning, or a head is asked for without pooling.
    """

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        depths: tuple[int, ...] = (4, 4, 18, 4),
        embed_dims: tuple[int, ...] = (64, 128, 256, 512),
        mixers: tuple[str, ...] = ("G", "G", "GA", "A"),
        head_dim: int = 32,
        mlp_ratio: float = 3.0,
        mlp_depthwise: bool = True,
        pos_conv: bool = True,
        overlapping: bool = True,
        slot_grid: tuple[int, int] = (8, 8),
        slot_scale: float | None = None,
        slot_init: str = "pool",
        clustering: str = "soft",
        branches: str = "parallel",
        local_mixer: str = "conv",
        local_kernel: int = 5,
        token_head: bool = False,
        layer_scale: float | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.num_features = embed_dims[-1]
        # patches of 4, 2, 2 and 2 pixels leave nothing of a smaller image
        self.smallest_input = 1 if overlapping else 4 * 2 ** (len(embed_dims) - 1)
        self.feature_info = [
            {"num_chs": dim, "reduction": 4 * 2**i, "module": f"stages.{i}"}
            for i, dim in enumerate(embed_dims)
        ]
        common: dict[str, Any] = {
            "mlp_ratio": mlp_ratio,
            "mlp_depthwise": mlp_depthwise,
            "pos_conv": pos_conv,
            "layer_scale": layer_scale,
        }
        kinds: dict[str, Callable[..., Block]] = {
            "G": partial(
                GLMixBlock,
                slot_grid=slot_grid,
                slot_scale=slot_scale,
                slot_init=slot_init,
                clustering=clustering,
                branches=branches,
                local_mixer=local_mixer,
                local_kernel=local_kernel,
                **common,
            ),
            "A": partial(AttentionBlock, **common),
        }
        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        with nullcontext() if device is None else torch.device(device):
            self.downsample_layers = _downsample_layers(in_chans, embed_dims, overlapping)
            self.stages = nn.ModuleList()
            for i, (depth, dim, letters) in enumerate(zip(depths, embed_dims, mixers, strict=True)):
                blocks = [
                    kinds[letters[j % len(letters)]](dim, dim // head_dim, drop_path=rates[i][j])
                    for j in range(depth)
                ]
                self.stages.append(Stage(blocks, i))
            self.norm: nn.Module = nn.BatchNorm2d(self.num_features)
            self._set_pool(global_pool)
            self.head_drop = nn.Dropout(drop_rate)
            self.head = self._make_head(num_classes)
            self.tklb_aux_head = self._make_head(num_classes, pooled=False) if token_head else None
            self.apply(_init_weights)
        if dtype is not None:
            self.to(dtype)
        self.register_load_state_dict_pre_hook(released_names_hook)

    def _set_pool(self, global_pool: str) -> None:
        self.global_pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=bool(global_pool))
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

    def _make_head(self, num_classes: int, pooled: bool = True) -> nn.Module:
        if num_classes == 0:
            return nn.Identity()
        if not self.global_pool.pool_type:
            raise ValueError(
                f"global_pool is '' but num_classes is {num_classes}: the head takes a pooled "
                "feature, so name a pooling (such as 'avg') or set num_classes=0."
            )
        return nn.Linear(self.head_hidden_size if pooled else self.num_features, num_classes)

    def _checked(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) in the memory format that suits, if a GLNet can take it."""
        return checked_input(x, self.in_chans, self.smallest_input)

    def no_weight_decay(self) -> set[str]:
        """Parameters that decay would pull to uniform assignment: scales and learnt slots."""
        ends = ("slot_scale", "init_slots")
        return {name for name, _ in self.named_parameters() if name.endswith(ends)}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers in order, for layer-wise learning rates."""
        if coarse:
            return {
                "stem": r"^downsample_layers\.0",
                "blocks": r"^(?:stages|downsample_layers)\.(\d+)",
            }
        return {
            "stem": r"^downsample_layers\.0",
            "blocks": [
                (r"^downsample_layers\.(\d+)", (0,)),
                (r"^stages\.(\d+)\.blocks\.(\d+)", None),
                (r"^norm", (99999,)),
            ],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training."""
        for stage in self.stages:
            cast(Stage, stage).grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head for another number of classes."""
        self.num_classes = num_classes
        if global_pool is not None:
            self._set_pool(global_pool)
        like = next(self.parameters())
        self.head = self._make_head(num_classes).to(like).train(self.training)
        if self.tklb_aux_head is not None:
            token_head = self._make_head(num_classes, pooled=False)
            self.tklb_aux_head = token_head.to(like).train(self.training)

    def forward_slots(self, x: Tensor) -> tuple[list[Tensor], list[SlotAssignment]]:
        """Features of the four stages, and the slot assignment of every GLMix block.

        Args:
            x: (B, in_chans, H, W), normalised image, any size.

        Returns:
            Features `[(B, D_i, h_i, w_i)]` at strides 4, 8, 16, 32 (before the last norm), and the
            assignments in network order.
        """
        x = self._checked(x)
        features, assignments = [], []
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x, found = cast(Stage, stage).forward_slots(downsample(x))
            features.append(x)
            assignments.extend(found)
        return features, assignments

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Timm's contract: features of the chosen stages, with or without the final feature.

        Args:
            x: (B, in_chans, H, W).
            indices: stages to take: a list, the last n, or None for all.
            norm: apply the last norm to the last stage's feature.
            stop_early: stop at the last stage that is needed; what is returned as the final
                feature is then that stage's, without norm.
            output_fmt: `NCHW` only.
            intermediates_only: return the list alone.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is {output_fmt!r}; a GLNet returns NCHW only.")
        take, last = feature_take_indices(len(self.stages), indices)
        final = len(self.stages) - 1
        x = self._checked(x)
        intermediates = []
        for i, (downsample, stage) in enumerate(
            zip(self.downsample_layers, self.stages, strict=True)
        ):
            if stop_early and i > last:
                break
            x = stage(downsample(x))
            if i in take:
                intermediates.append(self.norm(x) if norm and i == final else x)
        if intermediates_only:
            return intermediates
        return (x if stop_early and last < final else self.norm(x)), intermediates

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last one needed; returns the indices taken.

        With the last stage go its norm and the head, which are sized for it.

        Args:
            indices: stages to keep: a list, or the last n.
            prune_norm: drop the last norm in any case.
            prune_head: drop the head in any case.
        """
        take, last = feature_take_indices(len(self.stages), indices)
        shortened = last < len(self.stages) - 1
        self.stages = self.stages[: last + 1]
        self.downsample_layers = self.downsample_layers[: last + 1]
        if prune_norm or shortened:
            self.norm = nn.Identity()
        if shortened:
            self.num_features = self.feature_info[last]["num_chs"]
        if prune_head or shortened:
            self.reset_classifier(0, "")
        return take

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) → (B, D, h, w) at stride 32, normalised."""
        x = self._checked(x)
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        return self.norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, D, h, w) → (B, num_classes); pooled (B, D) before the head, or without classes.

        Without pooling and classes, (B, D, h, w) as it is.
        """
        pooled = self.head_drop(self.global_pool(x))
        if pre_logits or self.tklb_aux_head is None or self.num_classes == 0:
            return pooled if pre_logits else self.head(pooled)
        return self.head(pooled) + 0.5 * self._token_logits(x).amax(dim=1)

    def forward_tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits and dense logits apart, as token labelling trains them.

        Args:
            x: (B, in_chans, H, W).

        Returns:
            (B, num_classes) of the pooled feature alone, and (B, h·w, num_classes) at stride 32.

        Raises:
            ValueError: if the model has no token head.
        """
        if self.tklb_aux_head is None:
            raise ValueError("This GLNet has no token head; create it with token_head=True.")
        x = self.forward_features(x)
        return self.head(self.head_drop(self.global_pool(x))), self._token_logits(x)

    def _token_logits(self, x: Tensor) -> Tensor:
        assert self.tklb_aux_head is not None
        return self.tklb_aux_head(x.flatten(2).transpose(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) → (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d) and not module.weight.is_meta:
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _downsample_layers(in_chans: int, dims: tuple[int, ...], overlapping: bool) -> nn.ModuleList:
    """Stem and transitions, one before each stage."""
    stem = overlapping_stem if overlapping else patch_stem
    downsample = overlapping_downsample if overlapping else patch_downsample
    transitions = [downsample(dim_in, dim_out) for dim_in, dim_out in pairwise(dims)]
    return nn.ModuleList([stem(in_chans, dims[0]), *transitions])


def checked_input(x: Tensor, in_chans: int, smallest: int) -> Tensor:
    """The input in the memory format that suits the device.

    Args:
        x: (B, in_chans, H, W).
        in_chans: channels that the model takes.
        smallest: pixels that each side must have.

    Returns:
        The same values.

    Raises:
        ValueError: if the shape is another, saying what is wrong with it.
    """
    if not (exporting() or torch.compiler.is_compiling()):  # a graph for any size asks no size
        shape = tuple(x.shape)
        if x.ndim != 4:
            raise ValueError(f"The input has shape {shape}; a GLNet takes (B, {in_chans}, H, W).")
        if x.shape[1] != in_chans:
            raise ValueError(
                f"The input has shape {shape}, {x.shape[1]} channels; this GLNet takes {in_chans} "
                "(in_chans), channels first."
            )
        if min(x.shape[-2:]) < smallest:
            raise ValueError(
                f"The input is {x.shape[-2]}×{x.shape[-1]} pixels; this GLNet takes images from "
                f"{smallest}×{smallest} on."
            )
    return channels_last(x)


register_notrace_function(checked_input)
