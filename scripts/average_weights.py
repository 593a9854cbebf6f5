#!/usr/bin/env python
"""The mean of the weights of several segmenters that started from one.

scripts/average_weights.py OUT MODEL MODEL…: `train_seg/model.safetensors` of self-training rounds,
of which each went on from an earlier one or from the same. Their mean generalises better than the
last of them (Wortsman et al., "Model soups", ICML 2022). OUT is such a file again, with the
metadata of the first.
"""

import argparse
import sys
from pathlib import Path

import torch

from wsss.engine.checkpoint import save_model
from wsss.errors import WsssError
from wsss.models.trained import load_segmenter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    arguments = parser.parse_args()
    try:
        average(arguments.out, arguments.models)
    except WsssError as error:
        sys.exit(f"average_weights: {error}")


def average(out: Path, paths: list[Path]) -> None:
    """Write the mean of the segmenters at `paths` to `out`.

    Raises:
        WsssError: one is no segmenter, or has other classes or another shape than the first.
    """
    device = torch.device("cpu")
    model, metadata = load_segmenter(paths[0], device)
    names = metadata["class_names"]
    others = (load_segmenter(path, device, names)[0] for path in paths[1:])
    weights = [one.state_dict() for one in (model, *others)]
    shapes = [{name: value.shape for name, value in one.items()} for one in weights]
    for path, shape in zip(paths, shapes, strict=True):
        if shape != shapes[0]:
            raise WsssError(
                f"{path} is another network than {paths[0]}; expected rounds of one run: leave it "
                "out."
            )
    mean = {
        name: torch.stack([one[name].double() for one in weights]).mean(dim=0).to(value.dtype)
        for name, value in weights[0].items()
    }
    model.load_state_dict(mean)
    save_model(out, model, metadata)


if __name__ == "__main__":
    main()
