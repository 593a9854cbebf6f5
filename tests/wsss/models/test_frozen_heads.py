"""Heads that learn from kept features of whole images."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wsss.data.features import Features, FeatureSet, by_shape
from wsss.data.images import Sample, TaggedDataset
from wsss.errors import WsssError
from wsss.models.backbone import create_backbone
from wsss.models.classifier import TagClassifier
from wsss.models.frozen_heads import HeadsOnFeatures, features_of

TINY = {"depths": [1, 1, 2, 1], "embed_dims": [32, 32, 64, 64], "slot_grid": [3, 3]}


@pytest.fixture
def model() -> TagClassifier:
    torch.manual_seed(0)
    found = TagClassifier(create_backbone("glnet_nano", None, TINY), 4, "16.0", 2, "lse").eval()
    norm = found.backbone.norm
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    nn.init.normal_(norm.bias)
    return found


def image(*size: int) -> Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(sum(size)))


def kept(model: TagClassifier, folder: Path, *images: Tensor) -> list[Path]:
    """Files of the features of images."""
    paths = [folder / f"{i}.safetensors" for i in range(len(images))]
    for path, one in zip(paths, images, strict=True):
        Features(*(part[0] for part in features_of(model, one))).save(path)
    return paths


def batch(paths: list[Path]) -> list[Tensor]:
    return by_shape((Features.load(path), torch.eye(4)[i]) for i, path in enumerate(paths))


@torch.no_grad()
def test_folded_heads_answer_images_as_they_answered_features(
    model: TagClassifier, tmp_path: Path
) -> None:
    images = image(64, 96), image(96, 64)
    paths = kept(model, tmp_path, *images)
    heads = HeadsOnFeatures(model, paths).eval()
    nn.init.normal_(model.cam4.weight)
    found = heads(*batch(paths)[:-1])
    heads.fold()
    expected = [model(one) for one in images]
    for name in ("logits", "slot_logits"):
        whole = torch.cat([getattr(one, name) for one in expected])
        torch.testing.assert_close(getattr(found, name), whole, rtol=1e-2, atol=1e-2)


def test_heads_see_channels_of_mean_0_and_variance_1(model: TagClassifier, tmp_path: Path) -> None:
    paths = kept(model, tmp_path, image(64, 96), image(96, 64))
    heads = HeadsOnFeatures(model, paths)
    features = [Features.load(path) for path in paths]
    deep = torch.cat([one.deep.float().flatten(1) for one in features], dim=1)
    third = torch.cat([one.third.float().flatten(1) for one in features], dim=1)
    seen = ((deep - heads.mean.flatten(1)) / heads.deviation.flatten(1)).std(1, correction=0)
    torch.testing.assert_close(seen, torch.ones(64), rtol=1e-2, atol=0)
    normed = model.norm3.eval()(third[None, :, None])
    torch.testing.assert_close(normed.mean(3).flatten(), torch.zeros(64), rtol=0, atol=1e-3)


def test_heads_alone_learn(model: TagClassifier, tmp_path: Path) -> None:
    heads = HeadsOnFeatures(model, kept(model, tmp_path, image(64, 64)))
    learning = {name for name, one in heads.named_parameters() if one.requires_grad}
    names = ("bias", "cam3.weight", "cam4.weight", "slot_head.weight", "slot_head.bias")
    assert learning == {f"model.{name}" for name in names}


def test_by_shape_keeps_tags_beside_their_features() -> None:
    def sample(value: float, width: int) -> tuple[Features, Tensor]:
        third, deep = torch.full((1, 2, width), value), torch.full((1, 1, width // 2), value)
        return Features(third, deep, torch.full((3, 1), value)), torch.tensor([value])

    found = by_shape([sample(1, 2), sample(2, 4), sample(3, 2)])
    assert [tuple(one.shape) for one in found[:3]] == [(2, 1, 2, 2), (2, 1, 1, 1), (2, 3, 1)]
    assert found[0][:, 0, 0, 0].tolist() == [1, 3] and found[3].shape == (1, 1, 2, 4)
    assert found[-1].flatten().tolist() == [1, 3, 2]


def test_feature_set_names_a_damaged_file(model: TagClassifier, tmp_path: Path) -> None:
    (path,) = kept(model, tmp_path, image(64, 64))
    tagged = TaggedDataset(("a", "b"), (Sample("0", tmp_path / "0.jpg", (1,)),))
    dataset = FeatureSet(tagged, lambda name: tmp_path / f"{name}.safetensors")
    features, tags = dataset[3, 0]
    assert features.third.dtype == torch.float16 and tags.tolist() == [0, 1]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WsssError, match=r"0\.safetensors.*delete it"):
        dataset[3, 0]
