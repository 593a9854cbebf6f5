"""From soft seeds to a pseudo-mask by hand; the parts of stage 2 that need no training."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wsss.arguments import parse_shard
from wsss.config import PseudoMasksConfig
from wsss.crf import DenseCRF
from wsss.engine.inference import to_device
from wsss.engine.profile import Stopwatch
from wsss.errors import WsssError
from wsss.models.backbone import create_backbone
from wsss.models.classifier import TagClassifier
from wsss.models.multiscale import check_walks
from wsss.models.soft_seeds import SoftSeeds, seed_probs, soft_seeds
from wsss.seeding.masks import harden, refine

WATCH = Stopwatch(torch.device("cpu"))
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def settings(**values: object) -> PseudoMasksConfig:
    chosen = {
        "crf": "none",
        "background": 0.5,
        "sharpness": 10,
        "walks": [{"block": "8.0", "steps": 4}, {"block": "16.0", "steps": 2}],
    }
    return PseudoMasksConfig.model_validate({**chosen, **values})


def pseudo_mask(
    image: NDArray[np.uint8],
    soft: SoftSeeds,
    chosen: PseudoMasksConfig,
    crf: DenseCRF | None = None,
) -> NDArray[np.uint8]:
    probs = seed_probs(soft, image.shape[:2], chosen)
    (probs,) = refine([torch.from_numpy(image).permute(2, 0, 1)], [probs], crf)
    torch.testing.assert_close(probs.sum(0), torch.ones(image.shape[:2]))
    return harden(probs, soft.labels, chosen.confidence).numpy()


def seeds_of(
    model: TagClassifier,
    image: NDArray[np.uint8],
    tags: Sequence[int],
    chosen: PseudoMasksConfig,
    watch: Stopwatch,
) -> SoftSeeds:
    pixels = to_device([np.ascontiguousarray(image)], torch.device("cpu"))
    (soft,) = soft_seeds(model, pixels, [tags], chosen, watch)
    return soft


@pytest.mark.parametrize(
    ("text", "shard"), [("0/1", (0, 1)), ("0/3", (0, 3)), ("2/3", (2, 3)), ("09/10", (9, 10))]
)
def test_parse_shard(text: str, shard: tuple[int, int]) -> None:
    assert parse_shard(text) == shard


@pytest.mark.parametrize("text", ["", "1", "1/1", "3/2", "-1/2", "0/0", "a/b", "1/2/3", "0.5/2"])
def test_parse_shard_refuses(text: str) -> None:
    with pytest.raises(WsssError, match=f"--shard is {text!r}"):
        parse_shard(text)


def test_pseudo_mask_holds_the_likeliest_label_or_255() -> None:
    seed = torch.tensor([[[1.0, 0.0, 0.5, 0.2]], [[0.0, 0.0, 0.0, 0.9]]]).half()
    soft = SoftSeeds([3, 7], seed, seed)
    image = np.zeros((1, 4, 3), np.uint8)
    # sharpness 10: the margins 0.5 and 0.4 are worth odds of e⁵ and e⁴ against background
    found = pseudo_mask(image, soft, settings(confidence=0.9))
    assert found.dtype == np.uint8 and found.tolist() == [[3, 0, 255, 7]]
    # at the threshold background and class are even: 1 / (2 + e⁻⁵), unsure from there on
    assert pseudo_mask(image, soft, settings(confidence=0.49))[0, 2] in (0, 3)
    assert pseudo_mask(image, soft, settings(confidence=0.9, sharpness=2)).tolist() == [
        [255, 255, 255, 255]
    ]


@pytest.mark.parametrize("crf", [None, DenseCRF("irn", iterations=2)])
def test_pseudo_mask_without_tags_is_background(crf: DenseCRF | None) -> None:
    empty = torch.zeros(0, 10, 14).half()
    found = pseudo_mask(IMAGE, SoftSeeds([], empty, empty), settings(), crf)
    assert found.shape == (40, 56) and not found.any()


def test_soft_seeds_times_its_parts(model: TagClassifier) -> None:
    watch = Stopwatch(torch.device("cpu"))
    soft = seeds_of(model, IMAGE, (1, 3), settings(), watch)
    assert set(watch.per_unit(1)) == {"network", "cam", "walk", "scores"}
    assert len(soft.labels) == 2


@pytest.mark.parametrize(
    "walk",
    [
        {"block": "8.0", "kind": "one-way", "temperature": 0.5},
        {"block": "16.0", "top_k": 3},
        {"block": "all", "steps": 2, "weight": 0.5},
    ],
    ids=lambda walk: str(walk.get("kind", walk["block"])),
)
def test_soft_seeds_by_every_kind_of_walk(model: TagClassifier, walk: dict[str, object]) -> None:
    default = seeds_of(model, IMAGE, (1,), settings(), WATCH)
    soft = seeds_of(model, IMAGE, (1,), settings(walks=[walk]), WATCH)
    assert soft.seed.min() == 0 and soft.seed.max() == 1
    np.testing.assert_array_equal(soft.cam, default.cam)
    assert (soft.seed - default.seed).abs().max() > 0.01


def test_pseudo_mask_by_a_crf_keeps_labels_and_size() -> None:
    seed = torch.zeros(1, 10, 14).half()
    seed[0, :, :7] = 1
    soft = SoftSeeds([5], seed, seed)
    found = pseudo_mask(IMAGE, soft, settings(), DenseCRF("irn", iterations=3))
    assert found.shape == (40, 56) and set(np.unique(found).tolist()) <= {0, 5, 255}
    assert (found[:, :14] == 5).mean() > 0.5 and (found[:, 42:] == 0).mean() > 0.5


@pytest.fixture(scope="module")
def model() -> TagClassifier:
    torch.manual_seed(0)
    # on fresh weights every token belongs to all slots alike, unless the scale is set
    args = {"depths": [1] * 4, "embed_dims": [32] * 4, "slot_grid": [3, 3], "slot_scale": 30.0}
    model = TagClassifier(create_backbone("glnet_nano", None, args), 4, "16.0", 2).eval()
    # an untrained map is negative everywhere: without the bias half of it is positive
    torch.nn.init.zeros_(model.bias)
    return model


def test_soft_seeds_are_of_the_tags_alone(model: TagClassifier) -> None:
    soft = seeds_of(model, IMAGE, (1, 3), settings(), WATCH)
    assert soft.labels == [2, 4]
    for scores in (soft.cam, soft.seed):
        assert scores.shape == (2, 10, 14) and scores.dtype == torch.float16
        assert scores.min() == 0 and scores.max() == 1
    alone = seeds_of(model, IMAGE, (3,), settings(), WATCH)
    np.testing.assert_array_equal(alone.cam[0], soft.cam[1])
    np.testing.assert_allclose(alone.seed[0], soft.seed[1], atol=2e-3)
    nothing = seeds_of(model, IMAGE, (), settings(), WATCH)
    assert len(nothing.labels) == 0 and nothing.cam.shape == (0, 10, 14)


def test_soft_seeds_of_the_mirror_image_are_mirrored(model: TagClassifier) -> None:
    square = IMAGE[:, :32]
    one = seeds_of(model, square, (0, 2), settings(flip=True), WATCH)
    other = seeds_of(model, square[:, ::-1].copy(), (0, 2), settings(flip=True), WATCH)
    np.testing.assert_allclose(one.cam, other.cam.flip(-1), atol=5e-3)
    np.testing.assert_allclose(one.seed, other.seed.flip(-1), atol=5e-3)


def test_soft_seeds_of_a_batch_are_those_of_each_image(model: TagClassifier) -> None:
    images = [IMAGE, IMAGE[::-1].copy(), np.zeros_like(IMAGE)]
    tags = [(1, 3), (0,), ()]
    pixels = to_device(images, torch.device("cpu"))
    for flip in (False, True):
        chosen = settings(flip=flip, border={"block": "16.0"})
        batch = soft_seeds(model, pixels, tags, chosen, WATCH)
        for image, own, soft in zip(images, tags, batch, strict=True):
            alone = seeds_of(model, image, own, chosen, WATCH)
            assert soft.labels == alone.labels
            torch.testing.assert_close(soft.cam, alone.cam, atol=1e-3, rtol=0)
            torch.testing.assert_close(soft.seed, alone.seed, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (33, 31)])
def test_soft_seeds_of_any_size(model: TagClassifier, size: tuple[int, int]) -> None:
    image = np.resize(IMAGE, (*size, 3))
    soft = seeds_of(model, image, (0,), settings(scales=[0.5, 1.0]), WATCH)
    assert soft.seed.shape == (1, -(-size[0] // 4), -(-size[1] // 4))
    assert soft.seed.isfinite().all() and soft.cam.isfinite().all()


def test_check_walks_names_a_block_without_slots(model: TagClassifier) -> None:
    def check(*walks: dict[str, object]) -> None:
        check_walks(settings(walks=walks).seeding, model)

    check({"block": "4.0"}, {"block": "16.0"}, {"block": "all"})
    with pytest.raises(WsssError, match=r"pseudo_masks\.walks .*'32\.0'.*4\.0, 8\.0, 16\.0"):
        check({"block": "32.0"})
