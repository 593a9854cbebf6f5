"""Released checkpoints load as they are, and answer as the released implementation does."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from reference import FOLDER, fill, golden, needs_reference

import glmix
from glmix.plain import plain_forward

RELEASED = [
    "glnet_stl",
    "glnet_stl_paramslot",
    "glnet_4g",
    "glnet_9g",
    "glnet_16g",
    "glnet_4g_tklb",
    "glnet_9g_tklb",
]
pytestmark = needs_reference


@pytest.mark.parametrize(
    "name",
    [
        "glnet_stl",
        "glnet_4g",
        pytest.param("glnet_16g", marks=pytest.mark.slow),
    ],
)
def test_answers_equal_the_released_ones(name: str) -> None:
    reference, expected = fill(), golden(name)
    model = timm.create_model(name).eval()
    assert isinstance(model, glmix.GLNet)
    model.load_state_dict(reference.fill_state_dict(name))
    batch, _, height, width = expected["shape"]
    images = reference.fill_images(batch, height, width, int(expected["seed"]))
    with torch.no_grad():
        logits = model(images).numpy()
        _, assignments = model.forward_slots(images)
    assert np.abs(logits - expected["logits"]).max() < 1e-4 * np.abs(expected["logits"]).max()
    assert len(assignments) == sum(key.startswith("slot_argmax") for key in expected)
    for i, assignment in enumerate(assignments):
        winner = assignment.logits.argmax(1).numpy()
        assert (winner == expected[f"slot_argmax_{i}"]).mean() >= 0.999, assignment.name


@pytest.mark.parametrize(
    ("name", "under"),
    [
        ("glnet_stl", "model"),
        pytest.param("glnet_4g", "model", marks=pytest.mark.slow),
        pytest.param("glnet_16g", "model_ema", marks=pytest.mark.slow),
    ],
)
def test_checkpoint_path_takes_a_released_file(name: str, under: str, tmp_path: Path) -> None:
    weights = fill().fill_state_dict(name)
    path = tmp_path / f"{name}.pth"
    torch.save({under: weights, "epoch": 299}, path)
    model = timm.create_model(name, checkpoint_path=str(path))
    for key, value in model.state_dict().items():
        released = weights.get(key, weights.get(key.replace(".mlp.3.", ".mlp.2.")))
        assert released is not None, key
        assert torch.equal(value.flatten(), released.flatten()), key


@pytest.mark.parametrize(
    "name", ["glnet_stl_paramslot", "glnet_9g", "glnet_4g_tklb", "glnet_9g_tklb"]
)
def test_the_other_released_files_have_our_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    shapes = json.loads((FOLDER / "state_dicts.json").read_text())[name]
    weights = {key: torch.empty(shape, device="meta") for key, shape in shapes}
    model.load_state_dict(weights, assign=True)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(96, 160), (131, 70), (224, 224)], ids=str)
@pytest.mark.parametrize("name", RELEASED)
def test_released_models_equal_the_plain_formulation(name: str, size: tuple[int, int]) -> None:
    model = timm.create_model(name).eval()
    model.load_state_dict(fill().fill_state_dict(name))
    x = fill().fill_images(1, *size, seed=3)
    with torch.no_grad():
        expected, expected_slots = plain_forward(model, x)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
        _, assignments = model.forward_slots(x)
    for assignment, logits in zip(assignments, expected_slots, strict=True):
        agree = (assignment.logits.argmax(1) == logits.argmax(1)).float().mean()
        assert agree >= 0.999, assignment.name
