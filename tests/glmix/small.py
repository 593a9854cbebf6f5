"""The registered variants as the contract tests build them: shallow and narrow, the same code."""

from typing import Any

import pytest
import timm
import torch

import glmix  # noqa: F401  registers the models
from glmix.variants import VARIANTS

SMALL: dict[str, Any] = {"depths": (1, 1, 2, 1), "embed_dims": (32, 64, 64, 64)}
ALL = sorted(VARIANTS)
# one of each structure in the fast suite, the others in the slow one
FAST = {
    "glnet_nano",
    "glnet_stl_paramslot",
    "glnet_4g_tklb",
    "glnet_stl_window",
    "glnet_stl_hard",
    "glnet_stl_global_local",
}
EACH = [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in ALL]
NANO = [n if n == "glnet_nano" else pytest.param(n, marks=pytest.mark.slow) for n in ALL]


def small(name: str, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, **{**SMALL, "num_classes": 7, **kwargs})
