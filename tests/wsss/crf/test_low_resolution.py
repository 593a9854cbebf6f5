"""Messages of a smaller image."""

import pytest
import torch

from wsss.crf import DenseCRF
from wsss.errors import WsssError

from .synthetic import draw


@pytest.mark.parametrize("size", [(60, 80), (47, 61), (1, 1), (2, 7)])
def test_downsample_sums_to_one_at_any_size(size: tuple[int, int]) -> None:
    image, probs = draw(*size, 3)
    refined = DenseCRF("irn", downsample=2)([image], [probs])[0]
    assert refined.shape == probs.shape
    torch.testing.assert_close(refined.sum(0), torch.ones(size))


def test_downsample_is_near_where_probabilities_are_smooth() -> None:
    image, noisy = draw(90, 120, 3)
    probs = torch.nn.functional.avg_pool2d(noisy[None], 15, 1, 7, count_include_pad=False)[0]
    probs = (8 * probs).softmax(0).roll(6, 2)  # a guess beside the edge
    whole = DenseCRF("psa")([image], [probs])[0].argmax(0)
    half = DenseCRF("psa", downsample=2)([image], [probs])[0].argmax(0)
    differs = (whole != half).float().mean()
    assert differs < 0.01 and differs < 0.5 * (whole != probs.argmax(0)).float().mean()


def test_downsample_without_messages_keeps_the_full_unary() -> None:
    image, probs = draw(33, 41, 3)
    refined = DenseCRF("irn", iterations=0, downsample=2)([image], [probs])[0]
    torch.testing.assert_close(refined, probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("backend", "downsample", "says"),
    [("torch", 0, "downsample is 0"), ("torch", 1.5, "is 1.5"), ("brute", 2, "'brute' has no")],
)
def test_downsample_refuses_what_is_no_factor(backend: str, downsample: int, says: str) -> None:
    with pytest.raises(WsssError, match=says):
        DenseCRF(backend=backend, downsample=downsample)  # type: ignore[arg-type]
