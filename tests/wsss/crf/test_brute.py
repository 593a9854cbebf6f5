"""All pairs: the definition, and how near the lattice comes to it."""

import pytest
import torch

from wsss.crf import CRFParameters, DenseCRF
from wsss.errors import WsssError

from .synthetic import draw


def test_brute_equals_the_definition_on_a_few_pixels() -> None:
    image, probs = draw(3, 4, 2)
    p = CRFParameters(2, 1.5, 5, 30, 2.5, iterations=2)
    y, x = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    position = torch.stack([x, y]).flatten(1).t()
    colour = image.flatten(1).t().float()
    space = (-(torch.cdist(position, position) ** 2) / (2 * 2**2)).exp()
    both = torch.cdist(position, position) ** 2 / (2 * 5**2) + torch.cdist(colour, colour) ** 2 / (
        2 * 30**2
    )
    kernels = [k / (k.sum(0)[:, None] * k.sum(0)).sqrt() for k in (space, (-both).exp())]
    q = unary = probs.flatten(1).t()
    for _ in range(2):
        q = (unary.log() + 1.5 * kernels[0] @ q + 2.5 * kernels[1] @ q).softmax(1)
    refined = DenseCRF(p, backend="brute")([image], [probs])[0]
    torch.testing.assert_close(refined.flatten(1).t(), q, atol=1e-5, rtol=0)


def test_brute_is_near_the_lattice() -> None:
    image, probs = draw(36, 48, 3)
    true = DenseCRF("psa", backend="brute")([image], [probs])[0]
    ours = DenseCRF("psa")([image], [probs])[0]
    assert (true.argmax(0) == ours.argmax(0)).float().mean() > 0.95


def test_brute_refuses_too_many_pixels() -> None:
    image, probs = draw(129, 128, 2)
    with pytest.raises(WsssError, match="128×129 has too many"):
        DenseCRF(backend="brute")([image], [probs])
