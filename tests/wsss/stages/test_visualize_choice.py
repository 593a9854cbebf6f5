"""Which images a contact sheet shows: without tags, with false alarms, and by chance."""

from pathlib import Path

import numpy as np
import pytest

from wsss.config import RunConfig, parse
from wsss.data.images import Sample, TaggedDataset
from wsss.run.state import Run
from wsss.stages import visualize

TAGGED = TaggedDataset(
    ("cat", "dog"), tuple(Sample(f"p{i:02d}", Path(f"p{i:02d}.jpg"), (0,)) for i in range(20))
)


def with_empty(count: int) -> TaggedDataset:
    """The last `count` images have no tags."""
    kept, empty = TAGGED.samples[:-count], TAGGED.samples[-count:]
    return TaggedDataset(TAGGED.class_names, (*kept, *(one._replace(tags=()) for one in empty)))


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    run = Run(tmp_path)
    for sample in TAGGED.samples:
        run.pseudo_mask(sample.id).parent.mkdir(exist_ok=True)
        run.pseudo_mask(sample.id).touch()
    return parse({"run": str(tmp_path), "data": {"root": "."}}, "the test")


def choose(config: RunConfig, tagged: TaggedDataset, count: int) -> list[Sample]:
    return visualize._choose(config, Run(config.run), tagged, "train", count, ())


def test_one_image_in_six_is_without_tags(config: RunConfig) -> None:
    found = choose(config, with_empty(8), 6)[:6]
    assert [bool(sample.tags) for sample in found] == [False] + [True] * 5


def test_a_split_without_tags_is_shown_all_the_same(config: RunConfig) -> None:
    assert len({sample.id for sample in choose(config, with_empty(20), 6)[:6]}) == 6


def test_images_with_false_alarms_come_first(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(config: RunConfig, sample: Sample, *_: object) -> visualize.Cell:
        return np.full((4, 4), 2 if sample.id in ("p07", "p11") else 1, np.uint8)

    monkeypatch.setattr(visualize, "_predict", predict)
    arguments = (config, TAGGED, TAGGED.samples, 3, None, None)
    found = visualize._false_alarms(*arguments)  # type: ignore[arg-type]
    assert [sample.id for sample in found] == ["p07", "p11", "p00"]
