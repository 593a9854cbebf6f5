"""Pixel-adaptive refinement: means over alike neighbours."""

import torch

from wsss.crf import DenseCRF, par

from .synthetic import draw


def test_par_neighbours_stop_at_the_border() -> None:
    index = par._neighbours((2, 3), torch.device("cpu"))
    assert index.shape == (6, 48)
    assert index[0, :8].tolist() == [0, 0, 1, 0, 1, 3, 3, 4]  # around the top left corner
    assert index[4, 40:].tolist() == [0, 1, 2, 3, 5, 3, 4, 5]  # 24 pixels away: all corners, edges


def test_par_weights_are_the_papers_on_a_step() -> None:
    image = torch.zeros(3, 5, 5)
    image[:, :, 3:] = 90.0
    index = par._neighbours((5, 5), torch.device("cpu"))
    weights = par._affinity(image, index)
    torch.testing.assert_close(weights.sum(1), torch.ones(25))
    around = image[0].flatten()[index[12]]  # the middle pixel, dark
    spread = around.std()
    distance = torch.tensor(
        [d * r for d in par.DILATIONS for r in (2**0.5, 1, 2**0.5, 1, 1, 2**0.5, 1, 2**0.5)]
    )
    expected = (-((around / (0.3 * spread)) ** 2)).softmax(0)
    expected = expected + 0.01 * (-((distance / (0.3 * distance.std())) ** 2)).softmax(0)
    torch.testing.assert_close(weights[12], expected / 1.01)
    assert weights[12][around > 0].sum() < 0.01


def test_par_keeps_constants_and_edges() -> None:
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    image[:, :, 20:] = 200
    probs = torch.full((2, 40, 40), 0.5)
    crf = DenseCRF(backend="par")
    torch.testing.assert_close(crf([image], [probs])[0], probs)
    probs[0, :, 18:] = 0.9  # a guess that misses the edge by two pixels
    probs[1] = 1 - probs[0]
    refined = crf([image], [probs])[0][0]
    assert (refined[:, 20:] - 0.9).abs().max() < 0.02
    assert refined[:, 19].max() < 0.6


def test_par_at_half_resolution_is_near() -> None:
    image, probs = draw(40, 51, 3)
    whole = DenseCRF(backend="par")([image], [probs])[0]
    half = DenseCRF(backend="par", downsample=2)([image], [probs])[0]
    assert half.shape == whole.shape
    torch.testing.assert_close(half.sum(0), torch.ones(40, 51))
    assert 0 < (whole - half).abs().mean() < 0.05


def test_par_has_a_gradient() -> None:
    image, probs = draw(6, 7, 2)
    probs = probs.double().requires_grad_()
    crf = DenseCRF(backend="par", iterations=2)
    assert torch.autograd.gradcheck(
        lambda p: crf([image], [p.softmax(0)])[0], [probs.log().detach().requires_grad_()]
    )
