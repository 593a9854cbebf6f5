"""Masks are made without waiting for a device, but for the copy at the end of a batch.

Shown on fake tensors that say they are on CUDA. They have no values, so whatever would read one is
an error; what else makes a host wait is counted: a copy between host and device that isn't queued
(indices by a list are such copies), and a lattice's number of vertices.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glmix.attention import attention_modules
from wsss.ablation import rows
from wsss.config import load
from wsss.config.schema import MaskLossConfig
from wsss.crf import DenseCRF, spatial_cache
from wsss.crf.embedding import _axis_orders, _steps
from wsss.crf.spatial_cache import SpatialCache
from wsss.data import augment
from wsss.engine.inference import from_device
from wsss.engine.profile import Stopwatch
from wsss.metrics.uncertainty import overlaps
from wsss.models import inference, soft_seeds
from wsss.models.classifier import TagClassifier
from wsss.models.doubts import prediction_signs, signs_of
from wsss.models.inference import label_at, predict_views
from wsss.models.mask_loss import mask_loss
from wsss.models.multiscale import observe
from wsss.seeding import maps
from wsss.seeding.masks import among_tags, harden, refine, times_seeds, without_others
from wsss.seeding.walks import Border, Seeding

CUDA = torch.device("cuda", 0)
SMALL = {"depths": [1, 1, 2, 1], "embed_dims": [32, 32, 64, 64], "slot_grid": [4, 4]}
TAGS = [[0], [1, 3], [], [0, 1, 4]]
SIZE = (64, 96)


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        came = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        there = [t for t in came if t.device.type == "cuda"]
        if name == "unique_consecutive" and isinstance(args[0], FakeTensor):
            self.found[name] += 1
            kinds = (args[0].dtype, torch.int64, torch.int64)
            return [torch.empty_like(args[0], dtype=kind) for kind in kinds]
        if came and not there and getattr(kwargs.get("device"), "type", "") == "cuda":
            if not kwargs.get("non_blocking"):
                self.found["copy to the device"] += 1
            dtype = kwargs.get("dtype") or args[0].dtype
            return torch.empty(args[0].shape, dtype=dtype, device=CUDA)
        out = func(*args, **kwargs)
        left = {t.device.type for t in tree_leaves(out) if isinstance(t, Tensor)}
        if there and "cpu" in left:
            self.found["copy to the CPU"] += 1
        return out


@pytest.fixture
def classifier() -> TagClassifier:
    backbone = timm.create_model("glnet_nano", num_classes=0, **SMALL)
    return TagClassifier(backbone, 5, "16.0", 3).eval()


@pytest.fixture
def waits(fake_cuda: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """Counts within; nothing that is kept between calls is met or left."""
    monkeypatch.setattr(spatial_cache, "SHARED", SpatialCache())
    kept = (_axis_orders, _steps, augment._on)
    for one in kept:
        one.cache_clear()
    with FakeTensorMode(), Waits() as found:
        # constants are copied once
        augment._on(CUDA)
        yield found
    for one in kept:
        one.cache_clear()


def probabilities(labels: int) -> Tensor:
    return torch.empty(labels, *SIZE, device=CUDA)


def masks(kind: torch.dtype = torch.uint8) -> Tensor:
    return torch.empty(SIZE, dtype=kind, device=CUDA)


def put_there(model: nn.Module) -> None:
    """The model on CUDA."""
    for module in model.modules():
        for own in (module._parameters, module._buffers):
            for name, value in own.items():
                if value is not None:
                    there = torch.empty(value.shape, dtype=value.dtype, device=CUDA)
                    learnt = isinstance(value, nn.Parameter)
                    own[name] = nn.Parameter(there, False) if learnt else there


def test_what_waits_is_counted(waits: Waits) -> None:
    waits.found.clear()
    probs, values = probabilities(5), [0, 2]
    escapes: list[Callable[[], object]] = [
        lambda: probs[values],
        lambda: torch.tensor(values, device=CUDA),
        lambda: probs.cpu(),
    ]
    for escape in escapes:
        escape()
    assert waits.found == {"copy to the device": 2, "copy to the CPU": 1}
    for error in (lambda: probs.sum().item(), lambda: probs[probs > 0], lambda: masks().bincount()):
        with pytest.raises((RuntimeError, NotImplementedError)):
            error()


def test_masks_of_a_batch_are_made_with_one_wait_for_each_lattice(
    classifier: TagClassifier, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    # read from tags on the CPU, which are fake here, too
    monkeypatch.setattr(maps, "tagged", lambda _: sorted({tag for own in TAGS for tag in own}))
    config = load(None, ["data.root=none", "pseudo_masks.walks=[{block: '16.0', steps: 2}]"])
    settings = config.pseudo_masks
    put_there(classifier)
    waits.found.clear()
    pixels = torch.empty(len(TAGS), 3, *SIZE, dtype=torch.uint8, device=CUDA)
    watch = Stopwatch(torch.device("cpu"))
    softs = soft_seeds.soft_seeds(classifier, pixels, TAGS, settings, watch)
    levels = {1: 0.5}
    probs = [soft_seeds.seed_probs(soft, SIZE, settings, True, levels) for soft in softs]
    refined = refine(list(pixels), probs, DenseCRF("irn", iterations=1))
    made = zip(refined, softs, strict=True)
    hard = [harden(prob, soft.labels, 0.7) for prob, soft in made]
    signs = [
        signs_of(
            first, last, mask, soft.labels, torch.zeros(2, len(first), device=CUDA), soft.likely
        )
        for first, last, mask, soft in zip(probs, refined, hard, softs, strict=True)
    ]
    constants = waits.found.pop("copy to the device")
    assert waits.found == {"unique_consecutive": 2}
    assert constants == 4  # two tables for each lattice, kept from then on
    from_device(signs)
    assert waits.found == {"unique_consecutive": 2, "copy to the CPU": 1}


def test_rows_of_the_ablation_wait_for_nothing(
    classifier: TagClassifier, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (maps, rows):
        monkeypatch.setattr(module, "tagged", lambda _: TAGS[1])
    put_there(classifier)
    blocks = attention_modules(classifier.backbone, tokens=False)
    pixels = torch.empty(len(TAGS), 3, *SIZE, dtype=torch.uint8, device=CUDA)
    evidence = observe(classifier, augment.normalise_pixels(pixels), (1.0,), True, attention=True)
    tags, own = torch.empty(1, 5, dtype=torch.bool), [one.of_image(1) for one in evidence]
    waits.found.clear()
    for row in rows.all_rows(Seeding(border=Border()), blocks):
        found = rows.row_maps(row, own, tags, (16, 24))
        assert found.device == CUDA and found.shape == (len(TAGS[1]), 16, 24)
        assert not waits.found, row.name


STEPS: dict[str, Callable[[], object]] = {
    "without others": lambda: without_others(probabilities(6), [1, 4]),
    "among tags": lambda: among_tags(probabilities(6), [1, 4]),
    "seeds": lambda: times_seeds(probabilities(3), probabilities(3), 0.4),
    "overlaps": lambda: overlaps(masks(), masks(torch.int64), 4),
    "largest label": lambda: label_at(probabilities(6), (100, 80)),
    "signs": lambda: prediction_signs(probabilities(6), probabilities(6)),
    "views": lambda: predict_views(
        lambda x: x, torch.empty(2, 3, *SIZE, device=CUDA), [inference.View((1.0, 1.5), True)]
    ),
    "loss": lambda: mask_loss(
        MaskLossConfig(kind="symmetric", balanced=True),
        torch.empty(2, 6, *SIZE, device=CUDA),
        torch.empty(2, *SIZE, dtype=torch.int64, device=CUDA),
        trusted=torch.empty(2, dtype=torch.bool, device=CUDA),
    ),
}


@pytest.mark.parametrize("step", STEPS)
def test_steps_of_predictions_and_trainings_wait_for_nothing(waits: Waits, step: str) -> None:
    waits.found.clear()
    STEPS[step]()
    assert not waits.found


@pytest.mark.parametrize("images", [1, 3])
def test_predictions_are_copied_once_a_batch(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(tensors: list[Tensor]) -> list[Tensor]:
        calls.append(len(tensors))
        return from_device(tensors)

    monkeypatch.setattr(inference, "from_device", counted)
    pixels = torch.randint(0, 256, (images, 3, 32, 48), dtype=torch.uint8)
    mode = inference.PredictionMode(crf="irn")
    inference.predict_images(lambda x: torch.cat([x, x], 1), pixels, [mode], [(32, 48)] * images)
    # likeliest labels before the CRF, then masks, then how uncertain they are
    assert calls == [images] * 3
