"""The released models' answers on made-up weights; only developers and CI have the folder."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

# beside the checkout, in it where only the checkout travels, or where scripts/gpu_check says
FOLDERS = [Path(__file__).parents[i] / "shared" / "glnet_reference" for i in (3, 2)]
FOLDERS += [Path(os.environ["WSSS_REFERENCE"])] if "WSSS_REFERENCE" in os.environ else []
FOLDER = next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])

needs_reference = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"{FOLDER} is absent: it belongs to the developers' checkout"
)


def fill() -> ModuleType:
    """`fill.py` of the reference folder: made-up weights and images."""
    spec = importlib.util.spec_from_file_location("glnet_fill", FOLDER / "fill.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden(name: str) -> dict[str, np.ndarray]:
    """What the released `name` answers: `logits`, `slot_argmax_<block>`, `seed`, `shape`."""
    with np.load(FOLDER / f"golden_{name}.npz") as archive:
        return dict(archive)
