"""Seeds on disk: what was written is read; what is damaged or of other tags is made again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from wsss.models.soft_seeds import SoftSeeds

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
