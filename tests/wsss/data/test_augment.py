"""Transforms by hand and by their properties."""

import colorsys

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as reference

from wsss.data import augment


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (12, 20, 3), np.uint8)


def test_normalise_by_hand() -> None:
    pixel = augment.normalise(np.array([[[0, 128, 255]]], np.uint8))
    expected = [-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert pixel.shape == (3, 1, 1)
    torch.testing.assert_close(pixel.flatten(), torch.tensor(expected), atol=1e-6, rtol=0)


def test_normalise_equals_torchvision(image: np.ndarray) -> None:
    ours = augment.normalise(image)
    theirs = reference.normalize(
        reference.to_tensor(image), list(augment.IMAGENET_MEAN), list(augment.IMAGENET_STD)
    )
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)
    assert ours.is_contiguous()


def test_resize_shrinks_by_means_and_keeps_constants() -> None:
    image = np.array([[0, 4, 8, 8], [0, 4, 8, 8]], np.uint8)
    assert augment.resize(image, (1, 2)).tolist() == [[2, 8]]
    assert augment.resize(image, (2, 4)) is image
    assert (augment.resize(np.full((3, 5, 3), 7, np.uint8), (9, 4)) == 7).all()


def test_resize_mask_takes_the_nearest_centre() -> None:
    row = np.array([[1, 2, 3, 4, 5, 6]], np.uint8)
    assert augment.resize_mask(row, (1, 2)).tolist() == [[2, 5]]
    doubled = augment.resize_mask(np.array([[1, 255]], np.uint8), (2, 4))
    assert doubled.tolist() == [[1, 1, 255, 255]] * 2


def test_crop_area_and_aspect_stay_in_range(rng: np.random.Generator) -> None:
    # each pixel says where it is, so a crop's corners tell what was cut
    rows, columns = np.mgrid[:200, :250].astype(np.uint8)
    position = np.stack([rows, columns, rows], axis=2)
    for _ in range(200):
        crop = augment.random_resized_crop(position, 400, rng, (0.25, 0.5), (0.8, 1.25))
        h = int(crop[-1, 0, 0]) - int(crop[0, 0, 0]) + 1
        w = int(crop[0, -1, 1]) - int(crop[0, 0, 1]) + 1
        assert 0.24 < h * w / (200 * 250) < 0.51
        assert 0.78 < w / h < 1.28


def test_crops_reach_every_border(rng: np.random.Generator) -> None:
    rows = np.mgrid[:40, :40][0].astype(np.uint8)
    position = np.stack([rows, rows.T, rows], axis=2)
    crops = [augment.random_resized_crop(position, 60, rng, (0.3, 0.6)) for _ in range(300)]
    low, high = np.min(crops, axis=(0, 1, 2)), np.max(crops, axis=(0, 1, 2))
    assert low.tolist() == [0, 0, 0] and high.tolist() == [39, 39, 39]


def test_an_image_of_one_pixel_can_be_cropped(rng: np.random.Generator) -> None:
    one = np.full((1, 1, 3), 9, np.uint8)
    assert (augment.random_resized_crop(one, 4, rng) == 9).all()


def test_mirror_twice_is_the_image(image: np.ndarray) -> None:
    assert (augment.mirror(image)[:, 0] == image[:, -1]).all()
    np.testing.assert_array_equal(augment.mirror(augment.mirror(image)), image)


def test_no_jitter_leaves_the_image(image: np.ndarray, rng: np.random.Generator) -> None:
    np.testing.assert_array_equal(augment.colour_jitter(image, rng, 0), image)


def test_jitter_draws_as_often_at_every_strength(image: np.ndarray) -> None:
    states = []
    for strength in (0, 1):
        rng = np.random.default_rng(0)
        augment.colour_jitter(image, rng, strength)
        states.append(rng.random())
    assert states[0] == states[1]


class Fixed:
    """A generator that draws what it was told."""

    def __init__(self, *values: float) -> None:
        self.values = np.array(values)

    def uniform(self, *_: float) -> np.ndarray:
        return self.values


def jitter(image: np.ndarray, *draws: float) -> np.ndarray:
    return augment.colour_jitter(image, Fixed(*draws))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("draws", "name", "factor"),
    [
        ((1, 0, 0, 0), "adjust_brightness", 1.4),
        ((-1, 0, 0, 0), "adjust_brightness", 0.6),
        ((0, 1, 0, 0), "adjust_contrast", 1.4),
        ((0, -0.5, 0, 0), "adjust_contrast", 0.8),
        ((0, 0, 1, 0), "adjust_saturation", 1.4),
        ((0, 0, -1, 0), "adjust_saturation", 0.6),
    ],
)
def test_jitter_equals_torchvision(
    image: np.ndarray, draws: tuple[float, ...], name: str, factor: float
) -> None:
    planes = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    expected = getattr(reference, name)(planes, factor).permute(1, 2, 0).numpy() * 255
    assert np.abs(jitter(image, *draws).astype(float) - expected).max() < 1.5


