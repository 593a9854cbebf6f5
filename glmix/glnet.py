"""GLNet: a timm backbone whose blocks mix a grid by convolution and by semantic slots.

After "Revisiting the Integration of Convolution and Attention for Vision Backbone" (Zhu et al.,
NeurIPS 2024). Module names are those of the released checkpoints. Variants are data, at the end of
the file.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import SelectAdaptivePool2d, calculate_drop_path_rates, trunc_normal_
from timm.models import build_model_with_cfg, checkpoint_seq, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from glmix.blocks import AttentionBlock, Block, GLMixBlock
from glmix.checkpoints import checkpoint_filter, released_names_hook
from glmix.clustering import SlotAssignment
from glmix.cpu import cpu_layout
from glmix.layers import (
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
        in_chans: channels of the picture.
        num_classes: classes of the head; 0 for none.
        global_pool: timm's name of the pooling before the head.
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
        local_kernel: side of the depth-wise convolution of the local branch.
        layer_scale: initial value of the layer scales, None for none.
        drop_rate: dropout before the head.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
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
        local_kernel: int = 5,
        layer_scale: float | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.num_features = self.head_hidden_size = embed_dims[-1]
        self.feature_info = [
            {"num_chs": dim, "reduction": 4 * 2**i, "module": f"stages.{i}"}
            for i, dim in enumerate(embed_dims)
        ]
        stem = overlapping_stem if overlapping else patch_stem
        downsample = overlapping_downsample if overlapping else patch_downsample
        self.downsample_layers = nn.ModuleList([stem(in_chans, embed_dims[0])])
        for dim_in, dim_out in pairwise(embed_dims):
            self.downsample_layers.append(downsample(dim_in, dim_out))

        rates = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
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
                local_kernel=local_kernel,
                **common,
            ),
            "A": partial(AttentionBlock, **common),
        }
        self.stages = nn.ModuleList()
        for i, (depth, dim, letters) in enumerate(zip(depths, embed_dims, mixers, strict=True)):
            blocks = [
                kinds[letters[j % len(letters)]](dim, dim // head_dim, drop_path=rates[i][j])
                for j in range(depth)
            ]
            self.stages.append(Stage(blocks, i))

        self.norm: nn.Module = nn.BatchNorm2d(self.num_features)
        self.global_pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=True)
        self.head_drop = nn.Dropout(drop_rate)
        self.head = self._make_head(num_classes)
        self.apply(_init_weights)
        self.register_load_state_dict_pre_hook(released_names_hook)

    def _make_head(self, num_classes: int) -> nn.Module:
        return nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Scalars that decay would pull to uniform assignment."""
        return {name for name, _ in self.named_parameters() if name.endswith("slot_scale")}

    @torch.jit.ignore
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

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training."""
        for stage in self.stages:
            cast(Stage, stage).grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head for another number of classes."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=True)
        self.head = self._make_head(num_classes).to(next(self.parameters()).device)

    def forward_slots(self, x: Tensor) -> tuple[list[Tensor], list[SlotAssignment]]:
        """Features of the four stages, and the slot assignment of every GLMix block.

        Args:
            x: (B, in_chans, H, W), normalised picture, any size.

        Returns:
            Features `[(B, D_i, h_i, w_i)]` at strides 4, 8, 16, 32 (before the last norm), and the
            assignments in network order.
        """
        x = cpu_layout(x)
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
            stop_early: stop at the last stage that is needed.
            output_fmt: `NCHW` only.
            intermediates_only: return the list alone.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is {output_fmt!r}; a GLNet returns NCHW only.")
        take, last = feature_take_indices(len(self.stages), indices)
        x = cpu_layout(x)
        intermediates = []
        for i, (downsample, stage) in enumerate(
            zip(self.downsample_layers, self.stages, strict=True)
        ):
            if stop_early and i > last:
                break
            x = stage(downsample(x))
            if i in take:
                is_last = i == len(self.stages) - 1
                intermediates.append(self.norm(x) if norm and is_last else x)
        if intermediates_only:
            return intermediates
        return self.norm(x), intermediates

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last one needed; returns the indices taken."""
        take, last = feature_take_indices(len(self.stages), indices)
        self.stages = self.stages[: last + 1]
        self.downsample_layers = self.downsample_layers[: last + 1]
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0)
        return take

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) → (B, D, h, w) at stride 32, normalised."""
        x = cpu_layout(x)
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        return self.norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, D, h, w) → (B, num_classes)."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) → (B, num_classes)."""
        return self.forward_head(self.forward_features(x))


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "downsample_layers.0.1",
        "classifier": "head",
        **kwargs,
    }


_STL: dict[str, Any] = {
    "depths": (2, 2, 6, 2),
    "embed_dims": (96, 192, 384, 768),
    "mixers": ("G", "G", "G", "A"),
    "mlp_ratio": 4.0,
    "mlp_depthwise": False,
    "pos_conv": False,
    "overlapping": False,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "glnet_nano": {"depths": (1, 2, 6, 2), "embed_dims": (32, 64, 128, 256)},
    "glnet_stl": _STL,
    "glnet_4g": {},
    "glnet_9g": {"embed_dims": (96, 192, 384, 768)},
    "glnet_16g": {"embed_dims": (128, 256, 512, 1024), "layer_scale": 1e-6},
}

default_cfgs = generate_default_cfgs(
    {
        f"{name}.in1k": _cfg(
            first_conv="downsample_layers.0.1"
            if args.get("overlapping", True)
            else "downsample_layers.0.0"
        )
        for name, args in VARIANTS.items()
    }
)


def _create(variant: str, pretrained: bool = False, **kwargs: Any) -> GLNet:
    return build_model_with_cfg(
        GLNet,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter,
        feature_cfg={"out_indices": (0, 1, 2, 3), "feature_cls": "getter"},
        **{**VARIANTS[variant], **kwargs},
    )


@register_model
def glnet_nano(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """3 M parameters: built like `glnet_4g`, half as wide and a third as deep."""
    return _create("glnet_nano", pretrained, **kwargs)


@register_model
def glnet_stl(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """Swin-tiny layout: patch stem, MLP ratio 4, no position encoding."""
    return _create("glnet_stl", pretrained, **kwargs)


@register_model
def glnet_4g(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """27 M parameters, 4.5 GFLOPs at 224²."""
    return _create("glnet_4g", pretrained, **kwargs)


@register_model
def glnet_9g(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """60 M parameters, 9.7 GFLOPs at 224²."""
    return _create("glnet_9g", pretrained, **kwargs)


@register_model
def glnet_16g(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """106 M parameters, 16.7 GFLOPs at 224²; layer scale."""
    return _create("glnet_16g", pretrained, **kwargs)
