"""The call: structures, label subsets, and a sentence for what is not an image."""

import pytest
import torch
from torch import Tensor

from wsss.crf import DenseCRF
from wsss.errors import WsssError

from .synthetic import draw

BACKENDS = ["torch", "pydensecrf", "brute", "par"]


@pytest.fixture(params=BACKENDS)
def crf(request: pytest.FixtureRequest) -> DenseCRF:
    if request.param == "pydensecrf":
        pytest.importorskip("pydensecrf")
    return DenseCRF("irn", backend=request.param)


def test_dense_crf_of_batch_and_list_is_the_same(crf: DenseCRF) -> None:
    pairs = [draw(20, 30, 3, seed) for seed in (0, 1)]
    images, probs = [p[0] for p in pairs], [p[1] for p in pairs]
    batch = crf(torch.stack(images), torch.stack(probs))
    ragged = crf(images, probs)
    assert isinstance(batch, Tensor) and isinstance(ragged, list)
    assert torch.equal(batch, torch.stack(ragged))
    torch.testing.assert_close(batch.sum(1), torch.ones(2, 20, 30))


def test_dense_crf_lets_own_labels_alone_take_part(crf: DenseCRF) -> None:
    image, probs = draw(20, 30, 6)
    own = [4, 0]
    refined = crf([image], [probs], labels=[own])[0]
    part = probs[own] / probs[own].sum(0)
    torch.testing.assert_close(refined[own], crf([image], [part])[0])
    assert refined[[1, 2, 3, 5]].abs().max() == 0


def test_dense_crf_takes_different_sizes_and_label_counts(crf: DenseCRF) -> None:
    pairs = [draw(20, 30, 3), draw(11, 9, 5)]
    refined = crf([p[0] for p in pairs], [p[1] for p in pairs])
    assert [tuple(r.shape) for r in refined] == [(3, 20, 30), (5, 11, 9)]
    for (image, probs), r in zip(pairs, refined, strict=True):
        torch.testing.assert_close(r, crf([image], [probs])[0], atol=1e-6, rtol=0)


def test_dense_crf_of_image_answers_as_without_it(crf: DenseCRF) -> None:
    image, probs = draw(20, 30, 3)
    marginals = crf.of_image(image)
    for given in (probs, probs.flip(0)):
        assert torch.equal(marginals(given), crf([image], [given])[0])


def test_dense_crf_takes_one_pixel_and_one_label(crf: DenseCRF) -> None:
    image = torch.full((1, 3, 1, 1), 7, dtype=torch.uint8)
    probs = torch.tensor([0.3, 0.7]).view(1, 2, 1, 1)
    refined = crf(image, probs)
    assert refined.shape == probs.shape and refined.argmax(1).item() == 1
    assert crf(image, probs, labels=[[0]]).flatten().tolist() == pytest.approx([1.0, 0.0])


def test_dense_crf_takes_grey_images_as_rgb(crf: DenseCRF) -> None:
    image, probs = draw(20, 30, 3)
    grey = image[:1]
    torch.testing.assert_close(crf([grey], [probs])[0], crf([grey.expand(3, -1, -1)], [probs])[0])


def test_dense_crf_makes_zero_probability_of_all_own_labels_uniform(crf: DenseCRF) -> None:
    image, probs = draw(20, 30, 3)
    probs[:] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    refined = crf([image], [probs], labels=[[0, 1]])[0]
    torch.testing.assert_close(refined[:2], torch.full((2, 20, 30), 0.5))


def _ruin(probs: Tensor, value: float) -> Tensor:
    ruined = probs.clone()
    ruined[1, 2, 3] = value
    return ruined


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "NaN or infinite"),
        (float("inf"), "NaN or infinite"),
        (-0.5, "negative values .smallest -0.5"),
        (7.0, "sum to .* at one pixel and 7.* at another"),
    ],
)
def test_dense_crf_refuses_values_that_are_no_probabilities(value: float, says: str) -> None:
    image, probs = draw(20, 30, 3)
    with pytest.raises(WsssError, match=says):
        DenseCRF()([image], [_ruin(probs, value)])


def test_dense_crf_refuses_shapes_that_do_not_fit() -> None:
    image, probs = draw(20, 30, 3)
    crf = DenseCRF()
    for images, prob, labels, says in (
        ([image, image], [probs], None, "2 images, probabilities for 1"),
        ([image], [probs], [[0], [1]], "labels for 2"),
        ([image.float()], [probs], None, "torch.float32.*give uint8"),
        ([image[:2]], [probs], None, r"shape \(2, 20, 30\)"),
        ([image], [probs.long()], None, "torch.int64.*give floats"),
        ([image], [probs[:, 1:]], None, r"\(20, 30\).*\(19, 30\)"),
        ([image], [probs[:0]], None, "at least one label"),
        ([image[:, :0]], [probs[:, :0]], None, "no empty one"),
        ([image], [probs], [[]], "image 0 has an empty label set"),
        ([image], [probs], [[3]], "names the label 3"),
        ([image], [probs], [[-1]], "names the label -1"),
        ([image], [probs], [[1, 1]], "a label twice"),
    ):
        with pytest.raises(WsssError, match=says):
            crf(images, prob, labels)
