"""Gradients through the lattice, in double precision; the energy as a loss."""

import pytest
import torch
from torch import Tensor

from wsss.crf import CRFParameters, DenseCRF, DenseCRFLoss
from wsss.crf.filters import DifferentiableFilter, symmetric_scale
from wsss.crf.mean_field import lattice_of
from wsss.errors import WsssError

from .synthetic import draw


def small() -> tuple[Tensor, Tensor]:
    image, probs = draw(4, 5, 3)
    return image, probs.double().log()


@pytest.mark.parametrize("backend", ["torch", "brute"])
def test_dense_crf_has_gradients_of_unary_and_weights(backend: str) -> None:
    image, logits = small()
    weights = torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)

    def marginals(logits: Tensor, weights: Tensor) -> Tensor:
        p = CRFParameters(2, weights[0], 8, 30, weights[1], iterations=3)
        return DenseCRF(p, backend=backend)([image], [logits.softmax(0)])[0]  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(marginals, [logits.requires_grad_(), weights])


def test_downsample_has_gradients_of_unary_and_cost_matrix() -> None:
    image, logits = small()
    matrix = (1 - torch.eye(3, dtype=torch.float64)).requires_grad_()

    def marginals(logits: Tensor, matrix: Tensor) -> Tensor:
        p = CRFParameters(2, 2, 8, 30, 3, iterations=2, compatibility=matrix)
        return DenseCRF(p, downsample=2)([image], [logits.softmax(0)])[0]

    assert torch.autograd.gradcheck(marginals, [logits.requires_grad_(), matrix])


def test_filter_has_second_derivatives() -> None:
    image, logits = small()
    lattice = lattice_of([image], 8, 30)
    apply = DifferentiableFilter(lattice, symmetric_scale(lattice), torch.float64)
    x = logits.flatten(1).t().contiguous().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: apply(x).square(), [x])


def test_dense_crf_with_gradient_gives_the_same_marginals() -> None:
    image, probs = draw(40, 50, 7)
    plain = DenseCRF("irn")([image], [probs])[0]
    tracked = DenseCRF("irn")([image], [probs.requires_grad_()])[0]
    assert tracked.requires_grad
    torch.testing.assert_close(tracked.detach(), plain, atol=1e-5, rtol=0)


def test_loss_is_the_cut_of_the_definition() -> None:
    image, logits = small()
    probs = logits.softmax(0)
    lattice = lattice_of([image], 8, 30)
    apply = DifferentiableFilter(lattice, symmetric_scale(lattice), torch.float64)
    kernel = apply(torch.eye(20, dtype=torch.float64))
    s = probs.flatten(1)
    cuts = torch.stack([row @ kernel @ (1 - row) for row in s])
    shares = torch.stack([row @ kernel.sum(1) for row in s])
    batch = (image[None], probs[None])
    plain = DenseCRFLoss(8, 30, downsample=1)(*batch)
    torch.testing.assert_close(plain, cuts.sum() / 20)
    ratio = DenseCRFLoss(8, 30, downsample=1, normalised=True)(*batch)
    torch.testing.assert_close(ratio, (cuts / shares).sum())


@pytest.mark.parametrize("normalised", [False, True])
def test_loss_has_a_gradient(normalised: bool) -> None:
    image, logits = small()
    region = torch.ones(1, 4, 5)
    region[0, :2] = 0
    loss = DenseCRFLoss(8, 30, downsample=2, normalised=normalised)
    assert torch.autograd.gradcheck(
        lambda x: loss(image[None], x.softmax(1), region), [logits[None].requires_grad_()]
    )


def test_loss_prefers_the_images_own_edge() -> None:
    image = torch.zeros(1, 3, 24, 24, dtype=torch.uint8)
    image[..., 12:] = 200
    loss = DenseCRFLoss(20, 15, downsample=1)

    def cut_at(column: int) -> Tensor:
        right = (torch.arange(24) >= column).float().expand(1, 1, 24, 24)
        return loss(image, torch.cat([1 - right, right], 1))

    assert cut_at(12) < 0.01 < cut_at(6)
    assert loss(image, torch.full((1, 2, 24, 24), 0.5)) > cut_at(6)


def test_loss_refuses_other_sizes() -> None:
    with pytest.raises(WsssError, match="both the same batch and size"):
        DenseCRFLoss()(torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 8, 9))
    with pytest.raises(WsssError, match="srgb=0"):
        DenseCRFLoss(srgb=0)
