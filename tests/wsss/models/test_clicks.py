"""An image that is corrected, on the classifier of the tiny run."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wsss.config import RunConfig
from wsss.crf import make_crf
from wsss.data.images import Sample, read_image
from wsss.data.open import open_tagged
from wsss.engine.checkpoint import load_trained
from wsss.engine.inference import to_device
from wsss.engine.profile import Stopwatch
from wsss.errors import WsssError
from wsss.models.classifier import TagClassifier, build_classifier
from wsss.models.clicks import OpenImage
from wsss.models.soft_seeds import seed_probs, soft_seeds
from wsss.run.state import Run
from wsss.seeding.clicks import Click, ClickRules
from wsss.seeding.masks import harden, refine
from wsss.seeding.thresholds import moved
from wsss.seeding.walks import Walk

CPU = torch.device("cpu")
RULES = ClickRules(walks=(Walk("8", 2),))


@pytest.fixture(scope="module")
def model(finished: RunConfig) -> TagClassifier:
    weights = Run(finished.run).model("train_cls")
    model = load_trained(weights, "classifier", build_classifier, CPU)[0]
    # two steps of training activate no class by themselves
    torch.nn.init.normal_(model.cam3.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(model.bias)
    return model


@pytest.fixture(scope="module")
def samples(finished: RunConfig) -> tuple[Sample, ...]:
    tagged = open_tagged(finished.data, finished.data.mask_split)
    return tuple(sample for sample in tagged.samples if sample.tags)


def opened(config: RunConfig, model: TagClassifier, sample: Sample, **changes: object) -> OpenImage:
    settings = config.pseudo_masks.model_copy(update=changes)
    image = read_image(sample.path)
    return OpenImage(model, image, sample.tags, settings, CPU, rules=RULES)


def test_a_mask_without_clicks_is_that_of_stage_2(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    settings = finished.pseudo_masks
    for sample in samples:
        pixels = to_device([read_image(sample.path)], CPU)
        (soft,) = soft_seeds(model, pixels, [sample.tags], settings, Stopwatch(CPU))
        probs = seed_probs(soft, tuple(pixels.shape[-2:]), settings)
        crf = make_crf(settings.crf, settings.crf_iterations)
        (refined,) = refine(list(pixels), [probs], crf)
        expected = harden(refined, soft.labels, settings.confidence)
        assert len(expected.unique()) > 1
        assert np.array_equal(opened(finished, model, sample).mask(), expected)


def test_a_click_is_certain_and_undone_by_leaving_it_out(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    image, label = opened(finished, model, samples[0]), samples[0].tags[0] + 1
    before = image.mask()
    for said in (0, label):
        assert image.mask([Click(40, 9, said)])[9, 40] == said
    assert np.array_equal(image.mask(), before)


def test_clicks_may_come_in_any_order(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    image, label = opened(finished, model, samples[0]), samples[0].tags[0] + 1
    clicks = [Click(40, 9, 0), Click(20, 30, label), Click(5, 60, 0)]
    assert np.array_equal(image.mask(clicks), image.mask(clicks[::-1]))


def halves(size: tuple[int, int], label: int) -> NDArray[np.uint8]:
    mask: NDArray[np.uint8] = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = label
    return mask


def test_a_start_that_is_the_seeds_own_mask_changes_nothing(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    image, label = opened(finished, model, samples[0]), samples[0].tags[0] + 1
    clicks = [Click(40, 9, 0), Click(20, 30, label)]
    own = image.mask()
    assert np.array_equal(image.mask(start=own), own)
    assert np.array_equal(image.mask(clicks, start=own), image.mask(clicks))


def test_a_start_stays_where_nothing_is_said(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    image, label = opened(finished, model, samples[0]), samples[0].tags[0] + 1
    start = halves(image.size, label)
    assert np.array_equal(image.mask(start=start), start)
    clicked = image.mask([Click(40, 9, 0)], start=start)
    assert clicked[9, 40] == 0 and (clicked[:32] == label).any() and not clicked[40:].any()
    assert np.array_equal(image.mask(start=start), start)
    other = halves(image.size, 0)
    assert np.array_equal(image.mask(start=other), other)


def test_a_start_loses_a_removed_tag_and_keeps_labels_without_one(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    sample = samples[0]
    label = sample.tags[0] + 1
    other = next(tag for tag in range(len(model.bias)) if tag not in sample.tags) + 1
    image = opened(finished, model, sample)
    assert label not in image.mask(tags=[], start=halves(image.size, label))
    start = halves(image.size, other)
    clicked = image.mask([Click(40, 60, label)], start=start)
    assert clicked[60, 40] == label and (clicked[:20] == other).mean() > 0.5


def test_a_level_makes_more_or_less_of_a_tag(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    image = opened(finished, model, samples[0], crf="none", confidence=0.0)
    label = samples[0].tags[0] + 1
    areas = [(image.mask(levels={label: level}) == label).sum() for level in (-2.0, 0.0, 2.0)]
    assert areas[0] < areas[1] < areas[2]


def test_moved_threshold_has_twice_the_area_above_it() -> None:
    scores = torch.arange(100).view(10, 10) / 100
    assert float(moved(scores, 0.795, 1.0)) == pytest.approx(0.594, abs=0.01)
    assert float(moved(scores, 0.795, -1.0)) == pytest.approx(0.89, abs=0.01)
    assert float(moved(scores, 0.5, 9.0)) == 0.0


def test_tags_can_be_changed_without_opening_the_image_again(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    sample = samples[0]
    other = next(tag for tag in range(len(model.bias)) if tag not in sample.tags)
    image = opened(finished, model, sample)
    expected = opened(finished, model, sample._replace(tags=(other,))).mask()
    assert np.array_equal(image.mask(tags=[other]), expected)
    assert not image.mask(tags=[]).any()


def test_what_is_painted_stays_as_it_is_and_255_is_not_painted(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    image = opened(finished, model, samples[0])
    painted: NDArray[np.uint8] = np.full(image.size, 255, np.uint8)
    assert np.array_equal(image.mask(painted=painted), image.mask())
    painted[10:20, 10:50] = samples[0].tags[0] + 1
    painted[30:40] = 0
    found = image.mask(painted=painted)
    assert np.array_equal(found[painted != 255], painted[painted != 255])


def test_a_large_image_is_computed_small_and_answered_at_its_size(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    large = np.kron(read_image(samples[0].path), np.ones((3, 3, 1), np.uint8))
    image = OpenImage(
        model, large, samples[0].tags, finished.pseudo_masks, CPU, max_side=64, rules=RULES
    )
    mask = image.mask([Click(191, 0, 0)])
    assert mask.shape == (192, 192)
    assert mask[0, 191] == 0


def test_what_can_not_be_is_refused(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    image = opened(finished, model, samples[0])
    with pytest.raises(WsssError, match="64×64"):
        image.mask([Click(64, 0, 0)])
    with pytest.raises(WsssError, match="says 200"):
        image.mask([Click(0, 0, 200)])
    with pytest.raises(WsssError, match="painting is 3×2"):
        image.mask(painted=np.full((2, 3), 255, np.uint8))
    with pytest.raises(WsssError, match="value 200"):
        image.mask(painted=np.full((64, 64), 200, np.uint8))


def test_without_background_the_tags_share_the_image(
    finished: RunConfig, model: TagClassifier, samples: tuple[Sample, ...]
) -> None:
    image = read_image(samples[0].path)
    tags, settings = samples[0].tags, finished.pseudo_masks
    one = OpenImage(model, image, tags, settings, CPU, rules=RULES, background=False)
    assert set(np.unique(one.mask())) <= {*samples[0].labels, 255}
    assert set(np.unique(one.mask(tags=tags[:1]))) == {tags[0] + 1}
    assert set(np.unique(one.mask(tags=()))) == {255}
    with pytest.raises(WsssError, match=r"data\.background=false"):
        one.mask([Click(4, 4, 0)])
