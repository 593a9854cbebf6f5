"""Masks that a GPU makes beside the CPU's, batches beside single images, memory over many images.

`WSSS_TEST_DEVICE=cpu` runs the same code without a GPU, to see that it runs.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wsss import pipeline
from wsss.ablation import run as ablation
from wsss.config import PredictionMode, RunConfig, load
from wsss.crf import spatial_cache
from wsss.crf.spatial_cache import SpatialCache
from wsss.data.augment import normalise_pixels, resize
from wsss.data.images import Sample, read_image
from wsss.data.mask_io import read_mask
from wsss.engine.checkpoint import load_trained
from wsss.engine.inference import Loaded, Steps, network_autocast, process, to_device
from wsss.engine.precision import Precision
from wsss.engine.runtime import Runtime
from wsss.export.load import open_network
from wsss.models.classifier import build_classifier
from wsss.models.inference import Mask, Prediction, View, predict_images, predict_views
from wsss.models.multiscale import observe
from wsss.models.segmenter import Segmenter, build_segmenter
from wsss.run.state import Run
from wsss.seeding.maps import score_maps
from wsss.stages import export, generate_pseudo_masks, predict

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
SIZE = (120, 160)
MODES = [PredictionMode(), PredictionMode((0.75, 1.25), True, "deeplab")]
SEVERAL = View((0.75, 1.25), True)


@pytest.fixture
def images(synthetic: Path) -> list[NDArray[np.uint8]]:
    """Eight images of one shape."""
    paths = sorted((synthetic / "JPEGImages").iterdir())[:8]
    return [resize(read_image(path), SIZE) for path in paths]


def packaged(device: torch.device) -> Segmenter:
    return open_network(predict.shipped_model(), build_segmenter, device)[0]


def masks_of(images: list[NDArray[np.uint8]], device: torch.device, size: int) -> list[Mask]:
    """Every mask of images by the packaged segmenter, computed `size` at a time."""
    model, found = packaged(device), []
    for start in range(0, len(images), size):
        some = images[start : start + size]
        pixels = to_device(some, device)
        found += predict_images(model, pixels, MODES, [SIZE] * len(some))
    return [one.mask for own in found for one in own]


def agreement(one: list[Mask], other: list[Mask]) -> float:
    assert len(one) == len(other) > 0
    return float(np.mean(np.stack(one) == np.stack(other)))


def pseudo_masks(config: RunConfig) -> list[Mask]:
    folder = Run(config.run).stage("pseudo_masks")
    return [read_mask(path) for path in sorted(folder.glob("*.png"))]


def on(device: torch.device, config: RunConfig, run: Path) -> RunConfig:
    """A copy of a run, to go on elsewhere."""
    runtime = config.runtime.model_copy(update={"device": device.type, "precision": "fp32"})
    copy = shutil.copytree(config.run, run) if config.run.is_dir() else run
    return config.model_copy(update={"run": copy, "runtime": runtime})


def test_gpu_pseudo_masks_equal_the_cpus(
    gpu: torch.device, finished: RunConfig, tmp_path: Path
) -> None:
    config = on(gpu, finished, tmp_path / "run")
    generate_pseudo_masks.run(config, overwrite=True)
    assert agreement(pseudo_masks(config), pseudo_masks(finished)) >= 0.999


def test_gpu_score_maps_of_a_batch_equal_those_of_single_images(
    gpu: torch.device, finished: RunConfig, images: list[NDArray[np.uint8]]
) -> None:
    weights = Run(finished.run).model("train_cls")
    model, _ = load_trained(weights, "classifier", build_classifier, gpu)
    tags = torch.zeros(len(images), len(model.bias), dtype=torch.bool)
    for i, row in enumerate(tags):
        row[[i % len(row), (i // 2) % len(row)]] = True

    def maps(chosen: slice) -> torch.Tensor:
        pixels = to_device(images[chosen], gpu)
        evidence = observe(model, normalise_pixels(pixels), (0.75, 1.0), flip=True)
        return score_maps(evidence, tags[chosen], finished.pseudo_masks.seeding, (30, 40))

    alone = torch.cat([maps(slice(i, i + 1)) for i in range(len(images))])
    torch.testing.assert_close(maps(slice(None)), alone, atol=1e-4, rtol=0)


def test_gpu_predictions_equal_the_cpus(gpu: torch.device, images: list[NDArray[np.uint8]]) -> None:
    assert agreement(masks_of(images, gpu, 8), masks_of(images, CPU, 1)) >= 0.999


def test_gpu_predictions_of_a_batch_equal_those_of_single_images(
    gpu: torch.device, images: list[NDArray[np.uint8]]
) -> None:
    assert agreement(masks_of(images, gpu, 8), masks_of(images, gpu, 1)) >= 0.9999
    model, pixels = packaged(gpu), normalise_pixels(to_device(images, gpu))
    (batch,) = predict_views(model, pixels, [SEVERAL])
    alone = torch.cat([predict_views(model, one, [SEVERAL])[0] for one in pixels.split(1)])
    torch.testing.assert_close(batch, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("precision", "same"), [("bf16", 0.97), ("fp16", 0.99)])
def test_gpu_predictions_in_half_the_bits_are_near_those_in_float32(
    gpu: torch.device, images: list[NDArray[np.uint8]], precision: Precision, same: float
) -> None:
    model, pixels = packaged(gpu), normalise_pixels(to_device(images, gpu))
    (exact,) = predict_views(model, pixels, [SEVERAL])
    with network_autocast(Runtime(gpu, precision=precision))():
        (found,) = predict_views(model, pixels, [SEVERAL])
    assert found.dtype == torch.float32
    assert (found.argmax(1) == exact.argmax(1)).float().mean() >= same


def test_gpu_ablation_counts_as_the_cpus(
    gpu: torch.device, finished: RunConfig, tmp_path: Path
) -> None:
    counts = []
    for device in (CPU, gpu):
        config = on(device, finished, tmp_path / f"run_{len(counts)}")
        config.ablate = config.ablate.model_copy(update={"memory": False})
        ablation.run(config, "default;token attention, t=1;pixel affinity, β=10, t=16")
        files = sorted((config.run / "ablation" / "rows").iterdir())
        counts.append(np.stack([np.load(file)["joint"] for file in files]))
    assert len(counts[0]) == 3 and np.abs(counts[0] - counts[1]).sum() <= 0.01 * counts[0].sum()


def test_a_model_trained_on_a_gpu_is_exported_and_answers_the_same_on_a_cpu(
    gpu: torch.device, tiny: Path, synthetic: Path, tmp_path: Path
) -> None:
    config = load(tiny, [f"run={tmp_path / 'run'}", f"data.root={synthetic}"])
    config = on(gpu, config, tmp_path / "run")
    pipeline.run(config)
    config.evaluate = config.evaluate.model_copy(update={"fast": True})
    here = predict.run_split(config)
    names = sorted(path.name for path in here.glob("*.png"))
    split = [synthetic / "JPEGImages" / f"{Path(name).stem}.jpg" for name in names]
    elsewhere = on(CPU, config, tmp_path / "copy")
    for kind in ("safetensors", "torch-export"):
        model = export.run(config, kind)
        out = predict.run(elsewhere, split, tmp_path / kind, model=model)
        masks = [[read_mask(folder / name) for name in names] for folder in (here, out)]
        assert agreement(*masks) >= 0.999, kind


def test_gpu_memory_stays_flat_over_1000_images_of_different_sizes(
    gpu: torch.device, finished: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a budget that is full early: lattices that are kept are no leak
    monkeypatch.setattr(spatial_cache, "SHARED", SpatialCache(device_bytes=2**23))
    model, _ = load_trained(Run(finished.run).model("train_seg"), "segmenter", build_segmenter, gpu)
    rng = np.random.default_rng(0)
    count = 1000 if gpu.type != "cpu" else 20
    sizes = [tuple(map(int, rng.integers(48, 161, 2))) for _ in range(count)]
    held: list[tuple[int, int]] = []

    def read(number: int) -> Loaded:
        pixels = np.random.default_rng(number).integers(0, 256, (*sizes[number], 3), np.uint8)
        return Loaded(Sample(str(number), Path(), ()), pixels, sizes[number])

    def compute(batch: list[Loaded]) -> list[list[Prediction]]:
        # a CRF for some: it keeps lattices of sizes it has seen
        mode = PredictionMode(crf="none" if len(held) % 5 else "irn")
        pixels = to_device([one.image for one in batch], gpu)
        made = predict_images(model, pixels, [mode], [one.size for one in batch])
        held.append(
            (torch.cuda.memory_allocated(), torch.cuda.memory_reserved())
            if gpu.type != "cpu"
            else (0, 0)
        )
        return made

    steps = Steps(read, lambda one: one.image.shape, compute, lambda made: None)
    process(range(count), steps, Runtime(gpu, workers=4), "predict")
    third = len(held) // 3
    early, late = (np.max(some, axis=0) for some in (held[:third], held[-third:]))
    assert late[0] <= early[0] + 2**24 and late[1] <= 1.5 * early[1] + 2**26
