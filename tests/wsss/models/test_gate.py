"""Classes that the run's classifier doesn't find are dropped from predictions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wsss.config import EvaluateConfig, PredictionMode, RunConfig
from wsss.data.mask_io import read_mask
from wsss.data.scores import read_doubt
from wsss.engine.checkpoint import read_metadata
from wsss.models.classifier import ClassifierOutput
from wsss.models.gate import Gate, gate_of, has_thresholds, whole_image_logits
from wsss.models.inference import predict_images
from wsss.run.state import Run
from wsss.stages import export, predict

PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 40, 56), np.uint8))
CPU = torch.device("cpu")


class Stripes(nn.Module):
    """Says class 2 on the left, class 1 on the right, background after either."""

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.zeros(len(images), 3, *images.shape[-2:])
        logits[:, 2, :, :20] = 4
        logits[:, 1, :, 20:] = 4
        logits[:, 0] = 1
        return logits


class Sure(Gate):
    """A gate whose classifier finds class 1 in the first image, and both in the second."""

    def probabilities(self, images: Tensor) -> Tensor:
        return torch.tensor([[0.9, 0.2], [0.9, 0.8]])


def gate() -> Gate:
    return Sure(None, torch.tensor([0.3, 0.3]))  # type: ignore[arg-type]


@pytest.mark.parametrize("crf", ["none", "deeplab"])
def test_predict_images_drops_what_the_gate_does_not_allow(crf: str) -> None:
    mode = PredictionMode(crf=crf)
    (first,), (second,) = predict_images(Stripes(), PIXELS, [mode], [(40, 56)] * 2, gate=gate())
    assert set(np.unique(first.mask)) == {0, 1} and set(np.unique(second.mask)) == {1, 2}
    assert first.doubt.tags == pytest.approx({1: 0.9, 2: 0.2})
    assert first.doubt.parts["doubted"] == pytest.approx(0.1)
    assert second.doubt.parts["doubted"] == pytest.approx(0.2)
    assert ("refined" in first.doubt.parts) == (crf != "none")


def test_a_gate_leaves_a_class_where_there_is_no_background() -> None:
    likely = torch.tensor([[0.2, 0.1], [0.1, 0.28], [0.9, 0.5]])
    without = gate()._replace(background=False)
    assert gate().allows(likely).tolist() == [[False, False], [False, False], [True, True]]
    assert without.allows(likely).tolist() == [[True, False], [False, True], [True, True]]


def test_predict_images_without_a_gate_holds_any_class() -> None:
    found = predict_images(Stripes(), PIXELS, [PredictionMode()], [(40, 56)] * 2)
    for (one,) in found:
        assert set(np.unique(one.mask)) == {1, 2}
        assert list(one.doubt.parts) == ["unsure"] and one.doubt.tags == {}


def test_predictions_lack_what_the_classifier_expects() -> None:
    class Nothing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = torch.zeros(len(images), 3, *images.shape[-2:])
            logits[:, 0] = 9
            return logits

    found = predict_images(Nothing(), PIXELS, [PredictionMode()], [(40, 56)] * 2, gate=gate())
    assert [one.doubt.parts["missing"] for (one,) in found] == [1, 1]
    assert [one.doubt.parts["doubted"] for (one,) in found] == [0, 0]


def test_whole_images_are_reduced_to_1024_and_whole_strides() -> None:
    sizes = []

    class Sizes(nn.Module):
        def forward(self, images: Tensor) -> ClassifierOutput:
            sizes.append(tuple(images.shape[-2:]))
            return ClassifierOutput(images.mean(dim=(2, 3)), images, images, {})

    for size in ((64, 2048), (40, 56)):
        whole_image_logits(Sizes(), torch.zeros(1, 3, *size))  # type: ignore[arg-type]
    assert sizes == [(32, 1024), (32, 64)]


def set_least(weights: Path, least: list[float] | None) -> None:
    metadata = read_metadata(weights, "classifier")
    metadata.pop("least", None)
    if least is not None:
        metadata["least"] = least
    save_file(load_file(weights), weights, metadata={"wsss": json.dumps(metadata)})


def test_train_cls_leaves_a_least_probability_a_class(finished: RunConfig) -> None:
    run = Run(finished.run)
    least = json.loads(run.metrics.read_text())["least"]
    metadata = read_metadata(run.model("train_cls"), "classifier")
    assert list(least) == metadata["class_names"] and list(least.values()) == metadata["least"]
    assert all(0 <= value <= 1 for value in metadata["least"])


def test_gate_of_a_classifier_without_thresholds_is_none(run: RunConfig) -> None:
    run = run.model_copy(update={"evaluate": EvaluateConfig(gate=True)})
    weights = Run(run.run).model("train_cls")
    card = read_metadata(Run(run.run).model("train_seg"), "segmenter")
    assert has_thresholds(weights) and gate_of(run, card, CPU) is not None
    set_least(weights, None)
    assert not has_thresholds(weights) and gate_of(run, card, CPU) is None
    assert gate_of(run, card, CPU, weights.with_name("none.safetensors")) is None


def test_predict_makes_masks_again_when_the_gate_changes(
    run: RunConfig, synthetic: Path, tmp_path: Path
) -> None:
    images, out = synthetic / "JPEGImages" / "val_00000.jpg", tmp_path / "out"
    weights = Run(run.run).model("train_cls")
    classes = len(read_metadata(weights, "classifier")["class_names"])

    def made(least: float, gate: bool = True) -> np.ndarray:  # type: ignore[type-arg]
        set_least(weights, [least] * classes)
        settings = run.evaluate.model_copy(update={"gate": gate})
        config = run.model_copy(update={"evaluate": settings})
        return read_mask(predict.run(config, images, out) / "val_00000.png")

    free = made(0.0)
    assert free.any() and not made(1.0).any()
    assert np.array_equal(made(1.0, gate=False), free)
    doubt = read_doubt(out / "val_00000.png")
    assert doubt is not None and doubt.tags == {}


def test_predict_and_evaluate_say_that_a_classifier_has_no_thresholds(
    run: RunConfig, synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gated = run.evaluate.model_copy(update={"gate": True, "fast": True})
    run = run.model_copy(update={"evaluate": gated})
    set_least(Run(run.run).model("train_cls"), None)
    predict.run(run, synthetic / "JPEGImages" / "val_00000.jpg", tmp_path / "out")
    assert "train_cls.holdout" in capsys.readouterr().err
    predict.run_split(run, ids=["val_00000"])
    assert "train_cls.holdout" in capsys.readouterr().err


def test_models_take_their_classifier_along_to_the_hub(
    run: RunConfig, synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gated = run.evaluate.model_copy(update={"gate": True})
    run = run.model_copy(update={"evaluate": gated})
    images = synthetic / "JPEGImages" / "val_00000.jpg"
    weights = Run(run.run).model("train_cls")
    classes = len(read_metadata(weights, "classifier")["class_names"])
    set_least(weights, [1.0] * classes)
    hub = export.run(run, "hub", tmp_path / "hub")
    single = export.run(run, "safetensors", tmp_path / "alone" / "model.safetensors")
    for model in (hub, run.run, hub / "model.safetensors"):
        found = predict.run(run, images, tmp_path / "out", model=model)
        assert not read_mask(found / "val_00000.png").any()
    assert "no classifier" not in capsys.readouterr().err
    found = predict.run(run, images, tmp_path / "out", model=single)
    assert read_mask(found / "val_00000.png").any()
    assert "no classifier lies beside the model" in capsys.readouterr().err
    shutil.copyfile(weights, single.with_name("classifier.safetensors"))
    found = predict.run(run, images, tmp_path / "out", model=single)
    assert not read_mask(found / "val_00000.png").any()
