"""Trained segmenters as files that need no run folder: writing them.

The graphs take images of any number and any size in whole strides; PyTorch and the other side
agree to rounding, which `tests/wsss/stages/test_export.py` holds them to.
"""

import copy
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from glmix.clustering import regional_means
from wsss.errors import WsssError, first_line
from wsss.export.load import KEY, LEAST, MULTIPLE, Card
from wsss.files import write_atomic

_LARGEST = 1 << 15  # pixels per side that a graph is checked for


class RegionalMeans(nn.Module):
    """`nn.AdaptiveAvgPool2d` in operations that every format has."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) → (B, D, *size)."""
        return regional_means(x, self.size)


def trace(network: nn.Module) -> ExportedProgram:
    """A network as a graph of any batch and any size in whole strides.

    Args:
        network: (B, 3, H, W), sides multiples of 32 → (B, C + 1, H, W); left as it is.

    Raises:
        WsssError: the network doesn't let itself be traced, or not for sizes other than one.
    """
    network = copy.deepcopy(network).cpu().eval()
    _replace_pooling(network)
    most = _LARGEST // MULTIPLE
    height, width = (Dim(name, min=LEAST // MULTIPLE, max=most) for name in ("rows", "columns"))
    shapes = ({0: Dim("batch", min=1, max=1024), 2: MULTIPLE * height, 3: MULTIPLE * width},)
    example = torch.zeros(2, 3, 3 * MULTIPLE, 4 * MULTIPLE)
    try:
        with torch.no_grad():
            program = torch.export.export(network, (example,), dynamic_shapes=shapes, strict=False)
            _check(network, program)
    except Exception as error:  # tracing raises whatever the traced code and the solver raise
        raise WsssError(
            "This network can't be exported as a graph for any size of image "
            f"({first_line(error)}): use --to safetensors."
        ) from error
    return program


def save_onnx(path: Path, network: nn.Module, card: Card) -> None:
    """Write ONNX, the card in its `metadata_props`.

    Raises:
        WsssError: the packages for it are missing, or the network can't be traced.
    """
    for package in ("onnx", "onnxscript"):
        try:
            importlib.import_module(package)
        except ImportError:
            raise WsssError(
                f"{package} is not installed, and the export to ONNX needs it: "
                "pip install 'wsss[export]'."
            ) from None
    _say("trace the network, for minutes on a busy machine", 1, 3)
    traced = trace(network)
    _say("translate the graph to ONNX", 2, 3)
    program: Any = torch.onnx.export(
        traced, input_names=["images"], output_names=["logits"], dynamo=True, verbose=False
    )
    _say(f"write {path}", 3, 3)
    program.model.metadata_props[KEY] = json.dumps(card)
    write_atomic(path, lambda target: program.save(target))


def save_exported(path: Path, network: nn.Module, card: Card) -> None:
    """Write a program of torch.export, the card among its extra files.

    Raises:
        WsssError: the network can't be traced.
    """
    extra = {KEY: json.dumps(card)}
    _say("trace the network, for minutes on a busy machine", 1, 2)
    program = trace(network)
    _say(f"write {path}", 2, 2)
    write_atomic(path, lambda target: torch.export.save(program, target, extra_files=extra))


def _say(part: str, number: int, of: int) -> None:
    print(f"export {number}/{of}  {part}", file=sys.stderr, flush=True)


def _check(network: nn.Module, program: ExportedProgram) -> None:
    """Whether the graph answers alike at a size, and for a batch, that it wasn't traced with.

    Tracing may settle on the example's size without a word, where code asks for sizes.
    """
    images = torch.randn(
        1, 3, 7 * MULTIPLE, 5 * MULTIPLE, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(program.module()(images), network(images), atol=1e-4, rtol=1e-4)


def _replace_pooling(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                rows, columns = nn.modules.utils._pair(child.output_size)
                if (rows, columns) != (1, 1):
                    setattr(module, name, RegionalMeans((int(rows), int(columns))))
