"""Stages as data: which settings each depends on follows from the schema alone."""

from wsss.config import load
from wsss.run.stages import STAGES, settings_of, stages_of


def test_settings_of_a_stage_are_its_own_and_those_before() -> None:
    config = load(None, ["data.root=data/VOC2012"])
    sections = [list(settings_of(config, stage.name)) for stage in STAGES]
    first = ["seed", "data", "backbone", "train_cls"]
    assert sections == [first, [*first, "pseudo_masks"], [*first, "pseudo_masks", "train_seg"]]


def test_settings_of_a_round_build_on_the_former_segmenter() -> None:
    config = load(None, ["data.root=data/VOC2012", "round=2"])
    assert [stage.name for stage in stages_of(config)] == ["pseudo_masks", "train_seg"]
    masks, training = (settings_of(config, name) for name in ("pseudo_masks", "train_seg"))
    assert list(training) == ["seed", "data", "backbone", "self_training", "train_seg"]
    assert set(training["self_training"]) - set(masks["self_training"]) == {"start"}
    assert "rounds" not in training["self_training"]


def test_settings_of_a_stage_leave_out_what_it_does_not_depend_on() -> None:
    config = load(None, ["data.root=data/VOC2012"])
    data = [set(settings_of(config, stage.name)["data"]) for stage in STAGES]
    assert data[1] - data[0] == {"mask_split", "mask_images", "background"}
    assert data[1] == data[2]
    assert not {"val_split", "score_split"} & data[2]
    some = load(None, ["data.root=data/VOC2012", "data.mask_images=5"])
    assert settings_of(some, "train_seg")["data"]["score_split"] == "train"
    assert "score_split" not in settings_of(some, "train_cls")["data"]


def test_settings_of_a_stage_name_what_is_read_and_not_where() -> None:
    config = load(None, ["data.root=/there/VOC2012", "backbone.weights=a/b/glnet.pth"])
    found = settings_of(config, "train_cls")
    assert (found["data"]["root"], found["backbone"]["weights"]) == ("VOC2012", "glnet.pth")
