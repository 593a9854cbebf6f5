"""The registered models: the released ones, a small one, the rows of the paper's ablations.

A variant is a set of arguments of `GLNet`; every argument can be given to `timm.create_model` too.
"""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from glmix.checkpoints import checkpoint_filter
from glmix.glnet import GLNet
from glmix.pretrained import PACKAGED, SOURCE, find_weights
from glmix.weight_files import read_weights

_STL: dict[str, Any] = {
    "depths": (2, 2, 6, 2),
    "embed_dims": (96, 192, 384, 768),
    "mixers": ("G", "G", "G", "A"),
    "mlp_ratio": 4.0,
    "mlp_depthwise": False,
    "pos_conv": False,
    "overlapping": False,
}
_9G: dict[str, Any] = {"embed_dims": (96, 192, 384, 768)}

VARIANTS: dict[str, dict[str, Any]] = {
    "glnet_nano": {"depths": (1, 2, 6, 2), "embed_dims": (32, 64, 128, 256)},
    "glnet_stl": _STL,
    "glnet_stl_paramslot": {**_STL, "slot_init": "learnt"},
    "glnet_4g": {},
    "glnet_9g": _9G,
    "glnet_16g": {"embed_dims": (128, 256, 512, 1024), "layer_scale": 1e-6},
    "glnet_4g_tklb": {"token_head": True},
    "glnet_9g_tklb": {**_9G, "token_head": True},
    "glnet_stl_local": {**_STL, "branches": "local"},
    "glnet_stl_global": {**_STL, "branches": "global"},
    "glnet_stl_global_local": {**_STL, "branches": "global-local"},
    "glnet_stl_local_global": {**_STL, "branches": "local-global"},
    "glnet_stl_window": {**_STL, "local_mixer": "window"},
    "glnet_stl_hard": {**_STL, "clustering": "hard"},
    "glnet_stl_dw3": {**_STL, "local_kernel": 3},
    "glnet_stl_dw7": {**_STL, "local_kernel": 7},
}

DESCRIPTIONS = {"glnet_nano": "Distilled from EfficientNet-Lite0 on 12,153 images without labels."}


def _cfg(name: str, args: dict[str, Any]) -> dict[str, Any]:
    packaged = PACKAGED / f"{name}.safetensors"
    patches = not args.get("overlapping", True)
    return {
        "file": str(packaged) if packaged.is_file() else None,
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "min_input_size": (3, 32, 32) if patches else None,
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": f"downsample_layers.0.{int(not patches)}",
        "classifier": ("head", "tklb_aux_head") if args.get("token_head") else "head",
        "license": "mit",
        "origin_url": SOURCE,
        "paper_ids": "arXiv:2411.14429",
        "paper_name": (
            "Revisiting the Integration of Convolution and Attention for Vision Backbone"
        ),
        "description": DESCRIPTIONS.get(name),
    }


default_cfgs = generate_default_cfgs(
    {f"{name}.in1k": _cfg(name, args) for name, args in VARIANTS.items()}
)


def _create(variant: str, pretrained: bool = False, **kwargs: Any) -> GLNet:
    overlay = kwargs.pop("pretrained_cfg_overlay", None) or {}
    if pretrained and not _names_weights(overlay, kwargs.get("pretrained_cfg")):
        overlay = {**overlay, "state_dict": read_weights(find_weights(variant))}
    features = {"out_indices": (0, 1, 2, 3), "feature_cls": "getter"}
    model: GLNet = build_model_with_cfg(
        GLNet,
        variant,
        pretrained,
        pretrained_cfg_overlay=overlay,
        pretrained_filter_fn=checkpoint_filter,
        feature_cfg={**features, **(kwargs.pop("feature_cfg", None) or {})},
        **{**VARIANTS[variant], **kwargs},
    )
    getattr(model, "pretrained_cfg", {}).pop("state_dict", None)  # or they stay in memory
    return model


def _names_weights(*cfgs: Any) -> bool:
    """Whether one of the given configurations says where its weights are (a folder, the Hub)."""
    sources = ("file", "url", "hf_hub_id", "state_dict")
    values = [cfg if isinstance(cfg, dict) else getattr(cfg, "__dict__", {}) for cfg in cfgs]
    return any(value.get(source) for value in values for source in sources)


@register_model
def glnet_nano(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """3 M parameters: built like `glnet_4g`, half as wide and a third as deep."""
    return _create("glnet_nano", pretrained, **kwargs)


@register_model
def glnet_stl(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """Swin-tiny layout: patch stem, MLP ratio 4, no position encoding; 30 M, 4.4 GFLOPs."""
    return _create("glnet_stl", pretrained, **kwargs)


@register_model
def glnet_stl_paramslot(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """`glnet_stl` with initial slots that are parameters."""
    return _create("glnet_stl_paramslot", pretrained, **kwargs)


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


@register_model
def glnet_4g_tklb(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """`glnet_4g` with the token head of token labelling."""
    return _create("glnet_4g_tklb", pretrained, **kwargs)


@register_model
def glnet_9g_tklb(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """`glnet_9g` with the token head of token labelling."""
    return _create("glnet_9g_tklb", pretrained, **kwargs)


@register_model
def glnet_stl_local(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """Ablation: the local branch alone, no slots."""
    return _create("glnet_stl_local", pretrained, **kwargs)


@register_model
def glnet_stl_global(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """Ablation: the global branch alone."""
    return _create("glnet_stl_global", pretrained, **kwargs)


@register_model
def glnet_stl_global_local(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """Ablation: the global branch, then the local one."""
    return _create("glnet_stl_global_local", pretrained, **kwargs)


@register_model
def glnet_stl_local_global(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """Ablation: the local branch, then the global one."""
    return _create("glnet_stl_local_global", pretrained, **kwargs)


@register_model
def glnet_stl_window(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """Ablation: local branch by attention within 7×7 windows."""
    return _create("glnet_stl_window", pretrained, **kwargs)


@register_model
def glnet_stl_hard(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """Ablation: hard assignment by k-means on hashes."""
    return _create("glnet_stl_hard", pretrained, **kwargs)


@register_model
def glnet_stl_dw3(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """Ablation: 3×3 depth-wise convolution in the local branch."""
    return _create("glnet_stl_dw3", pretrained, **kwargs)


@register_model
def glnet_stl_dw7(pretrained: bool = False, **kwargs: Any) -> GLNet:
    """Ablation: 7×7 depth-wise convolution in the local branch."""
    return _create("glnet_stl_dw7", pretrained, **kwargs)
