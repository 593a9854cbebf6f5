"""Unusual images: right answers, pydensecrf's where it has one."""

import pytest
import torch
from torch import Tensor

from wsss.crf import DenseCRF
from wsss.crf.embedding import KeySpace

from .synthetic import draw


def grey(image: Tensor) -> Tensor:
    return image[:1].expand(3, -1, -1)


def dark_corner(image: Tensor) -> Tensor:
    dark = image.clone()
    dark[:, :5, :5] = 1
    return dark


@pytest.mark.parametrize(
    ("size", "change"),
    [
        ((31, 33), grey),
        ((31, 33), dark_corner),  # its number of pixels is no multiple of pydensecrf's vectors
        ((31, 33), torch.zeros_like),
        ((31, 33), lambda image: torch.full_like(image, 255)),
        ((1, 1), grey),
        ((1, 200), grey),
        ((200, 1), grey),
        ((4, 4000), grey),
        ((4000, 3), dark_corner),
    ],
)
@pytest.mark.parametrize("preset", ["psa", "deeplab"])
def test_unusual_images_equal_pydensecrf(
    preset: str, size: tuple[int, int], change: object
) -> None:
    pytest.importorskip("pydensecrf")
    image, probs = draw(*size, 3)
    image = change(image)  # type: ignore[operator]
    ours = DenseCRF(preset)([image], [probs])[0]
    theirs = DenseCRF(preset, backend="pydensecrf")([image], [probs])[0]
    assert (ours - theirs).abs().max() < 1e-3


def test_white_noise_images_fill_the_lattice() -> None:
    pytest.importorskip("pydensecrf")
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8, generator=generator)
    _, probs = draw(40, 50, 3)
    ours = DenseCRF("deeplab")([image], [probs])[0]
    theirs = DenseCRF("deeplab", backend="pydensecrf")([image], [probs])[0]
    assert (ours - theirs).abs().max() < 1e-4


def test_half_precision_probabilities_come_back_so() -> None:
    image, probs = draw(20, 30, 3)
    exact = DenseCRF("irn")([image], [probs])[0]
    half = DenseCRF("irn")([image], [probs.half()])[0]
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), exact, atol=0.02, rtol=0)


def test_an_empty_batch_comes_back_empty() -> None:
    images, probs = torch.zeros(0, 3, 4, 5, dtype=torch.uint8), torch.zeros(0, 2, 4, 5)
    assert DenseCRF("irn")(images, probs).shape == (0, 2, 4, 5)
    assert DenseCRF("irn")([], []) == []


def test_wide_keys_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    image, probs = draw(40, 50, 3)
    narrow = DenseCRF("deeplab")([image], [probs])[0]
    monkeypatch.setattr(KeySpace, "dtype", lambda self, num_images: torch.int64)
    assert torch.equal(DenseCRF("deeplab")([image], [probs])[0], narrow)
