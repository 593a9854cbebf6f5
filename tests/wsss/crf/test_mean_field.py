"""Lattice mean field equals pydensecrf."""

import pytest
import torch

from wsss.crf import PRESETS, CRFParameters, DenseCRF, mean_field

from .synthetic import draw


@pytest.mark.parametrize("num_labels", [2, 7])
@pytest.mark.parametrize("preset", PRESETS)
def test_mean_field_equals_pydensecrf(preset: str, num_labels: int) -> None:
    pytest.importorskip("pydensecrf")
    pairs = [draw(60, 80, num_labels), draw(48, 31, num_labels, seed=1)]
    images, probs = [p[0] for p in pairs], [p[1] for p in pairs]
    ours = DenseCRF(preset)(images, probs)
    theirs = DenseCRF(preset, backend="pydensecrf")(images, probs)
    for a, b, before in zip(ours, theirs, probs, strict=True):
        assert (a - b).abs().max() < 1e-4
        assert (b - before).abs().max() > 0.1


def test_mean_field_with_a_cost_matrix_equals_pydensecrf() -> None:
    pytest.importorskip("pydensecrf")
    matrix = torch.tensor([[0.0, 1.0, 3.0], [0.5, 0.1, 1.0], [2.0, 1.0, 0.0]])  # not symmetric
    parameters = CRFParameters(3, 3, 50, 5, 10, compatibility=matrix)
    image, probs = draw(40, 50, 3)
    ours = DenseCRF(parameters)([image], [probs])[0]
    theirs = DenseCRF(parameters, backend="pydensecrf")([image], [probs])[0]
    assert (ours - theirs).abs().max() < 1e-4
    potts = DenseCRF("irn")([image], [probs])[0]
    assert (ours - potts).abs().max() > 0.1


def test_mean_field_takes_own_labels_of_a_cost_matrix() -> None:
    matrix = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    own = [3, 1]
    image, probs = draw(20, 25, 4)
    whole = CRFParameters(3, 3, 50, 5, 10, compatibility=matrix)
    part = CRFParameters(3, 3, 50, 5, 10, compatibility=matrix[own][:, own])
    refined = DenseCRF(whole)([image], [probs], [own])[0][own]
    alone = DenseCRF(part)([image], [probs[own] / probs[own].sum(0)])[0]
    torch.testing.assert_close(refined, alone)


def test_mean_field_of_large_weights_stays_finite() -> None:
    image, probs = draw(40, 50, 3)
    refined = DenseCRF(CRFParameters(3, 300, 50, 5, 1000))([image], [probs])[0]
    torch.testing.assert_close(refined.sum(0), torch.ones(40, 50))


def test_normalise_by_exponentials_equals_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    image, probs = draw(40, 50, 3)
    quick = DenseCRF("irn")([image], [probs])[0]
    monkeypatch.setattr(mean_field, "SAFE_WEIGHT", 0.0)
    torch.testing.assert_close(DenseCRF("irn")([image], [probs])[0], quick, atol=1e-5, rtol=0)


def test_mean_field_gives_the_same_bits_in_every_run() -> None:
    image, probs = draw(60, 80, 21)
    runs = [DenseCRF("deeplab")([image], [probs])[0] for _ in range(2)]
    crf = DenseCRF("deeplab")
    runs += [crf([image], [probs])[0] for _ in range(2)]  # the second from a remembered lattice
    assert all(torch.equal(run, runs[0]) for run in runs)


def test_mean_field_of_a_batch_equals_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [draw(30, 41, 5), draw(22, 18, 3, seed=1), draw(30, 41, 9, seed=2)]
    images, probs = [p[0] for p in pairs], [p[1] for p in pairs]
    loop = DenseCRF("irn")(images, probs)
    monkeypatch.setattr(mean_field, "_can_batch", lambda problems: True)
    batch = DenseCRF("irn")(images, probs)
    for a, b in zip(loop, batch, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("storage", "tolerance"), [("fp16", 0.02), ("bf16", 0.1)])
def test_mean_field_in_narrow_storage_is_near(storage: str, tolerance: float) -> None:
    image, probs = draw(40, 50, 3)
    exact = DenseCRF("irn")([image], [probs])[0]
    narrow = DenseCRF("irn", storage=storage)([image], [probs])[0]  # type: ignore[arg-type]
    assert narrow.dtype == torch.float32
    assert 0 < (narrow - exact).abs().max() < tolerance
    assert (narrow.argmax(0) == exact.argmax(0)).float().mean() > 0.99


def test_mean_field_without_iterations_is_the_unary() -> None:
    image, probs = draw(20, 25, 3)
    torch.testing.assert_close(DenseCRF("irn", iterations=0)([image], [probs])[0], probs)
