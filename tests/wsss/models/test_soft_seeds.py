"""Seeds on disk: what was written is read; what is damaged or of other tags is made again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from wsss.config import PseudoMasksConfig
from wsss.engine.profile import Stopwatch
from wsss.models.classifier import TagClassifier
from wsss.models.soft_seeds import SoftSeeds, soft_seeds
from wsss.seeding.walks import Walk

CAM = torch.linspace(0, 1, 24).view(2, 3, 4).half()


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    SoftSeeds([2, 5], CAM, 1 - CAM).save(tmp_path / "a.npz")
    return tmp_path / "a.npz"


def test_load_gives_what_was_saved(seeds: Path) -> None:
    found = SoftSeeds.load(seeds, [2, 5])
    assert found is not None and found.labels == [2, 5]
    assert torch.equal(found.cam, CAM) and torch.equal(found.seed, 1 - CAM)


def changed(**arrays: object) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        with np.load(path) as file:
            kept = {**file, **arrays}
        np.savez(path, **{k: v for k, v in kept.items() if v is not None})  # type: ignore[arg-type]

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-30]),
        lambda path: path.unlink(),
        changed(seed=None),
        changed(seed=np.zeros((1, 3, 4), np.float16)),
        changed(cam=np.full((2, 3, 4), np.nan, np.float16)),
        changed(labels=np.array([2, 6], np.uint8)),
    ],
)
def test_load_of_damaged_seeds_gives_none(seeds: Path, damage: Callable[[Path], object]) -> None:
    damage(seeds)
    assert SoftSeeds.load(seeds, [2, 5]) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_soft_seeds_of_a_network_in_half_the_bits_are_near_those_in_float32(
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(0)
    backbone = timm.create_model("glnet_nano", num_classes=0, depths=[1, 1, 1, 1])
    model = TagClassifier(backbone, 3, "16.0", 3).eval()
    pixels = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    own = PseudoMasksConfig(scales=(1.0,), walks=(Walk("16.0", 4),), border=None)
    watch = Stopwatch(torch.device("cpu"))
    (exact,) = soft_seeds(model, pixels, [[0, 2]], own, watch)
    (found,) = soft_seeds(model, pixels, [[0, 2]], own, watch, lambda: torch.autocast("cpu", dtype))
    torch.testing.assert_close(found.likely, exact.likely, atol=0.01, rtol=0)
    assert (found.seed - exact.seed).abs().mean() < 0.05