def test_jitter_is_contrast_then_brightness(rng: np.random.Generator) -> None:
    middle = rng.integers(90, 140, (6, 6, 3), np.uint8)  # nothing is clipped on the way
    planes = torch.from_numpy(middle).permute(2, 0, 1).float() / 255
    expected = reference.adjust_brightness(reference.adjust_contrast(planes, 1.2), 1.4)
    ours = jitter(middle, 1, 0.5, 0, 0) / 255
    assert np.abs(ours - expected.permute(1, 2, 0).numpy()).max() < 1.5 / 255


def test_hue_turns_colours_and_leaves_grey() -> None:
    image = np.array([[[200, 80, 80], [90, 90, 90]]], np.uint8)
    turned = jitter(image, 0, 0, 0, 1)
    assert np.abs(turned[0, 1].astype(int) - 90).max() <= 1
    before, after = (colorsys.rgb_to_hsv(*p[0, 0] / 255)[0] for p in (image, turned))
    assert 8 < abs((after - before + 0.5) % 1 - 0.5) * 360 < 28


def test_crop_window_pads_outside() -> None:
    image = np.full((2, 3, 3), 9, np.uint8)
    mask = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    cut, cut_mask = augment.crop_window(image, mask, (-1, 1, 3))
    assert cut_mask.tolist() == [[255, 255, 255], [2, 3, 255], [5, 6, 255]]
    assert (cut[cut_mask != 255] == 9).all()
    assert (cut[cut_mask == 255] == augment.PADDING).all()
    far, far_mask = augment.crop_window(image, mask, (7, -9, 2))
    assert (far_mask == 255).all() and (far == augment.PADDING).all()


def test_padding_is_about_zero_after_normalisation() -> None:
    pad = np.full((1, 1, 3), augment.PADDING, np.uint8)
    assert augment.normalise(pad).abs().max() < 0.01


def test_joint_crop_at_scale_one_is_a_cut(rng: np.random.Generator) -> None:
    rows, columns = np.mgrid[:30, :40].astype(np.uint8)
    image = np.stack([rows, columns, rows], axis=2)
    for _ in range(20):
        cut, cut_mask = augment.joint_scale_crop_flip(image, columns, 16, rng, (1, 1), flip=False)
        np.testing.assert_array_equal(cut[..., 1], cut_mask)
        assert (np.diff(cut_mask.astype(int), axis=1) == 1).all()


def test_a_small_image_lies_whole_inside_its_crop(rng: np.random.Generator) -> None:
    image, mask = np.zeros((10, 6, 3), np.uint8), np.ones((10, 6), np.uint8)
    corners = set()
    for _ in range(50):
        _, cut_mask = augment.joint_scale_crop_flip(image, mask, 16, rng, (1, 1))
        assert (cut_mask == 1).sum() == 60
        corners.add(tuple(np.argwhere(cut_mask == 1)[0].tolist()))
    assert len(corners) > 20


@pytest.mark.parametrize(("scale", "share"), [((0.5, 0.5), 0.25), ((2, 2), 1.0)])
def test_scale_magnifies(
    rng: np.random.Generator, scale: tuple[float, float], share: float
) -> None:
    image, mask = np.zeros((32, 32, 3), np.uint8), np.ones((32, 32), np.uint8)
    _, cut_mask = augment.joint_scale_crop_flip(image, mask, 32, rng, scale)
    assert (cut_mask == 1).mean() == share


def test_paste_objects_covers_the_image_by_what_the_other_mask_names() -> None:
    image, source = np.zeros((1, 4, 3), np.uint8), np.full((1, 4, 3), 9, np.uint8)
    mask, labels = np.array([[1, 0, 255, 2]], np.uint8), np.array([[3, 4, 5, 0]], np.uint8)
    labels[0, 0] = 255
    both, found = augment.paste_objects(image, mask, source, labels)
    assert both[0, :, 0].tolist() == [0, 9, 9, 0]
    assert found.tolist() == [[1, 4, 5, 2]]
    assert not image.any() and mask.tolist() == [[1, 0, 255, 2]]
